"""Puts chunks of a log together to lines, and holds no more of a line than a bound."""

from dataclasses import dataclass

__all__ = ["Cut", "Lines"]


@dataclass(frozen=True, slots=True)
class Cut:
    """Whole lines without their newline, and the beginnings of those that are too long; each of these once."""

    lines: list[bytes]
    too_long: list[bytes]


class Lines:
    """`max_line` in bytes."""

    def __init__(self, max_line: int) -> None:
        self._max = max_line
        self._rest = b""
        self._skipping = False
        self._skipped = 0

    @property
    def unfinished(self) -> int:
        """Bytes since the last newline, also those that are not held."""
        return len(self._rest) + self._skipped

    def skip(self) -> None:
        """Leave out what comes before the next newline: it is the end of a line whose beginning nobody read."""
        self._skipping = True

    def feed(self, data: bytes) -> Cut:
        """Take the next chunk."""
        cut = Cut([], [])
        *whole, rest = data.split(b"\n")
        for text in whole:
            if self._skipping:
                self._skipping, self._skipped = False, 0
                continue
            line = self._rest + text if self._rest else text
            self._rest = b""
            if len(line) > self._max:
                cut.too_long.append(line[: self._max])
            else:
                cut.lines.append(line)
        self._hold(rest, cut)
        return cut

    def _hold(self, rest: bytes, cut: Cut) -> None:
        if self._skipping:
            self._skipped += len(rest)
            return
        self._rest += rest
        if len(self._rest) > self._max:
            cut.too_long.append(self._rest[: self._max])
            self._skipping, self._skipped, self._rest = True, len(self._rest), b""
