"""What is asked for, in the order of the design's table of budgets; a test holds that each has its scenario."""

from dataclasses import dataclass

from bench.figures import Budget

__all__ = ["BY_KEY", "ROWS", "Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: its budgets, figures that are shown with them, and what the best other operator does."""

    title: str
    budgets: tuple[Budget, ...]
    peer: str = "–"
    beside: tuple[str, ...] = ()


ROWS = (
    Row(
        "Vault write → bytes in the pod's file, hints on, at rest at a 60 s poll",
        (
            Budget("hints.file.p50", 0.25, "≤ 0.25 s"),
            Budget("hints.file.p99", 0.8, "≤ 0.8 s"),
            Budget("hints.missed", 0, "none"),
        ),
        "median 47 s, max 65 s",
    ),
    Row("Vault write → Secret, hints on", (Budget("hints.secret.p95", 0.2, "≤ 0.2 s"),)),
    Row(
        "the same without hints, at a 10 s poll",
        (
            Budget("poll.secret.p50", 5, "≤ 5 s"),
            Budget("poll.secret.max", 10.5, "≤ 10.5 s"),
            Budget("poll.file.p50", 5.5, "≤ 5.5 s"),
            Budget("poll.missed", 0, "none"),
        ),
        "Secret 4.9 / 8.5 s; file 47 / 65 s",
        ("poll.file.max",),
    ),
    Row(
        "without hints, at a 2 s poll by one listing of each folder",
        (
            Budget("listing.secret.p50", 1.2, "≤ 1.2 s"),
            Budget("listing.secret.max", 2.5, "≤ 2.5 s"),
            Budget("listing.file.max", 3, "≤ 3 s"),
            Budget("listing.missed", 0, "none"),
        ),
        "not affordable for them",
    ),
    Row(
        "cold start: new objects → Secrets",
        (
            Budget("cold.seconds.1000", 6, "≤ 6 s"),
            Budget("cold.api.1000", 3, "≤ 3 an object"),
            Budget("cold.vault.1000", 1, "≤ 1 an object"),
            Budget("cold.cpu.1000", 4, "≤ 4 s"),
            Budget("cold.seconds.3000", 20, "≤ 20 s"),
            Budget("cold.api.3000", 3, "≤ 3 an object"),
            Budget("cold.vault.3000", 1, "≤ 1 an object"),
        ),
        "12.1 s; 38.5 s; 5.6 and 2 requests; 4.5 CPU s",
    ),
    Row(
        "start on what is already synced → all compared, 10,000 objects, 200 paths, 4 identities",
        (
            Budget("compare.seconds", 15, "≤ 15 s"),
            Budget("compare.cpu", 12, "≤ 12 s"),
            Budget("compare.writes", 0, "0"),
        ),
        "a write each",
    ),
    Row(
        "at rest, 60 s poll: Vault requests a minute",
        (Budget("rest.vault.path", 1_000, "1,000 by path"), Budget("rest.vault.listing", 1, "1 by listing")),
        "1,147",
    ),
    Row(
        "at rest: requests to the API server a minute",
        (Budget("rest.api.writes", 0, "no write but the Lease"), Budget("rest.api.kept", 15, "≤ 15 with the Lease")),
        "1,000 writes and 2,000 reads",
        ("rest.api.apart",),
    ),
    Row(
        "at rest: CPU of the operator in 3 minutes",
        (Budget("rest.cpu.path", 2, "≤ 2 s"), Budget("rest.cpu.listing", 2, "≤ 2 s")),
        "9.3 s",
    ),
    Row(
        "RSS, 1,000 / 10,000 objects",
        (Budget("rss.1000", 100, "≤ 100 MiB"), Budget("rss.10000", 180, "≤ 180 MiB")),
        "99 MiB / –",
    ),
    Row(
        "idle CPU, 10,000 objects on 200 paths of 4 identities",
        (Budget("idle.cpu", 2, "≤ 2 % of a core"),),
        beside=("idle.cpu.distinct",),
    ),
    Row(
        "recovery after Vault was sealed, 20 paths changed meanwhile",
        tuple(
            budget
            for sealed in (60, 180)
            for budget in (
                Budget(f"recovery.{sealed}.seconds", 2, "≤ 2 s"),
                Budget(f"recovery.{sealed}.statuses", 1, "≤ 1 an object"),
                Budget(f"recovery.{sealed}.events", 1, "≤ 1 an object"),
            )
        ),
        "7.3 s / 8.6 s; 1,000–2,600 status writes a minute",
    ),
    Row(
        "100 rotations due in one minute",
        (Budget("rotations.minute.failed", 0, "all done"), Budget("rotations.minute.p99", 5, "p99 ≤ 5 s")),
        beside=("rotations.second.failed", "rotations.second.p99"),
    ),
    Row(
        "the client library",
        (
            Budget("library.cached.asyncio", 2, "≤ 2 µs"),
            Budget("library.cached.blocking", 2, "≤ 2 µs"),
            Budget("library.mounted", 30, "≤ 30 µs"),
            Budget("library.import", 60, "≤ 60 ms"),
        ),
    ),
    Row(
        "what the forwarder of hints costs a write to OpenBao",
        (Budget("forwarder.more", 0, "nothing measurable"),),
        beside=("forwarder.latency",),
    ),
    Row(
        "an hour's worth of changes",
        (),
        beside=("growth.rss", "growth.slope", "change.cpu", "change.api", "change.vault"),
    ),
)
BY_KEY = {budget.key: budget for row in ROWS for budget in row.budgets}
