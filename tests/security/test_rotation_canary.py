"""The values of rotations that end well, fail and are taken back are found nowhere but where they belong."""

import json
import time
from typing import Any

import pytest

from tests.e2e.support.asked import Asked
from tests.e2e.support.operator import Operator
from tests.e2e.support.pairs import RotatedPair, asked, database, rotated
from tests.security.traces import forms, leaks, traces

__all__ = ["asked", "database", "rotated"]

pytestmark = pytest.mark.lab


def held(rotated: RotatedPair) -> dict[str, Any]:
    """Return the journal of a run that is under way, which holds its values."""
    journal = rotated.rotating.journal("db")
    assert journal is not None
    assert journal["pending"] is not None
    return journal


def test_no_value_of_a_rotation_leaves_its_place(rotated: RotatedPair, operator: Operator, asked: Asked) -> None:
    rotating, where = rotated.rotating, rotated.tenant.namespace
    steward = rotated.database.admin_entry(*rotated.pair.users)["password"]
    values = {rotated.pair.password, steward}
    # One that succeeds, with a proof that comes late, and is taken back; one that its hook refuses.
    rotated.schedule(gracePeriod="10m")
    rotating.ask("well", "db")
    rotating.wait_phase("well", "Grace")
    values |= {held(rotated)[which]["password"] for which in ("pending", "previous")}
    rotating.ask("back", "db", "RollBack")
    rotating.wait_result("back", "Succeeded")
    rotated.schedule(verify=[asked.hook(where, "Pending")])
    rotating.ask("bad", "db")
    asked.wait_asked(where)
    values.add(held(rotated)["pending"]["password"])
    asked.answer(where, 401)
    rotating.wait_result("bad", "Aborted", "VerificationFailed")
    time.sleep(2)  # what is told late

    wanted = forms(values)
    assert len(values) == 4, "the one in use, the administrator's, and two that were made"
    found = traces(rotated.tenant, operator, but=["db"])
    found["log of the database"] = rotated.database.server.log.read_text()
    found["journal"] = json.dumps(rotating.journal("db"))
    assert {place: leaks(text, wanted) for place, text in found.items() if leaks(text, wanted)} == {}
    # The same search does find one where it belongs.
    assert leaks(json.dumps(rotated.tenant.secret("db")), wanted)
