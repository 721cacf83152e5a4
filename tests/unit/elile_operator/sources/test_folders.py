"""One listing for the polls of a folder: who hears of what it tells, and when each is looked at by itself again."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from elile.secrets.answers import KVMetadata, KVVersionState
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretDeletedError,
    SecretNotFoundError,
    SecretsUnavailableError,
)
from elile_operator.decide.access import Engine
from elile_operator.sources.known import Entry
from tests.unit.elile_operator.sources.test_reads import WHO, Stage

MINUTE = 60.0
FOLDER = "secret/detailed-metadata/team/"
NAMES = tuple("abcdef")


def entry(name: str) -> Entry:
    return Entry(WHO, "secret", f"team/{name}")


class Folder(Stage):
    """Entries of one folder, each with a reader of its name."""

    async def follow(self, *names: str) -> None:
        for name in names:
            self.vault.write(f"team/{name}", x="1")
            self.subscribe(name, entry(name))
            await self.version(entry=entry(name))
        self.heard()

    def may_list(self) -> None:
        self.vault.listable[FOLDER] = frozenset({"list"})

    async def minutes(self, count: float) -> dict[str, int]:
        """Calls of each kind within so many minutes."""
        self.vault.calls.clear()
        await self.clock.advance(count * MINUTE)
        return {name: self.vault.count(name) for name in ("list", "metadata", "capabilities")}


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> Any:
    stage = Folder(monkeypatch)
    stage.vault.grants = type(stage.vault.grants)(token=stage.vault.grants.token, ttl=0.0, renewable=True)
    stage.runner.start()
    yield stage
    stopping = asyncio.create_task(stage.runner.stop(0), name="stopping")
    await stage.clock.advance(0)
    await stopping
    await stage.reads.stop()


async def test_a_folder_that_may_be_listed_is_listed_for_all(stage: Folder) -> None:
    stage.may_list()
    await stage.follow(*NAMES)
    await stage.minutes(2)  # its rights were asked for, once
    found = await stage.minutes(10)
    assert found["metadata"] == found["capabilities"] == 0
    assert 9 <= found["list"] <= 20
    assert stage.heard() == []


async def test_polls_that_are_spread_need_two_listings_in_an_interval_at_most(stage: Folder) -> None:
    stage.may_list()
    for number in range(20):
        stage.random = number / 20
        await stage.follow(f"e{number}")
    await stage.minutes(2)
    assert (await stage.minutes(10))["list"] <= 20


async def test_who_may_not_list_is_asked_about_once_an_hour(stage: Folder) -> None:
    await stage.follow(*NAMES)
    found = await stage.minutes(59)
    assert (found["list"], found["capabilities"]) == (0, 1)
    assert found["metadata"] >= 58 * len(NAMES)
    stage.may_list()
    await stage.minutes(3)
    assert (await stage.minutes(2))["metadata"] == 0


async def test_three_entries_are_not_worth_a_question(stage: Folder) -> None:
    stage.may_list()
    await stage.follow("a", "b", "c")
    found = await stage.minutes(5)
    assert (found["list"], found["capabilities"]) == (0, 0)


async def test_a_folder_with_many_others_is_not_listed_again_for_an_hour(stage: Folder) -> None:
    stage.may_list()
    for number in range(40):
        stage.vault.write(f"team/other-{number}", x="1")
    await stage.follow(*NAMES)
    assert (await stage.minutes(50))["list"] == 1


async def test_a_change_and_a_deletion_are_told_to_those_concerned(stage: Folder) -> None:
    stage.may_list()
    await stage.follow(*NAMES)
    await stage.minutes(3)
    stage.vault.write("team/b", x="2")
    await stage.minutes(1.1)
    assert stage.heard() == ["b"]
    assert await stage.version(entry=entry("b")) == 2
    stage.vault.delete("team/c", 1)
    await stage.minutes(1.1)
    assert stage.heard() == ["c"]
    with pytest.raises(SecretDeletedError):
        await stage.version(entry=entry("c"))


async def test_an_entry_that_is_gone_is_told_by_a_look_of_its_own(stage: Folder) -> None:
    stage.may_list()
    await stage.follow(*NAMES)
    await stage.minutes(3)
    stage.vault.remove("team/a")
    await stage.minutes(2)
    assert stage.heard() == ["a"]
    with pytest.raises(SecretNotFoundError):
        await stage.version(entry=entry("a"))
    stage.vault.write("team/a", x="again")
    await stage.minutes(1.1)
    assert stage.heard() == ["a"]
    assert await stage.version(entry=entry("a")) == 1


async def test_a_reader_that_wants_to_know_now_asks_for_itself(stage: Folder) -> None:
    stage.may_list()
    await stage.follow(*NAMES)
    await stage.minutes(3)
    await stage.clock.advance(1.0)
    stage.vault.calls.clear()
    await stage.version(entry=entry("a"), max_age=0.0)
    assert (stage.vault.count("metadata"), stage.vault.count("list")) == (1, 0)


async def test_a_listing_that_fails_is_no_error_of_an_entry(stage: Folder) -> None:
    stage.may_list()
    await stage.follow(*NAMES)
    await stage.minutes(3)
    stage.vault.failing["list"] = SecretsUnavailableError("answered 500")
    found = await stage.minutes(30)
    assert found["list"] == 1
    assert found["metadata"] >= 29 * len(NAMES)
    assert stage.heard() == []
    # A server that is back is asked anew, and not in an hour.
    del stage.vault.failing["list"]
    stage.reads.look_again("default")
    await stage.minutes(3)
    assert (await stage.minutes(2))["metadata"] == 0


async def test_who_is_followed_no_more_is_not_told_and_does_not_count(stage: Folder) -> None:
    stage.may_list()
    await stage.follow(*NAMES)
    await stage.minutes(3)
    for name in "def":
        stage.reads.unsubscribe(name)
    stage.vault.write("team/f", x="2")
    found = await stage.minutes(3)
    assert found["list"] == 0, "three are left"
    assert stage.heard() == []


async def test_other_engines_are_never_listed(stage: Folder) -> None:
    stage.may_list()
    for name in NAMES:
        stage.vault.write(f"team/{name}", x="1")
        stage.reads.subscribe(
            name,
            {Entry(WHO, "secret", f"team/{name}", engine=Engine.KV1): frozenset()},
            interval=timedelta(minutes=1),
        )
    found = await stage.minutes(5)
    assert (found["list"], found["capabilities"]) == (0, 0)
    for name in NAMES:
        stage.reads.unsubscribe(name)


async def test_an_entry_that_is_refused_stays_so_whatever_a_listing_says(stage: Folder) -> None:
    stage.may_list()
    await stage.follow(*NAMES)
    await stage.minutes(3)
    stage.vault.denied.add(("metadata", "secret/metadata/team/a"))
    await stage.clock.advance(1.0)
    with pytest.raises(SecretAccessDeniedError):
        await stage.version(entry=entry("a"), max_age=0.0)
    await stage.minutes(3)
    with pytest.raises(SecretAccessDeniedError):
        await stage.version(entry=entry("a"))


async def test_a_listing_that_was_asked_for_before_an_entry_was_looked_at_says_nothing_of_it(stage: Folder) -> None:
    await stage.follow(*NAMES)
    asked = stage.clock.monotonic()
    await stage.clock.advance(1.0)
    stage.vault.write("team/a", x="2")
    assert await stage.version(entry=entry("a"), max_age=0.0) == 2
    stage.heard()
    stage.reads._listed(entry("a"), KVMetadata(1, {1: KVVersionState(deleted=False, destroyed=False)}), asked)
    assert await stage.version(entry=entry("a")) == 2
    assert stage.heard() == []
