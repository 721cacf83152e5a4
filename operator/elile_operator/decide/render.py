"""What the sources say, merged into the data of a Secret; the only decision that looks at values."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elile.secrets.redact import Redacted, SecretBytes
from elile_operator.api.elilesecret import SecretType
from elile_operator.api.files import Derivation, File, Format
from elile_operator.api.reasons import Reason
from elile_operator.api.sources import Decode, KeyMapping, Source
from elile_operator.api.syntax import is_secret_key
from elile_operator.decide.derive import DeriveError, derive
from elile_operator.decide.entries import UnwritableError, as_bytes, follow, names, shown
from elile_operator.decide.formats import FormatError, encode
from elile_operator.decide.shapes import REQUIRED_KEYS, shape_problem, type_problem
from elile_operator.decide.template import RenderError, TemplateError, parse
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


def render(
    sources: Sequence[SourceContent],
    files: Sequence[File] | None = None,
    *,
    keep_keys: bool = False,
    type_: SecretType = SecretType.OPAQUE,
    spare: int = 0,
) -> Rendered | Violation:
    """Merge the sources in order into file names and bytes, or say what stands in the way.

    Strings are delivered as they are, in UTF-8; numbers and booleans as JSON writes them; objects and lists as compact
    JSON; null is refused. With `files` these are made of the keys, and delivered instead of them, with `keep_keys`
    beside them; the keys that `type_` requires are delivered in any case, and have to be there. `spare` bytes of what
    a Secret may hold are left free. No message ever holds a value.
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
        if files is not None:
            made = _files(files, merged, sources)
            required = {key: merged[key] for key in REQUIRED_KEYS[type_] if key in merged and key not in made}
            merged = _beside(made, merged if keep_keys else required)
        if problem := type_problem(type_, merged):
            raise _Undeliverable(Reason.SHAPE_INVALID, problem)
        size = sum(len(value) for value in merged.values())
        if size > MAX_DATA_BYTES - spare:
            raise _Undeliverable(
                Reason.TOO_LARGE,
                f"the data has {size} bytes, and a Secret holds at most {MAX_DATA_BYTES - spare}; deliver fewer keys "
                "(spec.sources[].keys) or smaller files, or split the ElileSecret",
            )
    except _Undeliverable as u:
        return u.violation
    return merged


def _beside(files: dict[str, SecretBytes], keys: Rendered) -> dict[str, SecretBytes]:
    for key in files:
        if key in keys:
            raise _Undeliverable(
                Reason.KEY_CONFLICT,
                f"spec.files[{key}] has the name of a key that spec.keepKeys keeps; call the file otherwise, or set "
                "keepKeys: false",
            )
    return {**keys, **files}


def _deliver(given: SourceContent) -> list[tuple[str, SecretBytes]]:
    source = given.source
    if given.content is None:
        return []
    entry = given.content.reveal()
    if source.shape is not None and source.kv is not None:
        problem = shape_problem(source.shape, entry, path=source.kv.path)
        if problem:
            raise _Undeliverable(
                Reason.SHAPE_INVALID,
                f"spec.sources[{source.name}].shape is {source.shape}, and the entry is none: {problem}; correct the "
                "entry, or the shape",
            )
    wanted = (
        source.keys if source.keys is not None else tuple(KeyMapping.model_construct(from_=k) for k in sorted(entry))
    )
    delivered = []
    for mapping in wanted:
        key = (source.prefix or "") + mapping.target
        if not is_secret_key(key):
            raise _Undeliverable(
                Reason.SHAPE_INVALID,
                f"spec.sources[{source.name}]: {shown(key)} is no key of a Secret; give it another name with "
                f"spec.sources[{source.name}].keys",
            )
        value = _find(entry, mapping, source)
        delivered.append((key, _bytes(value, mapping, source)))
    return delivered


def _find(entry: Mapping[str, Any], mapping: KeyMapping, source: Source) -> Any:
    wanted = mapping.from_
    if wanted in entry:
        return entry[wanted]
    if wanted.startswith("/") and source.keys is not None and (found := follow(entry, wanted)):
        return found[0]
    raise _Undeliverable(
        Reason.KEY_NOT_FOUND,
        f"spec.sources[{source.name}].keys names {wanted!r}, which the entry does not have; write it there, or correct "
        f"the name (the entry has: {names(entry)})",
    )


def _bytes(value: Any, mapping: KeyMapping, source: Source) -> SecretBytes:
    which = f"spec.sources[{source.name}]: the value of {shown(mapping.from_)}"
    try:
        plain = as_bytes(value)
    except UnwritableError as e:
        what = str(e)
    else:
        if mapping.decode is not Decode.BASE64:
            return SecretBytes(plain)
        try:
            if isinstance(value, str):  # true, or 1234, would be base64 by accident
                return SecretBytes(base64.b64decode("".join(value.split()), validate=True))
        except (binascii.Error, ValueError):
            pass
        what = f"is not base64; write it so, or remove decode from spec.sources[{source.name}].keys"
    raise _Undeliverable(Reason.SHAPE_INVALID, f"{which} {what}")


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _files(wanted: Sequence[File], keys: Rendered, sources: Sequence[SourceContent]) -> dict[str, SecretBytes]:
    plain = {key: value.reveal() for key, value in keys.items()}
    documents = {given.source.name: given.content.reveal() for given in sources if given.content is not None}
    return {file.key: SecretBytes(_file(file, plain, documents)) for file in wanted}


def _file(file: File, keys: Mapping[str, bytes], documents: Mapping[str, Mapping[str, Any]]) -> bytes:
    try:
        if file.template is not None:
            return parse(file.template).render(keys, documents)
        if file.derive is not None:
            return _derived(file.derive, file.source or "", documents)
        return encode(file.format or Format.JSON, _chosen(file, keys))
    except TemplateError as e:
        reason, what = Reason.TEMPLATE_INVALID, str(e)
    except RenderError as e:
        reason, what = e.reason, str(e)
    except (DeriveError, FormatError) as e:
        reason, what = Reason.SHAPE_INVALID, str(e)
    # Outside of the handlers: these errors come from where values were at hand.
    raise _Undeliverable(reason, f"spec.files[{file.key}]: {what}")


def _derived(wanted: Derivation, source: str, documents: Mapping[str, Mapping[str, Any]]) -> bytes:
    if source not in documents:
        raise _Undeliverable(
            Reason.KEY_NOT_FOUND,
            f"spec.sources[{source}] is optional and its entry is missing, from which {wanted} is made; write it, "
            "or remove the file",
        )
    return derive(wanted, documents[source], source)


def _chosen(file: File, keys: Mapping[str, bytes]) -> Mapping[str, bytes]:
    if file.keys is None:
        return keys
    missing = [key.from_ for key in file.keys if key.from_ not in keys]
    if missing:
        raise _Undeliverable(
            Reason.KEY_NOT_FOUND,
            f"spec.files[{file.key}].keys names {shown(missing[0])}, which no source gives; write it there, or correct "
            f"the name (there are: {names(keys)})",
        )
    return {key.target: keys[key.from_] for key in file.keys}
