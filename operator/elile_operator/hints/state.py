"""Keeps where the forwarder was over a restart, in a file that is written whole or not at all."""

import json
import logging
from pathlib import Path
from typing import Any

from elile_operator.hints.places import Known, Place

__all__ = ["StateFile"]

log = logging.getLogger(__name__)

MAX_STATE = 4_096  # bytes
MAX_NUMBER = 2**63  # more the system has no place for


class StateFile:
    """Holds numbers of a file and a digest, nothing that was in it. No method raises: without a state all works on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved: Known | None = None
        self._warned = False

    def load(self) -> Known | None:
        """Return what was saved; None if nothing was, or nothing that can be read."""
        try:
            with self._path.open("rb") as file:
                text = file.read(MAX_STATE)
        except FileNotFoundError:
            return None
        except OSError as e:
            self._warn("read", e)
            return None
        self._saved = _parsed(text)
        if self._saved is None:
            log.warning(
                "the state file holds no state; it is written anew", extra={"fields": {"file": str(self._path)}}
            )
        return self._saved

    def save(self, known: Known) -> None:
        """Write it, if it is another than the last."""
        if known == self._saved:
            return
        place = known.place
        text = json.dumps({"device": place.device, "inode": place.inode, "offset": place.offset, "mark": known.mark})
        unfinished = self._path.with_name(f".{self._path.name}.unfinished")
        try:
            unfinished.write_text(text)
            unfinished.replace(self._path)
        except OSError as e:
            self._warn("written", e)
            return
        self._saved, self._warned = known, False

    def _warn(self, done: str, error: OSError) -> None:
        if self._warned:
            return
        self._warned = True
        log.warning(
            f"the state file cannot be {done} ({error.strerror}): after a restart the operator looks at everything; "
            "give --state-file a file in a folder that the forwarder's user may write",
            extra={"fields": {"file": str(self._path)}},
        )


def _parsed(text: bytes) -> Known | None:
    try:
        found: Any = json.loads(text)
        numbers = [found[field] for field in ("device", "inode", "offset")]
        mark = found["mark"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not isinstance(mark, str) or not all(type(n) is int and 0 <= n < MAX_NUMBER for n in numbers):
        return None
    return Known(Place(*numbers), mark)
