"""What a hint says, how it travels, and which entries it is about."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["HEARTBEAT", "MAX_BODY", "MAX_HINTS", "SILENCE", "Batch", "Hint", "MalformedHintsError", "decode", "encode"]

# Seconds. A forwarder with nothing to tell says so this often, and one that says nothing for so long is none.
HEARTBEAT, SILENCE = 5.0, 15.0
# Of one request. A thousand hints of usual length are 80 KiB.
MAX_HINTS = 1_000
MAX_BODY = 256 * 1024
# Longer than any path that an object can name.
MAX_TEXT = 1_024
MAX_VERSION = 2**53  # of what JSON numbers say exactly
# What KV v2 puts before the path of an entry that is written; `metadata` is also where an entry is deleted whole.
_V2_PARTS = frozenset({"data", "delete", "undelete", "destroy", "metadata"})


class MalformedHintsError(Exception):
    """A body that is no batch of hints; the text says what of it, and nothing that it holds."""


@dataclass(frozen=True, slots=True)
class Hint:
    """Something below a KV mount was written. It names no value and proves nothing: whoever is told reads for himself.

    `namespace` (empty for the root one) and `mount` come without slashes at their ends. `path` is the request's, below
    the mount: `data/shop/db` for a write to version 2 of the engine. `version` is the one that was made, where Vault
    said it.
    """

    namespace: str
    mount: str
    path: str
    version: int | None = None

    @property
    def entry(self) -> str | None:
        """The path of the entry where the engine is KV v2; None where no such request writes one."""
        part, slash, rest = self.path.partition("/")
        return rest if slash and rest and part in _V2_PARTS else None


@dataclass(frozen=True, slots=True)
class Batch:
    """What is sent at one time; without hints it says that the way is open.

    `gap`: writes before it may have gone untold, so that all has to be looked at.
    """

    hints: Sequence[Hint] = ()
    gap: bool = False


def encode(batch: Batch) -> bytes:
    """Return the body of a request."""
    return json.dumps(
        {"hints": [_said(hint) for hint in batch.hints], "gap": batch.gap}, separators=(",", ":")
    ).encode()


def decode(body: bytes) -> Batch:
    """Read the body of a request. Raises MalformedHintsError."""
    if len(body) > MAX_BODY:
        raise MalformedHintsError(f"the body is longer than {MAX_BODY} bytes")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedHintsError("the body is no JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("gap", False), bool):
        raise MalformedHintsError('the body is no object with "hints" and "gap"')
    hints = found.get("hints", [])
    if not isinstance(hints, list) or len(hints) > MAX_HINTS:
        raise MalformedHintsError(f'"hints" is no list of at most {MAX_HINTS}')
    return Batch(tuple(_read(hints)), found.get("gap", False))


def _said(hint: Hint) -> dict[str, Any]:
    said: dict[str, Any] = {"namespace": hint.namespace, "mount": hint.mount, "path": hint.path}
    return said if hint.version is None else {**said, "version": hint.version}


def _read(items: Iterable[Any]) -> Iterable[Hint]:
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise MalformedHintsError(f"hints[{index}] is no object")
        namespace, mount, path = (_text(item, index, *field) for field in (("namespace", 0), ("mount", 1), ("path", 1)))
        version = item.get("version")
        # bool is an int
        if version is not None and (type(version) is not int or not 0 < version <= MAX_VERSION):
            raise MalformedHintsError(f"hints[{index}].version is no positive whole number")
        yield Hint(namespace, mount, path, version)


def _text(item: dict[str, Any], index: int, field: str, least: int) -> str:
    text = item.get(field)
    if not isinstance(text, str) or not least <= len(text) <= MAX_TEXT:
        raise MalformedHintsError(f"hints[{index}].{field} is no text of {least} to {MAX_TEXT} characters")
    return text
