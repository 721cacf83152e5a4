"""Pods are counted by what is known of each, and ConsumersCurrent is True by the declared proof alone."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from elile_operator.api.consumers import Consumers, ConsumersStatus, RestartStatus
from elile_operator.api.reasons import Mark, Reason
from elile_operator.decide.consumers import Evidence, Verdict, changed_at, is_born, judge, to_ask
from elile_operator.decide.pods import PodView, Workload
from tests.fakes.objects import live_secret

CHANGED = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
BEFORE, AFTER, NOW = CHANGED - SECOND, CHANGED + SECOND, CHANGED + 60 * SECOND
LIVE = live_secret()  # revision 5, its Secret is older than anything here

HTTP = {"http": {"port": 8080}}
ROLLOUT: dict[str, Any] = {"rollout": {}}
ELAPSED = {"elapsed": "30m"}


def pod(name: str = "app", *, created: datetime = BEFORE, ready: bool = True, **more: Any) -> PodView:
    uses = {use: frozenset(more.pop(use, ())) for use in ("volumes", "fixed")}
    if not any(uses.values()):
        uses["volumes"] = frozenset({"db"})
    return PodView(
        namespace="shop",
        name=name,
        uid=f"uid-{name}",
        node="n1",
        created=created,
        ready=ready,
        ip=more.pop("ip", "10.0.0.7"),
        **uses,
        **more,
    )


def judged(
    pods: Sequence[PodView],
    proof: dict[str, Any] | None = None,
    *,
    now: datetime = NOW,
    changed: datetime | None = CHANGED,
    poked: bool = True,
    **evidence: Any,
) -> Verdict:
    consumers = Consumers.model_validate({"proof": proof} if proof else {})
    known = {"answers": {}, "restarts": (), "told": None} | evidence
    return judge(consumers, LIVE, Evidence(pods=pods, changed=changed, poked=poked, **known), now)


def says(verdict: Verdict) -> str:
    mark, reason, _ = verdict.condition
    return f"{mark} {reason}"


# ── counting ─────────────────────────────────────────────────────────────────────────────────────────────────────────

VOLUME, YOUNG, SAME = pod("volume"), pod("young", created=AFTER), pod("same", created=CHANGED)
ENV, BOTH = pod("env", fixed={"db"}), pod("both", volumes={"db"}, fixed={"db"})
YOUNG_ENV = pod("young-env", created=AFTER, fixed={"db"})
OTHER = pod("other", volumes={"web"})


@pytest.mark.parametrize(
    ("pods", "changed", "poked", "want"),
    [
        pytest.param([], True, True, ("0/0", 0, 0, 0, (), ()), id="no pods"),
        pytest.param([OTHER], True, True, ("0/0", 0, 0, 0, (), ()), id="pods of another Secret"),
        pytest.param([VOLUME, ENV], False, False, ("2/2", 2, 2, 0, (), ()), id="never changed"),
        pytest.param([YOUNG, YOUNG_ENV], True, False, ("2/2", 2, 2, 0, (), ()), id="born with it"),
        pytest.param([VOLUME], True, True, ("0+1?/1", 1, 0, 1, (), ()), id="poked"),
        pytest.param([VOLUME], True, False, ("0/1", 1, 0, 0, ("volume",), ()), id="not poked"),
        pytest.param([SAME], True, True, ("0+1?/1", 1, 0, 1, (), ()), id="made in the second of the change"),
        pytest.param([ENV], True, True, ("0/1", 1, 0, 0, ("env",), ("env",)), id="env never follows"),
        pytest.param([BOTH], True, True, ("0/1", 1, 0, 0, ("both",), ("both",)), id="both ways: the worse counts"),
        pytest.param(
            [YOUNG, VOLUME, OTHER, ENV, SAME],
            True,
            True,
            ("1+2?/4", 4, 1, 2, ("env",), ("env",)),
            id="some of each",
        ),
        pytest.param(
            [YOUNG, VOLUME, ENV], True, False, ("1/3", 3, 1, 0, ("env", "volume"), ("env",)), id="some, not poked"
        ),
    ],
)
def test_pods_are_counted_by_what_is_known_of_each(
    pods: list[PodView], changed: bool, poked: bool, want: tuple[str, int, int, int, tuple[str, ...], tuple[str, ...]]
) -> None:
    summary, total, current, assumed, stale, need_restart = want
    verdict = judged(pods, changed=CHANGED if changed else None, poked=poked)
    assert verdict.status == ConsumersStatus(
        summary=summary, total=total, current=current, assumed=assumed, stale=stale, need_restart=need_restart
    )
    assert says(verdict) == "Unknown ProofUndeclared"


def test_a_status_lists_ten_names_of_each_and_counts_them_all() -> None:
    pods = [pod(f"p{i:02}", fixed={"db"}) for i in reversed(range(12))]
    pods += [pod(f"j{i:02}", owner=Workload("Job", "j")) for i in reversed(range(12))]
    found = judged(pods).status
    names = tuple(f"p{i:02}" for i in range(10))
    assert (found.total, found.stale, found.need_restart) == (12, names, names)
    assert (found.jobs, found.stale_jobs) == (12, tuple(f"j{i:02}" for i in range(10)))


def test_pods_of_jobs_are_counted_apart_and_hold_nothing_up() -> None:
    old, young = (pod(n, owner=Workload("Job", n), created=t) for n, t in (("old", BEFORE), ("young", AFTER)))
    verdict = judged([old, young, YOUNG], HTTP)
    status = verdict.status
    assert (status.summary, status.total, status.jobs, status.stale_jobs) == ("1/1", 1, 2, ("old",))
    assert says(verdict) == "True ConsumersCurrent"
    assert judged([YOUNG]).status.jobs is None


@pytest.mark.parametrize(
    ("secret_made", "started", "born"),
    [
        pytest.param(CHANGED, CHANGED, True, id="began with the first content"),
        pytest.param(CHANGED, AFTER, True, id="began later"),
        pytest.param(CHANGED, BEFORE, False, id="ran before: with a Secret that is gone"),
        pytest.param(CHANGED, None, False, id="nothing is known of its processes"),
        pytest.param(BEFORE, AFTER, False, id="there was another content before"),
        pytest.param(None, AFTER, False, id="nothing is known of the Secret"),
    ],
)
def test_a_pod_that_waited_for_its_secret_was_born_with_the_content(
    secret_made: datetime | None, started: datetime | None, born: bool
) -> None:
    assert is_born(pod(started=started), live_secret(created=secret_made), CHANGED) is born


@pytest.mark.parametrize(
    ("applied", "secret_made", "made", "counts_as"),
    [
        pytest.param(CHANGED, CHANGED, True, CHANGED, id="its first content"),
        pytest.param(CHANGED, CHANGED, False, AFTER, id="another one in the same second"),
        pytest.param(AFTER, CHANGED, False, AFTER, id="later"),
        pytest.param(CHANGED, None, False, CHANGED, id="nobody says when it was made"),
        pytest.param(None, CHANGED, False, NOW, id="nobody says when it was changed"),
    ],
)
def test_a_change_in_the_second_in_which_the_secret_was_made_is_not_its_first_content(
    applied: datetime | None, secret_made: datetime | None, made: bool, counts_as: datetime
) -> None:
    live = live_secret(applied=applied, created=secret_made)
    changed = changed_at(live, made=made, now=NOW)
    assert changed == counts_as
    assert is_born(pod(created=BEFORE, started=CHANGED), live, changed) is made


# ── by HTTP ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answers", "says_", "summary"),
    [
        pytest.param({}, "False AwaitingConsumers", "0+2?/2", id="nobody answered"),
        pytest.param({"uid-a": 5}, "False AwaitingConsumers", "1+1?/2", id="one did"),
        pytest.param({"uid-a": 5, "uid-b": 4}, "False AwaitingConsumers", "1+1?/2", id="one has an older revision"),
        pytest.param({"uid-a": 5, "uid-b": 5}, "True ConsumersCurrent", "2/2", id="both have it"),
        pytest.param({"uid-a": 6, "uid-b": 5}, "True ConsumersCurrent", "2/2", id="one has a later one"),
    ],
)
def test_every_pod_has_to_answer_the_revision(answers: dict[str, int], says_: str, summary: str) -> None:
    verdict = judged([pod("a"), pod("b")], HTTP, answers=answers)
    assert (says(verdict), verdict.status.summary) == (says_, summary)
    proved = (5, "http") if says_.startswith("True") else (None, None)
    assert (verdict.status.proved_revision, verdict.status.proved_by) == proved
    assert verdict.proved is says_.startswith("True")


def test_env_users_are_believed_when_they_answer() -> None:
    verdict = judged([ENV], HTTP, answers={"uid-env": 5})
    assert (says(verdict), verdict.status.need_restart) == ("True ConsumersCurrent", ())


def test_who_is_waited_for_is_named_and_why() -> None:
    pods = [pod("a"), pod("b"), pod("c"), pod("d", ready=False), pod("e", host_network=True)]
    verdict = judged(pods, HTTP, answers={"uid-a": 5})
    assert verdict.condition == (
        Mark.FALSE,
        Reason.AWAITING_CONSUMERS,
        "revision 5: b, c, d and 1 more of 5 pods did not answer it yet (spec.consumers.proof.http); with hostNetwork "
        "a pod is not asked, so restart e, or declare another proof; a pod that is not ready is not asked: d",
    )


def test_pods_that_cannot_answer_hold_the_proof_up() -> None:
    """A value that breaks its readers makes all of them unready: that must not look like a proof."""
    for held in (pod("a", ready=False), pod("a", host_network=True)):
        assert says(judged([held], HTTP)) == "False AwaitingConsumers"


def test_only_pods_that_can_and_must_prove_are_asked() -> None:
    pods = [
        pod("asked"),
        pod("young", created=AFTER),
        pod("unready", ready=False),
        pod("host", host_network=True),
        pod("no-address", ip=""),
        pod("job", owner=Workload("Job", "j")),
    ]
    assert [p.name for p in to_ask(pods, LIVE, CHANGED)] == ["asked"]
    assert to_ask(pods, LIVE, None) == ()


@pytest.mark.parametrize(
    ("revision", "by", "says_"),
    [
        pytest.param(5, "http", "True ConsumersCurrent", id="this revision"),
        pytest.param(4, "http", "False AwaitingConsumers", id="an earlier one"),
        pytest.param(5, "elapsed", "False AwaitingConsumers", id="by another proof"),
    ],
)
def test_a_proof_that_was_there_once_holds_for_its_revision(revision: int, by: str, says_: str) -> None:
    """Also after a restart of the operator, which has no answers: no content comes back under its revision."""
    told = ConsumersStatus(proved_revision=revision, proved_by=by)
    verdict = judged([pod("a"), pod("b", ready=False)], HTTP, told=told)
    assert says(verdict) == says_
    assert (verdict.status.proved_revision, verdict.status.proved_by) == (revision, by)


# ── by time ──────────────────────────────────────────────────────────────────────────────────────────────────────────

# A second more: the time of the change was cut to a whole one.
DUE = CHANGED + timedelta(minutes=30, seconds=1)


@pytest.mark.parametrize(
    ("now", "says_", "summary", "look_after"),
    [
        pytest.param(NOW, "False AwaitingConsumers", "0+1?/1", DUE - NOW, id="before"),
        pytest.param(DUE - SECOND, "False AwaitingConsumers", "0+1?/1", SECOND, id="a second before"),
        pytest.param(DUE, "True ConsumersCurrent", "1/1", None, id="on time"),
        pytest.param(DUE + SECOND, "True ConsumersCurrent", "1/1", None, id="after"),
    ],
)
def test_time_proves_when_it_is_up(now: datetime, says_: str, summary: str, look_after: timedelta | None) -> None:
    verdict = judged([VOLUME], ELAPSED, now=now)
    assert (says(verdict), verdict.status.summary, verdict.look_after) == (says_, summary, look_after)


def test_time_is_waited_for_although_no_pod_is_there() -> None:
    """It is declared for readers that nobody sees."""
    verdict = judged([], ELAPSED)
    assert verdict.condition[2] == "revision 5: waits until 2030-01-01T12:30:01Z (spec.consumers.proof.elapsed)"


def test_time_proves_nothing_of_pods_that_cannot_follow() -> None:
    verdict = judged([VOLUME, ENV], ELAPSED, now=DUE)
    assert says(verdict) == "False AwaitingConsumers"
    assert verdict.condition[2] == "revision 5: env of 2 pods see it only after a restart (spec.consumers.restart)"
    assert (verdict.status.summary, verdict.status.stale) == ("1/2", ("env",))


# ── by rollout ───────────────────────────────────────────────────────────────────────────────────────────────────────


def restarted(reason: Reason, revision: int = 5) -> RestartStatus:
    return RestartStatus(kind="Deployment", name="web", revision=revision, reason=reason)


@pytest.mark.parametrize(
    ("pods", "restarts", "says_"),
    [
        pytest.param([YOUNG], (), "True ConsumersCurrent", id="all are young"),
        pytest.param([], (), "True ConsumersCurrent", id="there is none"),
        pytest.param([YOUNG, VOLUME], (), "False AwaitingConsumers", id="one is older"),
        pytest.param([pod(created=AFTER, ready=False)], (), "False AwaitingConsumers", id="one is not ready"),
        pytest.param([YOUNG], (restarted(Reason.RESTARTED),), "True ConsumersCurrent", id="restarted"),
        pytest.param([YOUNG], (restarted(Reason.RESTARTING),), "False AwaitingConsumers", id="being restarted"),
        pytest.param([YOUNG], (restarted(Reason.RESTART_FAILED),), "False AwaitingConsumers", id="failed"),
        pytest.param([YOUNG], (restarted(Reason.RESTART_FAILED, 4),), "True ConsumersCurrent", id="failed earlier"),
    ],
)
def test_a_rollout_proves_by_pods_that_are_younger_and_ready(
    pods: list[PodView], restarts: tuple[RestartStatus, ...], says_: str
) -> None:
    verdict = judged(pods, ROLLOUT, restarts=restarts)
    assert says(verdict) == says_
    assert verdict.status.restarts == restarts


def test_what_a_rollout_waits_for_is_named() -> None:
    late = judged([YOUNG, VOLUME], ROLLOUT)
    assert late.condition[2] == "revision 5: volume of 2 pods were made before the change, or are not ready"
    open_ = judged([YOUNG], ROLLOUT, restarts=(restarted(Reason.RESTARTING),))
    assert open_.condition[2] == "revision 5: not all workloads are restarted: Deployment web (Restarting)"
