"""What `kubectl get` prints of the kinds, from statuses as they are written, compared with files."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from elile_operator.api.consumers import ConsumersStatus
from elile_operator.api.elilesecret import ElileSecretStatus
from elile_operator.api.meta import Condition, ConditionStatus
from elile_operator.api.model import StatusModel
from elile_operator.api.reasons import Reason
from elile_operator.api.rotation import RotationConsumers, RotationResult, RotationStatus
from elile_operator.api.rotationschedule import RotationScheduleStatus
from tests.e2e.support.kinds import elsewhere, establish, kubectl

pytestmark = pytest.mark.lab

COLUMNS = Path(__file__).parents[1] / "golden" / "columns"
GROUP = "columns.test"
NAMESPACE = "default"
KINDS = {"elilesecrets": "ElileSecret", "rotationschedules": "RotationSchedule", "rotations": "Rotation"}

# A date is printed as the time since then: nothing rounds 26 hours away while a test runs.
EARLIER = datetime.now(UTC) - timedelta(hours=26)
LATER = datetime(2096, 1, 1, 3, tzinfo=UTC)

Body = tuple[dict[str, Any], StatusModel | None]


def ready(reason: Reason, message: str, status: ConditionStatus = ConditionStatus.TRUE) -> tuple[Condition, ...]:
    return (Condition(type="Ready", status=status, reason=reason, message=message, last_transition_time=EARLIER),)


def secret(**spec: Any) -> dict[str, Any]:
    return {"sources": [{"name": "db", "kv": {"path": "shop/db"}}], **spec}


def schedule(**spec: Any) -> dict[str, Any]:
    return {
        "secretRef": {"name": "shop-db", "source": "db"},
        "vault": {"role": "elile-rotator", "serviceAccountName": "elile-rotator"},
        "value": {"external": {}},
        "verify": [{"name": "pair", "tls": {"names": ["shop.example.com"]}}],
        **spec,
    }


def run(**spec: Any) -> dict[str, Any]:
    return {"scheduleRef": {"name": "shop-db"}, **spec}


OBJECTS: dict[str, dict[str, Body]] = {
    "elilesecrets": {
        "idle": (
            secret(),
            ElileSecretStatus(
                revision=7,
                secret_name="idle",
                server="default",
                conditions=ready(Reason.UNCHANGED, "All is as it was."),
                last_change_time=EARLIER,
                consumers=ConsumersStatus(summary="3/3"),
                rotation="Idle",
                next_rotation_time="2096-01-01T03:00:00Z",
            ),
        ),
        "promoted": (
            secret(type="BasicAuth"),
            ElileSecretStatus(
                revision=8,
                secret_name="promoted",
                server="default",
                conditions=ready(Reason.SYNCED, "The Secret is written."),
                last_change_time=EARLIER,
                consumers=ConsumersStatus(summary="1+2?/3"),
                rotation="Promoted",
            ),
        ),
        "unseen": (secret(), None),
    },
    "rotationschedules": {
        "idle": (
            schedule(schedule="0 3 * * 0", timeZone="Europe/Berlin"),
            RotationScheduleStatus(
                conditions=ready(Reason.ROTATION_SCHEDULED, "All is well."),
                phase="Idle",
                last_result="Succeeded",
                last_successful_time=EARLIER,
                next_rotation_time=LATER,
                consecutive_failures=0,
            ),
        ),
        "on-demand": (
            schedule(suspend=True),
            RotationScheduleStatus(conditions=ready(Reason.SUSPENDED, "spec.suspend is true."), phase="Idle"),
        ),
        "stuck": (
            schedule(schedule="@daily"),
            RotationScheduleStatus(
                conditions=ready(Reason.NEEDS_INTERVENTION, "Look at it.", ConditionStatus.FALSE),
                active="stuck-29711340",
                phase="NeedsIntervention",
                last_result="RolledBack",
                consecutive_failures=2,
            ),
        ),
        "unseen": (schedule(), None),
    },
    "rotations": {
        "shop-db-29711340": (
            run(action="Rotate"),
            RotationStatus(
                phase="Done",
                from_version=3,
                to_version=4,
                consumers=RotationConsumers(summary="3/3"),
                duration="16m4s",
                result=RotationResult.SUCCEEDED,
                reason=Reason.RETIRED,
            ),
        ),
        "shop-db-29721420": (
            run(action="Rotate"),
            RotationStatus(
                phase="Promoted",
                from_version=4,
                to_version=5,
                consumers=RotationConsumers(summary="1/3"),
                reason=Reason.AWAITING_CONSUMERS,
            ),
        ),
        "shop-db-by-hand": (
            run(action="RollBack"),
            RotationStatus(
                phase="Aborted",
                from_version=4,
                result=RotationResult.ABORTED,
                reason=Reason.VALUE_COMPROMISED,
                duration="2s",
            ),
        ),
        "unseen": (run(), None),
    },
}


@pytest.fixture(scope="module", params=KINDS)
def filled(kubeconfig: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The objects of one kind, with their statuses; its name."""
    plural: str = request.param
    establish(kubeconfig, "-", elsewhere(plural, GROUP))
    for name, (spec, status) in OBJECTS[plural].items():
        body = {
            "apiVersion": f"{GROUP}/v1alpha1",
            "kind": KINDS[plural],
            "metadata": {"name": name, "namespace": NAMESPACE},
        }
        made = kubectl(kubeconfig, "apply", "--server-side", "--filename=-", body=body | {"spec": spec})
        assert made.returncode == 0, made.stderr
        if status is not None:
            written = kubectl(
                kubeconfig, "apply", "--server-side", "--subresource=status", "--field-manager=test", "--filename=-",
                body=body | {"status": status.dump()},
            )  # fmt: skip
            assert written.returncode == 0, written.stderr
    yield plural
    kubectl(kubeconfig, "delete", "crd", f"{plural}.{GROUP}")


def of_any_age(table: str) -> str:
    """The table with the ages alike, which take at most the three characters of their title."""
    header, *rows = table.splitlines()
    start = header.index("AGE")
    aged = [f"{row[:start]}1s {row[start + 3 :]}".rstrip() for row in rows]
    return "\n".join([header.rstrip(), *aged]) + "\n"


@pytest.mark.parametrize("output", ["plain", "wide"])
def test_the_columns_are_those_of_the_file(kubeconfig: Path, filled: str, output: str) -> None:
    arguments = ["--output=wide"] if output == "wide" else []
    shown = kubectl(kubeconfig, "get", f"{filled}.{GROUP}", f"--namespace={NAMESPACE}", *arguments)
    assert shown.returncode == 0, shown.stderr
    assert of_any_age(shown.stdout) == (COLUMNS / f"{filled}.{output}.txt").read_text(encoding="utf-8")
