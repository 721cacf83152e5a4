"""The token and the certificate authorities, from files that others replace while the forwarder runs."""

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from elile.secrets.redact import SecretStr
from elile.secrets.tls import client_context
from elile_operator.hints.options import ConfigurationError

__all__ = ["WatchedFile", "authorities_of", "token_of"]

log = logging.getLogger(__name__)

T = TypeVar("T")
MAX_FILE = 1024 * 1024  # bytes; bundles of all public authorities are a fifth of it


class WatchedFile(Generic[T]):
    """What a file says, read again when it was replaced or written; what cannot be used leaves what was.

    `parse` raises ValueError for content that cannot be used, with a text that holds nothing of it.
    """

    def __init__(self, option: str, path: Path, parse: Callable[[bytes], T]) -> None:
        """Raises ConfigurationError when the file cannot be used."""
        self._option = option
        self._path = path
        self._parse = parse
        self._stamp: tuple[int, ...] | None = None
        self._content = b""
        self._said = ""
        self._value = self._load()

    def get(self) -> T:
        """Return what the file says now, or said when it last said something."""
        try:
            found = self._path.stat()
        except OSError:
            return self._value
        if (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) != self._stamp:
            self.refresh()
        return self._value

    def refresh(self) -> bool:
        """Read it, whether or not it seems changed; return whether it says something else."""
        before = self._content
        try:
            self._value = self._load()
        except ConfigurationError as e:
            if str(e) != self._said:
                log.warning("%s; what it said before is used", str(e))
                self._said = str(e)
            return False
        self._said = ""
        return self._content != before

    def _load(self) -> T:
        try:
            found = self._path.stat()  # before the content: what is written after it is seen the next time
            self._stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            with self._path.open("rb") as file:
                content = file.read(MAX_FILE)
        except OSError as e:
            raise ConfigurationError(
                self._option,
                f"{self._path} cannot be read ({e.strerror}); name a file that the forwarder's user may read",
            ) from None
        try:
            value = self._parse(content)
        except ValueError as e:
            raise ConfigurationError(self._option, f"{self._path} {e}") from None
        self._content = content
        return value


def token_of(content: bytes) -> SecretStr:
    """Read a token. Raises ValueError."""
    token = content.strip()
    # The header of a request takes no others, and the error that says so would quote the token.
    if not token or not all(0x21 <= byte <= 0x7E for byte in token):
        raise ValueError("holds no token; write the token of the VaultServer there, in one line")
    return SecretStr(token.decode("ascii"))


def authorities_of(content: bytes) -> ssl.SSLContext:
    """Read a bundle of certificates. Raises ValueError."""
    try:
        return client_context(content.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        raise ValueError("holds no certificates; write the CA of the operator's certificate there, as PEM") from None
