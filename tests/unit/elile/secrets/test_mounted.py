"""Mounted files: whole sets only, every change noticed, nothing followed out of the folder."""

import asyncio
import errno
import json
import os
import shutil
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

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
from elile.secrets.mounted import METADATA_FILE, MountedBackend, MountedConfig
from elile.secrets.protocol import Backend, Reading
from elile.secrets.redact import SecretStr
from elile.secrets.testing.conformance import BackendConformance
from elile.secrets.testing.volumes import VolumeWriter
from elile.secrets.types import SecretValue

CANARY = "canary-7f31"


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder in memory, as kubelet's Secret volumes are."""
    memory = Path("/dev/shm")  # noqa: S108 # the very place
    made = tempfile.mkdtemp(prefix="elile-", dir=memory if memory.is_dir() else None)
    yield Path(made)
    shutil.rmtree(made)


@pytest.fixture
def backend(root: Path) -> MountedBackend:
    return MountedBackend(MountedConfig(root=root))


@pytest.fixture
def volume(root: Path) -> VolumeWriter:
    """The folder of the secret `shop/db`."""
    return VolumeWriter(root / "shop" / "db")


def keys(reading: Reading) -> dict[str, Any]:
    return dict(reading.data.reveal())


def told(revision: object, schema: object = 1) -> str:
    sources = [{"name": "main", "path": "secret/shop/db", "version": 3}]
    return json.dumps({"schema": schema, "name": "db", "revision": revision, "sources": sources})


class TestConformance(BackendConformance):
    @pytest.fixture
    def backend(self, root: Path) -> Backend:
        self.root = root
        return MountedBackend(MountedConfig(root=root))

    def seed(self, backend: Backend, path: str, data: Mapping[str, Any]) -> None:
        VolumeWriter(self.root / path).write(data)


# ── a volume that follows ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_volume_is_read_whole(backend: MountedBackend, volume: VolumeWriter) -> None:
    name = volume.write({"user": "shop", "password": "p\n", "empty": ""})
    reading = backend.read("shop/db")
    assert keys(reading) == {"user": "shop", "password": "p\n", "empty": ""}
    assert (reading.metadata.version, reading.metadata.source) == (name, "mounted")
    assert backend.version("shop/db") == name
    assert backend.read("shop/db", version=name) is reading


def test_an_unchanged_volume_answers_the_same_reading(
    backend: MountedBackend, volume: VolumeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume.write({"a": "1"})
    first = backend.read("shop/db")
    monkeypatch.setattr("os.open", lambda *_a, **_k: pytest.fail("a file was opened"))
    assert backend.read("shop/db") is first
    assert backend.version("shop/db") == first.metadata.version


def test_a_change_is_seen_by_the_next_read(backend: MountedBackend, volume: VolumeWriter) -> None:
    for i in range(20):
        name = volume.write({"n": str(i), f"only-{i % 2}": "x"})
        if i % 3:
            assert backend.version("shop/db") == name
        assert keys(backend.read("shop/db")) == {"n": str(i), f"only-{i % 2}": "x"}


def test_an_empty_secret_is_one(backend: MountedBackend, volume: VolumeWriter) -> None:
    volume.write({})
    assert keys(backend.read("shop/db")) == {}


def test_names_with_folders_are_keys(backend: MountedBackend, volume: VolumeWriter) -> None:
    volume.write({"tls/ca.pem": "ca", "tls/..odd": "odd", "a": "1"})
    assert keys(backend.read("shop/db")) == {"a": "1", "tls/..odd": "odd", "tls/ca.pem": "ca"}


def test_folders_are_not_followed_for_ever(backend: MountedBackend, volume: VolumeWriter) -> None:
    volume.write({"d/" * 16 + "a": "1"})
    assert keys(backend.read("shop/db")) == {"d/" * 16 + "a": "1"}
    volume.write({"d/" * 17 + "a": "1"})
    with pytest.raises(SecretsMalformedResponseError, match="nested more than 16 deep"):
        backend.read("shop/db")


def test_bytes_that_are_no_text_are_kept(backend: MountedBackend, volume: VolumeWriter) -> None:
    every = bytes(range(256))
    volume.write({"key": every, "text": "schlüssel"})
    reading = backend.read("shop/db")
    value = SecretValue("shop/db", reading.data, reading.metadata)
    assert value["key"].reveal().encode("utf-8", "surrogateescape") == every
    assert value["text"] == SecretStr("schlüssel")
    assert value["key"] == value["key"]


def test_only_the_current_version_is_there(backend: MountedBackend, volume: VolumeWriter) -> None:
    old = volume.write({"a": "1"})
    volume.write({"a": "2"})
    with pytest.raises(SecretVersionNotFoundError) as caught:
        backend.read("shop/db", version=old)
    assert caught.value.backend == "mounted"


def test_closing_forgets(backend: MountedBackend, volume: VolumeWriter) -> None:
    volume.write({"a": "1"})
    first = backend.read("shop/db")
    backend.close()
    assert backend.read("shop/db") is not first


# ── the operator's metadata ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_revision_is_the_version(backend: MountedBackend, volume: VolumeWriter) -> None:
    volume.write({"a": "1", METADATA_FILE: told(7)})
    assert keys(backend.read("shop/db")) == {"a": "1"}
    assert backend.version("shop/db") == "7"
    volume.write({"a": "1", METADATA_FILE: told(7) + "\n"})
    assert backend.version("shop/db") == "7", "the same content: no change to tell of"
    volume.write({"a": "2", METADATA_FILE: told(8)})
    assert backend.read("shop/db").metadata.version == "8"


def test_another_content_is_another_version_whatever_the_revision(
    backend: MountedBackend, volume: VolumeWriter
) -> None:
    volume.write({"a": "1", METADATA_FILE: told(7)})
    backend.read("shop/db")
    name = volume.write({"a": "by hand", METADATA_FILE: told(7)})
    assert backend.version("shop/db") == f"7@{name}"
    volume.write({"a": "by hand", METADATA_FILE: told(7) + "\n"})
    assert backend.version("shop/db") == f"7@{name}"
    volume.write({"a": "2", METADATA_FILE: told(8)})
    assert backend.version("shop/db") == "8"


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[]", "{}", b"\xff", "[" * 100_000, told(7, schema=2), told("7"), told(True), told(None)],
    ids=["empty", "no-json", "list", "bare", "bytes", "deep", "schema", "text", "boolean", "null"],
)
def test_metadata_that_cannot_be_understood_is_ignored(
    backend: MountedBackend, volume: VolumeWriter, text: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(3):
        name = volume.write({"a": f"{CANARY}{i}", METADATA_FILE: text})
        assert keys(backend.read("shop/db")) == {"a": f"{CANARY}{i}"}
        assert backend.version("shop/db") == name
    assert [(r.name, r.levelname, r.message) for r in caplog.records] == [
        ("elile.secrets.mounted", "WARNING", "shop/db: .elile.json cannot be understood and is ignored")
    ]


# ── plain files ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_plain_files_are_read_with_one_warning(
    backend: MountedBackend, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "app" / "below").mkdir(parents=True)
    (root / "app" / "password").write_text("p")
    (root / "app" / "..kubelet").write_text("x")
    os.mkfifo(root / "app" / "fifo")
    reading = backend.read("app")
    assert keys(reading) == {"password": "p"}
    assert reading.metadata.source == "plain"
    assert (reading.metadata.version or "").startswith("plain-")
    assert backend.version("app") == reading.metadata.version
    assert [(r.levelname, r.message) for r in caplog.records] == [
        ("WARNING", "app: will not follow rotation: there is no ..data (subPath, or bound by Docker)")
    ]


def test_plain_files_that_change_are_read_again(backend: MountedBackend, root: Path) -> None:
    (root / "app").mkdir()
    (root / "app" / "password").write_text("p")
    first = backend.version("app")
    time.sleep(0.02)  # the kernel's clock of files has ticks of 4 ms, or 10
    (root / "app" / "password").write_text("q")
    os.utime(root / "app" / "password", (0, 0))
    assert keys(backend.read("app")) == {"password": "q"}
    assert backend.version("app") != first


def test_one_bound_file_is_a_secret_of_one_key(
    backend: MountedBackend, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "password").write_text("p")
    reading = backend.read("password")
    assert (keys(reading), reading.metadata.source) == ({"password": "p"}, "plain")
    assert backend.version("password") == f"plain-{(root / 'password').stat().st_ctime_ns}"
    assert len(caplog.records) == 1


def test_plain_metadata_tells_the_revision(backend: MountedBackend, root: Path) -> None:
    (root / "app").mkdir()
    (root / "app" / "a").write_text("1")
    (root / "app" / METADATA_FILE).write_text(told(3))
    assert (backend.version("app"), keys(backend.read("app"))) == ("3", {"a": "1"})


def test_plain_files_may_be_refused(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "app").mkdir()
    (root / "file").write_text("1")
    backend = MountedBackend(MountedConfig(root=root, plain_ok=False))
    for path in ("app", "file"):
        with pytest.raises(SecretsConfigurationError, match=f"{path}.*plain_ok"):
            backend.read(path)
    assert not caplog.records


def test_a_folder_without_files_is_no_secret(backend: MountedBackend, volume: VolumeWriter) -> None:
    volume.write({"a": "1"})
    with pytest.raises(SecretNotFoundError, match="shop: there are no files"):
        backend.read("shop")


def test_a_file_that_is_written_while_it_is_read_is_read_again(
    backend: MountedBackend, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "app").mkdir()
    (root / "app" / "a").write_text("half")
    real, left = os.read, [3]

    def slow(fd: int, size: int) -> bytes:
        found = real(fd, size)
        if found and left[0]:
            left[0] -= 1
            time.sleep(0.02)
            (root / "app" / "a").write_text(f"whole {left[0]}")
        return found

    monkeypatch.setattr("os.read", slow)
    assert keys(backend.read("app")) == {"a": "whole 0"}


# ── where folders are ────────────────────────────────────────────────────────────────────────────────────────────────


def test_paths_may_be_anywhere(root: Path) -> None:
    VolumeWriter(root / "elsewhere" / "x").write({"a": "1"})
    VolumeWriter(root / "other").write({"a": "2"})
    (root / "secrets").mkdir()
    config = MountedConfig(root=root / "secrets", paths={"shop/db": root / "elsewhere" / "x", "up": "../other"})
    backend = MountedBackend(config)
    assert keys(backend.read("shop/db")) == {"a": "1"}
    assert keys(backend.read("up")) == {"a": "2"}
    with pytest.raises(SecretNotFoundError):
        backend.read("../other")
    backend.check()


def test_the_folder_itself_may_be_a_link(backend: MountedBackend, root: Path, volume: VolumeWriter) -> None:
    volume.write({"a": "1"})
    (root / "alias").symlink_to("shop/db")
    assert keys(backend.read("alias")) == {"a": "1"}


def test_a_configuration_names_all_its_problems(root: Path) -> None:
    with pytest.raises(SecretsConfigurationError) as caught:
        MountedConfig(root=root, paths={"../a": "x", "/b": "y", "ok": "z"}, max_file_bytes=0)
    assert str(caught.value) == (
        "paths: '../a' is not a path of a secret; paths: '/b' is not a path of a secret; "
        "max_file_bytes: must be at least 1"
    )


@pytest.mark.parametrize("path", ["", "/etc", "a//b", "a/", "..", "a/../b", ".", "a/./b", "a/..data", "a\0b"])
def test_paths_that_lead_elsewhere(backend: MountedBackend, path: str) -> None:
    with pytest.raises(SecretNotFoundError, match="is not a path of a secret") as caught:
        backend.read(path)
    assert caught.value.path == path


def test_check(root: Path, backend: MountedBackend) -> None:
    backend.check()
    with pytest.raises(SecretNotFoundError, match="there is no folder"):
        MountedBackend(MountedConfig(root=root / "none")).check()
    MountedBackend(MountedConfig(root=root / "none", paths={"a": root})).check()


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_there(backend: MountedBackend, root: Path) -> None:
    (root / "file").write_text("x")
    for path in ("none", "none/deep", "file/below", "x" * 300):
        with pytest.raises(SecretNotFoundError) as caught:
            backend.version(path)
        assert (caught.value.path, caught.value.backend, caught.value.retryable) == (path, "mounted", False)


def test_a_folder_that_goes_and_comes_back(backend: MountedBackend, volume: VolumeWriter) -> None:
    volume.write({"a": "1"})
    backend.read("shop/db")
    shutil.rmtree(volume.folder)
    with pytest.raises(SecretNotFoundError):
        backend.read("shop/db")
    VolumeWriter(volume.folder).write({"a": "2"})
    assert keys(backend.read("shop/db")) == {"a": "2"}


def test_mounted_files_are_not_written(backend: MountedBackend, volume: VolumeWriter) -> None:
    volume.write({"a": "1"})
    with pytest.raises(SecretManagedElsewhereError):
        backend.write("shop/db", {"a": "2"})
    assert not backend.capabilities.write
    assert backend.capabilities.notices


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_files_of_another_user(backend: MountedBackend, volume: VolumeWriter) -> None:
    volume.write({"a": CANARY}, mode=0o400)
    for folder in (volume.folder.parent.parent, volume.folder.parent, volume.folder):
        folder.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(SecretAccessDeniedError) as caught:
            backend.read("shop/db")
    finally:
        os.seteuid(0)
    assert str(caught.value) == "shop/db: may not be read by this process"
    assert backend.read("shop/db")


@pytest.mark.parametrize("size", [8, 9, 5000])
def test_a_file_that_is_too_large(root: Path, volume: VolumeWriter, size: int) -> None:
    backend = MountedBackend(MountedConfig(root=root, max_file_bytes=8))
    volume.write({"big": "x" * size, "a": "1"})
    (root / "one").write_text("x" * size)
    for path, name in (("shop/db", "big"), ("one", "one")):
        if size == 8:
            assert keys(backend.read(path))[name] == "x" * 8
            continue
        with pytest.raises(SecretsMalformedResponseError, match=f"^{path}: {name} is larger than 8 bytes$"):
            backend.read(path)


def test_links_inside_are_not_followed(backend: MountedBackend, root: Path, volume: VolumeWriter) -> None:
    (root / "outside").write_text(CANARY)
    name = volume.write({"a": "1", "tls/ca": "1"})
    for place in (volume.folder / name / "b", volume.folder / name / "tls" / "b"):
        place.symlink_to(root / "outside")
        with pytest.raises(SecretAccessDeniedError, match="b is a symbolic link") as caught:
            backend.read("shop/db")
        assert CANARY not in "".join(traceback.format_exception(caught.value))
        place.unlink()
    (root / "plain").mkdir()
    (root / "plain" / "b").symlink_to(root / "outside")
    (root / "link").symlink_to(root / "outside")
    for path in ("plain", "link"):
        with pytest.raises(SecretAccessDeniedError, match="is a symbolic link"):
            backend.read(path)


def test_a_link_that_takes_the_place_of_a_file(
    backend: MountedBackend, root: Path, volume: VolumeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "outside").write_text(CANARY)
    name = volume.write({"a": "1"})
    real = os.open

    def late(path: Any, *given: Any, **named: Any) -> int:
        if path == "a":
            (volume.folder / name / "a").unlink()
            (volume.folder / name / "a").symlink_to(root / "outside")
        return real(path, *given, **named)

    monkeypatch.setattr("os.open", late)
    with pytest.raises(SecretAccessDeniedError, match="a is a symbolic link"):
        backend.read("shop/db")


@pytest.mark.parametrize("target", ["../outside", "/", ".", "..", "..hop", "a"])
def test_data_leads_nowhere_else(backend: MountedBackend, root: Path, volume: VolumeWriter, target: str) -> None:
    VolumeWriter(root / "shop" / "outside").write({"a": CANARY})
    volume.write({"a": "1"})
    (volume.folder / "..hop").symlink_to("../outside")
    (volume.folder / "..data").unlink()
    (volume.folder / "..data").symlink_to(target)
    with pytest.raises(SecretAccessDeniedError, match=r"\.\.data leads"):
        backend.read("shop/db")


def test_a_fifo_does_not_hold_up(backend: MountedBackend, volume: VolumeWriter) -> None:
    name = volume.write({"a": "1"})
    os.mkfifo(volume.folder / name / "fifo")
    assert keys(backend.read("shop/db")) == {"a": "1"}


def test_a_volume_that_never_rests(
    backend: MountedBackend, volume: VolumeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume.write({"a": CANARY})
    real, reads = os.read, []

    def swapping(fd: int, size: int) -> bytes:
        found = real(fd, size)
        if found:
            reads.append(found)
            monkeypatch.setattr("os.read", real)
            volume.write({"a": f"{CANARY}{len(reads)}"})
            monkeypatch.setattr("os.read", swapping)
        return found

    monkeypatch.setattr("os.read", swapping)
    began = time.monotonic()
    with pytest.raises(SecretsUnavailableError, match="20 reads in a row") as caught:
        backend.read("shop/db")
    assert len(reads) == 20
    assert time.monotonic() - began < 2
    assert caught.value.retryable
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    monkeypatch.setattr("os.read", real)
    assert keys(backend.read("shop/db")) == {"a": f"{CANARY}20"}


@pytest.mark.parametrize("call", ["open", "scandir", "stat"])
def test_a_swap_at_any_moment_is_one_more_try(
    backend: MountedBackend, volume: VolumeWriter, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The swap comes right before one of the calls: of the folder, of each file, of the last look."""
    for moment in range(6):
        volume.write({"a": f"old {moment}", "b": f"old {moment}", f"only-old-{moment}": ""})
        real, calls = getattr(os, call), 0

        def swapping(*given: Any, real: Any = real, moment: int = moment, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == moment + 1:
                with monkeypatch.context() as alone:
                    alone.setattr(os, call, real)
                    volume.write({"a": f"new {moment}", "b": f"new {moment}"})
            return real(*given, **named)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, swapping)
            found = keys(backend.read("shop/db"))
        if calls > moment:
            assert found == {"a": f"new {moment}", "b": f"new {moment}"}
        assert set(found) in ({"a", "b"}, {"a", "b", f"only-old-{moment}"})


def test_two_that_take_the_same_snapshot_agree(
    backend: MountedBackend, volume: VolumeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume.write({"a": "1"})
    both = threading.Barrier(2, timeout=10)
    real = os.fstat

    def together(fd: int) -> os.stat_result:
        found = real(fd)
        if threading.current_thread() is not threading.main_thread():
            both.wait()
        return found

    monkeypatch.setattr("os.fstat", together)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(backend.read, ["shop/db"] * 2)
    assert (keys(first), first.metadata) == (keys(second), second.metadata)
    assert backend.read("shop/db") in (first, second)


def test_a_link_to_nowhere_is_waited_for(backend: MountedBackend, volume: VolumeWriter) -> None:
    shutil.rmtree(volume.folder / volume.write({"a": "1"}))
    with pytest.raises(SecretsUnavailableError):
        backend.read("shop/db")


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        ("EMFILE", SecretsUnavailableError, "shop/db: could not be read: EMFILE"),
        ("EIO", SecretsUnavailableError, "shop/db: could not be read: EIO"),
        ("EPERM", SecretAccessDeniedError, "shop/db: may not be read by this process"),
        ("ELOOP", SecretAccessDeniedError, "shop/db: may not be read by this process"),
    ],
)
def test_errors_of_the_system(
    backend: MountedBackend,
    volume: VolumeWriter,
    monkeypatch: pytest.MonkeyPatch,
    number: str,
    kind: type[SecretsError],
    text: str,
) -> None:
    volume.write({"a": "1"})

    def fail(*_given: Any, **_named: Any) -> int:
        raise OSError(getattr(errno, number), "foreign text")

    monkeypatch.setattr("os.open", fail)
    with pytest.raises(kind) as caught:
        backend.read("shop/db")
    assert (type(caught.value), str(caught.value)) == (kind, text)
    assert "foreign" not in "".join(traceback.format_exception(caught.value))


# ── under swaps ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Readers:
    """Eight of them, four in threads and four in tasks; each checks what it reads, and remembers it in order."""

    def __init__(self, backend: MountedBackend) -> None:
        self._backend = backend
        self._done = threading.Event()
        self.seen: list[list[tuple[int, str]]] = [[] for _ in range(8)]
        self.reads = [0] * 8

    def stop(self) -> None:
        self._done.set()

    def thread(self, number: int) -> None:
        while not self._done.is_set():
            self._read(number)
        self._read(number)  # once more, after the last swap

    async def task(self, number: int) -> None:
        while not self._done.is_set():
            await asyncio.to_thread(self._read, number)
        await asyncio.to_thread(self._read, number)

    def _read(self, number: int) -> None:
        reading = self._backend.read("shop/db")
        found = reading.data.reveal()
        n = int(found["n"])
        assert found == content(n)
        self.reads[number] += 1
        if not self.seen[number] or self.seen[number][-1][0] != n:
            self.seen[number].append((n, reading.metadata.version or ""))
        time.sleep(0.002)  # without it, eight readers leave the writer no processor


def content(n: int) -> dict[str, str]:
    """One set: every value tells which, and one key is only in every second."""
    return {"n": str(n), "user": f"u{n}", "password": f"p{n}", **({"extra": f"x{n}"} if n % 2 else {})}


@pytest.mark.parametrize("swaps", [2_000, pytest.param(10_000, marks=pytest.mark.chaos)])
async def test_thousands_of_swaps_under_eight_readers(
    backend: MountedBackend, volume: VolumeWriter, figure: list[str], swaps: int
) -> None:
    names = {0: volume.write(content(0))}
    readers = Readers(backend)

    def swap() -> None:
        try:
            for n in range(1, swaps + 1):
                names[n] = volume.write(content(n))
                assert backend.version("shop/db") == names[n], "a change that was not noticed"
        finally:
            readers.stop()

    loop = asyncio.get_running_loop()
    began = time.monotonic()
    with ThreadPoolExecutor(5) as pool:
        threads = [loop.run_in_executor(pool, readers.thread, i) for i in range(4)]
        await asyncio.gather(*threads, loop.run_in_executor(pool, swap), *(readers.task(i) for i in range(4, 8)))
    took = time.monotonic() - began

    for seen in readers.seen:
        numbers = [n for n, _ in seen]
        assert numbers == sorted(set(numbers)), "an older set after a newer one"
        assert numbers[-1] == swaps
        assert all(names[n] == version for n, version in seen)
    sets = sum(len(seen) for seen in readers.seen)
    assert sets > swaps
    figure.append(
        f"{swaps} swaps of a volume, 8 readers: {sum(readers.reads)} reads, {sets} sets, 0 mixed, {took:.0f} s"
    )
