"""What secrets are, once read: the value with its metadata, and the typed shapes that applications ask for."""

import base64
import binascii
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError, core_schema

from elile.secrets.errors import SecretNotFoundError, SecretValidationError
from elile.secrets.redact import MASK, Redacted, SecretBytes, SecretStr

__all__ = [
    "AIProviderSecrets",
    "BackendHealth",
    "DatabaseCredentials",
    "EncryptionKey",
    "EncryptionKeys",
    "Health",
    "HealthReport",
    "KeyAlgorithm",
    "KeyStatus",
    "ProviderApiKey",
    "SecretChange",
    "SecretMetadata",
    "SecretValue",
    "TypedSecret",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretMetadata:
    """What is known about a value. None where the backend does not tell.

    `source` names the backend, or how a file was read ("mounted", "plain"). `custom` is the entry's own metadata.
    """

    version: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    rotated_at: datetime | None = None
    next_rotation: datetime | None = None
    previous_version: str | None = None
    custom: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    source: str = ""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SecretValue(Mapping[str, SecretStr]):
    """One entry: its keys with redacted texts, its metadata, and how fresh it is.

    `generation` counts the different contents that this manager has seen at the path, from 1. `is_stale` says that the
    backend did not answer and an older answer is given instead. A value that is not a text is given as JSON; `raw` has
    it as it is stored.
    """

    path: str
    raw: Redacted[Mapping[str, Any]]
    metadata: SecretMetadata = field(default_factory=SecretMetadata)
    generation: int = 1
    fetched_at: float = field(default_factory=time.monotonic)  # by `clock`
    is_stale: bool = False
    clock: Callable[[], float] = time.monotonic

    @property
    def age(self) -> float:
        """Seconds since the backend said this."""
        return max(0.0, self.clock() - self.fetched_at)

    @property
    def version(self) -> str | None:
        """The backend's name of this version."""
        return self.metadata.version

    def __getitem__(self, key: str) -> SecretStr:
        """Return one key. Raises SecretNotFoundError, a KeyError as well, that names path and key."""
        try:
            found = self.raw.reveal()[key]
        except KeyError:
            raise SecretKeyMissingError(f"there is no key {key!r}", path=self.path) from None
        return SecretStr(found if isinstance(found, str) else _json(found))

    def __iter__(self) -> Iterator[str]:
        return iter(self.raw.reveal())

    def __len__(self) -> int:
        return len(self.raw.reveal())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretValue):
            return NotImplemented
        return (self.path, self.raw, self.metadata) == (other.path, other.raw, other.metadata)

    __hash__ = None  # type: ignore[assignment] # a digest of a value would be as good as the value

    def __repr__(self) -> str:
        keys = ", ".join(f"{key}={MASK}" for key in sorted(self))
        stale = ", stale" if self.is_stale else ""
        return f"SecretValue({self.path!r}, {{{keys}}}, version={self.version!r}, generation={self.generation}{stale})"


class SecretKeyMissingError(SecretNotFoundError, KeyError):
    """The entry is there and the key is not."""

    def __str__(self) -> str:
        return f"{self.path}: {self.detail}" if self.path else self.detail


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


@dataclass(frozen=True, slots=True)
class SecretChange:
    """A path has another content than before; `previous` is None at the first one."""

    path: str
    current: SecretValue
    previous: SecretValue | None = None


class Health(StrEnum):
    """How a backend fares, seen from here."""

    OK = "ok"
    DEGRADED = "degraded"  # something stale is being served
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class BackendHealth:
    """One backend: `detail` is what it failed with, in words of ours."""

    name: str
    health: Health
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All backends of a manager; the whole is as its worst one, `revisions` are the generations in use by path."""

    backends: tuple[BackendHealth, ...]

    @property
    def health(self) -> Health:
        """The worst of all."""
        order = (Health.OK, Health.DEGRADED, Health.DOWN)
        return max((backend.health for backend in self.backends), key=order.index, default=Health.OK)


# ── typed shapes ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _without_values(value: Any, validate: Callable[[Any], Any]) -> Any:
    try:
        return validate(value)
    except ValidationError as e:
        title = e.title
        lines = [
            InitErrorDetails(
                type=PydanticCustomError(error["type"], what),
                loc=error["loc"],
                input=MASK,
            )
            for error, what in _explained(e)
        ]
    raise ValidationError.from_exception_data(title, lines)


class ValueFreeModel(BaseModel):
    """A model whose validation errors hold no input, however they are read: pydantic hides it from their text alone."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> Any:
        """Put the outermost validator around the model, so that it sees what every other one raises."""
        return core_schema.no_info_wrap_validator_function(_without_values, handler(source))


class TypedSecret(ValueFreeModel):
    """An entry whose keys are known. Other keys are left alone; secret ones are SecretStr, and stay it in dumps."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    shape: ClassVar[str]

    @classmethod
    def parse(cls, data: Mapping[str, Any], *, path: str = "") -> Self:
        """Read the shape from the keys of an entry. Raises SecretValidationError, which names fields and no values."""
        try:
            return cls.model_validate(dict(data))
        except ValidationError as e:
            problems = problems_of(e)
        raise SecretValidationError(problems, path=path)


_WHAT = {
    "missing": "is missing",
    "string_type": "must be text",
    "int_parsing": "must be an integer",
    "int_type": "must be an integer",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "literal_error": "is not one of the values that are known",
    "enum": "is not one of the values that are known",
    "bool_parsing": "must be true or false",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "mapping_type": "must be an object",
    "path_type": "must be the path of a file",
    "extra_forbidden": "is not known",
    "greater_than": "is too small",
    "greater_than_equal": "is too small",
    "less_than_equal": "is too large",
    "string_too_short": "is empty",
    "too_short": "is empty",
}


def _explained(error: ValidationError) -> Iterator[tuple[ErrorDetails, str]]:
    for found in error.errors(include_input=False, include_context=False, include_url=False):
        kind, message = found["type"], found["msg"].removeprefix("Value error, ")
        # `value_error` carries a message of ours; any other text of pydantic's could quote the input.
        yield found, _WHAT.get(kind) or (message if kind == "value_error" else "cannot be read")


def problems_of(error: ValidationError) -> dict[str, str]:
    """Say what is wrong by field, without values."""
    return {".".join(map(str, found["loc"])) or "the entry": what for found, what in _explained(error)}


class DatabaseCredentials(TypedSecret):
    """How to reach one database: host, port, username, password, database.

    Also read: `hostname`, `user`, `dbname`, `name`, and `url` or `uri` for all of them together.
    """

    shape: ClassVar[str] = "Database"

    host: str = Field(min_length=1, validation_alias=AliasChoices("host", "hostname"))
    port: int | None = Field(None, ge=1, le=65535)
    username: str = Field(min_length=1, validation_alias=AliasChoices("username", "user"))
    password: SecretStr
    database: str = Field("", validation_alias=AliasChoices("database", "dbname", "name"))
    driver: str = Field("postgresql", pattern=r"^[a-z][a-z0-9+]*$")
    # Of the URL's query, such as sslmode; redacted, since sslpassword is one as well.
    options: Mapping[str, SecretStr] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _take_url_apart(cls, data: Any) -> Any:
        if isinstance(data, dict) and "host" not in data and "hostname" not in data:
            for key in ("url", "uri", "connection_url"):
                if isinstance(found := data.get(key), str | SecretStr):
                    text = found.reveal() if isinstance(found, SecretStr) else found
                    return {**parse_database_url(text), **{k: v for k, v in data.items() if k != key}}
        return data

    def url(self, scheme: str | None = None) -> SecretStr:
        """Return the connection URL, percent-encoded; `scheme` such as `postgresql+asyncpg`, else the driver."""
        user, password, database = map(_quoted, (self.username, self.password.reveal(), self.database))
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        query = "&".join(f"{_quoted(k)}={_quoted(v.reveal())}" for k, v in self.options.items())
        url = f"{scheme or self.driver}://{user}:{password}@{host}{port}/{database}"
        return SecretStr(f"{url}?{query}" if query else url)

    def psycopg_kwargs(self) -> dict[str, Any]:
        """Return what `psycopg.connect` takes. The password is in clear: hand it on, and do not keep it."""
        found = {"host": self.host, "port": self.port, "user": self.username, "dbname": self.database or None}
        return {
            **{k: v for k, v in found.items() if v is not None},
            "password": self.password.reveal(),
            **{k: v.reveal() for k, v in self.options.items()},
        }

    def asyncpg_kwargs(self) -> dict[str, Any]:
        """Return what `asyncpg.connect` takes. The password is in clear: hand it on, and do not keep it."""
        found = {"host": self.host, "port": self.port, "user": self.username, "database": self.database or None}
        ssl = {"ssl": self.options["sslmode"].reveal()} if "sslmode" in self.options else {}
        return {**{k: v for k, v in found.items() if v is not None}, "password": self.password.reveal(), **ssl}


def _quoted(text: str) -> str:
    # JSON may hold half a surrogate pair; the error of a plain encode would carry the whole value.
    return quote(text, safe="", errors="surrogatepass")


def parse_database_url(text: str) -> dict[str, Any]:
    """Take a connection URL apart into the fields of DatabaseCredentials. Raises ValueError without the text."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # its text quotes parts of the URL, so it must not be the context of ours either
        parts = urlsplit("")
    if not parts.scheme or not parts.hostname:
        raise ValueError("is not a URL of a database")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    # libpq takes both from the query, too: https://www.postgresql.org/docs/current/libpq-connect.html
    user, password = options.pop("user", None), options.pop("password", None)
    found = {
        "driver": "postgresql" if parts.scheme == "postgres" else parts.scheme,
        "host": parts.hostname,
        "port": port,
        "username": unquote(parts.username) if parts.username else user,
        "password": unquote(parts.password) if parts.password is not None else password,
        "database": unquote(parts.path.removeprefix("/")),
        "options": options,
    }
    return {key: value for key, value in found.items() if value is not None}


def _without_login(url: str) -> str:
    if "@" in url.split("://", 1)[-1].split("/", 1)[0]:
        raise ValueError("must not hold a user or a password: it is shown in logs; store them as keys of their own")
    return url


BaseUrl = Annotated[str, AfterValidator(_without_login)]


class ProviderApiKey(TypedSecret):
    """An API key of any provider, with what else its calls need."""

    shape: ClassVar[str] = "ProviderApiKey"

    api_key: SecretStr = Field(validation_alias=AliasChoices("api_key", "apiKey", "key", "token"))
    api_secret: SecretStr | None = Field(None, validation_alias=AliasChoices("api_secret", "apiSecret", "secret"))
    base_url: BaseUrl | None = Field(None, validation_alias=AliasChoices("base_url", "baseUrl", "endpoint"))
    provider: str = ""


# Where each provider's API is when the entry does not say; the last path of each provider's own documentation.
BASE_URLS: Mapping[str, str] = MappingProxyType(
    {
        "anthropic": "https://api.anthropic.com",
        "openai": "https://api.openai.com/v1",
        "google": "https://generativelanguage.googleapis.com",
        "mistral": "https://api.mistral.ai/v1",
    }
)


class AIProviderSecrets(TypedSecret):
    """What a client of an AI provider needs. For Azure OpenAI `base_url` (the resource's endpoint) is required."""

    shape: ClassVar[str] = "AIProvider"

    provider: str = ""
    api_key: SecretStr = Field(validation_alias=AliasChoices("api_key", "apiKey", "key"))
    base_url: BaseUrl | None = Field(None, validation_alias=AliasChoices("base_url", "baseUrl", "endpoint", "api_base"))
    organization: str | None = Field(None, validation_alias=AliasChoices("organization", "org_id", "organization_id"))
    project: str | None = Field(None, validation_alias=AliasChoices("project", "project_id"))
    api_version: str | None = Field(None, validation_alias=AliasChoices("api_version", "apiVersion"))
    extra: Mapping[str, SecretStr] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _azure_has_an_endpoint(self) -> Self:
        if self.provider == "azure-openai" and not self.base_url:
            raise ValueError("needs base_url, the endpoint of the resource, for Azure OpenAI")
        return self

    @property
    def endpoint(self) -> str | None:
        """The base URL: as stored, else the provider's own; None for a provider that is not known here."""
        return self.base_url or BASE_URLS.get(self.provider)

    def headers(self) -> dict[str, str]:
        """Return the headers that authenticate a call. The key is in clear: hand it on, and do not keep it."""
        key = self.api_key.reveal()
        match self.provider:
            case "anthropic":
                return {"x-api-key": key, "anthropic-version": self.api_version or "2023-06-01"}
            case "azure-openai":
                return {"api-key": key}
            case "google":
                return {"x-goog-api-key": key}
            case _:
                extra = {"OpenAI-Organization": self.organization, "OpenAI-Project": self.project}
                return {"Authorization": f"Bearer {key}", **{k: v for k, v in extra.items() if v}}


class KeyAlgorithm(StrEnum):
    """What a key is for."""

    AES256GCM = "AES256GCM"
    FERNET = "FERNET"


class KeyStatus(StrEnum):
    """What may be done with a key."""

    PRIMARY = "primary"  # encrypts, and decrypts
    DECRYPT = "decrypt"
    DISABLED = "disabled"


class EncryptionKey(ValueFreeModel):
    """One key of a set. Its bytes are redacted; `material` in an entry is base64, as Fernet writes its keys."""

    model_config = ConfigDict(extra="ignore")

    id: str
    algorithm: KeyAlgorithm = KeyAlgorithm.AES256GCM
    status: KeyStatus = KeyStatus.DECRYPT
    material: SecretStr

    def key_bytes(self) -> SecretBytes:
        """Return the key itself, 32 bytes. Raises SecretValidationError when `material` is not that."""
        text = self.material.reveal()
        try:
            # Both alphabets of base64 are met in the wild; a key has the same bytes in either.
            found = base64.b64decode(text.replace("-", "+").replace("_", "/").encode("ascii"), validate=True)
        except (binascii.Error, ValueError):
            found = b""
        if len(found) != 32:
            raise SecretValidationError({f"keys.{self.id}.material": "must be 32 bytes in base64"})
        return SecretBytes(found)


class EncryptionKeys(TypedSecret):
    """A set of keys: `primary` encrypts, the others only decrypt.

    An entry is `{primary: <id>, keys: {<id>: {algorithm, status, created, material}}}`; one with only `key` is a set of
    one (see `rotation` for how a set changes).
    """

    shape: ClassVar[str] = "EncryptionKeys"

    primary: EncryptionKey
    decrypt_only: tuple[EncryptionKey, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _read_entry(cls, data: Any) -> Any:
        if not isinstance(data, dict) or isinstance(data.get("primary"), EncryptionKey | dict):
            return data
        keys = data.get("keys")
        if keys is None:
            if "key" not in data:
                return {}
            algorithm = data.get("algorithm", KeyAlgorithm.AES256GCM)
            return {"primary": {"id": "1", "algorithm": algorithm, "status": "primary", "material": data["key"]}}
        if isinstance(keys, str):  # a Secret and an environment variable hold texts only
            try:
                keys = json.loads(keys)
            except (ValueError, RecursionError):
                raise ValueError("keys must be an object") from None
        if not isinstance(keys, dict) or not all(isinstance(key, dict) for key in keys.values()):
            raise ValueError("keys must be an object")
        found = {name: {**key, "id": name} for name, key in keys.items()}
        usable = {n: k for n, k in found.items() if k.get("status") != KeyStatus.DISABLED}
        name = data.get("primary")
        if not isinstance(name, str) or name not in usable:
            raise ValueError("primary must name one of the keys that is not disabled")
        others = [key for other, key in usable.items() if other != name]
        return {"primary": {**usable[name], "status": "primary"}, "decrypt_only": others}

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all keys that decrypt, the primary first."""
        return (self.primary.id, *(key.id for key in self.decrypt_only))

    def by_id(self, key_id: str) -> EncryptionKey:
        """Return one key. Raises SecretNotFoundError."""
        for key in (self.primary, *self.decrypt_only):
            if key.id == key_id:
                return key
        raise SecretNotFoundError(f"there is no key {key_id!r} in the set, or it is disabled", backend="")


SHAPES: Mapping[str, type[TypedSecret]] = MappingProxyType(
    {model.shape: model for model in (DatabaseCredentials, ProviderApiKey, AIProviderSecrets, EncryptionKeys)}
)
Shape = Literal["Database", "ProviderApiKey", "AIProvider", "EncryptionKeys"]
