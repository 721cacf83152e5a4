"""Profiles as tables: by thread, by package, by function."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import PurePath

from bench.profile.record import Record, group_of, thread_of

__all__ = ["render"]


def render(title: str, records: Sequence[Record], *, per: int, of: str, top: int) -> str:
    """Return Markdown; `per` and `of`: how many of what the time was for."""
    whole = sum(record.seconds for record in records)
    parts = [f"## {title}\n\n{whole:.2f} s of CPU in functions, {whole / per * 1e3:.2f} ms for each {of}.\n"]
    for head, key in (("thread", thread_of), ("package", group_of), ("function", _function)):
        parts.append(_table(head, records, key, whole, per, top))
    return "\n".join(parts)


def _table(head: str, records: Sequence[Record], key: Callable[[Record], str], whole: float, per: int, top: int) -> str:
    seconds: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    for record in records:
        seconds[key(record)] += record.seconds
        calls[key(record)] += record.calls
    rows = sorted(seconds.items(), key=lambda item: -item[1])[:top]
    lines = [f"| {head} | own s | share | µs each | calls each |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {own:.3f} | {own / (whole or 1):.1%} | {own / per * 1e6:.0f} | {calls[name] / per:.1f} |"
        for name, own in rows
    ]
    return "\n".join(lines) + "\n"


def _function(record: Record) -> str:
    place = f"{group_of(record)}: {PurePath(record.file).stem}.{record.function}"
    return f"{place} → {record.builtin}" if record.builtin else place
