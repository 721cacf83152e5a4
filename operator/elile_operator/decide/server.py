"""Decide what the status of a VaultServer says, from what the server answered."""

from dataclasses import dataclass
from datetime import datetime

from elile.secrets.answers import ServerState
from elile_operator.api.meta import ConditionStatus
from elile_operator.api.reasons import SERVER_EFFECTS, Mark, Reason
from elile_operator.api.vaultserver import Flavor, VaultServer, VaultServerStatus
from elile_operator.decide.conditions import find, set_conditions
from elile_operator.decide.hints import SILENCE
from elile_operator.decide.polling import PollState
from elile_operator.decide.violation import Violation

__all__ = ["Answer", "check_address", "hints_mark", "judge", "server_status"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What asking the server ended in: its state, or what was wrong."""

    state: ServerState | None
    violation: Violation | None


def check_address(server: VaultServer) -> Violation | None:
    """Refuse plain http once more before a token is sent: CEL saw it, an older CRD may not have."""
    if server.spec.address.startswith("https://") or server.spec.tls.allow_plain_http:
        return None
    return Violation(
        Reason.PLAIN_HTTP_REFUSED,
        "spec.address uses http; use https or set spec.tls.allowPlainHTTP: true",
    )


def judge(server: VaultServer, state: ServerState) -> Violation | None:
    """Say whether a server that answers can be used."""
    if not state.sealed and state.initialized:
        return None
    what = "sealed; unseal it" if state.initialized else "not initialised; initialise and unseal it"
    return Violation(Reason.VAULT_SEALED, f"VaultServer {server.metadata.name!r} at {server.spec.address} is {what}")


def hints_mark(server: VaultServer, *, flow: bool | None) -> tuple[Mark, Reason, str] | None:
    """Return what is said of a forwarder that could speak: `flow` is whether it does, None for not known yet."""
    if flow is None:
        said = find(server.status.conditions, "HintsFlowing")
        if said is None:
            return None
        flow = said.status is ConditionStatus.TRUE
    if flow:
        return Mark.TRUE, Reason.HINTS_FLOWING, Reason.HINTS_FLOWING.sentence
    why = (
        f"no forwarder has spoken for {SILENCE:.0f} seconds, so polls find what changes; look at the log of "
        "`elile hints forward` beside the server"
    )
    return Mark.FALSE, Reason.HINTS_SILENT, why


def server_status(
    server: VaultServer,
    answer: Answer,
    polls: PollState,
    now: datetime,
    hints: tuple[Mark, Reason, str] | None = None,
) -> VaultServerStatus:
    """Return the status; what a server that is away reported last (version, cluster) stays.

    `hints` is what is said of its forwarder; None where there can be none, or nothing was ever said.
    """
    previous, state = server.status, answer.state
    reason = answer.violation.reason if answer.violation else Reason.SERVER_READY
    message = answer.violation.message if answer.violation else "the server answers and is unsealed"
    effect = SERVER_EFFECTS[reason]
    marks = {
        "Ready": (effect.ready, reason, message),
        "Reachable": (effect.reachable, reason, message),
        "Unsealed": (effect.unsealed, reason, message),
    }
    # With the first good answer: to say it when it was measured would be a write of its own.
    if answer.violation is None or find(previous.conditions, "PollDelayed"):
        marks["PollDelayed"] = polls.mark()
    if hints is not None:
        marks["HintsFlowing"] = hints
    conditions = set_conditions(
        previous.conditions,
        marks,
        generation=server.metadata.generation,
        now=now,
    )
    return VaultServerStatus(
        observed_generation=server.metadata.generation,
        conditions=conditions,
        flavor=Flavor(state.flavor.value) if state else previous.flavor,
        server_version=state.version if state else previous.server_version,
        cluster_id=(state.cluster_id if state else "") or previous.cluster_id,
    )
