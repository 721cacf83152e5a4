"""Files from templates: keys and filters, and nothing that could be called a program.

    text         everything but `${`; a lone `$` and a lone `}` are text
    placeholder  `${name}` or `${name|filter|filter}`, up to the first `}`
    name         a key of the Secret such as `db_password`, or a JSON pointer into a source's entry such as `/tls/ca`
    `$${`        a literal `${`; of a run of `$` before `{` each two are one: `$$${key}` is `$` and the key's value

| filter | gives |
|---|---|
| `url` | the value percent-encoded, all but letters, digits and `-._~` |
| `base64` | its bytes in base64, without line breaks |
| `json` `yaml` `dotenv` `shell` | a literal of that language, quotes included: `"password": ${password|json}` |
| `properties` `xml` | the value escaped; those have no quotes, or any: `<p>${password|xml}</p>` |
| `upper` `lower` `trim` | the value in capitals, in small letters, without white space at both ends |
| `indent:n` | n blanks (1 to 99) before each line but the first and empty ones |
| `default:text` | the text, where there is no such key; filters before it are skipped then, those after it apply |

A default holds neither `|` nor `}` nor a line break, and may be empty. A value that is empty or null is there: the
first stays empty, the second is refused.

What is substituted is never read again: a value that holds `${other}` comes out as it is. Bytes that are no UTF-8
text pass as they are, and through `base64`; every other filter refuses them. Values found by a pointer that are no
strings are written as render does: numbers and booleans as JSON has them, objects and lists as compact JSON, null
refused. A pointer is looked for in every source's entry, and must lead to something in exactly one.

Rendering takes time and space in proportion to the template, the values named in it and the bound.
"""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from elile_operator.api.reasons import Reason
from elile_operator.api.syntax import is_secret_key
from elile_operator.decide.entries import UnwritableError, as_bytes, follow, names, shown
from elile_operator.decide.formats import (
    FormatError,
    escape_properties,
    escape_xml,
    quote_dotenv,
    quote_json,
    quote_shell,
)

__all__ = ["FILTERS", "MAX_RENDERED_BYTES", "RenderError", "Template", "TemplateError", "parse"]

MAX_RENDERED_BYTES = 1024 * 1024  # what a whole Secret may hold

# Bytes that filters may take, in bounds of the output: `trim` makes nothing of a large value, as often as it is asked.
_WORK = 16

Documents = Mapping[str, Mapping[str, Any]]


class TemplateError(ValueError):
    """The text is no template. Says line and column, both from 1, and the remedy."""


class RenderError(ValueError):
    """The template cannot be filled with these values. Names key, filter and remedy, and no value.

    `reason` is KEY_NOT_FOUND, KEY_CONFLICT (two entries answer a pointer), SHAPE_INVALID or TOO_LARGE.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter; the argument is empty where it takes none."""

    name: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """What stands between `${` and `}`."""

    name: str
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Template:
    """Text and placeholders, in their order."""

    parts: tuple[bytes | Placeholder, ...]

    def render(
        self,
        keys: Mapping[str, bytes],
        documents: Documents = MappingProxyType({}),
        *,
        limit: int = MAX_RENDERED_BYTES,
    ) -> bytes:
        """Return the file, of at most `limit` bytes. Raises RenderError.

        `keys` are the merged keys of all sources; `documents` the entries as they were read, by name of the source.
        """
        rendering = _Rendering(keys, documents, limit)
        for part in self.parts:
            rendering.add(part)
        return bytes(rendering.out)


# ── parsing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def parse(text: str) -> Template:
    """Return the template that the text is. Raises TemplateError. Takes time in proportion to the text."""
    parts: list[bytes | Placeholder] = []
    position = 0
    while (at := text.find("${", position)) >= 0:
        before = text[position:at]
        plain = before.rstrip("$")
        dollars = len(before) - len(plain) + 1
        parts.append(_encoded(plain + "$" * (dollars // 2)))
        position = at + 1  # at the brace, which is text unless one `$` is left for it
        if dollars % 2:
            end = text.find("}", at)
            parts.append(_placeholder(text, at, end))
            position = end + 1
    parts.append(_encoded(text[position:]))
    return Template(tuple(part for part in parts if part != b""))


def _placeholder(text: str, at: int, end: int) -> Placeholder:
    body = text[at + 2 : end] if end >= 0 else "\n"
    if "${" in body:
        raise _wrong(text, at, "holds another '${'; placeholders do not nest: close it with '}' before the next one")
    if "\n" in body:
        raise _wrong(text, at, "is not closed in its line; write '}' after the key, or '$${' for a literal '${'")
    name, *filters = body.split("|")
    if not (is_secret_key(name) or re.fullmatch(r"/([^~]|~0|~1)*", name)):
        raise _wrong(
            text,
            at,
            f"names {shown(name)}, which is neither a key of a Secret nor a JSON pointer; write ${{key}}, "
            "${/tls/ca}, or '$${' for a literal '${'",
        )
    return Placeholder(name, tuple(_filter(text, at, each) for each in filters))


def _filter(text: str, at: int, written: str) -> Filter:
    name, colon, argument = written.partition(":")
    if name not in FILTERS:
        raise _wrong(text, at, f"has the unknown filter {shown(name)}; there are {', '.join(FILTERS)}")
    if name == "default":
        if not colon:
            raise _wrong(text, at, "has the filter default without a text; write default:text, or default: for nothing")
    elif name == "indent":
        if not re.fullmatch("[1-9][0-9]?", argument):
            raise _wrong(
                text, at, "has the filter indent without a number of blanks; write indent:n with n from 1 to 99"
            )
    elif colon:
        raise _wrong(text, at, f"gives the filter {name} an argument, which it does not take; write {name}")
    return Filter(name, argument)


def _wrong(text: str, at: int, what: str) -> TemplateError:
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return TemplateError(f"line {line}, column {column}: the placeholder {what}")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


# ── rendering ────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Rendering:
    """One file in the making: what it is made of, what there is of it, and what it has cost."""

    def __init__(self, keys: Mapping[str, bytes], documents: Documents, limit: int) -> None:
        self.keys, self.documents, self.limit = keys, documents, limit
        self.out = bytearray()
        self.work = 0

    def add(self, part: bytes | Placeholder) -> None:
        piece = part if isinstance(part, bytes) else self.filled(part)
        self.check(len(self.out) + len(piece))
        self.out += piece

    def filled(self, placeholder: Placeholder) -> bytes:
        value = self.find(placeholder.name)
        for each in placeholder.filters:
            if each.name == "default":
                value = _encoded(each.argument) if value is None else value
            elif value is not None:
                value = self.filtered(value, each, placeholder.name)
        if value is None:
            raise RenderError(
                Reason.KEY_NOT_FOUND,
                f"the template names {shown(placeholder.name)}, which no source gives; write it there, correct the "
                f"name, or add '|default:' and a text (there are: {names(self.keys)})",
            )
        return value

    def filtered(self, value: bytes, wanted: Filter, name: str) -> bytes:
        self.work += len(value)
        if self.work > _WORK * self.limit:
            raise RenderError(
                Reason.TOO_LARGE,
                f"filters have more than {_WORK * self.limit} bytes to go through at {shown(name)}; use fewer of them",
            )
        if wanted.name == "base64":
            result = base64.b64encode(value)
        elif (text := _text(value)) is None:
            raise RenderError(
                Reason.SHAPE_INVALID,
                f"{shown(name)} holds bytes that are no UTF-8 text, which the filter {wanted.name} cannot take; "
                "use base64, or no filter",
            )
        elif wanted.name == "indent":
            first, *others = text.split("\n")
            blanks = int(wanted.argument)
            self.check(len(value) + blanks * sum(map(bool, others)))  # before a hundred times the value is made
            result = "\n".join([first, *(" " * blanks + line if line else line for line in others)]).encode()
        else:
            result = _written(text, wanted.name, name)
        self.check(len(result))
        return result

    def check(self, size: int) -> None:
        if size > self.limit:
            raise RenderError(
                Reason.TOO_LARGE,
                f"the template gives more than {self.limit} bytes; name fewer or smaller keys in it, or make several "
                "files",
            )

    def find(self, name: str) -> bytes | None:
        if not name.startswith("/"):  # no key of a Secret does
            return self.keys.get(name)
        found = [(source, value) for source, entry in self.documents.items() for value in follow(entry, name)]
        if len(found) > 1:
            raise RenderError(
                Reason.KEY_CONFLICT,
                f"the template names {shown(name)}, which spec.sources[{found[0][0]}] and spec.sources[{found[1][0]}] "
                "both have; give the right one a key with its keys (from and to), and name that",
            )
        return _bytes(found[0][1], name) if found else None


def _bytes(value: Any, name: str) -> bytes:
    try:
        return as_bytes(value)
    except UnwritableError as e:
        what = str(e)
    raise RenderError(Reason.SHAPE_INVALID, f"the value at {shown(name)} {what}")


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:  # which carries the value: nothing is raised from here
        return None


def _written(text: str, name: str, key: str) -> bytes:
    try:
        return _TEXT_FILTERS[name](text).encode()
    except FormatError as e:
        what = str(e)
    raise RenderError(
        Reason.SHAPE_INVALID,
        f"{shown(key)} {what}, which the filter {name} cannot write; use another, or deliver the key as a file "
        "of its own",
    )


def _percent_encoded(text: str) -> str:
    return quote(text, safe="")


_TEXT_FILTERS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "url": _percent_encoded,
        "json": quote_json,
        "yaml": quote_json,  # which is a string of YAML as well
        "properties": escape_properties,
        "dotenv": quote_dotenv,
        "shell": quote_shell,
        "xml": escape_xml,
        "upper": str.upper,
        "lower": str.lower,
        "trim": str.strip,
    }
)
FILTERS = ("base64", *_TEXT_FILTERS, "default", "indent")
