"""Follows a log file by its name, through rotation, truncation and times without it, and says when it lost anything.

When the name stands for another file, the old one is read to its end before the new one from its start. Whoever rotates
makes the new file first and tells Vault after that, so the old one is written to a little longer: it is at its end when
the new one has content, or was rotated itself.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from elile_operator.hints.gaps import Gap
from elile_operator.hints.lines import Lines
from elile_operator.hints.logfile import LogFile, NoRegularFileError, TruncatedError
from elile_operator.hints.places import NOWHERE, Known, Place

__all__ = ["CHUNK", "MAX_LINE", "Piece", "Tail"]

log = logging.getLogger(__name__)

CHUNK = 256 * 1024  # bytes
MAX_LINE = 1024 * 1024  # bytes
LOOK = 0.1  # seconds between two looks at what the name stands for
STALL = 5.0  # seconds without a look in which there may have been two rotations


@dataclass(frozen=True, slots=True)
class Piece:
    """What one read found: lines, the beginnings of those that are too long, and a gap that is before them.

    `begin` is where its first line begins, `end` where the next piece does; NOWHERE while there is no file.
    """

    begin: Place
    end: Place
    lines: Sequence[bytes] = ()
    too_long: Sequence[bytes] = ()
    gap: Gap | None = None


class Tail:
    """Begins at `known` if that fits the file, else at its end, and with a gap; a file that comes later is read whole.

    Only reads, and only the file of that name: whoever writes it never waits. No method raises OSError.
    """

    def __init__(
        self,
        path: Path,
        *,
        known: Known | None,
        monotonic: Callable[[], float],
        chunk: int = CHUNK,
        max_line: int = MAX_LINE,
    ) -> None:
        self._path = path
        self._known = known
        self._reason = Gap.STATE if known else Gap.START
        self._again: Gap | None = None  # to be told with the first content
        self._monotonic = monotonic
        self._chunk = chunk
        self._max_line = max_line
        self._lines = Lines(max_line)
        self._file: LogFile | None = None
        self._missing = False  # until it is opened: what comes then is read from its start
        self._next: LogFile | None = None  # what the name stands for since it was rotated
        self._left = False  # the writer has gone to the next file
        self._look_at = 0.0
        self._looked_at = 0.0
        self._unsure = False  # there may have been a file between this one and the next
        self._said = ""

    def read(self) -> Piece | None:
        """Return what is new, at most a chunk of it; None when nothing is. Cheap at the end of the file: one read."""
        try:
            if self._file is None:
                return self._open()
            if fresh := self._file.read():
                return self._piece(self._file, fresh)
            return self._at_end(self._file)
        except TruncatedError:
            return self._start_over()
        except OSError as e:
            self._fail(e)
            return None

    def behind(self) -> int:
        """Bytes of the file that no piece had yet."""
        try:
            return sum(max(0, file.size - file.offset) for file in self._files()) + self._lines.unfinished
        except OSError:
            return 0

    def known(self, place: Place) -> Known | None:
        """Return what finds `place` again; None when it is in a file that is read no more."""
        file = self._file
        if file is None or file.identity != (place.device, place.inode):
            return None
        try:
            return file.known(place)
        except (OSError, TruncatedError):
            return None

    def close(self) -> None:
        for file in self._files():
            file.close()
        self._file = self._next = None
        self._lines = Lines(self._max_line)

    def _files(self) -> list[LogFile]:
        return [file for file in (self._file, self._next) if file is not None]

    def _open(self) -> Piece | None:
        now = self._monotonic()
        if now < self._look_at:
            return None
        self._look_at = now + LOOK
        try:
            file = LogFile(self._path, chunk=self._chunk)
        except OSError as e:
            self._say(e)
            if not isinstance(e, FileNotFoundError):
                return None  # it may be written to: the gap is told when the end is known
            told, self._missing = self._missing or self._known is not None, True
            return None if told else self._lost(self._reason)
        self._file, self._looked_at, self._said = file, now, ""
        gap = self._begin(file)
        self._known, self._missing = None, False
        log.info("the audit file is read", extra={"fields": {"file": str(self._path), "offset": file.offset}})
        return self._lost(gap)

    def _begin(self, file: LogFile) -> Gap | None:
        """Go to where reading begins; return the gap that is before it."""
        known, fits = self._known, self._known is not None and file.has(self._known)
        if known is not None and fits:
            file.seek(known.place.offset)
            if file.offset > 0:
                return None
        elif not self._missing:
            file.seek(file.size)
            if not file.at_line:
                self._lines.skip()
        if file.size == 0:
            # It may be that of a rotation under way: Vault writes to the one before it, which nobody reads.
            self._again = self._reason
            return None if self._missing and known is None else self._reason
        return self._reason

    def _piece(self, file: LogFile, fresh: bytes) -> Piece:
        begin = file.offset - len(fresh) - self._lines.unfinished
        cut = self._lines.feed(fresh)
        end = file.offset - self._lines.unfinished
        again, self._again = self._again, None
        return Piece(file.place(begin), file.place(end), cut.lines, cut.too_long, again)

    def _at_end(self, file: LogFile) -> Piece | None:
        now = self._monotonic()
        if now < self._look_at:
            return None
        if self._left:  # and nothing more came since that was seen
            return self._switch(file, now)
        # Had it been rotated twice since the last look, there would be a file that nobody has seen.
        late, self._looked_at = now - self._looked_at > STALL, now
        try:
            named = self._look(file)
        except OSError as e:
            # Nothing is lost by that: the file is open, and is written to until Vault opens the next.
            self._say(e)
            named = None
        else:
            self._said = ""
        unsure = late and named != file.identity
        self._unsure |= unsure
        if self._next is not None and named is not None:
            # A rotation ends before the next one begins.
            self._left = self._next.size > 0 or named not in (file.identity, self._next.identity)
        if self._left:
            return self.read()
        self._look_at = now + LOOK
        # Told now, and again when it is left: until then that file may be written to.
        return self._lost(Gap.STALLED) if unsure else None

    def _look(self, file: LogFile) -> tuple[int, int]:
        """Return which file the name stands for, and have that open as the next if it is another."""
        found = self._path.stat()
        named = (found.st_dev, found.st_ino)
        if self._next is None and named != file.identity:
            self._next = LogFile(self._path, chunk=self._chunk)
        return named

    def _switch(self, old: LogFile, now: float) -> Piece:
        gap = Gap.UNFINISHED if self._lines.unfinished else Gap.STALLED if self._unsure else None
        old.close()
        self._file, self._next, self._lines = self._next, None, Lines(self._max_line)
        self._left = self._unsure = False
        self._look_at = now
        log.info("the audit file was rotated", extra={"fields": {"file": str(self._path)}})
        return self._lost(gap)

    def _start_over(self) -> Piece:
        """Read a file from its start that was cut, or emptied and filled again."""
        if self._file is not None:
            self._file.seek(0)
        self._lines = Lines(self._max_line)
        log.warning(
            "the audit file was truncated; rotate it by renaming it", extra={"fields": {"file": str(self._path)}}
        )
        return self._lost(Gap.TRUNCATED)

    def _fail(self, error: OSError) -> None:
        """Close a file that cannot be read; opened again, it is read from its end."""
        self._say(error)
        self.close()
        self._left = self._unsure = False
        self._reason = Gap.READ_ERROR
        self._look_at = self._monotonic() + LOOK

    def _lost(self, gap: Gap | None) -> Piece:
        place = self._file.place(self._file.offset) if self._file else NOWHERE
        return Piece(place, place, gap=gap)

    def _say(self, error: OSError) -> None:
        """Say once what is wrong, until it is something else."""
        if isinstance(error, FileNotFoundError):
            text = "the audit file is not there; waiting for it"
        elif isinstance(error, NoRegularFileError):
            text = "the audit file is no regular file; name the file of Vault's audit device with --file"
        else:
            text = f"the audit file cannot be read ({error.strerror}); let the forwarder's user read it"
        if text != self._said:
            self._said = text
            log.warning(text, extra={"fields": {"file": str(self._path)}})
