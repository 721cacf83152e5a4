from datetime import UTC, datetime
from typing import Any

import pytest

from elile_operator.api.model import InvalidObject
from elile_operator.api.rotation import (
    Action,
    RetireMode,
    Rotation,
    RotationResult,
    RotationStatus,
    Trigger,
    VerificationStatus,
)


def read(status: dict[str, Any] | None = None, **spec: Any) -> Rotation:
    body = {"metadata": {"name": "shop-db-29711340", "namespace": "team"}, "spec": {"scheduleRef": {"name": "shop-db"}}}
    return Rotation.from_body({**body, "spec": body["spec"] | spec, "status": status})


def test_what_is_absent_is_the_default() -> None:
    spec = read().spec
    assert (spec.schedule_ref.name, spec.action, spec.retire) == ("shop-db", Action.ROTATE, RetireMode.AFTER_PROOF)
    assert (spec.compromised, spec.key_id, spec.reason) == (False, None, None)


@pytest.mark.parametrize("action", Action)
def test_a_key_goes_with_one_action_only(action: Action) -> None:
    with_key, without = {"action": action.value, "keyID": "k3"}, {"action": action.value}
    good, bad = (with_key, without) if action is Action.DESTROY_KEY else (without, with_key)
    assert read(**good).spec.action is action
    with pytest.raises(InvalidObject) as raised:
        read(**bad)
    assert str(raised.value) == "spec.keyID goes with spec.action DestroyKey, and with no other; set both or none"


def test_the_status_is_read_as_it_is_written() -> None:
    now = datetime(2026, 11, 1, 3, tzinfo=UTC)
    status = RotationStatus(
        rotation_id="5c0f",
        trigger=Trigger.MAX_AGE,
        verification=(
            VerificationStatus(name="login", stage="Pending", result="Passed", time=now),
            VerificationStatus(name="login", stage="AfterPromote", result="Failed", reason="VerificationFailed"),
        ),
        result=RotationResult.ROLLED_BACK,
    )
    written = status.dump()
    assert (written["rotationID"], written["trigger"], written["result"]) == ("5c0f", "MaxAge", "RolledBack")
    assert written["verification"] == [
        {"name": "login", "stage": "Pending", "result": "Passed", "time": "2026-11-01T03:00:00Z"},
        {"name": "login", "stage": "AfterPromote", "result": "Failed", "reason": "VerificationFailed"},
    ]
    assert read(written).status == status


def test_a_status_of_another_version_counts_as_none() -> None:
    assert read({"result": "Exploded", "phase": "Done"}).status == RotationStatus()
