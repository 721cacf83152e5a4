"""One open log file: read without a lock, and noticed when it is cut."""

import hashlib
import os
import stat
from pathlib import Path

from elile_operator.hints.places import Known, Place

__all__ = ["LogFile", "NoRegularFileError", "TruncatedError"]

# Bytes before the offset that are read again with every chunk: a line of usual length, so that they tell time and id.
SEEN = 1_024


class TruncatedError(Exception):
    """What was read before is not there any more."""


class NoRegularFileError(OSError):
    """A directory, a pipe or a device."""


class LogFile:
    """Holds the file open, by whatever name it goes. Every method raises OSError as the system does."""

    def __init__(self, path: Path, *, chunk: int) -> None:
        # Opening a pipe would wait for its other end.
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            self.close()
            raise NoRegularFileError
        self.identity = (found.st_dev, found.st_ino)
        self.offset = 0
        self._chunk = chunk
        self._buffer = bytearray(SEEN + chunk)  # one for all reads: most find nothing
        self._seen = b""

    def close(self) -> None:
        os.close(self._fd)

    @property
    def size(self) -> int:
        return os.fstat(self._fd).st_size

    @property
    def at_line(self) -> bool:
        """Whether a line begins at the offset."""
        return self.offset == 0 or self._seen.endswith(b"\n")

    def seek(self, offset: int) -> None:
        """Go on at `offset`."""
        self._seen = self._before(offset)
        self.offset = offset

    def read(self) -> bytes:
        """Return what comes next, at most a chunk of it; empty at the end.

        Raises TruncatedError when the file is shorter than it was, or was written anew from its start.
        """
        before = len(self._seen)
        got = os.preadv(self._fd, [self._buffer], self.offset - before)
        if got < before or not self._buffer.startswith(self._seen):
            raise TruncatedError
        # The buffer has room for more than `before` bytes of what was seen.
        end = min(got, before + self._chunk)
        if end == before:
            return b""
        fresh = bytes(self._buffer[before:end])
        self._seen = bytes(self._buffer[max(0, end - SEEN) : end])
        self.offset += len(fresh)
        return fresh

    def known(self, place: Place) -> Known:
        """Return what finds `place`, of this file, again. Raises TruncatedError."""
        known = Known(place, self._mark(place.offset))
        # After the mark: had the file been cut before that, what was read would not be back.
        if self._before(self.offset) != self._seen:
            raise TruncatedError
        return known

    def has(self, known: Known) -> bool:
        """Whether `known` is a place in this file, and what was before it still is."""
        place = known.place
        return (place.device, place.inode) == self.identity and known.mark == self._mark(place.offset)

    def place(self, offset: int) -> Place:
        return Place(*self.identity, offset)

    def _before(self, offset: int) -> bytes:
        begin = max(0, offset - SEEN)
        return os.pread(self._fd, offset - begin, begin)

    def _mark(self, offset: int) -> str:
        return hashlib.sha256(self._before(offset)).hexdigest()
