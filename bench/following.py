"""The end of an audit log as it grows: each record is read once, and only lines of interest are parsed."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

__all__ = ["Following", "at"]


class Following:
    """Records of a log that were written since this was made and hold one of the `marks` in their line."""

    def __init__(self, file: Path, *marks: str) -> None:
        self._file = file
        self._marks = tuple(mark.encode() for mark in marks)
        self._offset = file.stat().st_size

    def fresh(self) -> Iterator[dict[str, Any]]:
        """Yield what came since the last time."""
        with self._file.open("rb") as log:
            log.seek(self._offset)
            for line in log:
                if not line.endswith(b"\n"):
                    break  # it is being written
                self._offset += len(line)
                if not self._marks or any(mark in line for mark in self._marks):
                    yield json.loads(line)


def at(stamp: str) -> float:
    """Seconds since 1970 of a time in a log or an object."""
    return datetime.fromisoformat(stamp).timestamp()
