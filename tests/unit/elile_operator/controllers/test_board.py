"""How far each run is, and who is told of it: nobody twice."""

import pytest

from elile.secrets.rotation.journal import Phase
from elile_operator.controllers.board import Board, Standing
from elile_operator.engine import ObjectKey

SCHEDULE, OTHER = ObjectKey("shop", "weekly"), ObjectKey("web", "daily")
DB, WEB = ObjectKey("shop", "db"), ObjectKey("web", "db")
GRACE = Standing(phase=Phase.GRACE, active="run")


class Told:
    def __init__(self) -> None:
        self.schedules: list[ObjectKey] = []
        self.secrets: list[ObjectKey] = []
        self.board = Board(on_schedule=self.schedules.append, on_secret=self.secrets.append)


@pytest.fixture
def told() -> Told:
    return Told()


def holding(**why: str) -> Standing:
    keys = {"db": DB, "web": WEB}
    return Standing(phase=Phase.PROMOTED, active="run", holds_up={keys[name]: text for name, text in why.items()})


def test_a_standing_is_told_once(told: Told) -> None:
    told.board.post(SCHEDULE, GRACE)
    told.board.post(SCHEDULE, Standing(phase=Phase.GRACE, active="run"))
    assert told.schedules == [SCHEDULE]
    assert told.board.get(SCHEDULE) == GRACE
    assert dict(told.board.all()) == {SCHEDULE: GRACE}
    told.board.post(SCHEDULE, None)
    told.board.post(SCHEDULE, None)
    assert told.schedules == [SCHEDULE, SCHEDULE]
    assert told.board.get(SCHEDULE) is None


def test_those_who_are_waited_for_are_told_what_changes_for_them(told: Told) -> None:
    told.board.post(SCHEDULE, holding(db="not poked", web="not read"))
    assert set(told.secrets) == {DB, WEB}
    told.secrets.clear()
    told.board.post(SCHEDULE, holding(db="not proved", web="not read"))
    assert told.secrets == [DB]
    assert told.board.waited_for(DB) == "not proved"
    told.secrets.clear()
    told.board.post(SCHEDULE, GRACE)
    assert set(told.secrets) == {DB, WEB}
    assert told.board.waited_for(DB) is None


def test_an_object_can_hold_several_runs_up(told: Told) -> None:
    told.board.post(SCHEDULE, holding(db="one"))
    told.board.post(OTHER, holding(db="two"))
    assert told.board.waiting_for(DB) == [SCHEDULE, OTHER]
    assert told.board.waiting_for(WEB) == []
    told.board.post(SCHEDULE, None)
    assert told.board.waited_for(DB) == "two"
