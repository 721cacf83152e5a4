"""Secrets that kubelet, or a CSI driver, mounts as files: one look at a link tells whether anything changed."""

import errno
import json
import logging
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretManagedElsewhereError,
    SecretNotFoundError,
    SecretsConfigurationError,
    SecretsError,
    SecretsMalformedResponseError,
    SecretsUnavailableError,
    SecretVersionNotFoundError,
)
from elile.secrets.protocol import Capabilities, Reading
from elile.secrets.redact import Redacted
from elile.secrets.types import SecretMetadata

__all__ = ["METADATA_FILE", "MountedBackend", "MountedConfig"]

log = logging.getLogger(__name__)

METADATA_FILE = ".elile.json"
METADATA_SCHEMA = 1
NAME = "mounted"
# What kubelet's AtomicWriter keeps for itself in a volume begins with this.
RESERVED = ".."
DATA = "..data"
TRIES = 20
DEPTH = 16  # of folders inside; each level is an open file while it is read
PAUSE = 0.0005  # seconds, times the number of tries so far: 0.1 s in all

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A FIFO in the place of a file would block the open for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedConfig:
    """Where the folders are.

    The secret `shop/db` is the folder `root/shop/db`, or the one that `paths` names for it; a relative one is below
    `root`. A folder, or a folder above it, may be a symbolic link; what is inside is never followed out of it.
    `max_file_bytes` bounds each file, 1 MiB unless told (the most that a Secret can hold). `plain_ok` allows what does
    not follow rotation: files that are bound one by one (subPath, Docker); it is True unless told.
    Raises SecretsConfigurationError that names all problems at once.
    """

    root: Path
    paths: Mapping[str, Path | str] = field(default_factory=lambda: MappingProxyType({}))
    max_file_bytes: int = 1 << 20
    plain_ok: bool = True

    def __post_init__(self) -> None:
        problems = [f"paths: {path!r} is not a path of a secret" for path in self.paths if not _is_path(path)]
        if self.max_file_bytes < 1:
            problems.append("max_file_bytes: must be at least 1")
        if problems:
            raise SecretsConfigurationError("; ".join(problems), backend=NAME)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The last snapshot of a path: as long as the link has the same target, it is what the volume holds."""

    link: str
    target: str
    revision: str | None
    reading: Reading


class MountedBackend:
    """Reads folders of mounted files; safe to share between threads, holds no lock and no open file.

    Nothing is ever stale: each read looks where `..data` leads, which costs a few microseconds, and takes a new
    snapshot when that is somewhere else. A snapshot is of one moment: all files come from the same folder of kubelet's,
    and it is thrown away when kubelet swapped meanwhile.

    Keys are the names of the files (`sub/name` below a folder), without `.elile.json` and what begins with `..`. Values
    are texts, byte for byte: what is not UTF-8 is kept by `surrogateescape`, so that
    `value.reveal().encode("utf-8", "surrogateescape")` are the bytes of the file, whatever they were.

    The version is the revision that `.elile.json` tells, else the name of kubelet's folder. If the content changes
    while the revision does not (somebody edited the Secret by hand), it is the revision with that name behind it, since
    a change that has no version of its own would not be noticed.
    """

    def __init__(self, config: MountedConfig) -> None:
        self.name = NAME
        self.capabilities = Capabilities(version_check=True, notices=True)
        self._config = config
        self._seen: dict[str, _Seen] = {}
        self._warned: dict[tuple[str, str], object] = {}

    def read(self, path: str, *, version: str | None = None) -> Reading:
        """Return all keys of a folder; an unchanged one answers the same Reading again.

        Raises SecretNotFoundError for a folder that is not there, SecretVersionNotFoundError for any version but the
        current one, SecretAccessDeniedError for files that may not be read or are symbolic links,
        SecretsMalformedResponseError for a file that is too large, SecretsConfigurationError for a plain folder where
        `plain_ok` is off, SecretsUnavailableError when 20 snapshots in a row met a swap.
        """
        reading = self._current(path)
        if version is not None and version != reading.metadata.version:
            raise SecretVersionNotFoundError("only the current version is mounted", path=path, backend=NAME)
        return reading

    def version(self, path: str) -> str:
        """Return the current version; of an unchanged folder at the price of one readlink. Raises what `read` does.

        Of plain files it is `plain-` and the last change of any of them, in nanoseconds since 1970.
        """
        return self._current(path).metadata.version or ""

    def write(self, path: str, data: Mapping[str, Any], *, expect: str | None = None) -> Reading:  # noqa: ARG002
        """Raise SecretManagedElsewhereError: whoever writes the Secret writes these files."""
        raise SecretManagedElsewhereError("mounted files are changed where they come from", path=path, backend=NAME)

    def check(self) -> None:
        """Raise what `read` would for the root folder; without one, all paths must be given by `paths`."""
        try:
            with _converted(""):
                os.close(os.open(self._config.root, _FOLDER))
        except SecretNotFoundError:
            if not self._config.paths:
                raise SecretNotFoundError(f"there is no folder {self._config.root}", backend=NAME) from None

    def after_fork(self) -> None:
        """Do nothing: no file is kept open, and there is no lock."""

    def close(self) -> None:
        """Forget what was read."""
        self._seen.clear()

    def _current(self, path: str) -> Reading:
        seen = self._seen.get(path)
        if seen is not None:
            try:
                if os.readlink(seen.link) == seen.target:  # noqa: PTH115 # a Path would cost more than the look
                    return seen.reading
            except OSError:
                pass  # the long way finds out why
        try:
            return self._snapshot(path)
        except (SecretNotFoundError, SecretAccessDeniedError):
            self._seen.pop(path, None)
            raise

    def _snapshot(self, path: str) -> Reading:
        if not _is_path(path):
            raise SecretNotFoundError("is not a path of a secret", path=path, backend=NAME)
        place = os.fspath(self._config.root / self._config.paths.get(path, path))
        for number in range(TRIES):
            time.sleep(PAUSE * number)
            with _converted(path):
                found = self._try(path, place)
            if found is not None:
                return found
        raise SecretsUnavailableError(f"was replaced during {TRIES} reads in a row", path=path, backend=NAME)

    def _try(self, path: str, place: str) -> Reading | None:
        """Return a snapshot, or None when something changed meanwhile."""
        try:
            folder = os.open(place, _FOLDER)
        except NotADirectoryError:
            return self._plain(path, *os.path.split(place))
        try:
            target = _target(folder)
            if target is None:
                return self._plain(path, place)
            found = self._of_volume(path, folder, target)
        finally:
            os.close(folder)
        return None if found is None else self._remember(path, f"{place}/{DATA}", target, found)

    def _of_volume(self, path: str, folder: int, target: str) -> dict[str, str] | None:
        # The folder that the link names now, and not the link: it may lead elsewhere by the time it is opened.
        if "/" in target or target in ("", ".", ".."):
            raise SecretAccessDeniedError(f"{DATA} leads out of the folder", path=path, backend=NAME)
        try:
            data = os.open(target, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
        except NotADirectoryError:
            raise SecretAccessDeniedError(f"{DATA} leads to what is no folder", path=path, backend=NAME) from None
        except FileNotFoundError:
            return None
        try:
            files = dict(self._files(path, data, deep=True))
            # Kubelet removes the old folder only after the swap: while the link leads here, nothing was missing. The
            # number of this folder is not given to another one as long as it is open.
            same = os.path.samestat(os.stat(DATA, dir_fd=folder), os.fstat(data))
        except FileNotFoundError:
            return None
        finally:
            os.close(data)
        return files if same else None

    def _remember(self, path: str, link: str, target: str, files: dict[str, str]) -> Reading:
        revision, told = self._told(path, files.pop(METADATA_FILE, None))
        data: Redacted[Mapping[str, Any]] = Redacted(MappingProxyType(files))
        version = target if revision is None else revision
        before = self._seen.get(path)
        if before is not None and before.target == target:  # another thread was faster
            return before.reading
        if before is not None and revision is not None and before.revision == revision:
            same = before.reading.data == data
            version = (before.reading.metadata.version or version) if same else f"{revision}@{target}"
        reading = Reading(data, SecretMetadata(version=version, source=NAME, custom=told))
        self._seen[path] = _Seen(link, target, revision, reading)
        return reading

    def _told(self, path: str, text: str | None) -> tuple[str | None, Mapping[str, str]]:
        """Return the revision of the delivery, and what `custom` tells: it, and the `name` of the ElileSecret."""
        if text is None:
            return None, {}
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            body = None
        if isinstance(body, dict) and body.get("schema") == METADATA_SCHEMA:
            revision, name = body.get("revision"), body.get("name")
            if isinstance(revision, int) and not isinstance(revision, bool):
                told = {"revision": str(revision), **({"name": name} if isinstance(name, str) else {})}
                return str(revision), MappingProxyType(told)
        self._warn_once(path, f"{METADATA_FILE} cannot be understood and is ignored")
        return None, {}

    def _plain(self, path: str, folder: str, only: str | None = None) -> Reading | None:
        """Read the files themselves: all of a folder, or only one."""
        if not self._config.plain_ok:
            detail = f"there is no {DATA}: these files would not follow rotation, and plain_ok is off"
            raise SecretsConfigurationError(detail, path=path, backend=NAME)
        opened = os.open(folder, _FOLDER)
        try:
            before = _last_change(opened, only)
            if only is None:
                files = dict(self._files(path, opened, deep=False))
            else:
                content = self._file(path, opened, only, only)
                files = {} if content is None else {only: content}
            if before != _last_change(opened, only):  # written in place, perhaps half
                return None
        finally:
            os.close(opened)
        revision, told = self._told(path, files.pop(METADATA_FILE, None))
        if not files:
            raise SecretNotFoundError("there are no files in the folder", path=path, backend=NAME)
        self._warn_once(path, f"will not follow rotation: there is no {DATA} (subPath, or bound by Docker)")
        metadata = SecretMetadata(version=revision or f"plain-{before}", source="plain", custom=told)
        return Reading(Redacted(MappingProxyType(files)), metadata)

    def _files(self, path: str, folder: int, *, deep: bool, prefix: str = "") -> Iterator[tuple[str, str]]:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if prefix or not entry.name.startswith(RESERVED)]
        for entry in sorted(entries, key=lambda entry: entry.name):
            shown = prefix + entry.name
            if entry.is_symlink():
                raise _not_followed(path, shown)
            if entry.is_dir(follow_symlinks=False):
                if deep:
                    if shown.count("/") >= DEPTH:
                        detail = f"folders are nested more than {DEPTH} deep"
                        raise SecretsMalformedResponseError(detail, path=path, backend=NAME)
                    below = os.open(entry.name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
                    try:
                        yield from self._files(path, below, deep=True, prefix=f"{shown}/")
                    finally:
                        os.close(below)
            elif (
                entry.is_file(follow_symlinks=False)
                and (text := self._file(path, folder, entry.name, shown)) is not None
            ):
                yield shown, text

    def _file(self, path: str, folder: int, name: str, shown: str) -> str | None:
        """Return a file's text; None when it is no regular file."""
        try:
            opened = os.open(name, _FILE, dir_fd=folder)
        except OSError as e:
            if e.errno == errno.ELOOP:
                raise _not_followed(path, shown) from None
            raise
        most = self._config.max_file_bytes
        try:
            about = os.fstat(opened)
            if not stat.S_ISREG(about.st_mode):
                return None
            content = b""
            if about.st_size <= most:
                while len(content) <= most and (chunk := os.read(opened, about.st_size + 4096)):
                    content += chunk
            if max(about.st_size, len(content)) > most:
                raise SecretsMalformedResponseError(f"{shown} is larger than {most} bytes", path=path, backend=NAME)
        finally:
            os.close(opened)
        return content.decode("utf-8", "surrogateescape")

    def _warn_once(self, path: str, what: str) -> None:
        mine = object()
        if self._warned.setdefault((path, what), mine) is mine:
            log.warning("%s: %s", path, what)


def _is_path(path: str) -> bool:
    parts = path.split("/")
    # What begins with two dots is the way out, or kubelet's own.
    return "\0" not in path and all(part and part != "." and not part.startswith(RESERVED) for part in parts)


def _target(folder: int) -> str | None:
    try:
        return os.readlink(DATA, dir_fd=folder)
    except OSError as e:
        if e.errno in (errno.ENOENT, errno.EINVAL):  # not there, or no link
            return None
        raise


def _last_change(folder: int, only: str | None) -> int:
    """Return when a file, or the folder itself, was last changed, in ns; unlike mtime, nobody can set it back."""
    if only is not None:
        return os.stat(only, dir_fd=folder, follow_symlinks=False).st_ctime_ns
    with os.scandir(folder) as found:
        times = [entry.stat(follow_symlinks=False).st_ctime_ns for entry in found]
    return max([os.fstat(folder).st_ctime_ns, *times])


def _not_followed(path: str, name: str) -> SecretAccessDeniedError:
    return SecretAccessDeniedError(f"{name} is a symbolic link, which is not followed", path=path, backend=NAME)


@contextmanager
def _converted(path: str) -> Iterator[None]:
    """Turn what the system says into errors of ours."""
    try:
        yield
    except OSError as e:
        raise _error(e.errno or 0, path) from None


def _error(number: int, path: str) -> SecretsError:
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        return SecretNotFoundError("nothing is mounted there", path=path, backend=NAME)
    if number in (errno.EACCES, errno.EPERM, errno.ELOOP):
        return SecretAccessDeniedError("may not be read by this process", path=path, backend=NAME)
    what = errno.errorcode.get(number, "an error")
    return SecretsUnavailableError(f"could not be read: {what}", path=path, backend=NAME)
