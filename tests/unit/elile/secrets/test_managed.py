"""A manager over a backend: what it gives, tells, refuses and releases."""

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from elile.secrets import (
    ChainSecretsManager,
    EnvironmentSecretsManager,
    MemorySecretsManager,
    MountedSecretsManager,
    SecretBackendMissingError,
    SecretChange,
    SecretConflictError,
    SecretManagedElsewhereError,
    SecretNotFoundError,
    SecretPath,
    SecretsClosedError,
    SecretsConfig,
    SecretsConfigurationError,
    SecretsError,
    SecretsManager,
    SecretsUnavailableError,
    SecretValidationError,
    SyncSecrets,
    create_secrets_manager,
    get_database_credentials,
    get_secrets_manager,
    reset_secrets_manager,
    set_secrets_manager,
    use_secrets_manager,
)
from elile.secrets.cache import SecretCacheConfig
from elile.secrets.managed import BackendSecretsManager
from elile.secrets.manager import _Process
from elile.secrets.memory import MemoryBackend
from elile.secrets.protocol import Reading
from elile.secrets.testing.volumes import VolumeWriter

DATABASE = {"host": "db", "username": "app", "password": "p", "database": "shop"}


class Failing(MemoryBackend):
    """A backend that can be made to fail, and counts its reads."""

    def __init__(self, data: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(data)
        self.error: SecretsError | None = None
        self.reads = 0

    def read(self, path: str, *, version: str | None = None) -> Reading:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return super().read(path, version=version)

    def check(self) -> None:
        if self.error is not None:
            raise self.error


@pytest.fixture
def backend() -> Failing:
    return Failing({"a": {"k": "1"}, SecretPath.DATABASE: DATABASE})


@pytest.fixture
async def manager(backend: Failing) -> AsyncIterator[BackendSecretsManager]:
    manager = BackendSecretsManager(backend, follow_interval=0.02)
    yield manager
    await manager.close()


def eventually(what: str, check: Callable[[], object], within: float = 10.0) -> None:
    ends = time.monotonic() + within
    while not check():
        assert time.monotonic() < ends, what
        time.sleep(0.01)


async def test_it_is_what_the_protocol_draws(manager: BackendSecretsManager) -> None:
    assert isinstance(manager, SecretsManager)


async def test_an_entry_is_read_once_and_cached(manager: BackendSecretsManager, backend: Failing) -> None:
    values = [await manager.get_secret("a") for _ in range(3)]
    assert {v["k"].reveal() for v in values} == {"1"}
    assert (backend.reads, values[0].generation) == (1, 1)
    assert manager.get_secret_blocking("a") is values[0]
    await manager.get_secret("a", max_age=0)
    assert backend.reads == 2


async def test_typed_secrets(manager: BackendSecretsManager) -> None:
    assert (await manager.get_database_credentials()).url().reveal() == "postgresql://app:p@db/shop"
    await manager.set_secret(SecretPath.AI_ANTHROPIC, {"api_key": "sk"})
    assert (await manager.get_ai_provider_secrets("anthropic")).provider == "anthropic"
    await manager.set_secret("elile/providers/stripe", {"key": "sk", "provider": "stripe-live"})
    assert (await manager.get_provider_api_key("stripe")).provider == "stripe-live"
    await manager.set_secret(SecretPath.ENCRYPTION_PRIMARY, {"key": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="})
    assert (await manager.get_encryption_keys()).ids == ("1",)
    with pytest.raises(SecretValidationError, match="a: host is missing; username is missing; password is missing"):
        await manager.get_database_credentials("a")


async def test_what_is_written_is_what_is_read_next(manager: BackendSecretsManager, backend: Failing) -> None:
    first = await manager.get_secret("a")
    written = await manager.set_secret("a", {"k": "2"}, expected_version=first.version)
    assert (written["k"].reveal(), written.generation) == ("2", 2)
    assert await manager.get_secret("a") is written
    with pytest.raises(SecretConflictError):
        await manager.set_secret("a", {"k": "3"}, expected_version=first.version)
    assert backend.reads == 1


async def test_an_older_version_and_those_that_overlap(manager: BackendSecretsManager) -> None:
    await manager.set_secret("a", {"k": "2"})
    assert (await manager.get_secret("a", version="1"))["k"].reveal() == "1"
    await manager.refresh("a")
    assert [v["k"].reveal() for v in await manager.get_versions("a")] == ["2", "1"]
    assert [v["k"].reveal() for v in await manager.get_versions("a", overlap=False)] == ["2"]


async def test_metadata_without_the_value(manager: BackendSecretsManager, backend: Failing) -> None:
    assert (await manager.get_metadata("a")).version == "1"
    assert backend.reads == 0
    known = await manager.get_secret("a")
    assert await manager.get_metadata("a") is known.metadata


async def test_one_of_many_refreshes(manager: BackendSecretsManager, backend: Failing) -> None:
    used = await manager.get_secret("a")
    backend.write("a", {"k": "2"})
    found = await asyncio.gather(*(manager.refresh("a", if_generation=used.generation) for _ in range(50)))
    assert {v["k"].reveal() for v in found} == {"2"}
    assert backend.reads == 2
    assert manager.refresh_blocking("a", if_generation=used.generation)["k"].reveal() == "2"
    assert backend.reads == 2


async def test_watching(manager: BackendSecretsManager, backend: Failing) -> None:
    changes = manager.watch("a")
    assert (await anext(changes)).previous is None
    backend.write("a", {"k": "2"})
    change = await asyncio.wait_for(anext(changes), 10)
    assert change.previous is not None
    assert (change.previous["k"].reveal(), change.current["k"].reveal()) == ("1", "2")
    await manager.set_secret("a", {"k": "3"})
    assert (await asyncio.wait_for(anext(changes), 10)).current["k"].reveal() == "3"
    await changes.aclose()  # type: ignore[attr-defined] # an asynchronous generator


async def test_an_outage_is_waited_out_while_watching(manager: BackendSecretsManager, backend: Failing) -> None:
    changes = manager.watch("a")
    await anext(changes)
    backend.error = SecretsUnavailableError("no answer in time")
    await asyncio.sleep(0.1)
    backend.error = None
    backend.write("a", {"k": "2"})
    assert (await asyncio.wait_for(anext(changes), 30)).current["k"].reveal() == "2"
    await changes.aclose()  # type: ignore[attr-defined] # an asynchronous generator


async def test_watching_what_is_not_there(manager: BackendSecretsManager) -> None:
    with pytest.raises(SecretNotFoundError):
        await anext(manager.watch("nothing"))


async def test_callbacks_run_in_the_loop_they_were_made_in(manager: BackendSecretsManager, backend: Failing) -> None:
    told: list[tuple[str, int]] = []

    async def later(change: SecretChange) -> None:
        await asyncio.sleep(0)
        told.append((change.current["k"].reveal(), threading.get_ident()))

    subscription = manager.on_change("a", later, run_now=True)
    await asyncio.to_thread(eventually, "the first", lambda: told)
    backend.write("a", {"k": "2"})
    await asyncio.to_thread(eventually, "the second", lambda: len(told) == 2)
    assert told == [("1", threading.get_ident()), ("2", threading.get_ident())]
    subscription.cancel()
    backend.write("a", {"k": "3"})
    await manager.refresh("a")
    await asyncio.sleep(0.1)
    assert len(told) == 2


async def test_a_callback_that_fails_ends_nothing_and_shows_nothing(
    manager: BackendSecretsManager, backend: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def bad(change: SecretChange) -> None:
        raise ValueError(change.current["k"].reveal())

    async def worse(change: SecretChange) -> None:
        raise KeyError(change.current["k"].reveal())

    for callback in (bad, worse, lambda change: told.append(change.current["k"].reveal())):
        manager.on_change("a", callback)
    await manager.get_secret("a")
    await manager.set_secret("a", {"k": "canary-17"})
    await asyncio.to_thread(eventually, "the change", lambda: "canary-17" in told)
    await asyncio.sleep(0.05)
    assert "a callback for changes of a failed: ValueError" in caplog.text
    assert "a callback for changes of a failed: KeyError" in caplog.text
    assert "canary-17" not in caplog.text


def test_callbacks_without_a_loop(backend: Failing) -> None:
    told: list[str] = []
    manager = BackendSecretsManager(backend, follow_interval=0.02)
    with SyncSecrets(manager) as secrets:
        secrets.on_change("a", lambda change: told.append(change.current["k"].reveal()), run_now=True)
        eventually("the first", lambda: told == ["1"])
        backend.write("a", {"k": "2"})
        eventually("the second", lambda: told == ["1", "2"])
    assert not [t for t in threading.enumerate() if t.name == "elile-secrets-follow"]


def test_an_asynchronous_callback_needs_a_loop(backend: Failing, caplog: pytest.LogCaptureFixture) -> None:
    async def callback(change: SecretChange) -> None:
        raise AssertionError

    with SyncSecrets(BackendSecretsManager(backend, follow_interval=0.02)) as secrets:
        with pytest.raises(SecretsConfigurationError, match="call on_change in one"):
            secrets.on_change("a", callback)
        secrets.on_change("a", lambda change: callback(change), run_now=True)  # noqa: PLW0108 - it hides what it is
        eventually("the complaint", lambda: "failed: TypeError" in caplog.text)


async def test_health(backend: Failing) -> None:
    manager = BackendSecretsManager(backend, cache=SecretCacheConfig(default_ttl_seconds=0.05))
    await manager.start()
    assert (await manager.health()).health == "ok"
    await manager.get_secret("a")
    backend.error = SecretsUnavailableError("no answer in time")
    await asyncio.sleep(0.1)
    assert (await manager.get_secret("a")).is_stale
    report = await manager.health()
    assert (report.health, report.backends[0].detail) == ("degraded", "no answer in time")
    await manager.close()
    fresh = BackendSecretsManager(backend)
    with pytest.raises(SecretsUnavailableError):
        await fresh.start()
    assert (await fresh.health()).health == "down"
    await fresh.close()


async def test_a_closed_manager_stays_closed(backend: Failing) -> None:
    async with BackendSecretsManager(backend) as manager:
        await manager.get_secret("a")
    for call in (manager.get_secret("a"), manager.set_secret("a", {}), manager.refresh("a"), manager.start()):
        with pytest.raises(SecretsClosedError):
            await call
    with pytest.raises(SecretsClosedError):
        manager.get_secret_blocking("a")
    await manager.close()


def test_a_child_process_follows_and_reads_on(backend: Failing) -> None:
    manager = BackendSecretsManager(backend, follow_interval=0.02)
    told: list[str] = []
    manager.on_change("a", lambda change: told.append(change.current["k"].reveal()))
    manager.get_secret_blocking("a")
    child = os.fork()
    if child == 0:
        try:
            assert manager.get_secret_blocking("a")["k"].reveal() == "1"
            backend.write("a", {"k": "2"})
            eventually("the change, in the child", lambda: told[-1:] == ["2"])
            assert manager.get_secret_blocking("a", max_age=0)["k"].reveal() == "2"
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert "2" not in told
    manager.close_blocking()


# ── backends ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_mounted_secret_is_never_old(tmp_path: Path) -> None:
    volume = VolumeWriter(tmp_path / "db")
    volume.write({"username": "a", "password": "1"})
    async with MountedSecretsManager(tmp_path) as manager:
        first = await manager.get_secret("db")
        assert await manager.get_secret("db") is first
        volume.write({"username": "b", "password": "2"})
        second = await manager.get_secret("db")
        assert (second["username"].reveal(), second.generation) == ("b", 2)
        changes = manager.watch("db")
        await anext(changes)
        volume.write({"username": "a", "password": "3"})
        assert (await asyncio.wait_for(anext(changes), 10)).current["password"].reveal() == "3"
        await changes.aclose()  # type: ignore[attr-defined] # an asynchronous generator
        with pytest.raises(SecretManagedElsewhereError):
            await manager.set_secret("db", {"username": "c"})


async def test_what_a_process_has_loaded(tmp_path: Path) -> None:
    volume = VolumeWriter(tmp_path / "db")

    def deliver(revision: int) -> None:
        told = {"schema": 1, "name": "shop-db", "revision": revision, "sources": []}
        volume.write({"password": str(revision), ".elile.json": json.dumps(told)})

    deliver(7)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "k").write_text("v")
    async with MountedSecretsManager(tmp_path) as manager:
        assert manager.revisions() == {}
        value = await manager.get_secret("db")
        await manager.get_secret("plain")
        assert (manager.revisions(), value.version, set(value)) == ({"shop-db": 7}, "7", {"password"})
        deliver(8)
        assert manager.revisions() == {"shop-db": 7}, "delivered, and not loaded"
        await manager.get_secret("db")
        assert manager.revisions() == {"shop-db": 8}


async def test_a_chain_and_the_environment() -> None:
    environment = EnvironmentSecretsManager(environ={"ANTHROPIC_API_KEY": "sk"})
    memory = MemorySecretsManager({"a": {"k": "1"}})
    async with ChainSecretsManager(memory, environment) as manager:
        assert (await manager.get_secret("a"))["k"].reveal() == "1"
        assert (await manager.get_ai_provider_secrets("anthropic")).api_key.reveal() == "sk"
        with pytest.raises(SecretNotFoundError):
            await manager.get_secret("b")


async def test_what_a_backend_cannot_do_is_said() -> None:
    manager = EnvironmentSecretsManager(environ={})
    with pytest.raises(SecretsConfigurationError, match="leave expected_version out"):
        await manager.set_secret("a", {"k": "1"}, expected_version="1")
    with pytest.raises(SecretNotFoundError, match="keeps no versions"):
        await manager.get_secret("a", version="1")
    await manager.close()


# ── the one of the process ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Process, "manager", None)


@pytest.mark.usefixtures("_nobody")
async def test_the_manager_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = MemorySecretsManager({SecretPath.DATABASE: DATABASE})
    set_secrets_manager(manager)
    assert (await get_database_credentials()).host == "db"
    other = MemorySecretsManager({SecretPath.DATABASE: {**DATABASE, "host": "other"}})
    with use_secrets_manager(other):
        assert (await get_database_credentials()).host == "other"
    assert get_secrets_manager() is manager
    await reset_secrets_manager()
    with pytest.raises(SecretsClosedError):
        await manager.get_secret("a")
    monkeypatch.setenv("ELILE_SECRETS_BACKEND", "memory")
    made = get_secrets_manager()
    assert get_secrets_manager() is made
    await reset_secrets_manager()
    await other.close()


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"backend": "azure", "azure": {"vault_url": "https://a.vault.azure.net"}}, "Azure Key Vault"),
        ({"backend": "gcp", "gcp": {"project_id": "p"}}, "Google Secret Manager"),
    ],
)
def test_what_is_not_available_yet_says_so(config: dict[str, Any], name: str) -> None:
    with pytest.raises(SecretBackendMissingError, match=f"{name} is not available yet"):
        create_secrets_manager(SecretsConfig(**config))
