"""Values with their metadata, and typed secrets: what they read, and that nothing of it shows."""

import copy
import dataclasses
import io
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from elile.secrets.errors import SecretNotFoundError, SecretValidationError
from elile.secrets.redact import MASK, Redacted, SecretBytes, SecretStr
from elile.secrets.types import (
    SHAPES,
    AIProviderSecrets,
    BackendHealth,
    DatabaseCredentials,
    EncryptionKey,
    EncryptionKeys,
    Health,
    HealthReport,
    KeyAlgorithm,
    KeyStatus,
    ProviderApiKey,
    SecretChange,
    SecretKeyMissingError,
    SecretMetadata,
    SecretValue,
    TypedSecret,
    parse_database_url,
)

CANARY = "canary-42bb"
MATERIAL = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="  # 32 times "A"

ENTRIES: dict[type[TypedSecret], dict[str, Any]] = {
    DatabaseCredentials: {"host": "h", "username": "u", "password": CANARY},
    ProviderApiKey: {"api_key": CANARY, "api_secret": CANARY},
    AIProviderSecrets: {"api_key": CANARY, "extra": {"other": CANARY}},
    EncryptionKeys: {"primary": "1", "keys": {"1": {"material": CANARY}, "2": {"material": CANARY}}},
}


def value(data: Mapping[str, Any] | None = None, **more: Any) -> SecretValue:
    return SecretValue("app/db", Redacted({"password": CANARY} if data is None else data), **more)


HOLDERS = [
    *(pytest.param(kind.parse(entry), id=kind.__name__) for kind, entry in ENTRIES.items()),
    pytest.param(EncryptionKey(id="1", material=CANARY), id="EncryptionKey"),
    pytest.param(value(), id="SecretValue"),
    pytest.param(SecretChange("app/db", value(), value()), id="SecretChange"),
]
every_holder = pytest.mark.parametrize("holder", HOLDERS)


def printed(error: BaseException) -> str:
    """The traceback with causes and contexts, as it would be logged."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.args)


# ── nothing shows ────────────────────────────────────────────────────────────────────────────────────────────────────

WRITERS: list[Callable[[Any], str]] = [
    str,
    repr,
    ascii,
    lambda h: f"{h} {h!r} {h!s:>200}",
    lambda h: "%s %r" % (h, h),  # noqa: UP031 - the way of writing is what is tested
    lambda h: str([h]) + str({"key": h}),
    pprint.pformat,
    lambda h: json.dumps([h], default=str),
    lambda h: str(copy.copy(h)) + str(copy.deepcopy(h)),
    lambda h: str(list(h)),
    lambda h: str(dict(h)) if isinstance(h, SecretValue | BaseModel) else "",
    lambda h: str(dict(h.items())) if isinstance(h, SecretValue) else "",
    lambda h: str(h.values()) if isinstance(h, SecretValue) else "",
    lambda h: str(dataclasses.asdict(h)) if dataclasses.is_dataclass(h) else "",
    lambda h: str(vars(h)) if isinstance(h, BaseModel) else "",
    lambda h: str(h.model_dump()) + str(h.model_dump(mode="json")) if isinstance(h, BaseModel) else "",
    lambda h: h.model_dump_json() if isinstance(h, BaseModel) else "",
    lambda h: str(TypeAdapter(type(h)).dump_json(h)) if isinstance(h, BaseModel) else "",
    lambda h: str(h.model_copy(update={"x": 1})) if isinstance(h, BaseModel) else "",
    lambda h: str(h.__rich_repr__ and list(h.__rich_repr__())) if isinstance(h, BaseModel) else "",
]


@pytest.mark.parametrize("write", WRITERS)
@every_holder
def test_no_text_form_shows_a_value(holder: Any, write: Callable[[Any], str]) -> None:
    try:
        written = write(holder)
    except TypeError as e:  # not every holder can be listed
        written = printed(e)
    assert CANARY not in written


@every_holder
def test_pickle_is_refused(holder: Any) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        out = io.BytesIO()
        with pytest.raises(TypeError, match="cannot be pickled") as caught:
            pickle.Pickler(out, protocol).dump(holder)
        assert CANARY.encode() not in out.getvalue()
        assert CANARY not in printed(caught.value)


@every_holder
def test_json_alone_is_refused(holder: Any) -> None:
    with pytest.raises(TypeError, match="not JSON serializable") as caught:
        json.dumps(holder)
    assert CANARY not in printed(caught.value)


@every_holder
def test_digests_are_refused(holder: Any) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(holder)


@every_holder
def test_logs_and_exceptions_do_not_show_a_value(holder: Any) -> None:
    out = io.StringIO()
    log = logging.Logger("test", logging.DEBUG)
    log.addHandler(logging.StreamHandler(out))
    try:
        raise LookupError(holder)
    except LookupError as e:
        log.exception("as argument %s %r, in a mapping %s", holder, holder, {"key": holder})
        shown = "".join(traceback.TracebackException.from_exception(e, capture_locals=True).format())
    assert MASK in out.getvalue()
    assert CANARY not in out.getvalue() + shown


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        (DatabaseCredentials, {"password": CANARY}),
        (DatabaseCredentials, {"host": "h", "username": "u", "password": [CANARY]}),
        (DatabaseCredentials, {"host": "h", "username": "u", "password": CANARY, "port": CANARY}),
        (DatabaseCredentials, {"host": "h", "username": "u", "password": CANARY, "driver": CANARY + "!"}),
        (DatabaseCredentials, {"url": CANARY}),
        (DatabaseCredentials, {"url": f"postgres://u:{CANARY}#x@h/d"}),
        (DatabaseCredentials, {"url": f"postgres://u:p@[{CANARY}/d"}),
        (DatabaseCredentials, {"url": f"postgres://u:p@h:{CANARY}/d"}),
        (DatabaseCredentials, {"url": f"postgres://h/{CANARY}"}),
        (DatabaseCredentials, {"host": "h", "username": "u", "password": CANARY, "options": CANARY}),
        (ProviderApiKey, {"secret": CANARY}),
        (ProviderApiKey, {"api_key": {CANARY: CANARY}}),
        (ProviderApiKey, {"api_key": CANARY.encode()}),
        (AIProviderSecrets, {"api_key": CANARY, "provider": "azure-openai"}),
        (AIProviderSecrets, {"api_key": CANARY, "extra": CANARY}),
        (AIProviderSecrets, {"api_key": CANARY, "extra": {"x": [CANARY]}}),
        (EncryptionKeys, {"other": CANARY}),
        (EncryptionKeys, {"key": [CANARY]}),
        (EncryptionKeys, {"key": CANARY, "algorithm": CANARY}),
        (EncryptionKeys, {"primary": "1", "keys": CANARY}),
        (EncryptionKeys, {"primary": "1", "keys": '{"1": "' + CANARY}),
        (EncryptionKeys, {"primary": "1", "keys": {"1": CANARY}}),
        (EncryptionKeys, {"primary": CANARY, "keys": {"1": {"material": CANARY}}}),
        (EncryptionKeys, {"primary": [CANARY], "keys": {"1": {"material": CANARY}}}),
        (EncryptionKeys, {"primary": "1", "keys": {"1": {"material": CANARY, "status": CANARY, "algorithm": CANARY}}}),
        (EncryptionKeys, {"primary": "1", "keys": {"1": {"material": [CANARY]}}}),
    ],
)
def test_errors_show_fields_and_no_values(kind: type[TypedSecret], entry: dict[str, Any]) -> None:
    with pytest.raises(SecretValidationError) as caught:
        kind.parse(entry, path="app/db")
    assert CANARY not in printed(caught.value) + str(caught.value.problems) + str(vars(caught.value))
    assert (caught.value.__cause__, caught.value.__context__, caught.value.path) == (None, None, "app/db")
    assert caught.value.problems

    # Whoever builds the model directly, or inside of another, gets pydantic's error: without the input as well.
    for build in (
        lambda: kind(**entry),
        lambda: kind.model_validate(entry),
        lambda: TypeAdapter(list[kind]).validate_python([entry]),
        lambda: TypeAdapter(dict[str, kind | None]).validate_python({"k": entry}),
    ):
        with pytest.raises(ValidationError) as direct:
            build()
        found = direct.value
        assert CANARY not in printed(found) + repr(found.errors()) + found.json()


def test_a_frozen_secret_is_not_changed() -> None:
    secret = ProviderApiKey.parse({"api_key": "k"})
    with pytest.raises(ValidationError, match="frozen") as caught:
        secret.api_key = SecretStr(CANARY)
    assert CANARY not in printed(caught.value) + repr(caught.value.errors())


# ── databases ────────────────────────────────────────────────────────────────────────────────────────────────────────

AWKWARD = [
    "plain",
    "p@ss",
    "a:b",
    "a/b",
    "100%",
    "%40",
    "a b",
    "a+b",
    "?#&=",
    "[x]",
    "pässwörd",
    "密码",
    "🔑",
    "'\"\\",
    "\t\n",
]


@pytest.mark.parametrize("text", AWKWARD)
def test_a_url_round_trips(text: str) -> None:
    entry = {
        "host": "db.example",
        "port": 5432,
        "username": f"u{text}",
        "password": text,
        "database": f"d{text}",
        "options": {"sslmode": "require", f"k{text}": text, "empty": ""},
    }
    credentials = DatabaseCredentials.parse(entry)
    url = credentials.url()
    assert DatabaseCredentials.parse({"url": url.reveal()}) == credentials
    assert DatabaseCredentials.parse({"uri": url}) == credentials
    parts = urlsplit(url.reveal())
    assert (parts.hostname, parts.port, unquote(parts.password or "")) == ("db.example", 5432, text)


@pytest.mark.parametrize("host", ["h", "db.example", "127.0.0.1", "::1", "2001:db8::1"])
@pytest.mark.parametrize("port", [None, 1, 65535])
def test_a_url_holds_hosts_and_ports(host: str, port: int | None) -> None:
    credentials = DatabaseCredentials(host=host, port=port, username="u", password="p")
    again = DatabaseCredentials.parse({"url": credentials.url().reveal()})
    assert (again.host, again.port) == (host, port)
    assert again == credentials


def test_a_url_is_written_with_the_scheme_that_is_asked_for() -> None:
    credentials = DatabaseCredentials.parse({"url": "postgres://u:p%40@[::1]:5432/d?sslmode=require"})
    assert credentials.driver == "postgresql"
    assert credentials.url().reveal() == "postgresql://u:p%40@[::1]:5432/d?sslmode=require"
    assert credentials.url("postgresql+asyncpg").reveal().startswith("postgresql+asyncpg://u:")
    assert isinstance(credentials.url(), SecretStr)
    bare = DatabaseCredentials.parse({"url": "mysql+pymysql://u:@h"})
    assert (bare.driver, bare.database, bare.password, bare.port) == ("mysql+pymysql", "", SecretStr(""), None)


def test_half_a_surrogate_pair_does_not_break_a_url_open() -> None:
    credentials = DatabaseCredentials.parse({"host": "h", "username": "u", "password": f"{CANARY}\ud800"})
    assert credentials.url().reveal() == f"postgresql://u:{CANARY}%ED%A0%80@h/"


@pytest.mark.parametrize(
    "text",
    [CANARY, "", "//h", "postgres:///d", "postgres://", f"postgres://h:{CANARY}", f"x://[{CANARY}", "x://h:70000"],
)
def test_what_is_no_url_is_refused_without_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not a URL of a database$") as caught:
        parse_database_url(text)
    assert CANARY not in printed(caught.value)
    assert caught.value.__context__ is None


def test_fields_beside_a_url_win_and_a_host_wins_over_a_url() -> None:
    beside = DatabaseCredentials.parse({"url": "postgres://u:old@h/d", "password": "new"})
    assert (beside.host, beside.password) == ("h", SecretStr("new"))
    assert DatabaseCredentials.parse({"url": CANARY, "hostname": "h", "user": "u", "password": "p"}).host == "h"


@pytest.mark.parametrize(
    "names", [{"hostname": "h", "user": "u", "dbname": "d"}, {"host": "h", "username": "u", "name": "d"}]
)
def test_other_names_of_fields_are_read(names: dict[str, str]) -> None:
    found = DatabaseCredentials.parse({**names, "password": "p", "port": "5432", "more": "left alone"})
    assert (found.host, found.port, found.username, found.database) == ("h", 5432, "u", "d")


def test_what_drivers_take() -> None:
    entry = {
        "host": "h",
        "port": 1,
        "username": "u",
        "password": "p",
        "database": "d",
        "options": {"sslmode": "require"},
    }
    full = DatabaseCredentials.parse(entry)
    assert full.psycopg_kwargs() == {
        "host": "h",
        "port": 1,
        "user": "u",
        "dbname": "d",
        "password": "p",
        "sslmode": "require",
    }
    assert full.asyncpg_kwargs() == {
        "host": "h",
        "port": 1,
        "user": "u",
        "database": "d",
        "password": "p",
        "ssl": "require",
    }
    bare = DatabaseCredentials(host="h", username="u", password="p")
    assert bare.psycopg_kwargs() == {"host": "h", "user": "u", "password": "p"}
    assert bare.asyncpg_kwargs() == {"host": "h", "user": "u", "password": "p"}


def test_problems_are_named_by_field() -> None:
    with pytest.raises(SecretValidationError) as caught:
        DatabaseCredentials.parse({"username": "", "password": 7, "port": "0"}, path="elile/database/postgres")
    assert caught.value.problems == {
        "host": "is missing",
        "port": "is too small",
        "username": "is empty",
        "password": "must be text",
    }
    assert str(caught.value).startswith("elile/database/postgres: host is missing; ")
    with pytest.raises(SecretValidationError, match=r"^the entry is not a URL of a database$"):
        DatabaseCredentials.parse({"url": CANARY})


# ── providers ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["api_key", "apiKey", "key", "token"])
def test_a_key_has_several_names(name: str) -> None:
    found = ProviderApiKey.parse({name: "k", "secret": "s", "endpoint": "https://e"})
    assert (found.api_key, found.api_secret, found.base_url) == (SecretStr("k"), SecretStr("s"), "https://e")


@pytest.mark.parametrize(
    ("entry", "endpoint", "headers"),
    [
        (
            {"provider": "anthropic"},
            "https://api.anthropic.com",
            {"x-api-key": "k", "anthropic-version": "2023-06-01"},
        ),
        (
            {"provider": "anthropic", "api_version": "2099-01-01", "base_url": "https://own"},
            "https://own",
            {"x-api-key": "k", "anthropic-version": "2099-01-01"},
        ),
        ({"provider": "openai"}, "https://api.openai.com/v1", {"Authorization": "Bearer k"}),
        (
            {"provider": "openai", "org_id": "o", "project_id": "p"},
            "https://api.openai.com/v1",
            {"Authorization": "Bearer k", "OpenAI-Organization": "o", "OpenAI-Project": "p"},
        ),
        (
            {"provider": "azure-openai", "endpoint": "https://r.openai.azure.com"},
            "https://r.openai.azure.com",
            {"api-key": "k"},
        ),
        ({"provider": "google"}, "https://generativelanguage.googleapis.com", {"x-goog-api-key": "k"}),
        ({"provider": "mistral"}, "https://api.mistral.ai/v1", {"Authorization": "Bearer k"}),
        ({"provider": "other"}, None, {"Authorization": "Bearer k"}),
        ({"apiVersion": "v", "api_base": "https://b"}, "https://b", {"Authorization": "Bearer k"}),
    ],
)
def test_ai_providers(entry: dict[str, str], endpoint: str | None, headers: dict[str, str]) -> None:
    found = AIProviderSecrets.parse({"api_key": "k", **entry})
    assert (found.endpoint, found.headers()) == (endpoint, headers)


def test_azure_needs_its_endpoint() -> None:
    with pytest.raises(SecretValidationError, match="needs base_url, the endpoint of the resource"):
        AIProviderSecrets.parse({"api_key": CANARY, "provider": "azure-openai"})


def test_what_else_a_provider_needs_stays_secret() -> None:
    found = AIProviderSecrets.parse({"api_key": "k", "extra": {"x": CANARY}})
    assert found.extra["x"] == SecretStr(CANARY)
    assert found.model_dump()["extra"] == {"x": MASK}


# ── keys that encrypt ────────────────────────────────────────────────────────────────────────────────────────────────

KEYS = {
    "2025": {"material": "b", "status": "decrypt", "algorithm": "FERNET", "created": "2025-01-01"},
    "2026": {"material": "a", "status": "primary"},
    "2024": {"material": "c", "status": "disabled"},
    "2023": {"material": "d"},
}


@pytest.mark.parametrize("keys", [KEYS, json.dumps(KEYS)])
def test_a_set_of_keys(keys: Any) -> None:
    found = EncryptionKeys.parse({"primary": "2026", "keys": keys})
    assert found.ids == ("2026", "2025", "2023")
    assert (found.primary.status, found.primary.algorithm) == (KeyStatus.PRIMARY, KeyAlgorithm.AES256GCM)
    assert found.by_id("2025").algorithm is KeyAlgorithm.FERNET
    assert found.by_id("2023").status is KeyStatus.DECRYPT
    for absent in ("2024", "2022"):
        with pytest.raises(SecretNotFoundError, match=f"no key '{absent}' in the set, or it is disabled"):
            found.by_id(absent)


def test_the_named_key_is_primary_whatever_its_status_says() -> None:
    assert EncryptionKeys.parse({"primary": "2025", "keys": KEYS}).primary.status is KeyStatus.PRIMARY


def test_one_key_is_a_set_of_one() -> None:
    found = EncryptionKeys.parse({"key": MATERIAL})
    assert (found.ids, found.primary.key_bytes()) == (("1",), SecretBytes(b"A" * 32))
    assert EncryptionKeys.parse({"key": MATERIAL, "algorithm": "FERNET"}).primary.algorithm is KeyAlgorithm.FERNET


def test_built_from_models() -> None:
    key = EncryptionKey(id="1", material=MATERIAL)
    assert EncryptionKeys(primary=key).ids == ("1",)
    assert EncryptionKeys.parse({"primary": {"id": "1", "material": MATERIAL}}).primary == key


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({}, "primary is missing"),
        ({"keys": KEYS}, "primary must name one of the keys that is not disabled"),
        ({"primary": "2024", "keys": KEYS}, "primary must name one of the keys that is not disabled"),
        ({"primary": 1, "keys": KEYS}, "primary must name one of the keys that is not disabled"),
        ({"primary": [1], "keys": KEYS}, "primary must name one of the keys that is not disabled"),
        ({"primary": "1", "keys": "["}, "keys must be an object"),
        ({"primary": "1", "keys": '{"a":' * 20000}, "keys must be an object"),
        ({"primary": "1", "keys": [1]}, "keys must be an object"),
        ({"primary": "1", "keys": {"1": "x"}}, "keys must be an object"),
        ({"primary": "1", "keys": {"1": {}}}, "primary.material is missing"),
        ({"primary": "1", "keys": {"1": {"material": "x"}, "2": {}}}, "decrypt_only.0.material is missing"),
        ({"key": "x", "algorithm": "DES"}, "primary.algorithm is not one of the values that are known"),
    ],
)
def test_sets_that_cannot_be_used(entry: dict[str, Any], problem: str) -> None:
    with pytest.raises(SecretValidationError) as caught:
        EncryptionKeys.parse(entry)
    assert problem in str(caught.value)


def test_material_is_base64_of_either_alphabet() -> None:
    raw = bytes(range(224, 256))
    for text in ("4OHi4+Tl5ufo6err7O3u7/Dx8vP09fb3+Pn6+/z9/v8=", "4OHi4-Tl5ufo6err7O3u7_Dx8vP09fb3-Pn6-_z9_v8="):
        assert EncryptionKey(id="1", material=text).key_bytes().reveal() == raw


@pytest.mark.parametrize("text", ["", CANARY, "QUFB", f"{MATERIAL}\n", MATERIAL.rstrip("="), "ä" * 44, MATERIAL * 2])
def test_material_that_is_no_key(text: str) -> None:
    with pytest.raises(SecretValidationError, match=r"keys\.7\.material must be 32 bytes in base64") as caught:
        EncryptionKey(id="7", material=text).key_bytes()
    assert CANARY not in printed(caught.value)
    assert caught.value.__context__ is None


def test_shapes_by_name() -> None:
    assert dict(SHAPES) == {
        "Database": DatabaseCredentials,
        "ProviderApiKey": ProviderApiKey,
        "AIProvider": AIProviderSecrets,
        "EncryptionKeys": EncryptionKeys,
    }


# ── entries ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_entry_is_a_mapping_of_secret_texts() -> None:
    entry = value({"user": "app", "port": 5432, "tls": {"b": None, "a": ["ä"]}, "on": True})
    assert isinstance(entry, Mapping)
    assert (len(entry), list(entry), "user" in entry, "other" in entry) == (
        4,
        ["user", "port", "tls", "on"],
        True,
        False,
    )
    assert {key: text.reveal() for key, text in entry.items()} == {
        "user": "app",
        "port": "5432",
        "tls": '{"a":["ä"],"b":null}',
        "on": "true",
    }
    assert entry.raw.reveal()["port"] == 5432
    assert entry.get("other") is None


def test_a_missing_key_names_path_and_key() -> None:
    with pytest.raises(SecretNotFoundError) as caught:
        value()["user"]
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, SecretKeyMissingError)
    assert str(caught.value) == "app/db: there is no key 'user'"
    assert caught.value.path == "app/db"
    assert CANARY not in printed(caught.value)


def test_entries_are_equal_by_path_content_and_metadata() -> None:
    told = SecretMetadata(version="1")
    assert value(metadata=told) == value(metadata=told, generation=7, fetched_at=0.0, is_stale=True)
    assert value(metadata=told) != value(metadata=SecretMetadata(version="2"))
    assert value({"a": "1"}) != value({"a": "2"})
    assert value() != SecretValue("other", Redacted({"password": CANARY}))
    assert value() != {"password": CANARY}


def test_age_is_counted_by_the_clock_that_is_given() -> None:
    now = [100.0]
    entry = value(fetched_at=100.0, clock=lambda: now[0])
    assert entry.age == 0.0
    now[0] = 107.5
    assert entry.age == 7.5
    now[0] = 50.0
    assert entry.age == 0.0
    assert 0 <= value().age < 60


def test_an_entry_shows_keys_and_freshness() -> None:
    entry = value({"b": CANARY, "a": CANARY}, metadata=SecretMetadata(version="3"), generation=2, is_stale=True)
    assert entry.version == "3"
    assert repr(entry) == "SecretValue('app/db', {a=***, b=***}, version='3', generation=2, stale)"
    assert repr(value({})) == "SecretValue('app/db', {}, version=None, generation=1)"


def test_entries_and_metadata_do_not_change() -> None:
    for thing, name in ((value(), "path"), (SecretMetadata(), "version"), (SecretChange("p", value()), "path")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, "x")
    with pytest.raises(TypeError):
        SecretMetadata().custom["x"] = "y"  # type: ignore[index]


def test_metadata_is_all_unknown_at_first() -> None:
    told = SecretMetadata()
    assert {
        v for k, v in dataclasses.asdict(dataclasses.replace(told, custom={})).items() if k not in ("custom", "source")
    } == {None}
    assert SecretMetadata(created_at=datetime(2026, 1, 1, tzinfo=UTC)) != told


def test_a_whole_is_as_healthy_as_its_worst_part() -> None:
    def report(*parts: Health) -> Health:
        return HealthReport(tuple(BackendHealth(part, part) for part in parts)).health

    assert report() is Health.OK
    assert report(Health.OK, Health.DEGRADED) is Health.DEGRADED
    assert report(Health.DOWN, Health.DEGRADED, Health.OK) is Health.DOWN


# ── values in places where nobody looks for them ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "entry",
    [
        {"url": "postgresql://app:p@h/db?sslmode=require&sslpassword=canary-77d1"},
        {"host": "h", "username": "app", "password": "p", "options": {"sslpassword": "canary-77d1"}},
        {"url": "postgresql://h/db?user=app&password=canary-77d1"},
    ],
    ids=["in the query", "among the options", "instead of the usual place"],
)
def test_a_password_among_the_options_is_one_as_well(entry: dict[str, Any]) -> None:
    credentials = DatabaseCredentials.parse(entry)
    for text in (repr(credentials), str(credentials), credentials.model_dump_json(), str(credentials.model_dump())):
        assert "canary" not in text
    assert "canary-77d1" in credentials.url().reveal()
    assert "canary-77d1" in credentials.psycopg_kwargs().values()
    assert credentials.username == "app"


@pytest.mark.parametrize("model", [ProviderApiKey, AIProviderSecrets])
def test_a_base_url_that_holds_a_login_is_refused_and_not_shown(
    model: type[ProviderApiKey] | type[AIProviderSecrets],
) -> None:
    with pytest.raises(SecretValidationError, match="base_url must not hold a user or a password") as caught:
        model.parse({"api_key": "k", "base_url": "https://user:canary-77d1@api.example/v1"})
    assert "canary" not in str(caught.value)
    assert model.parse({"api_key": "k", "base_url": "https://api.example/v1/a@b"}).base_url
