"""What the sources say, merged into the data of a Secret; the only decision that looks at values."""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elile.secrets.redact import Redacted, SecretBytes
from elile_operator.api.elilesecret import Decode, KeyMapping, Source
from elile_operator.api.reasons import Reason
from elile_operator.api.syntax import MAX_SECRET_KEY, is_secret_key
from elile_operator.decide.violation import Violation

__all__ = ["MAX_DATA_BYTES", "Rendered", "SourceContent", "render"]

# The API server refuses a Secret whose data is larger (MaxSecretSize); keys are not counted.
MAX_DATA_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SourceContent:
    """A source and the entry it read; None where an optional one was missing."""

    source: Source
    content: Redacted[Mapping[str, Any]] | None


Rendered = Mapping[str, SecretBytes]


class _Undeliverable(Exception):  # noqa: N818 - a violation on its way out
    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.violation = Violation(reason, message)


def render(sources: Sequence[SourceContent]) -> Rendered | Violation:
    """Merge the sources in order into file names and bytes, or say what stands in the way.

    Strings are delivered as they are, in UTF-8; numbers and booleans as JSON writes them; objects and lists as compact
    JSON; null is refused. No message ever holds a value.
    """
    merged: dict[str, SecretBytes] = {}
    origin: dict[str, str] = {}
    try:
        for given in sources:
            for key, value in _deliver(given):
                if key in merged and not given.source.override:
                    raise _Undeliverable(
                        Reason.KEY_CONFLICT,
                        f"spec.sources[{origin[key]}] and spec.sources[{given.source.name}] both give key {key!r}; "
                        "set a prefix or keys on one of them, or override: true on the later one",
                    )
                merged[key], origin[key] = value, given.source.name
        size = sum(len(value) for value in merged.values())
        if size > MAX_DATA_BYTES:
            raise _Undeliverable(
                Reason.TOO_LARGE,
                f"the sources give {size} bytes, and a Secret holds at most {MAX_DATA_BYTES}; deliver fewer keys "
                "(spec.sources[].keys), or split the ElileSecret",
            )
    except _Undeliverable as u:
        return u.violation
    return merged


def _deliver(given: SourceContent) -> list[tuple[str, SecretBytes]]:
    source = given.source
    if given.content is None:
        return []
    entry = given.content.reveal()
    wanted = (
        source.keys if source.keys is not None else tuple(KeyMapping.model_construct(from_=k) for k in sorted(entry))
    )
    delivered = []
    for mapping in wanted:
        key = (source.prefix or "") + mapping.target
        if not is_secret_key(key):
            raise _Undeliverable(
                Reason.SHAPE_INVALID,
                f"spec.sources[{source.name}]: {_quoted(key)} is no key of a Secret; give it another name with "
                f"spec.sources[{source.name}].keys",
            )
        value = _find(entry, mapping, source)
        delivered.append((key, _bytes(value, mapping, source)))
    return delivered


def _find(entry: Mapping[str, Any], mapping: KeyMapping, source: Source) -> Any:
    wanted = mapping.from_
    if wanted in entry:
        return entry[wanted]
    if wanted.startswith("/") and source.keys is not None:
        found: Any = entry
        for token in wanted[1:].split("/"):
            step = token.replace("~1", "/").replace("~0", "~")  # RFC 6901, section 4: in this order
            if isinstance(found, Mapping) and step in found:
                found = found[step]
            elif isinstance(found, list) and re.fullmatch("0|[1-9][0-9]*", step) and int(step) < len(found):
                found = found[int(step)]
            else:
                break
        else:
            return found
    raise _Undeliverable(
        Reason.KEY_NOT_FOUND,
        f"spec.sources[{source.name}].keys names {wanted!r}, which the entry does not have; write it there, or correct "
        f"the name (the entry has: {_names(entry)})",
    )


def _names(entry: Mapping[str, Any], most: int = 10) -> str:
    names = sorted(entry)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(_quoted(n) for n in names[:most]) or "no keys") + more


def _quoted(name: str) -> str:
    """A name for a message. In Vault it may be of any length; a condition's message may not."""
    return repr(name if len(name) <= MAX_SECRET_KEY else name[: MAX_SECRET_KEY - 1] + "…")


def _bytes(value: Any, mapping: KeyMapping, source: Source) -> SecretBytes:
    which = f"spec.sources[{source.name}]: the value of {_quoted(mapping.from_)}"
    if value is None:
        raise _Undeliverable(Reason.SHAPE_INVALID, f"{which} is null, which no file can hold; write a string there")
    if mapping.decode is not Decode.BASE64:
        return SecretBytes(_text(value, which).encode("utf-8", "surrogatepass"))
    try:
        if isinstance(value, str):  # true, or 1234, would be base64 by accident
            return SecretBytes(base64.b64decode("".join(value.split()), validate=True))
    except (binascii.Error, ValueError):
        pass
    raise _Undeliverable(
        Reason.SHAPE_INVALID,
        f"{which} is not base64; write it so, or remove decode from spec.sources[{source.name}].keys",
    )


def _text(value: Any, which: str) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    except RecursionError:
        pass
    raise _Undeliverable(Reason.SHAPE_INVALID, f"{which} is nested too deeply; write it less deep, or as a string")
