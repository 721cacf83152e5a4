"""What GitOps tools make of our status: Argo CD by the Lua that is shipped, the others by kstatus itself."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lupa.lua54 as lua
import pytest

from elile_operator.api.meta import Condition
from elile_operator.api.reasons import SCHEDULE_EFFECTS, SERVER_EFFECTS, Mark, Reason
from elile_operator.decide.conditions import set_conditions

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 24, tzinfo=UTC)
GENERATION = 3

# After something good was delivered, which is what Keep keeps.
GOOD = {"Ready": (Mark.TRUE, Reason.SYNCED, "m"), "Stalled": (Mark.FALSE, Reason.SYNCED, "m")}
REASONS = [r for r in Reason if r.effect.stalled is not Mark.KEEP]


def body(conditions: tuple[Condition, ...], generation: int = GENERATION, kind: str = "ElileSecret") -> dict[str, Any]:
    return {
        "apiVersion": "elile.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": "db", "namespace": "shop", "generation": generation},
        "status": {
            "observedGeneration": GENERATION,
            "conditions": [c.dump() for c in conditions],
        },
    }


def after(reason: Reason, before: tuple[Condition, ...]) -> tuple[Condition, ...]:
    effect = reason.effect
    marks = {"Ready": effect.ready, "Stalled": effect.stalled, "Synced": effect.synced}
    given = {name: (mark, reason, "m") for name, mark in marks.items()}
    return set_conditions(before, given, generation=GENERATION, now=NOW)


def delivered() -> tuple[Condition, ...]:
    return set_conditions((), GOOD, generation=GENERATION, now=NOW)


def argo(obj: dict[str, Any]) -> tuple[str, str]:
    runtime = lua.LuaRuntime()
    runtime.globals()["obj"] = runtime.table_from(obj, recursive=True)
    health = runtime.execute((ROOT / "policies" / "gitops" / "health.lua").read_text())
    return health["status"], health["message"]


@pytest.mark.parametrize("reason", REASONS)
def test_argo_cd(reason: Reason) -> None:
    status, message = argo(body(after(reason, delivered())))
    assert status == ("Degraded" if reason.effect.ready is Mark.FALSE else "Healthy")
    if reason is Reason.READ_STALE or reason.effect.ready is not Mark.KEEP:
        assert message == f"{reason}: m"


def test_argo_cd_waits_for_the_first_answer_and_for_the_answer_to_an_edit() -> None:
    assert argo({"metadata": {"generation": 1}})[0] == "Progressing"
    assert argo(body(after(Reason.VAULT_SEALED, ())))[0] == "Progressing"
    assert argo(body(delivered(), generation=GENERATION + 1))[0] == "Progressing"


@pytest.mark.parametrize(("reason", "effect"), SERVER_EFFECTS.items(), ids=str)
def test_argo_cd_on_a_server(reason: Reason, effect: Any) -> None:
    conditions = set_conditions((), {"Ready": (effect.ready, reason, "m")}, generation=GENERATION, now=NOW)
    assert argo(body(conditions, kind="VaultServer"))[0] == ("Healthy" if effect.ready is Mark.TRUE else "Degraded")


def scheduled(reason: Reason) -> tuple[Condition, ...]:
    """The conditions of a schedule that ran well until it got this reason."""
    good = {name: (mark, Reason.ROTATION_SCHEDULED, "m") for name, (mark, *_) in GOOD.items()}
    effect = SCHEDULE_EFFECTS[reason]
    given = {"Ready": (effect.ready, reason, "m"), "Stalled": (effect.stalled, reason, "m")}
    return set_conditions(
        set_conditions((), good, generation=GENERATION, now=NOW), given, generation=GENERATION, now=NOW
    )


@pytest.mark.parametrize("reason", SCHEDULE_EFFECTS)
def test_argo_cd_on_a_schedule(reason: Reason) -> None:
    status, _ = argo(body(scheduled(reason), kind="RotationSchedule"))
    if reason is Reason.SUSPENDED:
        assert status == "Suspended"
    else:
        assert status == ("Degraded" if SCHEDULE_EFFECTS[reason].ready is Mark.FALSE else "Healthy")


def running(**marks: Mark) -> tuple[Condition, ...]:
    given = {name: (mark, Reason.PROMOTED, "m") for name, mark in marks.items()}
    return set_conditions((), given, generation=GENERATION, now=NOW)


@pytest.mark.parametrize(
    ("conditions", "status", "message"),
    [
        pytest.param((), "Progressing", "waiting for the end of the run", id="begun"),
        pytest.param(
            running(Verified=Mark.TRUE, Promoted=Mark.TRUE, Complete=Mark.FALSE, Failed=Mark.FALSE),
            "Progressing", "waiting for the end of the run", id="on its way",
        ),
        pytest.param(running(Complete=Mark.TRUE, Failed=Mark.FALSE), "Healthy", "Promoted: m", id="complete"),
        pytest.param(running(Complete=Mark.FALSE, Failed=Mark.TRUE), "Degraded", "Promoted: m", id="failed"),
    ],
)  # fmt: skip
def test_argo_cd_on_a_rotation(conditions: tuple[Condition, ...], status: str, message: str) -> None:
    assert argo(body(conditions, kind="Rotation")) == (status, message)


def test_argo_cd_waits_for_the_operator_to_see_a_rotation() -> None:
    assert argo({"kind": "Rotation", "metadata": {"generation": 1}})[0] == "Progressing"


@pytest.fixture(scope="module")
def kstatus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real thing, built from its module; Go caches it."""
    binary = tmp_path_factory.mktemp("kstatus") / "kstatus"
    source = Path(__file__).with_name("kstatus")
    subprocess.run(["go", "build", "-o", str(binary), "."], cwd=source, check=True, capture_output=True)
    return binary


def asked(kstatus: Path, obj: dict[str, Any]) -> str:
    answer = subprocess.run([str(kstatus)], input=json.dumps(obj), capture_output=True, text=True, check=True)
    return answer.stdout.strip()


@pytest.mark.parametrize("reason", REASONS)
def test_kstatus(kstatus: Path, reason: Reason) -> None:
    effect = reason.effect
    expected = "Failed" if effect.stalled is Mark.TRUE else "InProgress" if effect.ready is Mark.FALSE else "Current"
    assert asked(kstatus, body(after(reason, delivered()))) == expected


def test_kstatus_waits_for_the_answer_to_an_edit(kstatus: Path) -> None:
    assert asked(kstatus, body(delivered(), generation=GENERATION + 1)) == "InProgress"


@pytest.mark.parametrize("reason", SCHEDULE_EFFECTS)
def test_kstatus_on_a_schedule(kstatus: Path, reason: Reason) -> None:
    effect = SCHEDULE_EFFECTS[reason]
    expected = "Failed" if effect.stalled is Mark.TRUE else "InProgress" if effect.ready is Mark.FALSE else "Current"
    assert asked(kstatus, body(scheduled(reason), kind="RotationSchedule")) == expected


def test_kstatus_knows_of_a_rotation_only_that_it_was_seen(kstatus: Path) -> None:
    """It has no word for a run that ended badly: who waits for one waits for Complete or Failed."""
    failed = running(Complete=Mark.FALSE, Failed=Mark.TRUE)
    assert asked(kstatus, body(failed, kind="Rotation")) == "Current"
    assert asked(kstatus, body((), kind="Rotation", generation=GENERATION + 1)) == "InProgress"
