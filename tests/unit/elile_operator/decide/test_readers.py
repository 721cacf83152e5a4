"""Those who read a live path: who counts, who could never follow, and what each is waited for."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from elile_operator.api.consumers import Proof, RestartWhen
from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.reasons import Reason
from elile_operator.api.rotating import Promote
from elile_operator.decide.readers import Counted, Reader, can_follow, count, has_followed, read_readers
from elile_operator.decide.violation import Violation
from tests.fakes.objects import EARLIER, NOW, elile_secret

WHERE = "secret/shop/db"
HTTP = Proof.model_validate({"http": {"port": 8080}})
ROLLOUT = Proof.model_validate({"rollout": {}})
READER = Reader(
    namespace="shop",
    name="db",
    source="main",
    where=WHERE,
    version=7,
    pinned=False,
    proof=HTTP,
    restart=RestartWhen.NEVER,
    delivered=True,
    proved=True,
    changed=EARLIER,
    total=3,
    current=3,
    stale=(),
    need_restart=(),
)
SILENT = replace(READER, proof=None)
STRICT, PATIENT = Promote(), Promote.model_validate({"undeclared": "2h"})
QUIET = Promote.model_validate({"sessionsQuiet": "15m"})


def other(name: str = "web", **changes: Any) -> Reader:
    return replace(READER, namespace="other", name=name, **changes)


# ── who they are ─────────────────────────────────────────────────────────────────────────────────────────────────────

TOLD = {"name": "main", "path": WHERE, "version": 7}
STATUS = {
    "clusterID": "c1",
    "sources": [TOLD],
    "lastChangeTime": "2030-01-01T11:00:00Z",
    "consumers": {"total": 3, "current": 2, "stale": ["p1"], "needRestart": ["p2"]},
    "conditions": [
        {
            "type": type_,
            "status": "True",
            "reason": "r",
            "message": "",
            "lastTransitionTime": "2030-01-01T11:00:00Z",
            "observedGeneration": 1,
        }
        for type_ in ("SecretCurrent", "ConsumersCurrent")
    ],
}


def test_a_reader_is_known_by_what_its_object_tells() -> None:
    secret = elile_secret(status=STATUS, consumers={"restart": {"when": "Changed"}, "proof": {"http": {"port": 8080}}})
    assert read_readers([secret], "c1", WHERE) == (
        replace(READER, restart=RestartWhen.CHANGED, current=2, stale=("p1",), need_restart=("p2",)),
    )


def test_one_that_tells_nothing_of_consumers() -> None:
    (found,) = read_readers([elile_secret(status={"clusterID": "c1", "sources": [TOLD]})], "c1", WHERE)
    assert found == replace(
        SILENT, delivered=False, proved=False, changed=None, total=0, current=0, stale=(), need_restart=()
    )


@pytest.mark.parametrize(
    ("secret", "counts"),
    [
        pytest.param(elile_secret(status=STATUS), True, id="reads it"),
        pytest.param(elile_secret(), False, id="names it and was never let read it"),
        pytest.param(elile_secret(status={**STATUS, "clusterID": "c2"}), False, id="in another Vault"),
        pytest.param(
            elile_secret(status={**STATUS, "sources": [{**TOLD, "path": "secret/other"}]}), False, id="another path"
        ),
        pytest.param(
            elile_secret(status=STATUS, sources=[{"name": "next", "kv": {"path": "shop/db"}}]),
            False,
            id="the source was taken out",
        ),
        pytest.param(
            elile_secret(status=STATUS, metadata={"deletionTimestamp": "2030-01-01T12:00:00Z"}),
            False,
            id="is being deleted",
        ),
    ],
)
def test_who_counts(secret: ElileSecret, counts: bool) -> None:
    assert bool(read_readers([secret], "c1", WHERE)) is counts


def test_one_that_pins_the_version() -> None:
    pinned = elile_secret(status=STATUS, sources=[{"name": "main", "kv": {"path": "shop/db", "version": 7}}])
    assert [r.pinned for r in read_readers([pinned], "c1", WHERE)] == [True]


# ── whether they could follow ────────────────────────────────────────────────────────────────────────────────────────

PINS = "pins the version that it reads (kv.version), and would keep a value that ends: remove the pin"
CANNOT_SEE = (
    "has pods that see a new value only after a restart, and nothing restarts them: set spec.consumers.restart.when to "
    "CannotSeeFile there, or mount the Secret as a volume"
)
NO_ROLLOUT = (
    "declares the proof rollout, and nothing restarts its workloads: set spec.consumers.restart.when to Changed there, "
    "or declare another proof"
)
UNDECLARED = (
    "says nothing of how its consumers prove that they use a new value: declare spec.consumers.proof there, or say in "
    "spec.promote.undeclared how long to wait for them"
)


@pytest.mark.parametrize(
    ("readers", "promote", "reason", "message"),
    [
        pytest.param([], STRICT, None, "", id="nobody reads it"),
        pytest.param([READER], STRICT, None, "", id="declared"),
        pytest.param(
            [replace(READER, pinned=True)],
            PATIENT,
            Reason.CONSUMERS_CANNOT_FOLLOW,
            f"ElileSecret 'db' {PINS}",
            id="pinned",
        ),
        pytest.param(
            [replace(READER, need_restart=("p",))],
            PATIENT,
            Reason.CONSUMERS_CANNOT_FOLLOW,
            f"ElileSecret 'db' {CANNOT_SEE}",
            id="never sees it",
        ),
        pytest.param(
            [replace(READER, need_restart=("p",), restart=RestartWhen.CANNOT_SEE_FILE)],
            STRICT,
            None,
            "",
            id="is restarted to see it",
        ),
        pytest.param(
            [replace(READER, proof=ROLLOUT)],
            PATIENT,
            Reason.CONSUMERS_CANNOT_FOLLOW,
            f"ElileSecret 'db' {NO_ROLLOUT}",
            id="no rollout would come",
        ),
        pytest.param([replace(READER, proof=ROLLOUT, restart=RestartWhen.CHANGED)], STRICT, None, "", id="rolls out"),
        pytest.param(
            [SILENT], STRICT, Reason.PROOF_UNDECLARED, f"ElileSecret 'db' {UNDECLARED}", id="undeclared, refused"
        ),
        pytest.param([SILENT], PATIENT, None, "", id="undeclared, waited for"),
        pytest.param([SILENT], QUIET, None, "", id="undeclared, sessions are looked at"),
        pytest.param(
            [other(pinned=True), other("api", pinned=True), replace(READER, pinned=True)],
            STRICT,
            Reason.CONSUMERS_CANNOT_FOLLOW,
            f"ElileSecret 'db', 2 ElileSecrets of other namespaces {PINS}",
            id="those of others are counted and not named",
        ),
        pytest.param(
            [other(pinned=True)],
            STRICT,
            Reason.CONSUMERS_CANNOT_FOLLOW,
            f"1 ElileSecret of other namespaces {PINS}",
            id="one of others",
        ),
    ],
)
def test_why_a_rotation_must_not_begin(
    readers: list[Reader], promote: Promote, reason: Reason | None, message: str
) -> None:
    assert can_follow(readers, promote, "shop") == (Violation(reason, message) if reason else None)


# ── whether they have ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("reader", "promote", "why", "look_after"),
    [
        pytest.param(READER, STRICT, "", None, id="proved"),
        pytest.param(
            replace(READER, version=6), STRICT, "it has delivered version 6 and not 7 yet", None, id="an old version"
        ),
        pytest.param(replace(READER, version=8), STRICT, "", None, id="a later version"),
        pytest.param(
            replace(READER, delivered=False), STRICT, "its running pods were not poked yet", None, id="not poked"
        ),
        pytest.param(
            replace(READER, proved=False),
            STRICT,
            "its consumers are not proved to use the new value",
            None,
            id="not proved",
        ),
        pytest.param(SILENT, STRICT, "", None, id="nothing is declared, and sessions are looked at elsewhere"),
        pytest.param(
            SILENT,
            PATIENT,
            "it declares no proof, so it is given until 2030-01-01T13:00:00Z",
            timedelta(hours=1),
            id="its time is not over",
        ),
        pytest.param(replace(SILENT, changed=NOW - timedelta(hours=2)), PATIENT, "", None, id="its time is over"),
        pytest.param(replace(SILENT, changed=None), PATIENT, "", None, id="nothing ever changed"),
    ],
)
def test_what_each_is_waited_for(reader: Reader, promote: Promote, why: str, look_after: timedelta | None) -> None:
    found = has_followed([reader], 7, promote, NOW)
    assert found.waits_for == (((reader, why),) if why else ())
    assert (found.proved, found.look_after) == (not why, look_after)


def test_all_have_to_follow_and_the_next_look_is_the_earliest() -> None:
    sooner = replace(SILENT, name="sooner", changed=NOW - timedelta(minutes=119))
    late = replace(READER, name="late", version=6)
    found = has_followed([READER, late, SILENT, sooner], 7, PATIENT, NOW)
    assert [reader.name for reader, _ in found.waits_for] == ["late", "db", "sooner"]
    assert found.look_after == timedelta(minutes=1)


def test_pods_are_added_up_and_those_of_others_not_named() -> None:
    mine = replace(READER, current=1, stale=tuple(f"p{n}" for n in range(9)))
    late = replace(READER, version=6, current=2, stale=("q1", "q2"))
    theirs = other(stale=("secret-name",), total=1, current=1)
    found = count([mine, late, theirs], 7, "shop")
    assert found == Counted(7, 2, (*(f"p{n}" for n in range(9)), "q1"))
    assert found.summary == "2/7"
    assert count([late], None, "shop").current == 2, "before anything is live nobody is behind"
