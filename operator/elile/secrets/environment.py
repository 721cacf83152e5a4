"""Secrets from environment variables, and from files that variables name: for development and tests."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretNotFoundError,
    SecretsConfigurationError,
    SecretsUnavailableError,
    SecretValidationError,
    SecretVersionNotFoundError,
)
from elile.secrets.memory import as_json
from elile.secrets.protocol import Capabilities, Reading
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.types import SecretMetadata

__all__ = ["MAX_FILE_BYTES", "EnvironmentBackend", "Variables"]

MAX_FILE_BYTES = 1024 * 1024


class Variables:
    """Variables, each of which may be given as `NAME_FILE` instead: the file that holds its value.

    An empty variable counts as not set. Files are read anew each time; one trailing newline is taken off.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __repr__(self) -> str:
        return "Variables(***)"

    def get(self, name: str, *, path: str = "") -> SecretStr | None:
        """Return a value, None when neither the variable nor `NAME_FILE` is set.

        Raises SecretsConfigurationError (both are set, or the file is no text or over 1 MiB), SecretAccessDeniedError
        (may not be read) or SecretsUnavailableError (not there, or empty: it may be about to be written).
        """
        plain, named = self._environ.get(name), self._environ.get(f"{name}_FILE")
        if plain and named:
            raise SecretsConfigurationError(
                f"{name} and {name}_FILE are both set: remove one of them", path=path, backend="environment"
            )
        if named:
            return _read_file(name, named, path)
        return SecretStr(plain) if plain else None

    def is_plain(self, name: str) -> bool:
        """Whether the variable itself holds the value, for everybody who sees the process's environment."""
        return bool(self._environ.get(name))


def _read_file(variable: str, file: str, path: str) -> SecretStr:
    what = f"the file {_shown(file)}that {variable}_FILE names"
    error: type[Exception] | None = None
    content = b""
    try:
        # Without O_NONBLOCK a pipe that nobody writes to would block for good.
        with open(file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as e:
        error = type(e)  # its text quotes the name, which is a secret where somebody mixed NAME and NAME_FILE up
    if error is PermissionError:
        raise SecretAccessDeniedError(
            f"{what} may not be read: give this process the right to", path=path, backend="environment"
        )
    if error in (IsADirectoryError, ValueError):
        raise SecretsConfigurationError(f"{what} is no file: name one", path=path, backend="environment")
    if error is not None:
        raise SecretsUnavailableError(
            f"{what} cannot be read: create it, or correct the variable", path=path, backend="environment"
        )
    if len(content) > MAX_FILE_BYTES:
        raise SecretsConfigurationError(
            f"{what} is larger than {MAX_FILE_BYTES} bytes: name another", path=path, backend="environment"
        )
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        text = None
    if text is None:
        raise SecretsConfigurationError(
            f"{what} is not UTF-8: encode it, in base64 say", path=path, backend="environment"
        )
    if not text:
        raise SecretsUnavailableError(f"{what} is empty: write the value into it", path=path, backend="environment")
    return SecretStr(text)


def _shown(file: str) -> str:
    # A secret that was put into NAME_FILE by mistake must not be printed as a file's name; one in a folder is a name.
    try:
        folder = Path(file).parent
        named = folder.is_absolute() and folder != Path(folder.anchor) and folder.is_dir()
    except (OSError, ValueError):
        named = False
    return f"{file!r} " if named else ""


@dataclass(frozen=True, slots=True)
class _Mapping:
    """Which variables make up an entry.

    `whole` variables hold all of it: a JSON object, or a text that is kept under the key given here (None: a text does
    not count). Without them, `parts` hold a key each, in order of preference; `needed` is the one that makes the entry
    exist. `fixed` keys are added where nothing else sets them.
    """

    whole: Mapping[str, str | None] = field(default_factory=dict)
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    needed: str = ""
    fixed: Mapping[str, str] = field(default_factory=dict)

    def names(self) -> Iterator[str]:
        yield from self.whole
        yield from self.parts.get(self.needed, ())


def _server(name: str, *, fixed: Mapping[str, str] = MappingProxyType({}), **more: tuple[str, ...]) -> _Mapping:
    parts = {
        "host": (f"{name}_HOST",),
        "port": (f"{name}_PORT",),
        "username": (f"{name}_USER", f"{name}_USERNAME"),
        "password": (f"{name}_PASSWORD",),
        "driver": (f"{name}_DRIVER",),
    }
    return _Mapping({f"{name}_URL": "url", name: None}, {**parts, **more}, "host", fixed)


def _ai(provider: str) -> _Mapping:
    name = _variable(provider)
    keys, parts = [f"{name}_API_KEY"], {"base_url": [f"{name}_BASE_URL"], "api_version": [f"{name}_API_VERSION"]}
    if provider == "google":
        keys.append("GEMINI_API_KEY")
    if provider == "azure-openai":
        parts["base_url"].insert(0, "AZURE_OPENAI_ENDPOINT")
        parts["api_version"].append("OPENAI_API_VERSION")
    if provider == "openai":
        parts["organization"] = ["OPENAI_ORG_ID", "OPENAI_ORGANIZATION"]
        parts["project"] = ["OPENAI_PROJECT_ID", "OPENAI_PROJECT"]
    found = {key: tuple(names) for key, names in parts.items()}
    return _Mapping(dict.fromkeys(keys, "api_key"), found, fixed={"provider": provider})


def _provider(provider: str) -> _Mapping:
    name = _variable(provider)
    parts = {"api_secret": (f"{name}_API_SECRET",), "base_url": (f"{name}_BASE_URL",)}
    return _Mapping({f"{name}_API_KEY": "api_key"}, parts, fixed={"provider": provider})


def _variable(text: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", text.upper())


_STANDARD: Mapping[str, _Mapping] = MappingProxyType(
    {
        "elile/database/postgres": _server("DATABASE", database=("DATABASE_NAME", "DATABASE_DATABASE", "DATABASE")),
        "elile/database/redis": _server(
            "REDIS", database=("REDIS_DB", "REDIS_DATABASE"), fixed=MappingProxyType({"driver": "redis"})
        ),
        "elile/encryption/primary": _Mapping({"ENCRYPTION_KEYS": None, "ENCRYPTION_KEY": "key"}),
    }
)


def _mapping_of(path: str) -> _Mapping:
    if found := _STANDARD.get(path):
        return found
    match path.split("/"):
        case ["elile", "ai", provider] if provider:
            return _ai(provider)
        case ["elile", "providers", provider] if provider:
            return _provider(provider)
        case _:
            return _Mapping({_variable(path): "value"})


def _object(text: SecretStr) -> dict[str, Any] | None:
    if not text.reveal().lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text.reveal())
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


class EnvironmentBackend:
    """Maps paths to environment variables; `prefix` is put before each of their names.

    - `elile/database/postgres`: DATABASE_URL, else DATABASE_HOST with DATABASE_PORT, _USER or _USERNAME, _PASSWORD,
      _NAME and _DRIVER; `elile/database/redis`: the same with REDIS, and REDIS_DB
    - `elile/ai/<provider>`: <PROVIDER>_API_KEY with _BASE_URL and _API_VERSION; also GEMINI_API_KEY for google,
      AZURE_OPENAI_ENDPOINT for azure-openai, OPENAI_ORG_ID or OPENAI_ORGANIZATION, and OPENAI_PROJECT_ID, for openai
    - `elile/providers/<name>`: <NAME>_API_KEY with _API_SECRET and _BASE_URL
    - `elile/encryption/primary`: ENCRYPTION_KEYS, a set of keys in JSON, else ENCRYPTION_KEY
    - any other path `a/b-c`: A_B_C, a JSON object, or a text that is given as the key `value`; paths that differ in
      punctuation alone read the same variable

    DATABASE, REDIS, <NAME>_API_KEY and the like may hold a JSON object with all keys instead. Every variable may be
    given as NAME_FILE, see `Variables`. `write` changes what this object answers, and never the environment.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, *, prefix: str = "") -> None:
        self.name = "environment"
        self.capabilities = Capabilities(write=True)
        self.prefix = prefix
        self._variables = Variables(environ)
        self._lock = Lock()
        self._written: dict[str, Redacted[str]] = {}

    def __repr__(self) -> str:
        return f"EnvironmentBackend(prefix={self.prefix!r})"

    def read(self, path: str, *, version: str | None = None) -> Reading:
        """Return what was written to this object, else what the variables say now.

        Raises SecretNotFoundError, which names the variables that were looked for, SecretVersionNotFoundError for any
        `version` but None, SecretValidationError for a variable that must be a JSON object and is not, and what
        `Variables.get` raises.
        """
        with self._lock:
            written = self._written.get(path)
        found = self._read(path) if written is None else json.loads(written.reveal())
        if version is not None:
            raise SecretVersionNotFoundError("the environment keeps no versions", path=path, backend=self.name)
        return Reading(Redacted(found), SecretMetadata(source=self.name))

    def version(self, path: str) -> str:
        """Raise SecretsConfigurationError: a variable has no version, and a digest would tell about its value."""
        raise SecretsConfigurationError("the environment tells no versions", path=path, backend=self.name)

    def write(self, path: str, data: Mapping[str, Any], *, expect: str | None = None) -> Reading:
        """Answer this from now on, in this process only.

        Raises SecretsConfigurationError when `expect` is given, since there is no version to compare, and
        SecretValidationError when the data is not JSON or over 1 MiB.
        """
        if expect is not None:
            raise SecretsConfigurationError("the environment has no versions to expect", path=path, backend=self.name)
        text = as_json(data, path=path, backend=self.name)
        with self._lock:
            self._written[path] = text
        return self.read(path)

    def check(self) -> None:
        """Do nothing: the environment is always there."""

    def after_fork(self) -> None:
        """In the child: another thread may have held the lock."""
        self._lock = Lock()

    def close(self) -> None:
        """Forget what was written."""
        with self._lock:
            self._written.clear()

    def _read(self, path: str) -> dict[str, Any]:
        mapping = _mapping_of(path)
        for name, key in mapping.whole.items():
            if (text := self._get(name, path)) is None:
                continue
            entry = _object(text)
            if entry is None and key is not None:
                entry = {key: text.reveal()}
            elif entry is None and not any(name in names for names in mapping.parts.values()):
                raise SecretValidationError({self.prefix + name: "must be a JSON object"}, path=path, backend=self.name)
            if entry is not None:
                # The parts of a server contradict its URL where both are set; those of an API key complete it.
                parts = {} if mapping.needed else self._parts(path, mapping)
                return {**({} if "url" in entry else mapping.fixed), **parts, **entry}  # a URL names its driver
        if mapping.needed and mapping.needed in (parts := self._parts(path, mapping)):
            return {**mapping.fixed, **parts}
        names = [self.prefix + name for name in mapping.names()]
        raise SecretNotFoundError(
            f"none of these variables is set: {', '.join(names)} (nor {names[0]}_FILE, and so on)",
            path=path,
            backend=self.name,
        )

    def _parts(self, path: str, mapping: _Mapping) -> dict[str, str]:
        found = {
            key: next((text.reveal() for name in names if (text := self._get(name, path)) is not None), None)
            for key, names in mapping.parts.items()
        }
        return {key: text for key, text in found.items() if text is not None}

    def _get(self, name: str, path: str) -> SecretStr | None:
        return self._variables.get(self.prefix + name, path=path)
