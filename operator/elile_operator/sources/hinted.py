"""Which entries a hint is about, and what is still expected of them."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from elile_operator.decide.access import Engine
from elile_operator.decide.hinting import Doubt, Expected, due, expect, is_answered, judge_look, pause
from elile_operator.decide.hints import Hint
from elile_operator.sources.known import Entry

__all__ = ["HintedEntries"]


class _Place(NamedTuple):
    """Where a hint and an entry meet. What is read of any engine has its mount in the path."""

    namespace: str
    mount: str
    path: str
    versioned: bool


@dataclass(slots=True)
class _State:
    expected: Expected | None = None
    doubt: Doubt = field(default_factory=Doubt)


class HintedEntries:
    """Followed entries by place. `same_vault` tells whether two VaultServers are one Vault."""

    def __init__(self, *, same_vault: Callable[[str, str], bool]) -> None:
        self._same_vault = same_vault
        self._at: dict[_Place, dict[Entry, None]] = {}
        self._states: dict[Entry, _State] = {}
        self._waiting: dict[str, int] = {}

    def join(self, entry: Entry) -> None:
        """An entry is followed from now on."""
        self._at.setdefault(_place(entry), {})[entry] = None

    def leave(self, entry: Entry) -> None:
        """An entry is followed no more."""
        place = _place(entry)
        entries = self._at.get(place, {})
        entries.pop(entry, None)
        if not entries:
            self._at.pop(place, None)
        self._set(entry, None, Doubt())

    def about(self, server: str, hint: Hint) -> Iterator[Entry]:
        """All followed entries that a hint of a server is about, whichever VaultServer they are read through."""
        for place in _places(hint):
            for entry in self._at.get(place, ()):
                if self.concerns(server, entry):
                    yield entry

    def concerns(self, server: str, entry: Entry) -> bool:
        """Whether an entry is of the Vault that a server is."""
        return entry.identity.server == server or self._same_vault(server, entry.identity.server)

    def note(self, entry: Entry, version: int | None, before: Hashable, *, likely: bool) -> float | None:
        """Expect a change; return when (monotonic) the entry may be looked at for it; None: the next look is set."""
        state = self._states.get(entry, _State())
        expected = expect(state.expected, version, before, likely=likely)
        self._set(entry, expected, state.doubt)
        return due(expected, state.doubt) if expected.until is None else None

    def is_due(self, entry: Entry, now: float) -> bool:
        """Whether a change is expected, and to be looked for now."""
        state = self._states.get(entry)
        return state is not None and state.expected is not None and now >= due(state.expected, state.doubt)

    def looked(self, entry: Entry, sight: Hashable, current: int | None, now: float) -> None:
        """A look has ended. `current` is the version that can be read, None where none can."""
        state = self._states.get(entry)
        if state is None or state.expected is None:
            return
        answered = is_answered(state.expected, sight, current)
        waiting = self._waiting.get(entry.identity.server, 0)
        self._set(entry, *judge_look(state.expected, state.doubt, answered=answered, now=now, waiting=waiting))

    def left(self, entry: Entry, now: float) -> float | None:
        """Return the seconds to the next look for what is expected; None for nothing."""
        state = self._states.get(entry)
        if state is None or state.expected is None:
            return None
        return max(pause(state.expected, now), due(state.expected, state.doubt) - now)

    def _set(self, entry: Entry, expected: Expected | None, doubt: Doubt) -> None:
        before = self._states.get(entry)
        was, server = before is not None and before.expected is not None, entry.identity.server
        self._waiting[server] = self._waiting.get(server, 0) + (expected is not None) - was
        if not self._waiting[server]:
            del self._waiting[server]
        if expected is None and not doubt.length:
            self._states.pop(entry, None)
        else:
            self._states[entry] = _State(expected, doubt)


def _place(entry: Entry) -> _Place:
    namespace = entry.namespace or ""
    if entry.engine is Engine.PATH:
        return _Place(namespace, "", entry.path, versioned=False)
    return _Place(namespace, entry.mount, entry.path, versioned=entry.engine is Engine.KV2)


def _places(hint: Hint) -> Iterator[_Place]:
    """A hint does not tell which version of the engine a mount is of, so it may mean either."""
    if (entry := hint.entry) is not None:
        yield _Place(hint.namespace, hint.mount, entry, versioned=True)
    yield _Place(hint.namespace, hint.mount, hint.path, versioned=False)
    yield _Place(hint.namespace, "", f"{hint.mount}/{hint.path}", versioned=False)
