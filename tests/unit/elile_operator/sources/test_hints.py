"""Batches of forwarders: what they are about is read, lost ones are made up for, and who speaks is known."""

from datetime import timedelta

import pytest

from elile_operator.decide.access import Engine
from elile_operator.decide.hinting import FEW
from elile_operator.decide.hints import Batch, Hint
from elile_operator.sources.hints import Hints
from elile_operator.sources.identity import Identity
from elile_operator.sources.reads import Entry
from tests.unit.elile_operator.sources.test_reads import DB, MAIL, MINUTE, WHO, Stage, stage

__all__ = ["stage"]

TOLD = Hint("", "secret", "data/db")


class Told:
    """As a HintObserver."""

    def __init__(self) -> None:
        self.wanted = self.unwanted = 0

    def hints_received(self, *, server: str, wanted: int, unwanted: int) -> None:
        self.wanted, self.unwanted = self.wanted + wanted, self.unwanted + unwanted


@pytest.fixture
def flows() -> list[str]:
    return []


@pytest.fixture
def hints(stage: Stage, flows: list[str]) -> Hints:
    return Hints(
        reads=stage.reads, clock=stage.clock, expects=lambda s: s == "default", on_flow=flows.append, observer=Told()
    )


def new(version: int | None) -> Hint:
    return Hint("", "secret", "data/db", version)


# ── reads ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_write_that_is_hinted_at_is_told_at_once(stage: Stage) -> None:
    await stage.deliver("a", "b")
    stage.calls()
    version = stage.vault.write("db", password="p2")
    assert stage.reads.hint("default", new(version))
    await stage.clock.advance(0)
    assert stage.heard() == ["a", "b"]
    await stage.clock.advance(2)
    assert stage.calls() == {"metadata": 1, "read": 0}, "once"


async def test_what_is_known_by_now_is_not_read(stage: Stage) -> None:
    await stage.deliver("a")
    stage.calls()
    assert stage.reads.hint("default", new(1))
    await stage.clock.advance(5)
    assert stage.calls() == {"metadata": 0, "read": 0}


async def test_nobody_reads_it(stage: Stage) -> None:
    await stage.deliver("a")
    for hint in (Hint("", "secret", "data/other"), Hint("team", "secret", "data/db"), Hint("", "kv", "data/db")):
        assert not stage.reads.hint("default", hint)
    assert not stage.reads.hint("other", new(2)), "of another Vault"
    stage.reads.unsubscribe("a")
    assert not stage.reads.hint("default", new(2))


async def test_a_standby_that_is_behind_is_asked_again(stage: Stage) -> None:
    await stage.deliver("a")
    stage.reads.hint("default", new(2))
    await stage.clock.advance(0.3)
    assert stage.heard() == []
    stage.vault.write("db", password="p2")
    await stage.clock.advance(0.4)
    assert stage.heard() == ["a"]
    stage.calls()
    await stage.clock.advance(10)
    assert stage.calls() == {"metadata": 0, "read": 0}


async def test_hints_that_were_answered_wait_no_more(stage: Stage) -> None:
    await stage.deliver("a")
    for _ in range(FEW + 1):
        stage.reads.hint("default", new(version := stage.vault.write("db", password="p")))
        await stage.clock.advance(0)
    stage.calls()
    stage.reads.hint("default", new(version + 1))
    await stage.clock.advance(0.1)
    assert stage.calls()["metadata"] == 2, "at once, and soon again: few wait"


async def test_an_entry_of_a_folder_that_is_listed_is_looked_at_itself(stage: Stage) -> None:
    stage.vault.listable["secret/detailed-metadata/"] = frozenset({"list"})
    for name in "bcdef":
        stage.vault.write(name, x="1")
        stage.subscribe(name, Entry(WHO, "secret", name))
        await stage.version(entry=Entry(WHO, "secret", name))
    await stage.deliver("a")
    await stage.clock.advance(3 * MINUTE)
    assert stage.vault.count("list") > 0
    stage.vault.calls.clear()
    stage.reads.hint("default", new(stage.vault.write("db", password="p2")))
    await stage.clock.advance(0)
    assert stage.heard() == ["a"]
    assert (stage.vault.count("list"), stage.vault.count("metadata")) == (0, 1)


async def test_a_deletion_without_a_version_is_found(stage: Stage) -> None:
    await stage.deliver("a")
    stage.vault.delete("db", 1)
    stage.reads.hint("default", Hint("", "secret", "delete/db"))
    await stage.clock.advance(0)
    assert stage.heard() == ["a"]


async def test_an_entry_that_was_removed_and_written_anew_is_found(stage: Stage) -> None:
    stage.vault.write("db", password="p2")
    await stage.deliver("a")
    stage.vault.remove("db")
    stage.reads.hint("default", Hint("", "secret", "metadata/db"))
    await stage.clock.advance(0.01)
    assert stage.heard() == ["a"]
    stage.reads.hint("default", new(stage.vault.write("db", password="p3")))
    await stage.clock.advance(0.01)
    assert stage.heard() == ["a"]
    assert (await stage.value()).data.reveal() == {"password": "p3"}


async def test_false_hints_cost_less_and_less_and_polls_go_on(stage: Stage) -> None:
    await stage.deliver("a")
    stage.calls()
    for _ in range(100):
        stage.reads.hint("default", new(99))
        await stage.clock.advance(0.1)
    assert stage.calls()["metadata"] <= 10, "eight looks for the first one, and one after each doubt"
    stage.vault.write("db", password="p2")
    await stage.clock.advance(MINUTE)
    assert stage.heard() == ["a"], "whoever hinted falsely"


async def test_a_true_hint_that_was_doubted_is_followed_after_the_doubt(stage: Stage) -> None:
    await stage.deliver("a")
    stage.reads.hint("default", new(99))
    await stage.clock.advance(2.5)
    stage.vault.write("db", password="p2")
    stage.reads.hint("default", new(2))
    await stage.clock.advance(0.6)
    assert stage.heard() == ["a"], "of the next version, which nobody else would know"
    stage.reads.hint("default", new(99))
    await stage.clock.advance(2.5)
    stage.vault.delete("db", 2)
    stage.reads.hint("default", Hint("", "secret", "delete/db"))
    await stage.clock.advance(1)
    assert stage.heard() == []
    await stage.clock.advance(1)
    assert stage.heard() == ["a"]


async def test_one_entry_of_several_identities_and_vaultservers_is_read_by_each(stage: Stage) -> None:
    stage.tokens.accounts["shop", "other"] = "uid-other"
    other = Entry(Identity("default", "elile", "shop", "other"), "secret", "db")
    for reader, entry in (("a", DB), ("b", other), ("c", MAIL)):
        stage.subscribe(reader, entry)
    stage.vault.write("mail", password="m1")
    for entry in (DB, other, MAIL):
        await stage.value(entry=entry)
    stage.reads.hint("default", new(stage.vault.write("db", password="p2")))
    await stage.clock.advance(0)
    assert stage.heard() == ["a", "b"]


@pytest.mark.parametrize(
    ("entry", "hint", "about"),
    [
        (Entry(WHO, "kv1", "data/db", engine=Engine.KV1), Hint("", "kv1", "data/db"), True),
        (Entry(WHO, "kv1", "db", engine=Engine.KV1), Hint("", "kv1", "data/db"), False),
        (Entry(WHO, "", "kv1/db", engine=Engine.PATH), Hint("", "kv1", "db"), True),
        (Entry(WHO, "secret", "db", namespace="team/a"), Hint("team/a", "secret", "data/db"), True),
        (Entry(WHO, "secret", "db", namespace="team/a"), Hint("", "secret", "data/db"), False),
        (Entry(WHO, "secret", "db"), Hint("", "secret", "db"), False),
    ],
)
def test_which_entries_a_hint_is_about(stage: Stage, entry: Entry, hint: Hint, about: bool) -> None:
    stage.subscribe("a", entry)
    assert stage.reads.hint("default", hint) is about


# ── batches ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_read_and_what_is_not_is_counted(stage: Stage, hints: Hints) -> None:
    await stage.deliver("a")
    hints.take("default", Batch((new(2), Hint("", "secret", "data/other"))))
    assert (hints._observer.wanted, hints._observer.unwanted) == (1, 1)  # type: ignore[attr-defined] # Told


async def test_what_another_server_of_the_same_vault_is_told_counts(stage: Stage, hints: Hints) -> None:
    await stage.deliver("a")
    assert stage.reads.hint("twin", new(stage.vault.write("db", password="p2")))
    await stage.clock.advance(0)
    assert stage.heard() == ["a"]
    stage.vault.write("db", password="p3")
    hints.take("twin", Batch(gap=True))
    await stage.clock.advance(1)
    assert stage.heard() == ["a"]
    stage.vault.write("db", password="p4")
    hints.take("other", Batch(gap=True))
    await stage.clock.advance(1)
    assert stage.heard() == []


async def test_after_a_gap_all_is_compared_but_not_time_and_again(stage: Stage, hints: Hints) -> None:
    await stage.deliver("a")
    stage.vault.write("db", password="p2")
    hints.take("default", Batch(gap=True))
    await stage.clock.advance(1)
    assert stage.heard() == ["a"]
    stage.calls()
    for _ in range(50):
        hints.take("default", Batch(gap=True))
        await stage.clock.advance(0.5)
    assert stage.calls()["metadata"] == 0
    await stage.clock.advance(10)
    assert stage.calls()["metadata"] == 1, "the last one is owed"


async def test_a_forwarder_speaks_falls_silent_and_is_back(stage: Stage, hints: Hints, flows: list[str]) -> None:
    assert (hints.flow("default").speaks, hints.flow("default").expected) == (None, True)
    assert not hints.flow("other").expected
    await stage.clock.advance(15)
    assert hints.flow("default").speaks is False
    hints.take("default", Batch())
    for _ in range(5):
        await stage.clock.advance(5)
        hints.take("default", Batch())
    assert hints.flow("default").speaks is True
    assert flows == ["default"]
    await stage.clock.advance(15)
    assert hints.flow("default").speaks is False
    hints.take("default", Batch())
    assert flows == ["default", "default"]


async def test_polls_keep_their_interval(stage: Stage, hints: Hints) -> None:
    await stage.deliver("a")
    stage.calls()
    for _ in range(12):
        hints.take("default", Batch())
        await stage.clock.advance(timedelta(seconds=5).total_seconds())
    assert stage.calls()["metadata"] == 1
