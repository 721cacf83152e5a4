"""Files that are read by what they are written for, with whatever a value may hold; and templates that stay text.

Real readers: json, PyYAML, python-dotenv, sh, libpq, my_print_defaults, javac's Properties. Where there is none for
Python, a reader after its documentation: Java's properties, docker compose's dotenv.
"""

import base64
import contextlib
import html
import json
import os
import re
import shutil
import string
import subprocess
import time
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import dotenv
import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from psycopg import pq

from elile.secrets.types import DatabaseCredentials
from elile_operator.api.files import Derivation, Format
from elile_operator.decide.derive import DeriveError, derive
from elile_operator.decide.formats import FormatError, encode, escape_xml
from elile_operator.decide.template import FILTERS, RenderError, Template, TemplateError, parse

# What readers and shells take for more than text, and what they have no name for.
HOSTILE = (
    *"'\"`\\$#=:;!&|<>{}[]()%*?~^@+-,./ \t\n\r\f\v\b\x00\x7f\x85\xa0\u2028\ufeff\uffff\ue000ü☃🔑",
    "${a}",
    "$(id)",
    "\\n",
    "\\u0041",
    "\r\n",
    " #",
    "\\'",
    '\\"',
    "'''",
    "---\n",
    "null",
    "true",
    "1e3",
    "0x1F",
    "2024-01-01",
)
BIG = "".join(HOSTILE) * (65536 // len("".join(HOSTILE)))
BIG_VARIABLE = BIG.replace("\x00", "").replace("$", "")

CANARY = "Canary7f3a"

texts = st.one_of(
    st.lists(st.sampled_from(HOSTILE), max_size=8).map("".join),
    st.text(max_size=12),
)
raw = st.one_of(texts.map(str.encode), st.binary(max_size=12))
keys = st.text(string.ascii_letters + string.digits + "-_.", min_size=1, max_size=8)
variables = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,6}\Z")
# No deadline: some examples hold 64 KiB, and some start a process.
many = settings(deadline=None)
few = settings(many, max_examples=60)
slow = settings(many, max_examples=12, suppress_health_check=[HealthCheck.too_slow])


def outcome(make: Callable[[], bytes]) -> bytes | ValueError:
    """What is made, or why it is not, without a value and without an error beneath that could hold one."""
    try:
        return make()
    except (FormatError, DeriveError, TemplateError, RenderError) as e:
        refused = e
    assert refused.__context__ is None
    assert CANARY not in str(refused)
    return refused


def decoded(values: Mapping[str, bytes]) -> dict[str, str]:
    return {key: value.decode() for key, value in values.items()}


# ── formats ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@many
@given(st.dictionaries(keys, texts.map(str.encode), max_size=4))
@example({"a": BIG.encode()})
def test_json_gives_the_same_back(values: dict[str, bytes]) -> None:
    assert json.loads(encode(Format.JSON, values)) == decoded(values)


@few
@given(st.dictionaries(keys, raw, max_size=3))
@example({"a": BIG.encode()[:8192], "b": bytes(range(256))})
def test_yaml_gives_the_same_back(values: dict[str, bytes]) -> None:
    found = yaml.safe_load(encode(Format.YAML, values))
    assert {k: v if isinstance(v, bytes) else v.encode() for k, v in found.items()} == values


@few
@given(st.dictionaries(keys, texts.map(str.encode), max_size=3))
def test_a_file_of_json_is_one_of_yaml(values: dict[str, bytes]) -> None:
    assert yaml.safe_load(encode(Format.JSON, values)) == decoded(values)


def load_properties(file: bytes) -> dict[str, str]:
    """Read a file as `java.util.Properties.load(InputStream)` documents: ISO-8859-1, logical lines, escapes."""
    found: dict[str, str] = {}
    natural = re.split(r"\r\n|\n|\r", file.decode("iso-8859-1"))
    while natural:
        line = natural.pop(0).lstrip(" \t\f")
        if not line or line[0] in "#!":
            continue
        while (len(line) - len(line.rstrip("\\"))) % 2:
            line = line[:-1] + (natural.pop(0).lstrip(" \t\f") if natural else "")
        end = re.search(r"(?<!\\)(?:\\\\)*([=: \t\f])", line)
        cut = end.start(1) if end else len(line)
        value = re.sub(r"\A[ \t\f]*[=:]?[ \t\f]*", "", line[cut:])
        found[unescaped(line[:cut])] = unescaped(value)
    return found


def unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 16))
        return {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}.get(match[2], match[2])

    chars = re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", one, text, flags=re.DOTALL)
    return chars.encode("utf-16", "surrogatepass").decode("utf-16")  # pairs of Java's chars become characters


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("Truth = Beauty", "Truth", "Beauty"),
        (" Truth:Beauty", "Truth", "Beauty"),
        ("Truth                    :Beauty", "Truth", "Beauty"),
        ("fruits   apple, banana, \\\n         pear", "fruits", "apple, banana, pear"),
        ("cheeses", "cheeses", ""),
        ("\\:\\=", ":=", ""),
        ("a=\\u00fc\\\\\\z", "a", "ü\\z"),
    ],
)
def test_the_reader_of_properties_knows_the_examples_of_its_documentation(line: str, key: str, value: str) -> None:
    assert load_properties(f"# comment\n! comment\n\n{line}\n".encode()) == {key: value}


@many
@given(st.dictionaries(st.one_of(keys, texts.filter(bool)), texts.map(str.encode), max_size=4))
@example({"a": BIG.encode(), "b": b"  leading"})
def test_properties_give_the_same_back(values: dict[str, bytes]) -> None:
    assert load_properties(encode(Format.PROPERTIES, values)) == decoded(values)


LOADER = """
import java.nio.charset.StandardCharsets;
import java.util.*;
public class Loader {
    public static void main(String[] files) throws Exception {
        Properties found = new Properties();
        found.load(new java.io.FileInputStream(files[0]));
        for (String key : new TreeSet<>(found.stringPropertyNames()))
            System.out.println(b64(key) + " " + b64(found.getProperty(key)));
    }
    static String b64(String text) {
        return Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
    }
}
"""


@pytest.mark.skipif(not shutil.which("javac"), reason="there is no Java here")
def test_java_itself_gives_the_same_back(tmp_path: Path) -> None:
    values = {f"k {i}{text[:3]}": text.encode() for i, text in enumerate((*HOSTILE, BIG[:8192], "", "  a  "))}
    (tmp_path / "Loader.java").write_text(LOADER)
    (tmp_path / "values").write_bytes(encode(Format.PROPERTIES, values))
    read = run(
        "java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", str(tmp_path / "Loader.java"), str(tmp_path / "values")
    )
    pairs = (line.split(b" ") for line in read.splitlines())
    assert {base64.b64decode(k).decode(): base64.b64decode(v) for k, v in pairs} == values


def run(*command: str, **env: str) -> bytes:
    done = subprocess.run(command, capture_output=True, timeout=60, env={**os.environ, **env})
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


ESCAPES = {"n": "\n", "r": "\r", "\\": "\\", '"': '"'}


def load_compose(file: bytes) -> dict[str, str]:
    """Read a file as docker compose does: `dotenv/parser.go` of compose-go 2.4, for what `encode` writes at all."""
    found, left = {}, file.decode().replace("\r\n", "\n")
    while left := left.lstrip():
        key, _, left = left.partition("=")
        assert re.fullmatch(r"[A-Za-z_][\w.-]*", key)
        if left[0] not in "'\"":
            value, _, left = left.partition("\n")
            found[key] = expanded(value.partition(" #")[0].rstrip())
            continue
        inner = re.match(r"""'((?:\\.|[^\\'])*)'|"((?:\\.|[^\\"])*)\"""", left, flags=re.DOTALL)
        assert inner
        if left[0] == "'":
            found[key] = inner[1].replace("\\'", "'")  # and no other escape
        else:
            found[key] = expanded(re.sub(r"\\(.)", lambda m: ESCAPES[m[1]], inner[2], flags=re.DOTALL))
        left = left[inner.end() :]
    return found


def expanded(text: str) -> str:
    assert "$" not in text  # it would be a variable, or an error
    return text


@many
@given(st.dictionaries(variables, raw, max_size=4))
@example({"A": BIG_VARIABLE.encode(), "B": b"$it's \\n", "C": b"\\", "D": b""})
def test_dotenv_gives_its_readers_the_same_or_is_refused(values: dict[str, bytes]) -> None:
    file = outcome(lambda: encode(Format.DOTENV, values))
    if isinstance(file, ValueError):
        assert re.search(" (holds|ends) ", str(file))
        return
    read = dotenv.dotenv_values(stream=StringIO(file.decode(), newline=None), interpolate=True)  # as a file is opened
    assert read == load_compose(file) == decoded(values)


@many
@given(texts)
def test_dotenv_holds_every_text_without_dollar_nul_and_backslash_at_the_end(text: str) -> None:
    encode(Format.DOTENV, {"A": text.replace("$", "").replace("\x00", "").rstrip("\\").encode()})


@slow
@given(values=st.lists(raw.filter(lambda value: b"\x00" not in value), min_size=1, max_size=40))
@example(values=[BIG_VARIABLE.encode(), bytes(range(1, 256)), b"$(id)`id`${a}$a"])
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_shell_gives_the_same_back(shell: str, values: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell} here")
    file = tmp_path_factory.getbasetemp() / "values.sh"
    file.write_bytes(encode(Format.SHELL, {f"K{i}": value for i, value in enumerate(values)}))
    show = "".join(f'printf "%s\\0" "$K{i}"; ' for i in range(len(values)))
    assert run(shell, "-c", f". {file}; {show}", LC_ALL="C.UTF-8").split(b"\0")[:-1] == values


# ── derived files ────────────────────────────────────────────────────────────────────────────────────────────────────

logins = st.fixed_dictionaries(
    {"host": st.just("db.shop"), "username": texts.filter(bool), "password": texts, "database": texts}
)


def pgpass_of(entry: dict[str, Any], file: Path) -> bytes:
    """The password that libpq finds in the file for this entry; it reads it before it connects."""
    quoted = {k: "'" + str(entry[k]).replace("\\", "\\\\").replace("'", "\\'") + "'" for k in ("username", "database")}
    info = f"host={entry['host']} hostaddr=127.0.0.1 port=9 user={quoted['username']} dbname={quoted['database']} "
    connection = pq.PGconn.connect_start(f"{info} passfile={file} sslmode=disable".encode())
    try:
        return connection.password
    finally:
        connection.finish()


@few
@given(entry=logins)
@example(entry={"host": "db.shop", "username": "*", "password": "a:\\b#'\" \t", "database": "*"})
def test_libpq_finds_the_password(entry: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    entry["port"] = 9
    line = outcome(lambda: derive(Derivation.PGPASS, entry, "db"))
    if isinstance(line, ValueError):
        assert re.search("NUL|line break", str(line))
        return
    assume(entry["password"])  # libpq asks for one then
    file = tmp_path_factory.getbasetemp() / "pgpass"
    file.touch(0o600)
    # The lines before must match nothing of it.
    file.write_bytes(b"*:*:x\\*x:*:wrong\n# comment\n" + line + b"*:*:*:*:wrong\n")
    entry["database"] = entry["database"] or "any"
    assert pgpass_of(entry, file).decode() == entry["password"]


@pytest.mark.skipif(not shutil.which("my_print_defaults"), reason="no client of MariaDB or MySQL is here")
@settings(slow, max_examples=40)
@given(entry=logins)
@example(entry={"host": "db.shop", "username": "\xa0", "password": " #'\"\\s\\\n[client]\nuser=x\n", "database": "\\"})
@example(entry={"host": "db.shop", "username": "u", "password": "x" * 4083, "database": "d"})
def test_clients_of_mariadb_read_their_options(entry: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    options = outcome(lambda: derive(Derivation.MY_CNF, entry, "db"))
    if isinstance(options, ValueError):
        assert "NUL" in str(options)
        return
    file = tmp_path_factory.getbasetemp() / "my.cnf"
    file.write_bytes(options)
    read = run("my_print_defaults", f"--defaults-file={file}", "client", "mysql").decode()
    wanted = {"host": entry["host"], "user": entry["username"], "password": entry["password"]}
    wanted |= {"database": entry["database"]} if entry["database"] else {}
    assert read == "".join(f"--{name}={value}\n" for name, value in wanted.items())


@many
@given(logins, st.sampled_from(["postgresql", "mysql"]))
def test_urls_give_the_same_back(entry: dict[str, Any], driver: str) -> None:
    entry |= {"driver": driver, "port": 5433}
    assume(not any("\x00" in str(text) for text in entry.values()))
    wanted = DatabaseCredentials.parse(entry)
    assert DatabaseCredentials.parse({"url": derive(Derivation.URL, entry, "db").decode()}) == wanted
    url = outcome(lambda: derive(Derivation.JDBC_URL, entry, "db"))
    if isinstance(url, ValueError):
        assert driver == "mysql"
        assert "cuts off" in str(url)
        return
    parts = urlsplit(url.decode().removeprefix("jdbc:"))
    user, password = (unquote(each.partition("=")[2]) for each in parts.query.split("&"))
    assert (user, password, unquote(parts.path[1:])) == (entry["username"], entry["password"], entry["database"])
    assert parts.netloc == "db.shop:5433"
    assert not parts.fragment


@many
@given(logins)
def test_a_raw_url_for_mariadbs_driver_gives_the_same_back_or_is_refused(entry: dict[str, Any]) -> None:
    entry["driver"] = "mariadb"
    url = outcome(lambda: derive(Derivation.JDBC_URL, entry, "db"))
    if isinstance(url, ValueError):
        assert re.search("NUL|separator", str(url))
        return
    database, _, query = url.decode().removeprefix("jdbc:mariadb://db.shop/").partition("?")
    found = dict(each.split("=", 1) for each in query.split("&"))
    assert (database, found) == (entry["database"], {"user": entry["username"], "password": entry["password"]})


# ── templates ────────────────────────────────────────────────────────────────────────────────────────────────────────


def as_literal(text: str) -> str:
    """Write a text so that a template gives it back: runs of `$` before a brace twice."""
    return re.sub(r"\$+(?=\{)", lambda run: run[0] * 2, text)


@many
@given(st.lists(st.sampled_from(["$", "{", "}", "a", "${", "|", "\n", "${a}"])).map("".join), texts)
def test_every_text_can_be_written(text: str, more: str) -> None:
    for each in (text, more, text + more):
        assert parse(as_literal(each)).render({}) == each.encode()


@many
@given(st.lists(st.sampled_from(["$", "{", "}", "x"])).map("".join), raw)
def test_a_value_follows_any_text_and_is_never_read_again(text: str, value: bytes) -> None:
    dollars = len(text) - len(text.rstrip("$"))
    before = as_literal(text[: len(text) - dollars]) + "$" * 2 * dollars
    assert parse(before + "${a}" + as_literal(text)).render({"a": value, "b": b"b"}) == (
        text.encode() + value + text.encode()
    )


READERS = {
    "url": unquote,
    "base64": lambda text: base64.b64decode(text).decode(),
    "json": json.loads,
    "yaml": yaml.safe_load,
    "properties": lambda text: load_properties(b"k=" + text.encode()).get("k", ""),
    "xml": html.unescape,
}


@many
@given(texts, st.sampled_from(sorted(READERS)))
def test_what_a_filter_writes_its_language_reads(text: str, name: str) -> None:
    file = outcome(lambda: parse(f"${{a|{name}}}").render({"a": text.encode()}))
    if isinstance(file, ValueError):
        assert "XML does not have" in str(file)
        return
    written = file.decode()
    if name == "xml" and re.search("[\x7f-\x9f]", text):
        assert written == escape_xml(text)  # HTML's reader takes these for Windows-1252
    else:
        assert READERS[name](written) == text


attacks = st.sampled_from(
    [
        "${__import__('os').system('id')}",
        "${a.__class__}",
        "${a|__class__}",
        "${a[0]}",
        "${a()}",
        "${7*7}",
        "${{a}}",
        "$(id)",
        "`id`",
        "{{a}}",
        "{% for x in y %}",
        "<%= 7 %>",
        "#{7*7}",
        "%(a)s",
        "{a}",
        "${a:-b}",
        "${a|indent:99}",
        "${a|json|json|json|shell|xml|indent:99}",
        "${a|trim}",
        "${b|url}",
        "${/a/b}",
        "${/a}",
        "${absent|default:x}",
        "${",
        "$${",
        "}",
        "$",
    ]
)
filters = st.sampled_from([*FILTERS, "default:x", "indent:99", "indent:1"])
chains = st.builds(
    "${{{}|{}}}".format, st.sampled_from(["a", "b", "c", "/a", "absent"]), st.lists(filters).map("|".join)
)
templates = st.lists(st.one_of(attacks, chains, texts), max_size=12).map("".join)
LIMIT = 2000


@many
@given(templates, texts, raw)
def test_a_template_is_text_keys_and_filters_and_bounded(text: str, value: str, other: bytes) -> None:
    keys = {"a": (CANARY + value + "\n${b}${c}" * 20).encode(), "b": CANARY.encode() + other, "c": b""}
    file = outcome(
        lambda: parse(text).render(keys, {"s": {"a": {"b": CANARY}}, "t": {"a": [CANARY, None]}}, limit=LIMIT)
    )
    if isinstance(file, ValueError):
        assert re.match(r"line \d+, column \d+: the placeholder ", str(file)) or isinstance(file, RenderError)
        return
    assert len(file) <= LIMIT
    if "${" not in text:
        assert file == text.encode()


@many
@given(st.text("ab${}|:/~\n", max_size=40))
def test_anything_is_a_template_or_is_refused(text: str) -> None:
    try:
        assert isinstance(parse(text), Template)
    except TemplateError as e:
        line, column = map(int, re.findall(r"\d+", str(e))[:2])
        assert text.split("\n")[line - 1][column - 1 :].startswith("${")


def seconds(text: str, keys: dict[str, bytes]) -> float:
    """CPU time of parsing and rendering, whatever comes of it."""
    begin = time.process_time()
    with contextlib.suppress(TemplateError, RenderError):
        parse(text).render(keys)
    return time.process_time() - begin


@pytest.mark.parametrize(
    ("piece", "value"),
    [
        pytest.param("$", b"", id="dollars"),
        pytest.param("${", b"", id="unclosed"),
        pytest.param("$${", b"", id="escapes"),
        pytest.param("${a}", b"${a}", id="a value that names itself"),
        pytest.param("${a|trim}", b" " * 1024 * 1024, id="nothing of much"),
        pytest.param("${a|json|json|json|json}", b'\\"' * 100, id="much of little"),
        pytest.param("${a|indent:99}", b"\n" * 1024 * 1024, id="lines"),
        pytest.param("${a|indent:99}", b"\na" * 1024 * 512, id="lines with something in them"),
        pytest.param("${/a/a/a}", b"", id="pointers"),
    ],
)
def test_no_template_takes_long(piece: str, value: bytes) -> None:
    text = piece * (256 * 1024 // len(piece))
    # Anything that grows with the square of a template of 256 KiB, or of a value of 1 MiB, takes minutes.
    assert seconds(text, {"a": value}) < 5
