"""SecretRotator in a process, over memory: what it returns, what it leaves, whom it asks, and what it refuses."""

import asyncio
import base64
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from elile.secrets import (
    ChainSecretsManager,
    EnvironmentSecretsManager,
    MemorySecretsManager,
    MountedSecretsManager,
    SecretAccessDeniedError,
    SecretConflictError,
    SecretManagedElsewhereError,
    SecretNotFoundError,
    SecretPath,
    SecretRotator,
    SecretsConfigurationError,
    SecretsUnavailableError,
    SecretValue,
    VaultConfig,
    VaultSecretsManager,
)
from elile.secrets.cache_config import SecretCacheConfig
from elile.secrets.memory import MemoryBackend
from elile.secrets.protocol import Reading
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.rotation import Hook, Inconclusive, RotationPolicy, RotationResult, RotationStatus
from elile.secrets.rotation.generators import api_key
from elile.secrets.rotation.journal import Phase, Reason, Value, encode
from elile.secrets.rotation.place import place_of
from elile.secrets.rotation.ports import Fence
from elile.secrets.rotation.rotator import NEWS_INTERVAL
from elile.secrets.rotation.steps import Applied, Stage
from elile.secrets.rotation.targets.external import ExternalTarget
from elile.secrets.rotation.verify.outcome import Outcome, Verification
from elile.secrets.threads import IoThreads
from elile.secrets.types import EncryptionKeys
from tests.fakes.accounts import Accounts

CANARY = "canary-old-5b1e"
API = "elile/providers/maps"
DATABASE = str(SecretPath.DATABASE)
START = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
MATERIAL = base64.b64encode(b"k" * 32).decode()


class Clock:
    """A time that goes on to where the first of those who sleep wakes, but not while a thread is at work."""

    def __init__(self) -> None:
        self.now = START
        self.working = 0
        self._wakes: list[datetime] = []

    def __call__(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        if seconds == NEWS_INTERVAL:  # the look for what else was scheduled would go through days by the second
            await asyncio.sleep(0.02)
            return
        until = self.now + timedelta(seconds=seconds)
        self._wakes.append(until)
        try:
            while self.now < until:
                await asyncio.sleep(0.0005)
                if not self.working and until == min(self._wakes):
                    self.now = max(self.now, until)
        finally:
            self._wakes.remove(until)


class Store(MemoryBackend):
    """Memory that can go away: `fails` counts down the writes that have no answer, `lost` says they were done."""

    fails = 0
    lost = False

    def write(self, path: str, data: Mapping[str, Any], *, expect: str | None = None) -> Reading:
        if self.fails:
            self.fails -= 1
            if self.lost:
                super().write(path, data, expect=expect)
            raise SecretsUnavailableError("no answer", path=path)
        return super().write(path, data, expect=expect)


def manager_of(store: MemoryBackend | None = None) -> MemorySecretsManager:
    manager = MemorySecretsManager(
        {
            API: {"api_key": CANARY, "base_url": "https://maps.example"},
            DATABASE: {"host": "db", "port": "5432", "database": "shop", "username": "shop_a", "password": CANARY},
            SecretPath.ENCRYPTION_PRIMARY: {"key": MATERIAL},
        }
    )
    if store is not None:
        for path in (API, DATABASE, str(SecretPath.ENCRYPTION_PRIMARY)):
            store.write(path, manager.backend.read(path).data.reveal())
        manager.backend = store
    return manager


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock, run = Clock(), IoThreads.run

    async def counted(threads: IoThreads, *arguments: Any) -> Any:
        clock.working += 1
        try:
            return await run(threads, *arguments)
        finally:
            clock.working -= 1

    monkeypatch.setattr(IoThreads, "run", counted)
    return clock


@pytest.fixture
async def manager() -> AsyncIterator[MemorySecretsManager]:
    manager = manager_of()
    yield manager
    await manager.close()


@pytest.fixture
async def rotator(manager: MemorySecretsManager, clock: Clock) -> AsyncIterator[SecretRotator]:
    async with SecretRotator(manager, now=clock, sleep=clock.sleep) as rotator:
        yield rotator


def held(manager: MemorySecretsManager, path: str) -> Mapping[str, Any]:
    return manager.backend.read(path).data.reveal()


def versions(manager: MemorySecretsManager, path: str) -> str:
    backend = manager.backend
    assert isinstance(backend, MemoryBackend)
    return backend.version(path)


def left_in_the_journal(manager: MemorySecretsManager, path: str) -> str:
    journal = place_of(manager).journal.read(path)
    assert journal.entry is not None
    return str(encode(journal.entry))


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_api_key_is_replaced_and_this_process_has_it_at_once(
    manager: MemorySecretsManager, rotator: SecretRotator
) -> None:
    assert (await manager.get_secret(API))["api_key"] == SecretStr(CANARY)  # it is cached now
    seen: list[SecretValue] = []

    def works(value: SecretValue) -> bool:
        seen.append(value)
        assert held(manager, API)["api_key"] == CANARY or len(seen) > 1, "it was live before it was verified"
        return True

    result = await rotator.rotate_api_key(API, works)

    assert result.ok
    assert (result.status, result.from_version, result.to_version) == (RotationStatus.ROTATED, 1, 2)
    value = await manager.get_secret(API)
    assert value["api_key"] == seen[0]["api_key"] != SecretStr(CANARY)
    assert value["base_url"] == SecretStr("https://maps.example")
    assert result.steps[0] is Phase.PENDING
    assert result.steps[-1] is Phase.DONE
    assert CANARY not in left_in_the_journal(manager, API)


@pytest.mark.parametrize("answer", [False, None, 0, "", Verification.failed("no"), Outcome.FAILED])
async def test_a_falsy_answer_leaves_everything_as_it_was(
    manager: MemorySecretsManager, rotator: SecretRotator, answer: Any
) -> None:
    result = await rotator.rotate_api_key(API, lambda _: answer)
    assert (result.status, result.reason) == (RotationStatus.ABORTED, Reason.VERIFICATION_FAILED)
    assert (held(manager, API)["api_key"], versions(manager, API)) == (CANARY, "1")
    assert await rotator.pending() == ()


async def test_an_exception_fails_and_its_text_goes_nowhere(
    manager: MemorySecretsManager, rotator: SecretRotator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []

    async def breaks(value: SecretValue) -> bool:
        shown.append(value["api_key"].reveal())
        raise RuntimeError(f"the server refuses {value['api_key'].reveal()}")

    result = await rotator.rotate_api_key(API, breaks)
    assert result.status is RotationStatus.ABORTED
    assert "RuntimeError" in result.detail
    told = f"{caplog.text} {result} {await rotator.history(API)} {left_in_the_journal(manager, API)}"
    assert shown
    assert all(secret not in told for secret in (*shown, CANARY))


async def test_who_cannot_tell_is_asked_again(rotator: SecretRotator, clock: Clock) -> None:
    answers: list[Any] = [Inconclusive(), Verification.inconclusive("busy"), Outcome.INCONCLUSIVE, True, True, True]

    async def asked(_: SecretValue) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    hook_pause = clock.now
    assert (await rotator.rotate_api_key(API, asked)).ok
    assert clock.now > hook_pause


async def test_who_never_can_tell_has_it_taken_back(manager: MemorySecretsManager, rotator: SecretRotator) -> None:
    def cannot(_: SecretValue) -> bool:
        raise Inconclusive

    result = await rotator.rotate_api_key(API, cannot, hooks=[])
    assert (result.status, result.reason) == (RotationStatus.ABORTED, Reason.VERIFICATION_INCONCLUSIVE)
    assert held(manager, API)["api_key"] == CANARY


async def test_who_takes_too_long_could_not_tell(rotator: SecretRotator) -> None:
    calls = []

    def slow(_: SecretValue) -> bool:
        calls.append(1)
        if len(calls) == 1:
            time.sleep(0.5)
        return True

    result = await rotator.rotate_api_key(API, slow, verify_timeout=0.2)
    assert result.ok
    assert len(calls) > 1


async def test_a_verification_that_fails_afterwards_brings_the_old_value_back(
    manager: MemorySecretsManager, rotator: SecretRotator
) -> None:
    answers = iter([True, False])
    result = await rotator.rotate_api_key(API, lambda _: next(answers))
    assert (result.status, result.from_version, result.to_version) == (RotationStatus.ROLLED_BACK, 1, 3)
    assert (await manager.get_secret(API))["api_key"] == SecretStr(CANARY)


async def test_what_somebody_else_writes_meanwhile_stays(manager: MemorySecretsManager, rotator: SecretRotator) -> None:
    def meanwhile(_: SecretValue) -> bool:
        manager.backend.write(API, {"api_key": "by hand", "base_url": "x"})
        return True

    result = await rotator.rotate_api_key(API, meanwhile)
    assert (result.status, result.reason) == (RotationStatus.CONFLICT, Reason.EXTERNAL_CHANGE)
    assert held(manager, API)["api_key"] == "by hand"


async def test_the_same_key_rotates_once(manager: MemorySecretsManager, rotator: SecretRotator) -> None:
    first = await rotator.rotate_api_key(API, key="release-7")
    again = await rotator.rotate_api_key(API, key="release-7")
    assert again.ok
    assert again.rotation_id == first.rotation_id
    assert again.steps == ()
    assert versions(manager, API) == "2"
    assert len(await rotator.history(API)) == 1


async def test_the_field_may_be_absent_where_there_is_one(
    manager: MemorySecretsManager, rotator: SecretRotator
) -> None:
    manager.backend.write("one", {"token": CANARY})
    assert (await rotator.rotate("one", api_key("t_"))).ok
    assert held(manager, "one")["token"].startswith("t_")
    refused = await rotator.rotate(API, api_key())
    assert (refused.status, refused.reason) == (RotationStatus.ABORTED, Reason.PREFLIGHT)
    assert "2 keys" in refused.detail
    with pytest.raises(SecretsConfigurationError, match="field"):
        await rotator.rotate(API, Accounts(), field="password")


async def test_nothing_there_is_told(rotator: SecretRotator) -> None:
    with pytest.raises(SecretNotFoundError, match="elile/providers/none"):
        await rotator.rotate_api_key("elile/providers/none")


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_key_is_handed_out_before_it_encrypts(
    manager: MemorySecretsManager, rotator: SecretRotator, clock: Clock
) -> None:
    seen: list[EncryptionKeys] = []

    async def verify_encryption_works(keys: EncryptionKeys) -> bool:
        seen.append(keys)
        return True

    result = await rotator.rotate_encryption_key(
        SecretPath.ENCRYPTION_PRIMARY, verify_fn=verify_encryption_works, settle=timedelta(0)
    )
    assert result.ok
    assert Phase.DISTRIBUTING in result.steps
    assert [keys.ids for keys in seen] == [("2", "1")]
    first, second = (manager.backend.read(SecretPath.ENCRYPTION_PRIMARY, version=v).data.reveal() for v in ("2", "3"))
    assert (first["primary"], second["primary"]) == ("1", "2")
    assert set(first["keys"]) == set(second["keys"]) == {"1", "2"}
    assert (await manager.get_encryption_keys()).ids == ("2", "1")


async def test_other_processes_are_given_the_time_that_their_caches_take(manager: MemorySecretsManager) -> None:
    loop_began = time.monotonic()
    manager.cache.config = SecretCacheConfig(default_ttl_seconds=0.5)
    async with SecretRotator(manager, retry=timedelta(seconds=0.1)) as rotator:
        result = await rotator.rotate_encryption_key()
    assert result.ok
    assert time.monotonic() - loop_began >= 0.5


async def test_readers_may_be_asked_instead(manager: MemorySecretsManager, rotator: SecretRotator) -> None:
    answers = iter([False, True, True])
    result = await rotator.rotate_encryption_key(proof_fn=lambda _: next(answers))
    assert result.ok


async def test_a_key_that_does_not_work_changes_nothing(manager: MemorySecretsManager, rotator: SecretRotator) -> None:
    result = await rotator.rotate_encryption_key(verify_fn=lambda _: False)
    assert result.status is RotationStatus.ABORTED
    assert held(manager, SecretPath.ENCRYPTION_PRIMARY) == {"key": MATERIAL}


# ── databases ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def accounts() -> Accounts:
    return Accounts({"shop_a": SecretStr(CANARY), "shop_b": None})


async def test_the_old_login_works_until_its_grace_is_over(
    manager: MemorySecretsManager, rotator: SecretRotator, clock: Clock, accounts: Accounts
) -> None:
    result = await rotator.rotate_database_credentials(DATABASE, accounts, lambda found: found.username == "shop_b")
    assert (result.status, result.reason, result.until) == (
        RotationStatus.PENDING,
        Reason.IN_GRACE,
        clock.now + timedelta(hours=1),
    )
    assert held(manager, DATABASE)["username"] == "shop_b"
    assert all(accounts.passwords.values())
    assert [(one.path, one.phase) for one in await rotator.pending()] == [(DATABASE, Phase.GRACE)]

    clock.now += timedelta(hours=1)
    (ended,) = await rotator.resume()
    assert ended.ok
    assert accounts.passwords["shop_a"] is None
    assert await rotator.pending() == ()


async def test_in_its_grace_a_rotation_can_be_taken_back(
    manager: MemorySecretsManager, rotator: SecretRotator, accounts: Accounts
) -> None:
    await rotator.rotate_database_credentials(DATABASE, accounts)
    result = await rotator.roll_back(DATABASE)
    assert (result.status, result.reason) == (RotationStatus.ROLLED_BACK, Reason.BY_PERSON)
    assert held(manager, DATABASE)["password"] == CANARY
    assert accounts.passwords == {"shop_a": SecretStr(CANARY), "shop_b": None}
    with pytest.raises(SecretsConfigurationError, match="schedule"):
        await rotator.roll_back("elile/other")


async def test_what_is_over_cannot_be_taken_back(
    manager: MemorySecretsManager, rotator: SecretRotator, accounts: Accounts
) -> None:
    assert (await rotator.rotate_database_credentials(DATABASE, accounts, grace=timedelta(0))).ok
    with pytest.raises(SecretNotFoundError, match="elile/database/postgres: no rotation is under way"):
        await rotator.roll_back(DATABASE)
    assert held(manager, DATABASE)["username"] == "shop_b"


async def test_an_account_that_another_rotation_changes_is_told(rotator: SecretRotator) -> None:
    class Contested(Accounts):
        def apply(self, value: Value, *, fence: Fence) -> Applied:
            raise SecretConflictError("the role 'shop_b' is rotated from another path: remove its marker")

    contested = Contested({"shop_a": SecretStr(CANARY), "shop_b": None})
    result = await rotator.rotate_database_credentials(DATABASE, contested, timeout=0.3)
    assert result.status is RotationStatus.PENDING
    assert result.detail == "the role 'shop_b' is rotated from another path: remove its marker"


async def test_another_process_goes_on_with_what_one_has_begun(
    manager: MemorySecretsManager, clock: Clock, accounts: Accounts
) -> None:
    async with SecretRotator(manager, now=clock, sleep=clock.sleep) as one:
        await one.rotate_database_credentials(DATABASE, accounts, key="k")
    async with SecretRotator(manager, now=clock, sleep=clock.sleep, name="other") as stranger:
        with pytest.raises(SecretManagedElsewhereError, match="secret-rotator"):
            await stranger.rotate_database_credentials(DATABASE, accounts)
    clock.now += timedelta(hours=2)
    async with SecretRotator(manager, now=clock, sleep=clock.sleep) as two:
        assert (await two.rotate_database_credentials(DATABASE, accounts, key="k")).ok
    assert accounts.passwords["shop_a"] is None


async def test_a_path_that_was_released_may_be_rotated_by_another(
    manager: MemorySecretsManager, clock: Clock, accounts: Accounts
) -> None:
    async with SecretRotator(manager, now=clock, sleep=clock.sleep) as one:
        assert not await one.release(API)  # it was never its own
        await one.rotate_database_credentials(DATABASE, accounts)
        assert not await one.release(DATABASE)  # it is under way
        assert [pending.path for pending in await one.pending()] == [DATABASE]  # and still one's own
        await one.rotate_api_key(API)
        async with SecretRotator(manager, now=clock, sleep=clock.sleep, name="stranger") as stranger:
            assert not await stranger.release(API)  # it is another's
            with pytest.raises(SecretManagedElsewhereError):
                await stranger.rotate_api_key(API)
        assert await one.release(API)
    async with SecretRotator(manager, now=clock, sleep=clock.sleep, name="other") as other:
        assert (await other.rotate_api_key(API)).ok
        assert len(await other.history(API)) == 2


async def test_an_old_login_that_still_works_is_not_taken_for_locked(
    rotator: SecretRotator, clock: Clock, accounts: Accounts
) -> None:
    accounts.stubborn = True
    result = await rotator.rotate_database_credentials(DATABASE, accounts, grace=timedelta(0), timeout=0.3)
    assert (result.status, result.reason) == (RotationStatus.PENDING, Reason.OLD_STILL_WORKS)
    accounts.stubborn = False
    (ended,) = await rotator.resume()
    assert ended.ok


async def test_a_target_that_nobody_reaches_is_waited_for(
    rotator: SecretRotator, manager: MemorySecretsManager, accounts: Accounts
) -> None:
    accounts.down = True
    result = await rotator.rotate_database_credentials(DATABASE, accounts, timeout=0.2)
    assert (result.status, result.reason) == (RotationStatus.PENDING, Reason.TARGET_UNREACHABLE)
    assert held(manager, DATABASE)["password"] == CANARY


async def test_retire_now_waits_for_nothing(rotator: SecretRotator, accounts: Accounts) -> None:
    assert (await rotator.rotate_database_credentials(DATABASE, accounts, retire_now=True)).ok
    assert accounts.passwords["shop_a"] is None


async def test_an_entry_of_another_shape_is_not_given_to_the_verification(
    manager: MemorySecretsManager, rotator: SecretRotator, accounts: Accounts
) -> None:
    manager.backend.write("odd", {"username": "shop_a", "password": CANARY})  # no host
    result = await rotator.rotate_database_credentials("odd", accounts, lambda _: True)
    assert result.status is RotationStatus.ABORTED
    assert "host" in result.detail
    assert CANARY not in result.detail


# ── what somebody else makes ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Inbox:
    """Values that wait to be taken."""

    versions: dict[int, Mapping[str, str]] = field(default_factory=dict)
    where: str = "the inbox of the test"

    def read(self) -> tuple[int, Redacted[Mapping[str, Any]]] | None:
        return None if not self.versions else (max(self.versions), Redacted(self.versions[max(self.versions)]))

    def destroy(self, version: int) -> None:
        self.versions = {number: held for number, held in self.versions.items() if number > version}


async def test_a_value_from_the_inbox_is_taken_once(manager: MemorySecretsManager, rotator: SecretRotator) -> None:
    inbox = Inbox({3: {"api_key": "issued elsewhere"}})
    target = ExternalTarget(inbox)
    assert (await rotator.rotate(API, target, lambda value: value["api_key"] == SecretStr("issued elsewhere"))).ok
    assert held(manager, API) == {"api_key": "issued elsewhere", "base_url": "https://maps.example"}
    assert inbox.versions == {}
    empty = await rotator.rotate(API, target, timeout=0.05)
    assert (empty.status, empty.reason) == (RotationStatus.PENDING, Reason.INBOX_EMPTY)


# ── outages ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lost", [False, True], ids=["not made", "answer lost"])
async def test_a_write_without_an_answer_is_gone_on_from(clock: Clock, lost: bool) -> None:
    store = Store()
    manager = manager_of(store)
    async with SecretRotator(manager, now=clock, sleep=clock.sleep) as rotator:
        store.fails, store.lost = 1, lost
        result = await rotator.rotate_api_key(API)
    assert result.ok
    assert store.version(API) == "2"


async def test_an_outage_without_end_is_told_and_nothing_is_given_up() -> None:
    store = Store()
    manager = manager_of(store)
    async with SecretRotator(manager, retry=timedelta(seconds=0.05)) as rotator:
        store.fails = 10_000
        result = await rotator.rotate_api_key(API, timeout=0.2, key="k")
        assert (result.status, result.reason) == (RotationStatus.PENDING, Reason.TARGET_UNREACHABLE)
        assert "no answer" in result.detail
        store.fails = 0
        assert (await rotator.rotate_api_key(API, key="k")).ok


async def test_a_refusal_is_told_at_once(clock: Clock) -> None:
    class Refusing(Store):
        def write(self, path: str, data: Mapping[str, Any], *, expect: str | None = None) -> Reading:
            if expect is not None:
                raise SecretAccessDeniedError("permission denied", path=path)
            return super().write(path, data, expect=expect)

    manager = manager_of(Refusing())
    async with SecretRotator(manager, now=clock, sleep=clock.sleep) as rotator:
        with pytest.raises(SecretAccessDeniedError, match="permission denied"):
            await rotator.rotate_api_key(API)


# ── by schedule ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    # Days of the clock are thousands of turns, which take seconds; on a machine that is busy, ten times as long.
    deadline = time.monotonic() + 120
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def scheduled(rotator: SecretRotator, count: int) -> tuple[RotationResult, ...]:
    running = asyncio.create_task(rotator.run())

    async def enough() -> bool:
        return len(await rotator.history(API)) >= count

    await until(enough)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    return ()


async def test_a_schedule_rotates_at_its_times_and_not_at_first_sight(
    manager: MemorySecretsManager, rotator: SecretRotator, clock: Clock
) -> None:
    rotator.schedule(API, RotationPolicy(cron="30,45 3 * * *", time_zone="Europe/Berlin"), api_key(), field="api_key")
    await scheduled(rotator, 2)
    first, second = [past.occurrence for past in (await rotator.history(API))[:2]]
    assert (first, second) == ("2026-11-24T03:30[Europe/Berlin]", "2026-11-24T03:45[Europe/Berlin]")


async def test_what_was_missed_is_caught_up_with_once(manager: MemorySecretsManager, clock: Clock) -> None:
    policy = RotationPolicy(cron="0 3 * * *")
    async with SecretRotator(manager, now=clock, sleep=clock.sleep) as one:
        one.schedule(API, policy, api_key(), field="api_key")
        await scheduled(one, 1)
    clock.now += timedelta(days=10)
    async with SecretRotator(manager, now=clock, sleep=clock.sleep) as two:
        two.schedule(API, policy, api_key(), field="api_key")
        await scheduled(two, 2)
        times = [past.at for past in await two.history(API)]
    assert times[1] - times[0] > timedelta(days=9)


async def test_a_window_that_is_over_is_waited_out(manager: MemorySecretsManager, clock: Clock) -> None:
    policy = RotationPolicy(cron="0 3 * * *", window=timedelta(minutes=30))
    async with SecretRotator(manager, now=clock, sleep=clock.sleep) as one:
        one.schedule(API, policy, api_key(), field="api_key")
        await scheduled(one, 1)
    clock.now = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
    async with SecretRotator(manager, now=clock, sleep=clock.sleep) as two:
        two.schedule(API, policy, api_key(), field="api_key")
        await scheduled(two, 2)
        assert (await two.history(API))[1].occurrence == "2026-11-28T03:00[UTC]"


async def test_an_interval_counts_from_the_last_rotation(
    manager: MemorySecretsManager, rotator: SecretRotator, clock: Clock
) -> None:
    rotator.schedule(API, RotationPolicy(interval=timedelta(hours=2)), api_key(), field="api_key")
    await scheduled(rotator, 2)
    first, second = [past.at for past in (await rotator.history(API))[:2]]
    assert first - START >= timedelta(hours=2)
    assert second - first >= timedelta(hours=2)


async def test_run_ends_the_grace_of_what_was_begun_by_hand(
    rotator: SecretRotator, clock: Clock, accounts: Accounts
) -> None:
    await rotator.rotate_database_credentials(DATABASE, accounts)
    running = asyncio.create_task(rotator.run())

    async def done() -> bool:
        return not await rotator.pending()

    await until(done)
    running.cancel()
    assert accounts.passwords["shop_a"] is None


async def test_a_defect_of_one_target_does_not_end_the_others(
    rotator: SecretRotator, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Accounts):
        def preflight(self, current: Any) -> str:
            raise ZeroDivisionError(CANARY)

    rotator.schedule(DATABASE, RotationPolicy(cron="* * * * *"), Broken({"shop_a": None, "shop_b": None}))
    rotator.schedule(API, RotationPolicy(cron="* * * * *"), api_key(), field="api_key")
    await scheduled(rotator, 3)
    assert "ZeroDivisionError" in caplog.text
    assert CANARY not in caplog.text


def test_a_policy_says_exactly_when() -> None:
    for wrong in ({}, {"cron": "0 3 * * *", "interval": timedelta(days=1)}, {"interval": timedelta(0)}):
        with pytest.raises(SecretsConfigurationError):
            RotationPolicy(**wrong)
    with pytest.raises(ValueError, match="61"):
        RotationPolicy(cron="61 3 * * *")


# ── what is not its own ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_somebody_manages_is_refused(manager: MemorySecretsManager, rotator: SecretRotator) -> None:
    backend = manager.backend
    assert isinstance(backend, MemoryBackend)
    backend.annotate(API, custom={"managed-by": "elile/shop-db"})
    with pytest.raises(SecretManagedElsewhereError, match="elile/shop-db"):
        await rotator.rotate_api_key(API)
    backend.annotate(API, custom={"managed-by": "secret-rotator"})
    assert (await rotator.rotate_api_key(API)).ok


async def test_a_manager_that_cannot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecretManagedElsewhereError):
        SecretRotator(MountedSecretsManager(tmp_path))
    with pytest.raises((SecretsConfigurationError, SecretManagedElsewhereError)):
        SecretRotator(EnvironmentSecretsManager(environ={}))
    with pytest.raises(SecretsConfigurationError, match="KV version 2"):
        SecretRotator(ChainSecretsManager(MemorySecretsManager(), MemorySecretsManager()))
    first = VaultConfig(address="https://vault.example:8200", auth="token", token=SecretStr("t"), kv_version=1)
    with pytest.raises(SecretsConfigurationError, match="KV version 2"):
        SecretRotator(VaultSecretsManager(first))
    with pytest.raises(SecretsConfigurationError, match="of this library"):
        SecretRotator(object())  # type: ignore[arg-type] # that is the test


async def test_further_hooks_are_asked_at_their_stages(rotator: SecretRotator) -> None:
    asked: list[str] = []

    def hook(name: str, *stages: Stage) -> Hook:
        def check(_: Any) -> Verification:
            asked.append(name)
            return Verification.passed(name)

        return Hook(name=name, check=check, stages=frozenset(stages))

    hooks = [hook("before", Stage.PENDING), hook("after", Stage.AFTER_PROMOTE), hook("last", Stage.BEFORE_RETIRE)]
    assert (await rotator.rotate_api_key(API, hooks=hooks)).ok
    assert asked[:2] == ["before", "after"]
    assert set(asked[2:]) == {"last"}
