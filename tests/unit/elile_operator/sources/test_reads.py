"""One poll per entry and one read per version, however many want it; and everybody hears of what changed, once."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from elile.secrets.answers import EngineAnswer, KVValue
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretDeletedError,
    SecretMountNotFoundError,
    SecretNotFoundError,
    SecretsError,
    SecretsStaleAnswerError,
    SecretsUnavailableError,
    SecretVersionNotFoundError,
)
from elile.secrets.redact import Redacted, SecretStr
from elile_operator.api.vaultserver import VaultServer
from elile_operator.decide.access import Engine
from elile_operator.decide.polling import Pace
from elile_operator.engine import Result, Runner, WorkQueue
from elile_operator.kube.errors import KubeUnavailableError
from elile_operator.sources import servers as servers_module
from elile_operator.sources.identity import Identity, IdentityError
from elile_operator.sources.logins import Logins
from elile_operator.sources.reads import Entry, SharedReads
from elile_operator.sources.servers import Servers
from tests.fakes.api import vault_server
from tests.fakes.clock import FakeClock
from tests.fakes.vault import FakeLink, FakeTokens, FakeVault, Seen

WHO = Identity("default", "elile", "shop", "default")
DB = Entry(WHO, "secret", "db")
MAIL = Entry(WHO, "secret", "mail")
MINUTE = 60.0
AWAY = SecretsUnavailableError("answered 500")
FOLLOWED: frozenset[int] = frozenset()


class Stage:
    """Shared reads of one server in memory, with a worker for their polls, and readers that remember being told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock(monotonic=0.0)
        self.vault = FakeVault(self.clock)
        self.tokens = FakeTokens()
        self.seen = Seen()
        self.told: list[str] = []
        self.usable = True
        self.random = 1.0
        monkeypatch.setattr(servers_module, "Link", lambda server, **_: FakeLink(server, self.vault))
        servers = Servers(clock=self.clock, observer=self.seen)
        servers.link(VaultServer.from_body(vault_server()))
        self.polls: WorkQueue[Entry] = WorkQueue(clock=self.clock, rand=lambda: self.random)
        self.reads: SharedReads[str] = SharedReads(
            logins=Logins(
                servers=servers,
                tokens=self.tokens,
                clock=self.clock,
                renewals=WorkQueue(clock=self.clock, rand=lambda: 1.0),
                in_use=lambda identity: self.reads.in_use(identity),  # noqa: PLW0108 - made right here
                observer=self.seen,
            ),
            clock=self.clock,
            rand=lambda: self.random,
            polls=self.polls,
            on_change=self.told.append,
            observer=self.seen,
            usable=lambda _: self.usable,
            same_vault=lambda one, other: {one, other} == {"default", "twin"},
        )
        self.runner = Runner(name="poll", queue=self.polls, reconciler=self.reads, clock=self.clock, workers=1)

    def subscribe(
        self, reader: str, entry: Entry = DB, pinned: frozenset[int] = FOLLOWED, *, every: float = MINUTE
    ) -> None:
        self.reads.subscribe(reader, {entry: pinned}, interval=timedelta(seconds=every))

    async def version(self, pinned: int | None = None, *, entry: Entry = DB, max_age: float = MINUTE) -> int:
        return await self.reads.version(entry, pinned, max_age=max_age, on_behalf_of="shop/db")

    async def value(self, version: int | None = None, *, entry: Entry = DB) -> KVValue:
        return await self.reads.value(entry, version, on_behalf_of="shop/db")

    async def deliver(self, *readers: str) -> None:
        """What a reader does that is new: subscribe, and read the value."""
        for reader in readers:
            self.subscribe(reader)
        await asyncio.gather(*(self.value() for _ in readers))

    def heard(self) -> list[str]:
        """Who was told since the last time this was asked."""
        told, self.told[:] = list(self.told), []
        return told

    def calls(self) -> dict[str, int]:
        """Calls of values and versions since the last time this was asked."""
        counted = {operation: self.vault.count(operation) for operation in ("metadata", "read")}
        self.vault.calls.clear()
        return counted


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> Any:
    stage = Stage(monkeypatch)
    stage.vault.grants = replace(stage.vault.grants, ttl=0.0)  # without an end: renewals are not the matter here
    stage.vault.write("db", password="p1")
    stage.runner.start()
    yield stage
    stopping = asyncio.create_task(stage.runner.stop(0), name="stopping")
    await stage.clock.advance(0)
    await stopping
    await stage.reads.stop()


READERS = tuple(f"reader-{n}" for n in range(100))


# ── a hundred readers of one entry ───────────────────────────────────────────────────────────────────────────────────


async def test_a_hundred_new_readers_cause_one_read(stage: Stage) -> None:
    await stage.deliver(*READERS)
    assert stage.calls() == {"metadata": 0, "read": 1}
    assert len(stage.reads) == 1
    assert stage.heard() == []


async def test_polls_of_one_interval_come_together(stage: Stage) -> None:
    stage.random = 0.3
    stage.vault.write("mail", password="m1")
    await stage.deliver("a")
    await stage.clock.advance(0.37)
    stage.subscribe("b", MAIL)
    await stage.value(entry=MAIL)
    await stage.clock.advance(2 * MINUTE)
    for entry in (DB, MAIL):
        due = stage.polls.due(entry)
        assert due is not None
        assert due == pytest.approx(round(due), abs=1e-6), "at a whole sixtieth of the interval"


async def test_a_hundred_readers_cause_one_call_per_poll(stage: Stage) -> None:
    await stage.deliver(*READERS)
    stage.calls()
    await stage.clock.advance(10 * MINUTE)
    assert stage.calls() == {"metadata": 10, "read": 0}
    assert stage.heard() == [], "nothing changed"


async def test_a_change_reaches_a_hundred_readers_and_is_read_once(stage: Stage) -> None:
    await stage.deliver(*READERS)
    await stage.clock.advance(MINUTE)
    stage.calls()
    stage.vault.write("db", password="p2")
    await stage.clock.advance(MINUTE)
    assert stage.heard() == list(READERS)
    assert await asyncio.gather(*(stage.version() for _ in READERS)) == [2] * 100
    values = await asyncio.gather(*(stage.value() for _ in READERS))
    assert {value.data.reveal()["password"] for value in values} == {"p2"}
    assert stage.calls() == {"metadata": 1, "read": 1}


async def test_readers_that_come_one_after_the_other_share_a_value(stage: Stage) -> None:
    await stage.deliver("a")
    await stage.clock.advance(29.0)
    await stage.deliver("b")
    assert stage.calls() == {"metadata": 0, "read": 1}
    assert stage.seen.reads == ["miss", "hit"]


async def test_a_value_is_let_go_after_half_a_minute(stage: Stage) -> None:
    await stage.deliver("a")
    await stage.clock.advance(30.1)
    assert [known.values for known in stage.reads._known.values()] == [{}], "it is not even in memory"
    stage.seen.reads.clear()
    await stage.value()
    assert (stage.vault.count("read"), stage.seen.reads) == (2, ["miss"])


async def test_entries_and_identities_are_apart(stage: Stage) -> None:
    other = Entry(Identity("default", "elile", "shop", "other"), "secret", "db")
    stage.tokens.accounts["shop", "other"] = "uid-other"
    stage.vault.write("mail", password="m1")
    for reader, entry in (("a", DB), ("b", MAIL), ("c", other)):
        stage.subscribe(reader, entry)
        await stage.value(entry=entry)
    assert stage.vault.count("read") == 3
    stage.vault.write("mail", password="m2")
    await stage.clock.advance(MINUTE)
    assert stage.heard() == ["b"]


async def test_a_poll_names_one_of_those_it_is_for(stage: Stage) -> None:
    await stage.deliver("shop/one", "shop/two")
    stage.vault.calls.clear()
    await stage.clock.advance(MINUTE)
    assert [(c.operation, c.on_behalf_of) for c in stage.vault.calls] == [("metadata", "shop/one")]


# ── who is told of what ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_who_looks_for_itself_finds_it_for_all(stage: Stage) -> None:
    await stage.deliver("a", "b", "c")
    stage.vault.write("db", password="p2")
    assert await stage.version(max_age=-1.0) == 2
    assert stage.heard() == ["a", "b", "c"]
    await stage.clock.advance(MINUTE)
    assert stage.heard() == [], "once"


async def test_who_reads_a_newer_value_finds_it_for_all(stage: Stage) -> None:
    await stage.deliver("a", "b")
    await stage.clock.advance(40.0)
    stage.vault.write("db", password="p2")
    await stage.deliver("new")
    assert stage.heard() == ["a", "b", "new"]
    await stage.clock.advance(2 * MINUTE)
    assert stage.heard() == []


async def test_an_error_and_its_end_are_told_once_each(stage: Stage) -> None:
    await stage.deliver("a", "b")
    stage.vault.denied.add(("metadata", "secret/metadata/db"))
    await stage.clock.advance(MINUTE)
    assert stage.heard() == ["a", "b"]
    with pytest.raises(SecretAccessDeniedError):
        await stage.version()
    await stage.clock.advance(10 * MINUTE)
    assert stage.heard() == [], "the same error is no news"
    stage.vault.denied.clear()
    await stage.clock.advance(MINUTE)
    assert stage.heard() == ["a", "b"]
    assert await stage.version() == 1


async def test_another_error_is_news(stage: Stage) -> None:
    await stage.deliver("a")
    for error in (AWAY, SecretsUnavailableError("answered 502"), KubeUnavailableError("POST token")):
        stage.vault.failing["metadata"] = error  # type: ignore[assignment]
        await stage.clock.advance(MINUTE)
        assert stage.heard() == ["a"], error


async def test_who_finds_an_error_finds_it_for_all(stage: Stage) -> None:
    await stage.deliver("a", "b")
    stage.vault.denied.add(("metadata", "secret/metadata/db"))
    with pytest.raises(SecretAccessDeniedError):
        await stage.version(max_age=-1.0)
    assert stage.heard() == ["a", "b"]
    await stage.clock.advance(MINUTE)
    assert stage.heard() == []


async def test_who_reads_a_value_ends_an_error_for_all(stage: Stage) -> None:
    stage.subscribe("a")
    stage.vault.down = AWAY
    with pytest.raises(SecretsUnavailableError):
        await stage.version()
    stage.heard()
    stage.vault.down = None
    await stage.deliver("new")
    assert stage.heard() == ["a", "new"]


@pytest.mark.parametrize(
    ("fail", "error"),
    [
        pytest.param(lambda stage: setattr(stage.vault, "down", AWAY), SecretsUnavailableError, id="server"),
        pytest.param(lambda stage: stage.tokens.accounts.clear(), IdentityError, id="identity"),
        pytest.param(
            lambda stage: setattr(stage.tokens, "failure", KubeUnavailableError("POST token")),
            KubeUnavailableError,
            id="API server",
        ),
        pytest.param(lambda stage: stage.vault.delete("db", 1), SecretDeletedError, id="deleted"),
    ],
)
async def test_every_kind_of_error_is_told_and_forgotten_in_the_end(
    stage: Stage, fail: Callable[[Stage], None], error: type[Exception]
) -> None:
    stage.subscribe("a")
    fail(stage)
    with pytest.raises(error):
        await stage.version()
    stage.heard()
    stage.vault.down, stage.tokens.failure = None, None
    stage.tokens.accounts["shop", "default"] = "uid-account"
    stage.vault.write("db", password="p2")
    await stage.clock.advance(MINUTE)
    assert stage.heard() == ["a"]
    assert await stage.version() == 2


# ── versions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_pinned_version_stays(stage: Stage) -> None:
    stage.subscribe("pinned", pinned=frozenset({1}))
    stage.subscribe("following")
    stage.vault.write("db", password="p2")
    assert (await stage.version(1), await stage.version()) == (1, 2)
    assert (await stage.value(1)).data.reveal() == {"password": "p1"}
    assert (await stage.value()).data.reveal() == {"password": "p2"}
    assert stage.calls() == {"metadata": 1, "read": 2}


async def test_a_pin_that_nothing_is_known_of_is_asked_for(stage: Stage) -> None:
    stage.vault.write("db", password="p2")
    stage.subscribe("a")
    await stage.version()
    stage.subscribe("a", pinned=frozenset({1}))
    assert await stage.version(1) == 1
    assert stage.calls() == {"metadata": 2, "read": 0}


@pytest.mark.parametrize("pinned", [None, 1], ids=["followed", "pinned"])
@pytest.mark.parametrize(
    ("lose", "error", "text"),
    [
        pytest.param(FakeVault.delete, SecretDeletedError, "secret/data/db: version 1 is deleted", id="deleted"),
        pytest.param(FakeVault.destroy, SecretDeletedError, "secret/data/db: version 1 is destroyed", id="destroyed"),
    ],
)
async def test_a_version_that_goes_is_told_and_said_as_the_server_says_it(
    stage: Stage,
    pinned: int | None,
    lose: Callable[[FakeVault, str, int], None],
    error: type[Exception],
    text: str,
) -> None:
    stage.subscribe("a", pinned=frozenset() if pinned is None else frozenset({pinned}))
    await stage.version(pinned)
    lose(stage.vault, "db", 1)
    await stage.clock.advance(MINUTE)
    assert stage.heard() == ["a"]
    for ask in (stage.version, stage.value):
        with pytest.raises(error) as raised:
            await ask(pinned)
        assert str(raised.value) == text
        assert isinstance(raised.value, SecretDeletedError)
        assert (raised.value.version, raised.value.destroyed) == (1, "destroyed" in text)


async def test_a_pinned_version_that_is_not_there(stage: Stage) -> None:
    stage.subscribe("a", pinned=frozenset({7}))
    for ask in (stage.version, stage.value):
        with pytest.raises(SecretVersionNotFoundError) as raised:
            await ask(7)
        assert str(raised.value) == "secret/data/db: version 7 does not exist"


async def test_a_pinned_version_that_is_pruned_is_told(stage: Stage) -> None:
    stage.vault.write("db", password="p2")
    stage.subscribe("a", pinned=frozenset({1}))
    await stage.version(1)
    stage.vault.prune("db", 1)
    await stage.clock.advance(MINUTE)
    assert stage.heard() == ["a"]
    with pytest.raises(SecretVersionNotFoundError):
        await stage.version(1)


async def test_an_entry_without_versions_is_an_entry_that_is_missing(stage: Stage) -> None:
    stage.vault.prune("db", 1)  # only its metadata was ever written
    stage.subscribe("a")
    for ask in (stage.version, stage.value):
        with pytest.raises(SecretNotFoundError, match=r"^secret/data/db: nothing is stored there$") as raised:
            await ask()
        assert type(raised.value) is SecretNotFoundError


@pytest.mark.parametrize(
    ("age", "max_age", "asked"),
    [
        pytest.param(20.0, MINUTE, 1, id="young enough"),
        pytest.param(20.0, 19.0, 2, id="too old"),
        pytest.param(0.0, -1.0, 2, id="now"),
    ],
)
async def test_the_last_answer_serves_while_it_is_young_enough(
    stage: Stage, age: float, max_age: float, asked: int
) -> None:
    stage.subscribe("a")
    await stage.version()
    await stage.clock.advance(age)
    await stage.version(max_age=max_age)
    assert stage.calls() == {"metadata": asked, "read": 0}
    assert stage.seen.reads == ["miss", "hit" if asked == 1 else "miss"]


# ── a value that cannot be read, though its version is known ─────────────────────────────────────────────────────────


async def refused(stage: Stage) -> None:
    """What a reader does whose value is refused: look, read, be told, look and read again."""
    with pytest.raises(SecretAccessDeniedError):
        await stage.value()


async def test_a_refused_value_is_tried_again_ever_later_and_never_later_than_the_interval(stage: Stage) -> None:
    stage.vault.denied.add(("read", "secret/data/db"))
    stage.subscribe("a")
    await refused(stage)
    tries = []
    for second in range(1, 301):
        await stage.clock.advance(1.0)
        if stage.heard():
            tries.append(second)
            await refused(stage)
    assert tries == sorted(set(tries))
    waits = [later - earlier for earlier, later in zip([0, *tries], tries, strict=False)]
    assert waits[:3] == [1, 1, 2]
    assert waits == sorted(waits), "ever later"
    assert max(waits) <= MINUTE + 1
    assert len(tries) <= 12


async def test_a_refused_value_is_read_as_soon_as_it_may_be(stage: Stage) -> None:
    stage.vault.denied.add(("read", "secret/data/db"))
    stage.subscribe("a")
    await refused(stage)
    stage.vault.denied.clear()
    await stage.clock.advance(1.0)
    assert stage.heard() == ["a"]
    assert (await stage.value()).version == 1
    await stage.clock.advance(2 * MINUTE)
    stage.heard()
    stage.calls()
    await stage.clock.advance(3 * MINUTE)
    assert (stage.calls(), stage.heard()) == ({"metadata": 3, "read": 0}, []), "polls are as rare as before"


async def test_a_value_that_one_reader_is_refused_does_not_spoil_the_versions_of_others(stage: Stage) -> None:
    await stage.deliver("old")
    await stage.clock.advance(40.0)
    stage.vault.denied.add(("read", "secret/data/db"))
    stage.subscribe("new")
    await refused(stage)
    assert await stage.version() == 1


# ── polls ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("every", [10.0, 60.0, 3600.0])
@pytest.mark.parametrize(("random", "part"), [(0.0, 0.5), (1.0, 1.0)])
async def test_the_first_poll_comes_in_the_second_half_of_the_interval(
    stage: Stage, every: float, random: float, part: float
) -> None:
    stage.random = random
    stage.subscribe("a", every=every)
    assert stage.polls.due(DB) == pytest.approx(every * part)


@pytest.mark.parametrize(("random", "wait"), [(0.0, 57.0), (1.0, 60.0)])
async def test_polls_keep_the_interval_as_a_promise(stage: Stage, random: float, wait: float) -> None:
    stage.subscribe("a")
    await stage.clock.advance(59.0)
    stage.random = random
    await stage.clock.advance(1.0)
    assert stage.polls.due(DB) == pytest.approx(60.0 + wait)


async def test_the_shorter_interval_of_a_new_reader_takes_effect(stage: Stage) -> None:
    stage.subscribe("slow", every=3600.0)
    await stage.version()
    await stage.clock.advance(5.0)
    stage.subscribe("quick", every=10.0)
    stage.calls()
    await stage.clock.advance(60.0)
    assert stage.calls() == {"metadata": 6, "read": 0}
    stage.reads.unsubscribe("quick")
    await stage.clock.advance(7200.0)
    assert stage.calls() == {"metadata": 2, "read": 0}, "the slow one's again"


async def test_a_reader_that_shortens_its_interval(stage: Stage) -> None:
    stage.subscribe("a", every=3600.0)
    await stage.version()
    stage.subscribe("a", every=20.0)
    stage.calls()
    await stage.clock.advance(60.0)
    assert stage.calls()["metadata"] == 3


async def test_who_looked_for_itself_has_done_it_for_the_poll(stage: Stage) -> None:
    stage.subscribe("a")
    await stage.clock.advance(50.0)
    await stage.version()
    await stage.clock.advance(59.0)
    assert stage.calls() == {"metadata": 1, "read": 0}
    await stage.clock.advance(1.0)
    assert stage.calls() == {"metadata": 1, "read": 0}


@pytest.mark.parametrize("every", [2.0, 10.0, 60.0])
async def test_errors_are_asked_about_soon_then_ever_later_but_never_later_than_the_interval(
    stage: Stage, every: float
) -> None:
    stage.subscribe("a", every=every)
    await stage.version()
    stage.vault.denied.add(("metadata", "secret/metadata/db"))
    await stage.clock.advance(every)
    waits = []
    for _ in range(12):
        due = stage.polls.due(DB)
        assert due is not None
        waits.append(due - stage.clock.monotonic())
        await stage.clock.advance(waits[-1])
    assert waits == [pytest.approx(min(2.0**n, every)) for n in range(12)]


async def test_nothing_is_asked_of_a_server_that_is_not_usable(stage: Stage) -> None:
    await stage.deliver("a")
    stage.usable = False
    stage.calls()
    await stage.clock.advance(10 * MINUTE)
    assert stage.calls() == {"metadata": 0, "read": 0}
    stage.usable = True
    await stage.clock.advance(MINUTE)
    assert stage.calls() == {"metadata": 1, "read": 0}


async def test_look_again_forgets_what_was_heard_and_polls_within_a_second(stage: Stage) -> None:
    for reader, entry in (("a", DB), ("b", MAIL)):
        stage.subscribe(reader, entry, every=3600.0)
    stage.vault.write("mail", password="m1")
    await stage.version()
    stage.vault.down = AWAY
    with pytest.raises(SecretsUnavailableError):
        await stage.version(entry=MAIL)
    stage.heard()
    stage.calls()
    stage.vault.down = None
    stage.vault.write("db", password="p2")
    stage.reads.look_again("other")
    await stage.clock.advance(0.5)
    assert stage.calls() == {"metadata": 0, "read": 0}
    stage.reads.look_again("default")
    await stage.clock.advance(1.0)
    assert stage.calls() == {"metadata": 2, "read": 0}
    assert sorted(stage.heard()) == ["a", "b"]


async def test_after_look_again_the_next_reader_asks_at_once(stage: Stage) -> None:
    stage.subscribe("a")
    await stage.version()
    stage.reads.look_again("default")
    await stage.version()
    assert stage.calls() == {"metadata": 2, "read": 0}


# ── coming and going ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_last_reader_takes_the_poll_along(stage: Stage) -> None:
    await stage.deliver("a", "b")
    stage.reads.unsubscribe("a")
    assert (len(stage.reads), stage.reads.in_use(WHO), stage.polls.due(DB) is None) == (1, True, False)
    stage.reads.unsubscribe("b")
    assert (len(stage.reads), stage.reads.in_use(WHO), stage.polls.due(DB) is None) == (0, False, True)
    stage.calls()
    await stage.clock.advance(10 * MINUTE)
    assert stage.calls() == {"metadata": 0, "read": 0}
    stage.reads.unsubscribe("nobody")


async def test_subscribing_again_replaces_what_was_read(stage: Stage) -> None:
    stage.reads.subscribe("a", {DB: FOLLOWED, MAIL: FOLLOWED}, interval=timedelta(seconds=60))
    stage.subscribe("b", DB)
    assert sorted(entry.path for entry in stage.reads.entries_of("default")) == ["db", "mail"]
    stage.subscribe("a", DB)
    assert stage.reads.entries_of("default") == [DB]
    assert stage.reads.entries_of("other") == []


async def test_a_poll_that_outlives_its_readers_tells_nobody(stage: Stage) -> None:
    await stage.deliver("a")
    stage.vault.hold("metadata")
    await stage.clock.advance(MINUTE)
    assert stage.vault.waiting == 1
    stage.vault.write("db", password="p2")
    stage.reads.unsubscribe("a")
    stage.vault.release("metadata")
    await stage.clock.advance(MINUTE)
    assert (stage.heard(), len(stage.reads), stage.polls.due(DB)) == ([], 0, None)


@pytest.mark.parametrize("denied", [False, True], ids=["read", "refused"])
async def test_a_value_that_comes_when_nobody_wants_it_any_more(stage: Stage, denied: bool) -> None:
    stage.subscribe("a")
    stage.vault.hold("read")
    reading = asyncio.create_task(stage.value(), name="reading")
    await stage.clock.settle()
    stage.reads.unsubscribe("a")
    if denied:
        stage.vault.denied.add(("read", "secret/data/db"))
    stage.vault.release("read")
    if denied:
        with pytest.raises(SecretAccessDeniedError):
            await reading
    else:
        assert (await reading).version == 1
    assert (len(stage.reads), stage.polls.due(DB)) == (0, None)


async def test_a_look_for_what_nobody_wants_any_more_asks_nothing(stage: Stage) -> None:
    stage.subscribe("a")
    looking = asyncio.create_task(stage.version(), name="looking")
    await asyncio.sleep(0)
    stage.reads.unsubscribe("a")
    with pytest.raises(SecretNotFoundError):
        await looking
    assert stage.calls() == {"metadata": 0, "read": 0}


async def test_readers_that_leave_after_the_end(stage: Stage) -> None:
    await stage.deliver("a")
    await stage.reads.stop()
    stage.reads.unsubscribe("a")
    assert len(stage.reads) == 0


async def test_who_is_followed(stage: Stage) -> None:
    stage.subscribe("a")
    assert not stage.reads.follows("a"), "nothing was read yet"
    await stage.version()
    assert stage.reads.follows("a")
    assert not stage.reads.follows("b")
    stage.reads.look_again("default")
    assert stage.reads.follows("a")


async def test_the_poll_of_nothing(stage: Stage) -> None:
    assert await stage.reads.reconcile(DB) == Result.absent()


async def test_since_when_an_entry_is_compared(stage: Stage) -> None:
    def seconds() -> float | None:
        compared = stage.reads.compared(DB)
        return None if compared is None else (compared - began).total_seconds()

    began = stage.clock.now()
    assert seconds() is None
    await stage.clock.advance(5.0)
    stage.subscribe("a")
    assert seconds() == 5.0, "before the first answer: since it is wanted"
    await stage.clock.advance(5.0)
    await stage.version()
    assert seconds() == 10.0
    stage.vault.down = AWAY
    await stage.clock.advance(MINUTE)
    assert seconds() == 10.0, "an error compares nothing"
    stage.vault.down = None
    await stage.clock.advance(MINUTE)
    assert (seconds() or 0.0) > 10.0


# ── paths that are gone ──────────────────────────────────────────────────────────────────────────────────────────────

GONE = SecretNotFoundError("nothing is stored there", path="secret/metadata/db", confirmed=True)


async def test_a_path_that_is_gone_is_seen_by_each_answer(stage: Stage) -> None:
    assert stage.reads.missing(DB) is None
    await stage.deliver("a")
    stage.vault.failing["metadata"] = GONE
    for _ in range(3):
        with pytest.raises(SecretNotFoundError):
            await stage.version(max_age=-1.0)
        first = stage.reads.missing(DB)
        with pytest.raises(SecretNotFoundError):
            await stage.version()
        assert stage.reads.missing(DB) == first, "the same answer once more is none of its own"
        await stage.clock.advance(1.0)
    seen = stage.reads.missing(DB)
    assert seen is not None
    assert (seen.first, seen.apart >= timedelta(seconds=2)) == (0.0, True)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(None, id="it is there"),
        pytest.param(AWAY, id="no answer"),
        pytest.param(SecretAccessDeniedError("permission denied"), id="not allowed"),
        pytest.param(SecretMountNotFoundError("no handler for route"), id="no mount"),
        pytest.param(SecretNotFoundError("nothing is stored there"), id="a 404 of somebody else"),
        pytest.param(SecretsStaleAnswerError("older"), id="a standby that is behind"),
    ],
)
async def test_every_other_answer_begins_the_count_anew(stage: Stage, other: SecretsError | None) -> None:
    await stage.deliver("a")
    stage.vault.failing["metadata"] = GONE
    with pytest.raises(SecretNotFoundError):
        await stage.version(max_age=-1.0)
    assert stage.reads.missing(DB) is not None
    stage.vault.failing.clear()
    if other is not None:
        stage.vault.failing["metadata"] = other
        with pytest.raises(type(other)):
            await stage.version(max_age=-1.0)
    else:
        await stage.version(max_age=-1.0)
    assert stage.reads.missing(DB) is None


async def test_another_server_begins_the_count_anew(stage: Stage) -> None:
    await stage.deliver("a")
    stage.vault.failing["metadata"] = GONE
    with pytest.raises(SecretNotFoundError):
        await stage.version(max_age=-1.0)
    stage.reads.look_again("default")
    assert stage.reads.missing(DB) is None


async def test_stop_ends_what_is_under_way_and_drops_all_values(stage: Stage) -> None:
    await stage.deliver("a")
    stage.vault.hold("metadata")
    looking = asyncio.create_task(stage.version(max_age=-1.0), name="looking")
    await stage.clock.settle()
    await stage.reads.stop()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert len(stage.reads) == 0


# ── answers that are older than one before ───────────────────────────────────────────────────────────────────────────


async def test_an_older_answer_is_no_answer(stage: Stage) -> None:
    stage.vault.write("db", password="p2")
    await stage.deliver("a")
    stage.vault.prune("db", 2)  # as a standby tells it that has not heard of it
    await stage.clock.advance(MINUTE)
    assert stage.heard() == ["a"]
    with pytest.raises(SecretsStaleAnswerError, match="version 1 is said to be the last one, after version 2 was read"):
        await stage.version()
    with pytest.raises(SecretsStaleAnswerError, match="version 1 is said to be the last one, after version 2 was read"):
        await stage.value()
    stage.vault.write("db", password="p2")
    await stage.clock.advance(MINUTE)
    assert "a" in stage.heard()
    assert await stage.version() == 2


async def test_an_entry_that_only_ever_answers_older_has_gone_back(stage: Stage) -> None:
    stage.vault.write("db", password="p2")
    await stage.deliver("a")
    stage.vault.prune("db", 2)  # as after a backup was restored
    await stage.clock.advance(9 * MINUTE)
    with pytest.raises(SecretsStaleAnswerError):
        await stage.version()
    await stage.clock.advance(3 * MINUTE)
    assert await stage.version() == 1


async def test_two_answers_may_cross_on_the_way(stage: Stage) -> None:
    await stage.deliver("a")
    await stage.clock.advance(40.0)  # the value is not held any more
    stage.vault.hold("read")
    reading = asyncio.create_task(stage.value(), name="reading")
    await stage.clock.advance(0)
    stage.vault.write("db", password="p2")
    assert await stage.version(max_age=-1.0) == 2
    stage.vault.prune("db", 2)
    stage.vault.release("read")
    await stage.clock.advance(0)
    with pytest.raises(SecretsStaleAnswerError):
        await reading
    assert await stage.version() == 2


async def test_an_entry_that_was_written_anew_begins_with_one(stage: Stage) -> None:
    stage.vault.write("db", password="p2")
    await stage.deliver("a")
    await stage.clock.advance(1.0)
    stage.vault.remove("db")
    stage.vault.write("db", password="new")
    await stage.clock.advance(MINUTE)
    assert stage.heard() == ["a"]
    assert await stage.version() == 1


async def test_a_refused_value_that_nobody_wants_again_is_polled_and_no_more(stage: Stage) -> None:
    await stage.deliver("a")
    await stage.clock.advance(40.0)
    stage.vault.denied.add(("read", "secret/data/db"))
    with pytest.raises(SecretAccessDeniedError):
        await stage.value()
    stage.calls()
    await stage.clock.advance(10 * MINUTE)
    assert stage.calls()["metadata"] <= 20


# ── engines without versions ─────────────────────────────────────────────────────────────────────────────────────────

V1 = Entry(WHO, "kv1", "db", engine=Engine.KV1)
STATIC = Entry(WHO, "", "database/static-creds/shop", engine=Engine.PATH)


def static(password: str, ttl: float | None) -> Callable[[int], EngineAnswer]:
    return lambda _: EngineAnswer(Redacted({"password": password} | ({} if ttl is None else {"ttl": ttl})))


async def test_a_value_without_versions_is_read_by_each_poll_and_told_when_it_is_another(stage: Stage) -> None:
    stage.vault.write("db", mount="kv1", a="1", b="2")
    stage.subscribe("r", V1)
    assert (await stage.value(entry=V1)).data.reveal() == {"a": "1", "b": "2"}
    assert await stage.version(entry=V1) == 1
    stage.vault.write("db", mount="kv1", b="2", a="1")
    await stage.clock.advance(MINUTE)
    assert stage.calls() == {"metadata": 0, "read": 2}
    assert stage.heard() == [], "it was written and is the same"
    stage.vault.write("db", mount="kv1", a="1", b="3")
    await stage.clock.advance(MINUTE)
    assert stage.heard() == ["r"]
    assert await stage.version(entry=V1) == 2
    assert (await stage.value(entry=V1)).data.reveal() == {"a": "1", "b": "3"}


async def test_a_value_without_versions_that_cannot_be_read_is_an_error_of_the_entry(stage: Stage) -> None:
    stage.subscribe("r", V1)
    with pytest.raises(SecretNotFoundError):
        await stage.version(entry=V1)
    assert stage.heard() == ["r"]
    with pytest.raises(SecretNotFoundError):
        await stage.value(entry=V1)
    stage.vault.write("db", mount="kv1", a="1")
    await stage.clock.advance(5.0)
    assert stage.heard() == ["r"], "it is tried again soon"
    assert await stage.version(entry=V1) == 1


async def test_what_lasts_for_a_while_is_read_again_just_after_it_ended(stage: Stage) -> None:
    stage.vault.engines[STATIC.path] = static("p1", 20)
    stage.subscribe("r", STATIC)
    value = await stage.value(entry=STATIC)
    assert value.data.reveal() == {"password": "p1"}, "what counts down is no part of it"
    assert stage.reads.ends("r") == [stage.clock.now() + timedelta(seconds=20)]
    for number in (2, 3):
        await stage.clock.advance(20.4)
        assert stage.vault.count("ask") == number - 1
        stage.vault.engines[STATIC.path] = static(f"p{number}", 20)
        await stage.clock.advance(0.1)
        assert stage.vault.count("ask") == number
        assert stage.heard() == ["r"]


async def test_what_ends_at_once_is_not_asked_for_in_a_loop(stage: Stage) -> None:
    stage.vault.engines[STATIC.path] = static("p1", 0)
    stage.subscribe("r", STATIC)
    await stage.value(entry=STATIC)
    await stage.clock.advance(MINUTE)
    before = stage.vault.count("ask")
    await stage.clock.advance(10.0)
    assert stage.vault.count("ask") - before == 10


async def test_what_says_no_time_is_polled_as_the_others(stage: Stage) -> None:
    stage.vault.engines[STATIC.path] = static("p1", None)
    stage.subscribe("r", STATIC)
    await stage.value(entry=STATIC)
    assert stage.reads.ends("r") == []
    assert stage.reads.ends("nobody") == []


async def test_an_entry_is_created_unless_somebody_was_first(stage: Stage) -> None:
    new = Entry(WHO, "secret", "new")
    stage.subscribe("r", new)
    await stage.reads.create(new, {"password": SecretStr("made")}, on_behalf_of="shop/db")
    await stage.reads.create(new, {"password": SecretStr("late")}, on_behalf_of="shop/db")
    value = await stage.value(entry=new)
    assert (value.version, value.data.reveal()) == (1, {"password": "made"})


# ── how late they are ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_polls_that_come_late_are_counted_with_what_would_be_needed(stage: Stage) -> None:
    await stage.deliver("shop/db")
    stage.subscribe("shop/db", every=10.0)
    stage.vault.write("mail", user="u1")
    stage.subscribe("shop/mail", MAIL, every=5.0)
    await stage.clock.advance(30.0)
    found = stage.reads.pace("default")
    assert (found.late, found.needed) == (0, pytest.approx(0.3))
    assert found.polls > 5
    stage.vault.hold("metadata")
    await stage.clock.advance(30.0)
    stage.vault.release("metadata")
    await stage.clock.advance(0.0)
    found = stage.reads.pace("default")
    assert found.late >= 1
    assert 20.0 <= found.behind <= 30.0
    assert stage.reads.pace("other") == Pace(0, 0, 0.0, 0.0, 0.0)


async def test_an_outage_makes_no_poll_late(stage: Stage) -> None:
    await stage.deliver("shop/db")
    stage.subscribe("shop/db", every=10.0)
    stage.usable = False
    await stage.clock.advance(300.0)
    stage.usable = True
    stage.reads.look_again("default")
    await stage.clock.advance(30.0)
    found = stage.reads.pace("default")
    assert (found.late, found.polls > 0) == (0, True)


async def test_polls_that_failed_do_not_count_as_late(stage: Stage) -> None:
    await stage.deliver("shop/db")
    stage.subscribe("shop/db", every=10.0)
    stage.vault.down = SecretsUnavailableError("no answer in time")
    await stage.clock.advance(300.0)
    stage.vault.down = None
    await stage.clock.advance(30.0)
    found = stage.reads.pace("default")
    assert (found.late, found.polls > 0) == (0, True)
