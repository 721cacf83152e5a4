"""A log that is written, rotated, cut and followed in any order: every write is told at its place, or a gap is told."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from elile_operator.decide.hints import Batch, Hint
from elile_operator.hints.audit import Nothing, may_tell, written
from elile_operator.hints.gaps import Gap
from elile_operator.hints.pending import Pending
from elile_operator.hints.places import NOWHERE, Known
from elile_operator.hints.tail import LOOK, STALL, Tail
from tests.support.audit_lines import line

MAX_LINE = 2_048
NOISE = (
    line(operation="read"),
    line(kind="request"),
    line(error="permission denied"),
    line(mount_type="transit", operation="update"),
    b"\n",
)

entries = st.tuples(st.sampled_from(["", "team/"]), st.sampled_from(["secret/", "team/"]), st.sampled_from("abc"))


@dataclass(frozen=True)
class Write:
    """A write that is in the log in full since the moment `at`."""

    at: int
    hint: Hint


@dataclass(frozen=True)
class Told:
    """A batch that was taken at the moment `at`."""

    at: int
    batch: Batch


class Following(RuleBasedStateMachine):
    """One writer as Vault is, who keeps its file open; a forwarder without its threads; and an operator."""

    room = 10_000
    only_starts_with_a_gap = True

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="elile-hints-"))
        self.path = self.folder / "audit.log"
        self.numbers = count(1)  # of moments and of versions
        self.writes: list[Write] = []
        self.told: list[Told] = []
        self.gaps: list[Gap] = []
        self.begun: tuple[bytes, Hint] | None = None  # the rest of a line of which the beginning is in the log
        self.away = False  # the file was renamed and the writer still has it
        self.new_unseen = False  # the forwarder has not seen that the writer opened a new file
        self.now = 1000.0
        self.saved: Known | None = None
        self.sent = False
        self.file = self.path.open("ab", buffering=0)
        self.file.write(NOISE[0])  # an empty one would be a gap of its own

    @initialize(chunk=st.sampled_from([7, 100, 1_000, 100_000]))
    def start(self, chunk: int) -> None:
        self.chunk = chunk
        self.tail = Tail(self.path, known=self.saved, monotonic=lambda: self.now, chunk=self.chunk, max_line=MAX_LINE)
        self.pending = Pending(room=self.room)
        self.sent = False
        self.new_unseen = False
        self.step()

    # ── the writer ───────────────────────────────────────────────────────────────────────────────────────────────────

    def compose(self, entry: tuple[str, str, str], *, deleted: bool, padding: int = 0) -> tuple[bytes, Hint]:
        namespace, mount, name = entry
        version = None if deleted else next(self.numbers)
        operation = "delete" if deleted else "update"
        text = line(
            f"data/{name}", operation=operation, namespace=namespace, mount=mount, version=version, padding=padding
        )
        return text, Hint(namespace.strip("/"), mount.strip("/"), f"data/{name}", version)

    def finish(self) -> None:
        if self.begun is not None:
            rest, hint = self.begun
            self.begun = None
            self.file.write(rest)
            self.writes.append(Write(next(self.numbers), hint))

    @rule(entry=entries, deleted=st.booleans())
    def write(self, entry: tuple[str, str, str], deleted: bool) -> None:
        self.finish()
        text, hint = self.compose(entry, deleted=deleted)
        self.file.write(text)
        self.writes.append(Write(next(self.numbers), hint))

    @rule(entry=entries, share=st.floats(0, 1))
    def begin(self, entry: tuple[str, str, str], share: float) -> None:
        self.finish()
        text, hint = self.compose(entry, deleted=False)
        at = int(share * (len(text) - 1))  # never its newline
        self.file.write(text[:at])
        self.begun = text[at:], hint

    @rule(lines=st.lists(st.sampled_from(NOISE), max_size=4))
    def write_noise(self, lines: list[bytes]) -> None:
        self.finish()
        self.file.write(b"".join(lines))

    # ── who rotates ──────────────────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: not self.away)
    @rule(touched=st.booleans())
    def rename(self, touched: bool) -> None:
        if self.new_unseen:
            self.before_the_next_rotation()
        self.path.rename(self.folder / f"audit.log.{next(self.numbers)}")
        self.away = True
        if touched:
            self.path.touch()

    def before_the_next_rotation(self) -> None:
        self.drain()

    @precondition(lambda self: self.away)
    @rule()
    def reopen(self) -> None:
        self.finish()
        self.file.close()
        self.file = self.path.open("ab", buffering=0)
        self.away = False
        self.new_unseen = True

    # ── the forwarder, and the operator ──────────────────────────────────────────────────────────────────────────────

    def step(self) -> bool:
        """As the reader does."""
        piece = self.tail.read()
        if piece is None:
            return False
        gaps = [piece.gap] if piece.gap else []
        gaps += [Gap.TOO_LONG for beginning in piece.too_long if may_tell(beginning)]
        for text in piece.lines:
            found = written(text)
            if isinstance(found, Hint):
                self.pending.add(found, piece.begin)
            elif found is not Nothing.NO_WRITE:
                gaps.append(Gap.UNREADABLE)
        if gaps:
            self.pending.lose()
        self.pending.reach(piece.end)
        self.gaps += gaps
        return True

    @rule(steps=st.integers(1, 20))
    def read(self, steps: int) -> None:
        for _ in range(steps):
            if not self.step():
                self.now += LOOK / 2

    @rule()
    def drain(self) -> None:
        for _ in range(3):
            while self.step():
                pass
            self.now += LOOK
        if not self.away and self.path.stat().st_size:
            self.new_unseen = False

    @precondition(lambda self: not self.sent)
    @rule()
    def send(self) -> None:
        self.batch = self.pending.take()
        self.sent = True

    @precondition(lambda self: self.sent)
    @rule(taken=st.booleans())
    def settle(self, taken: bool) -> None:
        if taken:
            self.told.append(Told(next(self.numbers), self.batch))
            self.pending.taken()
        else:
            self.pending.put_back()
        self.sent = False

    @rule()
    def save(self) -> None:
        done = self.pending.done
        if done is not None and (known := self.tail.known(done)) is not None:
            self.saved = known

    # ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def only_what_was_written_is_told(self) -> None:
        places = {(w.hint.namespace, w.hint.mount, w.hint.path) for w in self.writes}
        told = {(h.namespace, h.mount, h.path) for told in self.told for h in told.batch.hints}
        assert told <= places

    def teardown(self) -> None:
        """In the end all is read and taken; then every write was told after it happened, or a gap was.

        Vault writes again: that tells the end of a file that nobody has seen.
        """
        try:
            self.finish()
            if self.away:
                self.reopen()
            self.write_noise([NOISE[0]])
            self.drain()
            if self.sent:
                self.settle(taken=False)
            while self.pending.anything:
                self.send()
                self.settle(taken=True)
            self.check()
        finally:
            self.tail.close()
            self.file.close()
            shutil.rmtree(self.folder)

    def check(self) -> None:
        for write in self.writes:
            assert any(_covers(told, write, by_gap=not self.only_starts_with_a_gap) for told in self.told), write
        if self.only_starts_with_a_gap:
            assert self.gaps == [Gap.START]
        assert self.pending.done not in (None, NOWHERE)
        assert self.tail.behind() == 0


def _covers(told: Told, write: Write, *, by_gap: bool) -> bool:
    if told.at < write.at:
        return False
    if by_gap and told.batch.gap:
        return True
    place = (write.hint.namespace, write.hint.mount, write.hint.path)
    return any(
        (hint.namespace, hint.mount, hint.path) == place
        # Without a version it means "look"; an older one would not find what was written.
        and (hint.version is None or (write.hint.version is not None and hint.version >= write.hint.version))
        for hint in told.batch.hints
    )


class Failing(Following):
    """The same with a forwarder that is killed, a file that is cut, lines that are too long, and little room."""

    room = 4
    only_starts_with_a_gap = False

    @rule()
    def kill(self) -> None:
        self.tail.close()
        self.start(self.chunk)

    def before_the_next_rotation(self) -> None:
        self.now += STALL + 1  # nobody rotates twice in less, and the forwarder was held up

    @precondition(lambda self: not self.away)
    @rule()
    def cut(self) -> None:
        self.finish()
        if self.new_unseen or self.tail.behind() == self.path.stat().st_size:
            self.drain()  # nobody can tell a file that was cut before its first byte was read from an empty one
        os.truncate(self.path, 0)

    @rule(entry=entries)
    def write_too_much(self, entry: tuple[str, str, str]) -> None:
        self.finish()
        text, hint = self.compose(entry, deleted=False, padding=2 * MAX_LINE)
        self.file.write(text)
        self.writes.append(Write(next(self.numbers), hint))


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestFailing = Failing.TestCase
TestFailing.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
