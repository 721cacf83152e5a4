"""Volumes as kubelet writes them: a folder whose files change all at once, in the same steps and the same order."""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

__all__ = ["VolumeWriter"]

DATA = "..data"
DATA_NEXT = "..data_tmp"
STAMP = "..%Y_%m_%d_%H_%M_%S."


class VolumeWriter:
    """Writes a folder the way kubelet's AtomicWriter does, so that readers meet in a test what they meet in a pod.

    `folder` is made when it is not there. Its layout: the files are in a folder such as `..2026_11_23_16_50_23.1`,
    `..data` leads to that folder, and each file has a link of its own, `password -> ..data/password`.

    Without a `clock` the folders' names are kubelet's: the time (UTC) and something random. With one, which returns the
    time to use, they are the same at every run: the number counts from 1, and goes on from the one that is there.

    Not safe for several threads, as kubelet's is not: one writer for each folder at a time.
    """

    def __init__(self, folder: Path | str, *, clock: Callable[[], datetime] | None = None) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        last = (self.current or "").rpartition(".")[2]
        self._numbers = itertools.count(int(last) + 1 if last.isdecimal() else 1)

    @property
    def current(self) -> str | None:
        """The name of the folder that `..data` leads to; None before the first write."""
        try:
            return str((self.folder / DATA).readlink())
        except FileNotFoundError:
            return None

    def write(self, files: Mapping[str, str | bytes], *, mode: int = 0o644) -> str:
        """Replace all files at once and return the name of the folder that now holds them.

        Names may have folders (`tls/ca.pem`). Texts are written as UTF-8; `mode` is that of each file, whatever the
        umask. When names and contents are what is there already, nothing is swapped and the old name is returned.
        Raises ValueError for a name that kubelet refuses (absolute, with `..`, or beginning with it), and OSError.
        """
        payload = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
        for name in payload:
            _validate(name)
        old = self.current
        held = dict(_held(self.folder / old)) if old else {}
        if old and held == payload:
            self._link(payload)
            return old
        new = self._fill(payload, mode)
        self._swap(new)
        # Only now: a link to a new file leads nowhere before the swap, one to an old file leads nowhere after it.
        self._link(payload)
        for stale in _first_parts(held) - _first_parts(payload):
            (self.folder / stale).unlink(missing_ok=True)
        if old:
            shutil.rmtree(self.folder / old)
        return new

    def _fill(self, payload: Mapping[str, bytes], mode: int) -> str:
        folder = self._make_folder()
        for name, content in payload.items():
            path = folder / name
            if path.parent != folder:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(mode)
        return folder.name

    def _make_folder(self) -> Path:
        now = self._clock() if self._clock else datetime.now(UTC)
        prefix = now.strftime(STAMP)
        if self._clock is None:
            made = Path(tempfile.mkdtemp(prefix=prefix, dir=self.folder))
        else:
            made = self.folder / f"{prefix}{next(self._numbers)}"
            made.mkdir()
        made.chmod(0o755)
        return made

    def _swap(self, new: str) -> None:
        following = self.folder / DATA_NEXT
        following.unlink(missing_ok=True)  # of a writer that was killed
        following.symlink_to(new)
        following.rename(self.folder / DATA)

    def _link(self, payload: Mapping[str, bytes]) -> None:
        for first in _first_parts(payload):
            link = self.folder / first
            if not link.is_symlink():
                link.symlink_to(f"{DATA}/{first}")


def _validate(name: str) -> None:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or name.startswith("..") or str(path) != name:
        raise ValueError(f"{name!r} cannot be the name of a file in a volume")


def _first_parts(names: Mapping[str, bytes]) -> set[str]:
    return {name.partition("/")[0] for name in names}


def _held(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()
