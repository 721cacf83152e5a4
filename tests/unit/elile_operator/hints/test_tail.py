"""Following a real file: from where, through rotation and truncation, and what is said to be lost."""

import logging
import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from elile_operator.hints.gaps import Gap
from elile_operator.hints.places import NOWHERE, Known
from elile_operator.hints.tail import LOOK, STALL, Piece, Tail

LINE = b"%04d this is a line of the log\n"


class Log:
    """The file of one writer, who keeps it open as Vault does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._open()

    def _open(self) -> None:
        self._file = self.path.open("ab", buffering=0)

    def write(self, lines: int = 1) -> list[bytes]:
        written = [LINE % (self.count + i) for i in range(lines)]
        self.count += lines
        self._file.write(b"".join(written))
        return [line.rstrip() for line in written]

    def raw(self, content: bytes) -> None:
        self._file.write(content)

    def rename(self) -> None:
        """What a rotation does first: the writer goes on in the renamed file."""
        self.path.rename(self.path.with_name(f"audit.{self.count}"))

    def reopen(self) -> None:
        """What the writer does when it is told."""
        self._file.close()
        self._open()

    def truncate(self) -> None:
        os.truncate(self.path, 0)

    def close(self) -> None:
        self._file.close()


class Follower:
    """A tail and what it told."""

    def __init__(self, path: Path, known: Known | None = None, **sizes: int) -> None:
        self.now = 1000.0
        self.tail = Tail(path, known=known, monotonic=lambda: self.now, **sizes)
        self.lines: list[bytes] = []
        self.gaps: list[Gap] = []
        self.end = NOWHERE

    def read(self) -> Piece | None:
        piece = self.tail.read()
        if piece is not None:
            self.lines += piece.lines
            self.gaps += [piece.gap] if piece.gap else []
            self.end = piece.end
        return piece

    def drain(self) -> None:
        """Read what is there, and what is there at the next looks at the name."""
        for _ in range(3):
            while self.read() is not None:
                pass
            self.now += LOOK

    def known(self) -> Known:
        found = self.tail.known(self.end)
        assert found is not None
        return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def log(path: Path) -> Iterator[Log]:
    made = Log(path)
    yield made
    made.close()


def following(log: Log, **sizes: int) -> Follower:
    """A follower that has nothing more to read."""
    log.write()
    follower = Follower(log.path, **sizes)
    follower.drain()
    follower.gaps.clear()
    follower.lines.clear()
    return follower


# ── where it begins ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_a_state_it_begins_at_the_end_and_says_so_first(log: Log) -> None:
    log.write(3)
    follower = Follower(log.path)
    first = follower.read()
    assert first is not None
    assert (first.gap, list(first.lines)) == (Gap.START, [])
    assert first.end.offset == log.path.stat().st_size
    new = log.write(2)
    follower.drain()
    assert (follower.lines, follower.gaps) == (new, [Gap.START])


def test_in_the_middle_of_a_line_its_rest_is_left_out(log: Log) -> None:
    log.raw(b'{"half of ')
    follower = Follower(log.path)
    follower.drain()
    log.raw(b'a line"}\n')
    new = log.write()
    follower.drain()
    assert follower.lines == new


def test_with_a_state_it_goes_on_there(log: Log) -> None:
    first = Follower(log.path)
    log.write(100)
    first.drain()
    state = first.known()
    first.tail.close()
    new = log.write(100)
    second = Follower(log.path, state)
    second.drain()
    assert (second.lines, second.gaps) == (new, [])


def test_a_state_of_an_unfinished_line_goes_on_at_its_beginning(log: Log) -> None:
    first = following(log)
    log.write()
    log.raw(b"begin")
    first.drain()
    second = Follower(log.path, first.known())
    log.raw(b"ning\n")
    second.drain()
    assert (second.lines, second.gaps) == ([b"beginning"], [])


def replaced(log: Log) -> None:
    log.rename()
    log.reopen()
    log.write(50)


def cut(log: Log) -> None:
    log.truncate()


def cut_and_filled(log: Log) -> None:
    """To more than it was: the size alone tells nothing."""
    log.truncate()
    log.write(100)


@pytest.mark.parametrize("happened", [replaced, cut, cut_and_filled])
def test_a_state_that_fits_no_more_is_a_gap_and_the_end(log: Log, happened: Callable[[Log], None]) -> None:
    first = following(log)
    log.write(60)
    first.drain()
    known = first.known()
    happened(log)
    second = Follower(log.path, known)
    second.drain()
    assert (second.lines, second.gaps) == ([], [Gap.STATE])
    new = log.write()
    second.drain()
    assert second.lines == new


def test_a_state_of_an_inode_that_is_used_again_fits_not(log: Log) -> None:
    first = following(log)
    log.write(60)
    first.drain()
    second = Follower(log.path, Known(first.end, "0" * 64))
    second.drain()
    assert second.gaps == [Gap.STATE]


def test_a_place_in_a_file_that_is_read_no_more_is_not_known(log: Log) -> None:
    follower = following(log)
    log.write()
    follower.drain()
    old = follower.end
    replaced(log)
    follower.drain()
    assert follower.tail.known(old) is None
    assert follower.tail.known(follower.end) is not None


def test_a_place_is_not_known_by_what_was_not_read(log: Log) -> None:
    """It was cut and filled since the last read: the bytes before the place are others."""
    follower = following(log)
    log.write(60)
    follower.drain()
    cut_and_filled(log)
    assert follower.tail.known(follower.end) is None


# ── a file that is not there ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_that_comes_later_is_read_from_its_start(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    follower = Follower(path)
    first = follower.read()
    assert first is not None
    assert (first.gap, first.end) == (Gap.START, NOWHERE)
    follower.drain()
    assert follower.gaps == [Gap.START]
    log = Log(path)
    new = log.write(3)
    follower.drain()
    log.close()
    # Twice: it may have been renamed by a rotation under way, and written to by its other name since the first.
    assert (follower.lines, follower.gaps) == (new, [Gap.START, Gap.START])
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == [
        "the audit file is not there; waiting for it"
    ]


def renamed(log: Log) -> None:
    log.rename()


def renamed_and_made_anew(log: Log) -> None:
    log.rename()
    log.path.touch()


@pytest.mark.parametrize("rotate", [renamed, renamed_and_made_anew])
@pytest.mark.parametrize("stateful", [True, False])
def test_a_start_in_the_middle_of_a_rotation(log: Log, rotate: Callable[[Log], None], stateful: bool) -> None:
    """Vault writes to a file that the forwarder never had; when it has left that, the gap is told once more."""
    known = None
    if stateful:
        first = following(log)
        log.write(60)
        first.drain()
        known = first.known()
    rotate(log)
    follower = Follower(log.path, known)
    follower.drain()
    log.write(5)
    follower.drain()
    follower.gaps.clear()
    log.reopen()
    new = log.write(2)
    follower.drain()
    assert (follower.lines, follower.gaps) == (new, [Gap.STATE if stateful else Gap.START])


def test_the_state_of_an_empty_file_is_a_gap_too(log: Log) -> None:
    """Whether the file before it was left when that was saved, nobody knows."""
    first = Follower(log.path)
    first.drain()
    new = log.write(2)
    second = Follower(log.path, first.known())
    second.drain()
    assert (second.lines, second.gaps) == (new, [Gap.STATE])


def test_a_file_that_comes_later_goes_on_where_its_state_says(log: Log, tmp_path: Path) -> None:
    first = following(log)
    log.write(3)
    first.drain()
    away = tmp_path / "away"
    log.path.rename(away)
    second = Follower(log.path, first.known())
    second.drain()
    new = log.write(2)
    away.rename(log.path)
    second.drain()
    assert (second.lines, second.gaps) == (new, [])


def test_a_file_that_comes_later_and_is_another_is_read_whole_with_a_gap(log: Log) -> None:
    first = following(log)
    log.write(3)
    first.drain()
    log.rename()
    second = Follower(log.path, first.known())
    second.drain()
    log.reopen()
    new = log.write(2)
    second.drain()
    assert (second.lines, second.gaps) == (new, [Gap.STATE])


def test_a_folder_in_its_place_is_waited_out(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.mkdir()
    follower = Follower(path)
    follower.drain()
    assert "the audit file is no regular file; name the file of Vault's audit device with --file" in caplog.messages
    path.rmdir()
    log = Log(path)
    follower.drain()
    new = log.write()
    follower.drain()
    log.close()
    # What was written before it was opened may be lost, so the gap is told when it is, and with the first content.
    assert (follower.lines, follower.gaps) == (new, [Gap.START, Gap.START])


# ── rotation ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_renamed_file_is_read_to_its_end_and_then_the_new_one_from_its_start(log: Log) -> None:
    follower = following(log, chunk=64)
    old = log.write(20)
    log.rename()
    more = log.write(20)
    log.reopen()
    new = log.write(20)
    follower.drain()
    assert (follower.lines, follower.gaps) == (old + more + new, [])


def test_the_old_file_is_read_on_while_the_new_one_is_empty(log: Log) -> None:
    """logrotate makes the new file, and tells Vault after that."""
    follower = following(log)
    log.rename()
    log.path.touch()
    old = log.write(2)
    follower.drain()
    assert follower.lines == old
    late = log.write(2)
    follower.drain()
    assert follower.lines == old + late
    log.reopen()
    new = log.write(2)
    follower.drain()
    assert (follower.lines, follower.gaps) == (old + late + new, [])


def test_what_comes_between_the_last_read_and_the_look_is_not_lost(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = following(log)
    late: list[bytes] = []
    look = Path.stat

    def just_before(path: Path, **how: bool) -> os.stat_result:
        if path == log.path and not late:
            late.extend(log.write(2))
            log.rename()
            log.reopen()
            late.extend(log.write(2))
        return look(path, **how)

    monkeypatch.setattr(Path, "stat", just_before)
    follower.drain()
    assert (follower.lines, follower.gaps) == (late, [])


def test_without_a_file_of_that_name_the_old_one_is_read_on(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    follower = following(log)
    log.rename()
    for _ in range(60):
        follower.drain()
        follower.now += 1.0
    old = log.write(2)
    follower.drain()
    log.reopen()
    new = log.write(2)
    follower.drain()
    assert (follower.lines, follower.gaps) == (old + new, [])
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == [
        "the audit file is not there; waiting for it"
    ]


def test_a_file_without_an_end_of_its_last_line_is_a_gap_when_it_is_replaced(log: Log) -> None:
    follower = following(log)
    log.raw(b"half a li")
    follower.drain()
    log.rename()
    log.reopen()
    new = log.write()
    follower.drain()
    assert (follower.lines, follower.gaps) == (new, [Gap.UNFINISHED])


def test_a_rotation_after_a_long_time_without_a_look_is_a_gap(log: Log) -> None:
    """There may have been two, and nobody has seen the file between."""
    follower = following(log)
    for _ in range(2):
        log.rename()
        log.reopen()
        new = log.write()
    follower.now += STALL + 1
    follower.drain()
    assert (follower.lines, follower.gaps) == (new, [Gap.STALLED])


def test_so_it_is_while_nobody_writes_to_the_new_file_and_again_when_somebody_does(log: Log) -> None:
    """The file that nobody has seen may be written to until then."""
    follower = following(log)
    log.rename()
    log.reopen()
    log.rename()
    log.path.touch()
    follower.now += STALL + 1
    follower.drain()
    assert follower.gaps == [Gap.STALLED]
    log.write()
    log.reopen()
    new = log.write()
    follower.drain()
    assert (follower.lines, follower.gaps) == (new, [Gap.STALLED, Gap.STALLED])


def test_an_empty_file_that_is_rotated_is_read_when_it_is_written_to_after_that(log: Log) -> None:
    follower = following(log)
    log.rename()
    log.reopen()
    follower.drain()
    log.rename()
    old = log.write(2)
    log.path.touch()
    follower.drain()
    log.reopen()
    new = log.write(2)
    follower.drain()
    assert (follower.lines, follower.gaps) == (old + new, [])


def test_a_new_file_that_may_not_be_read_is_waited_for(
    log: Log, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = following(log)
    really = os.open
    log.rename()
    log.reopen()
    new = log.write()

    def refused(path: Path, *how: int) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    follower.drain()
    assert follower.lines == []
    monkeypatch.setattr(os, "open", really)
    follower.drain()
    assert (follower.lines, follower.gaps) == (new, [])
    text = "the audit file cannot be read (Permission denied); let the forwarder's user read it"
    assert caplog.messages.count(text) == 1


# ── truncation ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lines", [1, 10, 400])
def test_a_file_that_was_cut_is_read_from_its_start_with_a_gap(log: Log, lines: int) -> None:
    """Also when it has grown beyond what was read of it."""
    follower = following(log)
    log.write(100)
    follower.drain()
    follower.lines.clear()
    log.truncate()
    new = log.write(lines)
    follower.drain()
    assert (follower.lines, follower.gaps) == (new, [Gap.TRUNCATED])


def test_half_a_line_that_was_cut_off_is_no_part_of_the_next(log: Log) -> None:
    follower = following(log)
    log.raw(b"half a li")
    follower.drain()
    log.truncate()
    new = log.write()
    follower.drain()
    assert (follower.lines, follower.gaps) == (new, [Gap.TRUNCATED])


# ── bounds, and errors ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_line_that_is_too_long_is_told_by_its_beginning(log: Log) -> None:
    follower = following(log, chunk=16, max_line=64)
    log.raw(b"x" * 1_000 + b"\n")
    new = log.write()
    pieces = list(iter(follower.read, None))
    assert [b for piece in pieces for b in piece.too_long] == [b"x" * 64]
    assert follower.lines == new


def test_a_chunk_bounds_each_read_whatever_came(log: Log) -> None:
    follower = following(log, chunk=100)
    log.write(50)
    pieces = list(iter(follower.read, None))
    assert max(sum(len(line) + 1 for line in piece.lines) for piece in pieces) <= 100 + len(LINE)
    # Each begins where the one before it ended.
    assert all(piece.begin == before.end for before, piece in pairwise(pieces))


def test_behind_is_what_no_piece_had(log: Log) -> None:
    follower = following(log)
    assert follower.tail.behind() == 0
    log.write(2)
    assert follower.tail.behind() == 2 * len(LINE.rstrip()) + 2
    log.raw(b"half")
    follower.drain()
    assert follower.tail.behind() == 4
    follower.tail.close()
    assert follower.tail.behind() == 0


def test_the_name_is_looked_at_seldom_and_nothing_is_opened(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = following(log)
    looks: list[Path] = []
    look = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **how: (looks.append(path), look(path, **how))[1])
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("nothing is to be opened"))
    for _ in range(100):
        follower.now += LOOK / 10
        assert follower.read() is None
    assert 9 <= len(looks) <= 11


def test_what_a_rotation_leaves_is_never_opened(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    really = os.open

    def watched(path: Path, *how: int) -> int:
        opened.append(Path(path).name)
        return really(path, *how)

    monkeypatch.setattr(os, "open", watched)
    log.path.with_name("audit.log.1.gz").write_bytes(b"\x1f\x8b")
    follower = Follower(log.path)
    follower.drain()
    replaced(log)
    follower.drain()
    assert set(opened) == {"audit.log"}


def test_a_file_that_cannot_be_read_any_more_is_opened_again_with_a_gap(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = following(log)

    def broken(*_: object) -> int:
        raise OSError(116, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", broken)
        assert follower.read() is None
    log.write()
    follower.drain()
    new = log.write()
    follower.drain()
    assert (follower.lines, follower.gaps) == (new, [Gap.READ_ERROR])
