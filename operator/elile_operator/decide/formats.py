"""Several keys as one file: JSON, YAML, Java properties, dotenv or shell, quoted so that a reader gets the bytes back.

| format | one entry | read with | holds NUL | holds bytes that are no UTF-8 text |
|---|---|---|---|---|
| json | `"key": "value"` | any JSON reader | yes | no |
| yaml | `"key": "value"` | any YAML 1.1 or 1.2 reader | yes | yes, as `!!binary` |
| properties | `key=value` | `java.util.Properties.load` | yes | no |
| dotenv | `KEY="value"` | python-dotenv, docker compose | no | no |
| shell | `KEY='value'` | `. file`; `set -a` before it exports | no | yes |

Every value is a text, whatever it looks like: `5432`, `true` and `2024-01-01` come back as they were written in Vault.
What a format cannot hold is refused, never changed.

dotenv means what python-dotenv and docker compose agree on; `docker run --env-file` is another dialect, without quotes.
A value is refused in it

* with NUL, and with `${`, which python-dotenv replaces within any quotes;
* with `$`, which only single quotes keep, beside what the two read differently there: a carriage return, two
  backslashes in a row, a backslash before `'` or at the end;
* with a backslash at the end beside what needs quotes: white space, a quote, `#`.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from elile_operator.api.files import Format
from elile_operator.api.syntax import MAX_SECRET_KEY

__all__ = [
    "FormatError",
    "encode",
    "escape_properties",
    "escape_xml",
    "quote_dotenv",
    "quote_json",
    "quote_shell",
]


class FormatError(ValueError):
    """A key or a value that the format cannot hold. The text names key, format and remedy, and no value.

    Of the functions that quote one text: a phrase about that text, to follow the name of its key.
    """


def encode(wanted: Format, values: Mapping[str, bytes]) -> bytes:
    """Return the file that holds these keys, in their order. Raises FormatError.

    A file ends with a line break; properties, dotenv and shell without any key are empty.
    """
    entries = [_NAMES[wanted](key) + _value(wanted, key, value) for key, value in values.items()]
    if wanted is Format.JSON:
        text = "{\n  " + ",\n  ".join(entries) + "\n}\n" if entries else "{}\n"
    elif wanted is Format.YAML and not entries:
        text = "{}\n"  # an empty document would be null
    else:
        text = "".join(entry + "\n" for entry in entries)
    return text.encode("utf-8", "surrogateescape")


def _value(wanted: Format, key: str, value: bytes) -> str:
    try:
        return _VALUES[wanted](value)
    except FormatError as e:
        what = str(e)
    raise FormatError(
        f"key {_shown(key)} {what}, which format {wanted} cannot hold; choose format yaml, or deliver the key as a "
        "file of its own"
    )


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:  # which carries the value: nothing is raised from here
        return None


def _text_only(quote: Callable[[str], str]) -> Callable[[bytes], str]:
    def write(value: bytes) -> str:
        text = _text(value)
        if text is None:
            raise FormatError("holds bytes that are no UTF-8 text")
        return quote(text)

    return write


# What is left of the JSON grammar that YAML's readers do not take raw: controls, YAML 1.1's line breaks, byte order
# marks, noncharacters. With these escaped, a JSON string is a YAML string.
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def quote_json(text: str) -> str:
    """Return a string of JSON, quotes included, that is a string of YAML as well."""
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _yaml(value: bytes) -> str:
    text = _text(value)
    return f'!!binary "{base64.b64encode(value).decode()}"' if text is None else quote_json(text)


_IN_PROPERTIES = MappingProxyType({"\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"})
_SPECIAL_IN_PROPERTIES = re.compile(r"[\\=:#!]|[^\x20-\x7e]")


def escape_properties(text: str) -> str:
    """Return the value of a Java property as `Properties.store` writes it: ASCII, since readers differ in charset."""
    escaped = _SPECIAL_IN_PROPERTIES.sub(_escaped_property, text)
    return "\\" + escaped if escaped.startswith(" ") else escaped  # blanks before a value are skipped


def _escaped_property(found: re.Match[str]) -> str:
    char = found[0]
    if " " < char <= "~":
        return "\\" + char
    units = char.encode("utf-16-be")
    return _IN_PROPERTIES.get(char) or "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


_PLAIN_IN_DOTENV = re.compile(r"""[^\s'"#$]+""")
_IN_DOUBLE_QUOTES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"})
_DIFFERENT_IN_SINGLE_QUOTES = re.compile(r"\\\\|\\'|\\\Z|\r")


def quote_dotenv(text: str) -> str:
    """Return a value of a dotenv file, quotes included. Raises FormatError for what its readers disagree about."""
    if "\x00" in text:
        raise FormatError("holds a NUL character")
    if "${" in text:
        raise FormatError("holds '${', which is replaced even within quotes")
    if "$" in text:
        if _DIFFERENT_IN_SINGLE_QUOTES.search(text):
            raise FormatError("holds '$' beside a carriage return or backslashes that readers take differently")
        return "'" + text.replace("'", "\\'") + "'"
    if not text.endswith("\\"):
        return '"' + text.translate(_IN_DOUBLE_QUOTES) + '"'
    # Older releases of python-dotenv take the backslash for one that escapes the closing quote.
    if not _PLAIN_IN_DOTENV.fullmatch(text):
        raise FormatError("ends with a backslash and needs quotes")
    return text


def quote_shell(text: str) -> str:
    """Return one word of a POSIX shell, in single quotes, within which nothing has a meaning. Raises FormatError."""
    if "\x00" in text:
        raise FormatError("holds a NUL character")
    return "'" + text.replace("'", "'\\''") + "'"


def _shell(value: bytes) -> str:
    return quote_shell(value.decode("utf-8", "surrogateescape"))


_IN_XML = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def escape_xml(text: str) -> str:
    """Return text for an element or a quoted attribute of XML 1.0. Raises FormatError for what XML has no way to write.

    White space other than blanks is written as character references: in an attribute a reader would make it blanks.
    """
    if _NOT_IN_XML.search(text):
        raise FormatError("holds a character that XML does not have")
    return text.translate(_IN_XML)


def _quoted_name(key: str) -> str:
    return quote_json(key) + ": "


def _property_name(key: str) -> str:
    return _SPECIAL_IN_PROPERTIES.sub(_escaped_property, key).replace(" ", "\\ ") + "="


def _variable(wanted: Format, pattern: str) -> Callable[[str], str]:
    name = re.compile(pattern)

    def check(key: str) -> str:
        if name.fullmatch(key):
            return key + "="
        raise FormatError(
            f"key {_shown(key)} is no name of a variable, so format {wanted} cannot hold it; give it one with "
            "keys[].to, for example DB_PASSWORD"
        )

    return check


def _shown(key: str) -> str:
    return repr(key if len(key) <= MAX_SECRET_KEY else key[: MAX_SECRET_KEY - 1] + "…")


_NAMES: Mapping[Format, Callable[[str], str]] = MappingProxyType(
    {
        Format.JSON: _quoted_name,
        Format.YAML: _quoted_name,
        Format.PROPERTIES: _property_name,
        Format.DOTENV: _variable(Format.DOTENV, "[A-Za-z_][A-Za-z0-9_.-]*"),
        Format.SHELL: _variable(Format.SHELL, "[A-Za-z_][A-Za-z0-9_]*"),
    }
)
_VALUES: Mapping[Format, Callable[[bytes], str]] = MappingProxyType(
    {
        Format.JSON: _text_only(quote_json),
        Format.YAML: _yaml,
        Format.PROPERTIES: _text_only(escape_properties),
        Format.DOTENV: _text_only(quote_dotenv),
        Format.SHELL: _shell,
    }
)
