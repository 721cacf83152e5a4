"""What the forwarder is told on its command line, checked before anything runs."""

import os
import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from elile_operator.hints.logfile import LogFile, NoRegularFileError

__all__ = ["ConfigurationError", "Options", "Target", "check_file", "target_of"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_PORTS = {"https": 443, "http": 80}


class ConfigurationError(Exception):
    """An option that cannot work: one line that names it, what it was given, and the remedy."""

    def __init__(self, option: str, text: str) -> None:
        super().__init__(f"{option}: {text}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """As on the command line. `metrics_port` None serves no metrics; 0 takes a free port."""

    file: Path
    to: str
    server: str
    token_file: Path
    ca_file: Path | None = None
    state_file: Path | None = None
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where hints go: every address of `host` at `port`, and there `path`. Without TLS it is a loopback address."""

    host: str
    port: int
    path: str
    tls: bool
    server: str


def target_of(to: str, server: str) -> Target:
    """Read `--to` and `--server`. Raises ConfigurationError."""
    if not _NAME.fullmatch(server):
        raise ConfigurationError("--server", f"{server!r} is no name of a VaultServer; see kubectl get vaultservers")
    try:
        parts = urlsplit(to)
        port = parts.port
    except ValueError:
        raise ConfigurationError("--to", f"{_shown(to)!r} is no URL; give one like https://host:8443") from None
    problem = _problem(parts)
    if problem:
        raise ConfigurationError("--to", f"{_shown(to)!r} {problem}")
    return Target(
        host=parts.hostname or "",
        port=port or _PORTS[parts.scheme],
        path=f"{parts.path.rstrip('/')}/v1/hints/{server}",
        tls=parts.scheme == "https",
        server=server,
    )


def _problem(parts: SplitResult) -> str | None:
    if parts.scheme not in _PORTS or not parts.hostname:
        return "is no URL; give one like https://host:8443"
    if parts.username is not None or parts.password is not None:
        return "holds a user; give the token in --token-file"
    if parts.query or parts.fragment:
        return "has a query or a fragment; leave them out"
    if not all("!" <= character <= "~" for character in parts.geturl()):
        return "has characters that no URL has; write them as %XX"
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        return "would send the token in the clear; use https (http is for addresses of loopback only)"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False  # a name may mean anything


def _shown(url: str) -> str:
    """Without what may be a password."""
    return re.sub(r"//.*@", "//***@", url, flags=re.DOTALL)


def check_file(path: Path) -> None:
    """Refuse an audit file that can never be read; one that is not there may come. Raises ConfigurationError."""
    try:
        LogFile(path, chunk=0).close()
    except FileNotFoundError:
        pass
    except NoRegularFileError:
        kind = "a directory" if path.is_dir() else "no regular file"
        raise ConfigurationError("--file", f"{path} is {kind}; name the file of Vault's audit device") from None
    except PermissionError:
        raise ConfigurationError(
            "--file",
            f"{path} cannot be read by user {os.geteuid()}; run as Vault's user, or set the audit option mode=0640 and "
            "share a group",
        ) from None
    except OSError as e:
        raise ConfigurationError("--file", f"{path} cannot be read ({e.strerror}); name another file") from None
