"""Which workloads are restarted for which content, and when: one first, the others when its rollout is complete."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from elile_operator.api.consumers import RestartStatus, RestartWhen, WorkloadKind
from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.meta import restart_annotation
from elile_operator.api.reasons import Reason
from elile_operator.decide.consumers import is_born
from elile_operator.decide.live import LiveSecret
from elile_operator.decide.pods import PodView, Workload
from elile_operator.decide.violation import Violation
from elile_operator.decide.workloads import WorkloadView

__all__ = ["AT_ONCE", "DEBOUNCE", "FINAL", "Plan", "Wish", "due_restarts", "not_allowed", "plan"]

# Several secrets of a workload often change together, and one restart is enough for them.
DEBOUNCE = timedelta(seconds=2)
# Workloads of all namespaces that are rolled out at the same time.
AT_ONCE = 10
# A Deployment's default, for each pod of the kinds that know no deadline of progress.
PATIENCE = timedelta(minutes=10)

# Nothing more comes of these for the same revision.
FINAL = frozenset({Reason.RESTARTED})
BEGUN = frozenset({Reason.RESTARTING, Reason.RESTARTED, Reason.RESTART_FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What one ElileSecret wants: the workloads with pods older than its content, and what became of earlier ones."""

    name: str
    revision: int
    fingerprint: str
    due: frozenset[Workload]
    old: frozenset[str]  # uids of the pods from before this content
    since: datetime
    told: tuple[RestartStatus, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to restart now, as annotations by workload, and what to tell of each wish."""

    starts: Mapping[Workload, Mapping[str, str]]
    told: Mapping[str, tuple[RestartStatus, ...]]


def due_restarts(
    secret: ElileSecret, live: LiveSecret, pods: Iterable[PodView], changed: datetime | None
) -> frozenset[Workload]:
    """Return the workloads whose pods do not have the content and are to be restarted by the spec.

    By the pods and not by the annotation: after `kubectl rollout undo` that is an old one, and the pods are right.
    """
    policy = secret.spec.consumers.restart
    if policy.when is RestartWhen.NEVER:
        return frozenset()
    named = None if policy.workloads is None else {Workload(ref.kind, ref.name) for ref in policy.workloads}
    return frozenset(
        pod.owner
        for pod in pods
        if pod.owner is not None
        and pod.owner.kind in set(WorkloadKind)
        and (named is None or pod.owner in named)
        and live.name in (pod.secrets if policy.when is RestartWhen.CHANGED else pod.fixed)
        and not is_born(pod, live, changed)
    )


def not_allowed(namespace: str, account: str) -> Violation:
    """Return what to say where workloads may not be patched; `account` is `<namespace>:<ServiceAccount>`."""
    return Violation(
        Reason.RESTART_NOT_ALLOWED,
        f"the operator may not restart workloads of namespace {namespace!r}; allow it: kubectl -n {namespace} create "
        f"rolebinding elile-restart --clusterrole=elile-restart --serviceaccount={account}",
    )


@dataclass(slots=True)
class _Course:
    """One wish on its way: what to tell of each workload, and which may be restarted now."""

    wish: Wish
    told: dict[Workload, RestartStatus] = field(default_factory=dict)
    waiting: list[Workload] = field(default_factory=list)
    allowed: frozenset[Workload] = frozenset()


def plan(
    wishes: Sequence[Wish],
    views: Mapping[Workload, WorkloadView | Violation | None],
    *,
    now: datetime,
    elsewhere: int,
) -> Plan:
    """Plan the restarts of one namespace. `elsewhere` counts the workloads of others that are being rolled out.

    Each wish restarts its first workload by kind and name; the others only when a rollout for this content is complete,
    and none after one that failed. A workload that several wishes wait for starts when all of them allow it: its new
    pods read all of its secrets. Since all wishes sort alike, none waits for one that waits for it.
    """
    courses = [_course(wish, views, now) for wish in sorted(wishes, key=lambda w: w.name)]
    rolling = elsewhere + len({w for c in courses for w, told in c.told.items() if told.reason == Reason.RESTARTING})
    starts: dict[Workload, dict[str, str]] = {}
    for workload in sorted({w for c in courses for w in c.waiting}):
        waiting = [c for c in courses if workload in c.waiting]
        settled = now - min(c.wish.since for c in waiting) >= DEBOUNCE
        if settled and rolling < AT_ONCE and all(workload in c.allowed for c in waiting):
            rolling += 1
            starts[workload] = {restart_annotation(c.wish.name): c.wish.fingerprint for c in waiting}
    return Plan(starts, {c.wish.name: tuple(told for _, told in sorted(c.told.items())) for c in courses})


def _course(wish: Wish, views: Mapping[Workload, WorkloadView | Violation | None], now: datetime) -> _Course:
    known = {Workload(t.kind, t.name): t for t in wish.told if t.revision == wish.revision}
    course = _Course(wish)
    for workload in sorted(wish.due | known.keys()):
        told = _tell(wish, workload, known.get(workload), views.get(workload), now)
        if told is not None:
            course.told[workload] = told
            if told.reason == Reason.NEEDS_RESTART and told.message is None:
                course.waiting.append(workload)
    reasons = {told.reason: workload for workload, told in course.told.items()}
    if failed := reasons.get(Reason.RESTART_FAILED):
        _hold(course, f"not restarted, since the rollout of {failed.kind} {failed.name} failed")
    elif Reason.RESTARTED in reasons:
        course.allowed = frozenset(course.waiting)
    elif first := reasons.get(Reason.RESTARTING):
        _hold(course, f"waits for the rollout of {first.kind} {first.name}")
    else:
        course.allowed = frozenset(course.waiting[:1])
        for workload in course.waiting[1:]:
            _explain(course, workload, f"waits for {course.waiting[0].kind} {course.waiting[0].name} to go first")
    return course


def _hold(course: _Course, why: str) -> None:
    for workload in course.waiting:
        _explain(course, workload, why)


def _explain(course: _Course, workload: Workload, why: str) -> None:
    course.told[workload] = course.told[workload].model_copy(update={"message": why})


def _tell(
    wish: Wish,
    workload: Workload,
    known: RestartStatus | None,
    view: WorkloadView | Violation | None,
    now: datetime,
) -> RestartStatus | None:
    """Return how one workload stands for one wish; None where there is nothing to do or to tell.

    NeedsRestart without a message may be restarted; with one it waits for somebody.
    """
    if known is not None and known.reason in FINAL:
        return known

    def told(reason: Reason, message: str | None = None, time: datetime | None = None) -> RestartStatus:
        kind, name = workload
        return RestartStatus(kind=kind, name=name, revision=wish.revision, reason=reason, message=message, time=time)

    begun = known is not None and known.reason in BEGUN
    if view is None:  # its pods are nobody's any more, or it is not what their owner's name says
        return None if begun or workload not in wish.due else told(Reason.NEEDS_RESTART, "does not exist any more")
    if isinstance(view, Violation):
        return known if begun else told(view.reason, view.message)
    marked = view.restarts.get(restart_annotation(wish.name)) == wish.fingerprint
    if begun or marked:
        began = (known.time if begun and known is not None else None) or now
        if view.complete and marked:
            return told(Reason.RESTARTED, time=began)
        if not marked:
            taken = "its restart was taken back (kubectl rollout undo?); it is tried again when the content changes"
            return told(Reason.RESTART_FAILED, taken, began)
        if why := _stuck(view, now - began):
            return told(Reason.RESTART_FAILED, f"{why}; mend it, or take the value back", began)
        return told(Reason.RESTARTING, time=began)
    if workload not in wish.due:
        return None
    return told(Reason.NEEDS_RESTART, view.held)


def _stuck(view: WorkloadView, taken: timedelta) -> str | None:
    if view.stuck or view.updated is None:
        return view.stuck
    late = taken >= PATIENCE * (view.updated + 1)
    return "its rollout does not progress: ten minutes for each pod are over" if late else None
