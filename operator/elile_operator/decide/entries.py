"""Entries as they are stored in Vault: how a pointer is followed, how a value that is no text is written."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from elile_operator.api.syntax import MAX_SECRET_KEY

__all__ = ["UnwritableError", "as_bytes", "follow", "names", "shown"]


class UnwritableError(ValueError):
    """A value that no file can hold. The text is a phrase that follows the value's name, with the remedy."""


def follow(entry: Mapping[str, Any], pointer: str) -> tuple[Any] | tuple[()]:
    """Return what a JSON pointer (RFC 6901) leads to, if it leads anywhere."""
    found: Any = entry
    for token in pointer[1:].split("/"):
        step = token.replace("~1", "/").replace("~0", "~")  # section 4: in this order
        if isinstance(found, Mapping) and step in found:
            found = found[step]
        # Nine digits: a longer number is no index, and Python would refuse to read a very long one.
        elif isinstance(found, list) and re.fullmatch("0|[1-9][0-9]{0,8}", step) and int(step) < len(found):
            found = found[int(step)]
        else:
            return ()
    return (found,)


def as_bytes(value: Any) -> bytes:
    """Return a text as it is, in UTF-8; numbers and booleans as JSON has them; objects and lists as compact JSON.

    Raises UnwritableError for null, and for what is nested too deeply.
    """
    if value is None:
        raise UnwritableError("is null, which no file can hold; write a string there")
    try:
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    except RecursionError:
        text = None
    if text is None:
        raise UnwritableError("is nested too deeply; write it less deep, or as a string")
    return text.encode("utf-8", "surrogatepass")


def names(keys: Iterable[str], most: int = 10) -> str:
    """Return some names for a message."""
    found = sorted(keys)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return (", ".join(map(shown, found[:most])) or "no keys") + more


def shown(name: str) -> str:
    """Return a name for a message. In Vault it may be of any length; a condition's message may not."""
    return repr(name if len(name) <= MAX_SECRET_KEY else name[: MAX_SECRET_KEY - 1] + "…")
