"""One restart for one change, one workload first, nothing after one that failed, nobody's `rollout undo` undone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from elile_operator.api.consumers import RestartStatus
from elile_operator.api.reasons import Reason
from elile_operator.decide.pods import PodView, Workload
from elile_operator.decide.restarts import AT_ONCE, DEBOUNCE, PATIENCE, Plan, Wish, due_restarts, not_allowed, plan
from elile_operator.decide.workloads import WorkloadView
from tests.fakes.objects import elile_secret, live_secret

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)
BEFORE, AFTER = LONG_AGO - timedelta(seconds=1), LONG_AGO + timedelta(seconds=1)
A, B, C = (Workload("Deployment", name) for name in "abc")
HASH = "k1:aa"
MARK = {"restart.elile.io/db": HASH}


# ── which ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pod(owner: Workload | None, *, created: datetime = BEFORE, env: bool = False, of: str = "db") -> PodView:
    uses, none = frozenset({of}), frozenset[str]()
    return PodView(
        namespace="shop",
        name="p",
        uid="u",
        node="n",
        created=created,
        volumes=none if env else uses,
        fixed=uses if env else none,
        owner=owner,
    )


STATEFUL, DAEMON = Workload("StatefulSet", "s"), Workload("DaemonSet", "d")
PODS = [
    pod(A),
    pod(B, env=True),
    pod(C, created=AFTER, env=True),
    pod(STATEFUL, env=True),
    pod(DAEMON),
    pod(Workload("Deployment", "other"), of="web"),
    pod(Workload("Job", "j"), env=True),
    pod(Workload("ReplicaSet", "r"), env=True),
    pod(None, env=True),
]


@pytest.mark.parametrize(
    ("restart", "due"),
    [
        pytest.param({}, set(), id="absent"),
        pytest.param({"when": "Never"}, set(), id="never"),
        pytest.param({"when": "CannotSeeFile"}, {B, STATEFUL}, id="env and subPath users"),
        pytest.param({"when": "Changed"}, {A, B, STATEFUL, DAEMON}, id="all"),
        pytest.param(
            {
                "when": "Changed",
                "workloads": [{"kind": "Deployment", "name": "a"}, {"kind": "Deployment", "name": "c"}],
            },
            {A},
            id="named ones",
        ),
        pytest.param(
            {"when": "CannotSeeFile", "workloads": [{"kind": "Deployment", "name": "a"}]}, set(), id="sees files"
        ),
    ],
)
def test_workloads_with_pods_older_than_the_content_are_due(restart: dict[str, Any], due: set[Workload]) -> None:
    secret = elile_secret(consumers={"restart": restart})
    assert due_restarts(secret, live_secret(), PODS, LONG_AGO) == due
    assert due_restarts(secret, live_secret(), PODS, None) == set(), "it never changed"


def test_without_the_right_the_command_is_named() -> None:
    found = not_allowed("shop", "elile-system:elile-operator")
    assert (found.reason, found.message) == (
        Reason.RESTART_NOT_ALLOWED,
        "the operator may not restart workloads of namespace 'shop'; allow it: kubectl -n shop create rolebinding "
        "elile-restart --clusterrole=elile-restart --serviceaccount=elile-system:elile-operator",
    )


# ── when ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

IDLE = WorkloadView(uid="u", restarts={}, complete=True, stuck=None, updated=None, held=None)
ROLLING = replace(IDLE, restarts=MARK, complete=False)
DONE = replace(IDLE, restarts=MARK)
STUCK = replace(ROLLING, stuck="it is stuck")


def told(workload: Workload, reason: Reason, revision: int = 5, **more: Any) -> RestartStatus:
    return RestartStatus(kind=workload.kind, name=workload.name, revision=revision, reason=reason, **more)


def wish(*due: Workload, name: str = "db", known: tuple[RestartStatus, ...] = (), since: datetime = LONG_AGO) -> Wish:
    return Wish(name=name, revision=5, fingerprint=HASH, due=frozenset(due), old=frozenset(), since=since, told=known)


def planned(*wishes: Wish, elsewhere: int = 0, now: datetime = NOW, **views: Any) -> Plan:
    return plan(wishes, {Workload("Deployment", n): v for n, v in views.items()}, now=now, elsewhere=elsewhere)


def reasons(found: Plan, name: str = "db") -> dict[str, str]:
    return {each.name: each.reason for each in found.told[name]}


def test_the_first_goes_alone() -> None:
    found = planned(wish(A, B, C), a=IDLE, b=IDLE, c=IDLE)
    assert found.starts == {A: MARK}
    assert {each.name: (each.reason, each.message) for each in found.told["db"]} == {
        "a": ("NeedsRestart", None),
        "b": ("NeedsRestart", "waits for Deployment a to go first"),
        "c": ("NeedsRestart", "waits for Deployment a to go first"),
    }


def test_while_its_rollout_goes_on_the_others_wait() -> None:
    known = (told(A, Reason.RESTARTING, time=NOW),)
    found = planned(wish(A, B, known=known), a=ROLLING, b=IDLE)
    assert (found.starts, reasons(found)) == ({}, {"a": "Restarting", "b": "NeedsRestart"})
    assert found.told["db"][1].message == "waits for the rollout of Deployment a"


def test_when_it_is_complete_all_others_go() -> None:
    known = (told(A, Reason.RESTARTING, time=NOW),)
    found = planned(wish(B, C, known=known), a=DONE, b=IDLE, c=IDLE)
    assert found.starts == {B: MARK, C: MARK}
    assert reasons(found) == {"a": "Restarted", "b": "NeedsRestart", "c": "NeedsRestart"}


def test_when_it_fails_no_other_goes() -> None:
    known = (told(A, Reason.RESTARTING, time=NOW),)
    found = planned(wish(A, B, C, known=known), a=STUCK, b=IDLE, c=IDLE)
    assert (found.starts, reasons(found)["a"]) == ({}, "RestartFailed")
    assert [each.message for each in found.told["db"]] == [
        "it is stuck; mend it, or take the value back",
        "not restarted, since the rollout of Deployment a failed",
        "not restarted, since the rollout of Deployment a failed",
    ]


def test_one_of_the_others_that_fails_stops_those_that_have_not_begun() -> None:
    known = (told(A, Reason.RESTARTED), told(B, Reason.RESTARTING, time=NOW))
    assert planned(wish(B, C, known=known), b=STUCK, c=IDLE).starts == {}


def test_one_that_is_mended_lets_the_others_go() -> None:
    found = planned(wish(B, known=(told(A, Reason.RESTART_FAILED, time=NOW),)), a=DONE, b=IDLE)
    assert (found.starts, reasons(found)["a"]) == ({B: MARK}, "Restarted")


def test_what_was_restarted_is_not_restarted_again() -> None:
    """Whatever its pods and its template say: after `rollout undo`, or below the partition of a StatefulSet."""
    found = planned(wish(A, known=(told(A, Reason.RESTARTED),)), a=IDLE)
    assert (found.starts, reasons(found)) == ({}, {"a": "Restarted"})


def test_a_restart_that_was_taken_back_is_not_made_again() -> None:
    known = (told(A, Reason.RESTARTING, time=NOW),)
    found = planned(wish(A, B, known=known), a=IDLE, b=IDLE)
    assert (found.starts, reasons(found)["a"]) == ({}, "RestartFailed")
    assert "kubectl rollout undo" in str(found.told["db"][0].message)


def test_a_restart_that_nobody_noted_is_known_by_its_annotation() -> None:
    """The process died between the patch and the status."""
    found = planned(wish(A, B), a=ROLLING, b=IDLE)
    assert (found.starts, reasons(found)["a"]) == ({}, "Restarting")
    assert found.told["db"][0].time == NOW
    assert planned(wish(A), a=DONE).starts == {}


def test_the_result_of_an_earlier_revision_says_nothing() -> None:
    found = planned(wish(A, known=(told(A, Reason.RESTART_FAILED, revision=4),)), a=IDLE)
    assert found.starts == {A: MARK}


def test_several_secrets_of_a_workload_need_one_restart() -> None:
    both = planned(wish(A), wish(A, name="web"), a=IDLE)
    assert both.starts == {A: {"restart.elile.io/db": HASH, "restart.elile.io/web": HASH}}


@pytest.mark.parametrize(
    ("since", "starts"),
    [
        pytest.param(NOW, False, id="now"),
        pytest.param(NOW - DEBOUNCE + timedelta(milliseconds=1), False, id="not long enough"),
        pytest.param(NOW - DEBOUNCE, True, id="long enough"),
    ],
)
def test_a_restart_waits_for_other_secrets_to_change(since: datetime, starts: bool) -> None:
    assert bool(planned(wish(A, since=since), a=IDLE).starts) is starts
    joined = planned(wish(A, since=since), wish(A, name="web", since=NOW), a=IDLE)
    assert bool(joined.starts) is starts, "counted from the first of them"


def test_a_workload_waits_until_all_of_its_secrets_may_go_there() -> None:
    """Its new pods would read the value that has not passed its first workload."""
    found = planned(wish(A, B), wish(B, name="web"), a=IDLE, b=IDLE)
    assert found.starts == {A: MARK}
    failed = wish(A, B, known=(told(A, Reason.RESTARTING, time=NOW),))
    assert planned(failed, wish(B, name="web"), a=STUCK, b=IDLE).starts == {}


def test_only_so_many_roll_at_once() -> None:
    names = [f"w{n:02}" for n in range(AT_ONCE + 2)]
    workloads = [Workload("Deployment", name) for name in names]
    known = (told(workloads[0], Reason.RESTARTED), told(workloads[1], Reason.RESTARTING, time=NOW))
    views = dict.fromkeys(names, IDLE) | {names[1]: ROLLING}
    assert len(planned(wish(*workloads, known=known), **views).starts) == AT_ONCE - 1
    assert len(planned(wish(*workloads, known=known), elsewhere=AT_ONCE - 2, **views).starts) == 1
    assert len(planned(wish(*workloads, known=known), elsewhere=AT_ONCE, **views).starts) == 0


def test_who_cannot_be_restarted_says_why_and_holds_nobody_up() -> None:
    views = {"a": replace(IDLE, held="it is paused"), "b": not_allowed("shop", "x:y"), "c": IDLE}
    found = planned(wish(A, B, C), **views)
    assert found.starts == {C: MARK}
    assert reasons(found) == {"a": "NeedsRestart", "b": "RestartNotAllowed", "c": "NeedsRestart"}
    assert found.told["db"][0].message == "it is paused"


def test_a_workload_that_is_gone_is_told_only_while_its_pods_are_there() -> None:
    assert [each.message for each in planned(wish(A), a=None).told["db"]] == ["does not exist any more"]
    assert planned(wish(A), a=None).starts == {}
    assert planned(wish(known=(told(A, Reason.RESTARTING, time=NOW),)), a=None).told["db"] == ()


def test_a_right_that_goes_while_it_rolls_changes_nothing() -> None:
    known = (told(A, Reason.RESTARTING, time=NOW),)
    assert planned(wish(A, known=known), a=not_allowed("shop", "x:y")).told["db"] == known


def test_who_has_new_pods_already_needs_none() -> None:
    assert planned(wish(known=(told(A, Reason.NEEDS_RESTART),)), a=IDLE).told["db"] == ()


@pytest.mark.parametrize(
    ("updated", "taken", "reason"),
    [
        pytest.param(0, PATIENCE - timedelta(seconds=1), "Restarting", id="the first pod has time"),
        pytest.param(0, PATIENCE, "RestartFailed", id="the first pod is late"),
        pytest.param(1, PATIENCE, "Restarting", id="the second pod has time"),
        pytest.param(None, 100 * PATIENCE, "Restarting", id="a Deployment has its own deadline"),
    ],
)
def test_a_rollout_without_a_deadline_of_its_own_has_ten_minutes_a_pod(
    updated: int | None, taken: timedelta, reason: str
) -> None:
    known = (told(A, Reason.RESTARTING, time=NOW - taken),)
    assert reasons(planned(wish(A, known=known), a=replace(ROLLING, updated=updated))) == {"a": reason}
