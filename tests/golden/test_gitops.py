"""What GitOps tools make of our status: Argo CD by the Lua that is shipped, the others by kstatus itself."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lupa.lua54 as lua
import pytest

from elile_operator.api.meta import Condition
from elile_operator.api.reasons import SERVER_EFFECTS, Mark, Reason
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


@pytest.fixture(scope="module")
def kstatus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real thing, built from its module; Go caches it."""
    binary = tmp_path_factory.mktemp("kstatus") / "kstatus"
    source = Path(__file__).with_name("kstatus")
    subprocess.run(["go", "build", "-o", str(binary), "."], cwd=source, check=True, capture_output=True)
    return binary


@pytest.mark.parametrize("reason", REASONS)
def test_kstatus(kstatus: Path, reason: Reason) -> None:
    effect = reason.effect
    expected = "Failed" if effect.stalled is Mark.TRUE else "InProgress" if effect.ready is Mark.FALSE else "Current"
    given = json.dumps(body(after(reason, delivered())))
    answer = subprocess.run([str(kstatus)], input=given, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == expected


def test_kstatus_waits_for_the_answer_to_an_edit(kstatus: Path) -> None:
    given = json.dumps(body(delivered(), generation=GENERATION + 1))
    answer = subprocess.run([str(kstatus)], input=given, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "InProgress"
