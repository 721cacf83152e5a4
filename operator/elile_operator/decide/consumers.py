"""Whether those who use a Secret use its last content: what is known of each pod, and what the declared proof says."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from elile_operator.api.consumers import Consumers, ConsumersStatus, Proof, RestartStatus
from elile_operator.api.reasons import Mark, Reason
from elile_operator.decide.live import LiveSecret
from elile_operator.decide.pods import PodView

__all__ = ["LISTED", "Evidence", "Verdict", "changed_at", "is_born", "judge", "to_ask"]

LISTED = 10  # names in a status; more would only make it long
NAMED = 3  # names in a message
# The API server cuts times to whole seconds: the content may be younger than it seems by nearly one.
CUT_OFF = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of the pods that use a Secret."""

    pods: Sequence[PodView]
    changed: datetime | None  # when the content changed last, by the API server's clock
    poked: bool
    answers: Mapping[str, int]  # uid of a pod → the revision that it answered
    restarts: tuple[RestartStatus, ...]
    told: ConsumersStatus | None  # what the status says already


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of the evidence: the status, ConsumersCurrent, and when time alone may change it."""

    status: ConsumersStatus
    condition: tuple[Mark, Reason, str]
    look_after: timedelta | None = None

    @property
    def proved(self) -> bool:
        """Whether the declared proof is there."""
        return self.condition[0] is Mark.TRUE


def changed_at(live: LiveSecret, *, made: bool, now: datetime) -> datetime:
    """Return when the content of a Secret that was just written counts as changed; `made`: the Secret is new with it.

    A change in the second in which the Secret was made would look like its first content, and pods that began with the
    one before as if they had it: it counts as made in the next second.
    """
    applied = live.applied or now
    if made or live.created is None or applied > live.created:
        return applied
    return live.created + CUT_OFF


def is_born(pod: PodView, live: LiveSecret, changed: datetime | None) -> bool:
    """Whether a pod has never seen another content, by the times of the API server, which are whole seconds.

    It was made after the change, strictly; or there was no Secret before this content, and its processes began when
    there was one: pods wait for their Secret, so they may well be older.
    """
    if changed is None or pod.created > changed:
        return True
    first = live.created is not None and live.created >= changed
    return first and pod.started is not None and live.created is not None and pod.started >= live.created


def to_ask(pods: Iterable[PodView], live: LiveSecret, changed: datetime | None) -> tuple[PodView, ...]:
    """Return the pods that can prove by HTTP and have to. Those of the host's network have its address, not theirs."""
    return tuple(
        pod
        for pod in pods
        if not (pod.of_job or pod.host_network or is_born(pod, live, changed)) and pod.ready and pod.ip
    )


def judge(consumers: Consumers, live: LiveSecret, evidence: Evidence, now: datetime) -> Verdict:
    """Count the pods by what is known of each, and tell whether the declared proof is there.

    Born with the content: current. Mounted as a volume and poked: assumed. Everything else is stale; with env or
    subPath only a restart helps. A declared proof makes pods current: that all of them had it once is kept in the
    status, since no content comes back under its revision. Pods of Jobs end by themselves, and are counted apart.
    """
    proof, changed, told = consumers.proof, evidence.changed, evidence.told
    users = sorted((p for p in evidence.pods if live.name in p.secrets), key=lambda p: p.name)
    pods, jobs = [p for p in users if not p.of_job], [p for p in users if p.of_job]
    due = changed + CUT_OFF + proof.elapsed if changed and proof and proof.elapsed else None
    over = due is None or now >= due
    once = (told.proved_revision, told.proved_by) if told else None
    settled = proof is not None and once == (live.revision, proof.kind)
    before = [] if settled else [p for p in pods if not is_born(p, live, changed)]
    open_ = [p for p in before if not (proof and _proves(proof, p, live, evidence.answers, over=over))]
    waits = None if settled or proof is None else _waits_for(proof, live, pods, open_, evidence, None if over else due)
    proved = (live.revision, proof.kind) if proof is not None and waits is None else once
    return Verdict(
        status=ConsumersStatus(
            **_counts(pods, open_, live, poked=evidence.poked),
            jobs=len(jobs) or None,
            stale_jobs=_names(p for p in jobs if not is_born(p, live, changed)),
            proved_revision=proved[0] if proved else None,
            proved_by=proved[1] if proved else None,
            restarts=evidence.restarts,
        ),
        condition=_condition(proof, live, waits),
        look_after=due - now if due and not over else None,
    )


def _counts(pods: Sequence[PodView], open_: Sequence[PodView], live: LiveSecret, *, poked: bool) -> dict[str, Any]:
    """Return the fields of the status that are about pods; `open_` are those of which nothing is proved."""
    fixed = [p for p in open_ if live.name in p.fixed]
    assumed = len(open_) - len(fixed) if poked else 0
    current = len(pods) - len(open_)
    return {
        "summary": f"{current}+{assumed}?/{len(pods)}" if assumed else f"{current}/{len(pods)}",
        "total": len(pods),
        "current": current,
        "assumed": assumed,
        "stale": _names(fixed if poked else open_),
        "need_restart": _names(fixed),
    }


def _names(pods: Iterable[PodView]) -> tuple[str, ...]:
    return tuple(p.name for p in pods)[:LISTED]


def _condition(proof: Proof | None, live: LiveSecret, waits: str | None) -> tuple[Mark, Reason, str]:
    if proof is None:
        return Mark.UNKNOWN, Reason.PROOF_UNDECLARED, Reason.PROOF_UNDECLARED.sentence
    if waits is None:
        return Mark.TRUE, Reason.CONSUMERS_CURRENT, f"revision {live.revision}: proved by {proof.kind}"
    return Mark.FALSE, Reason.AWAITING_CONSUMERS, f"revision {live.revision}: {waits}"


def _proves(proof: Proof, pod: PodView, live: LiveSecret, answers: Mapping[str, int], *, over: bool) -> bool:
    """Whether a pod that is older than the content uses it: by its own word, or since time is up."""
    if proof.http is not None:
        return answers.get(pod.uid, 0) >= live.revision
    return proof.elapsed is not None and over and live.name not in pod.fixed  # env and subPath do not follow in time


def _waits_for(
    proof: Proof,
    live: LiveSecret,
    pods: Sequence[PodView],
    open_: Sequence[PodView],
    evidence: Evidence,
    due: datetime | None,
) -> str | None:
    """Say what the proof waits for; None: it is there."""
    if proof.elapsed is not None:
        if due is not None:
            return f"waits until {due:%Y-%m-%dT%H:%M:%SZ} (spec.consumers.proof.elapsed)"
        return (
            f"{_named(open_)} of {_count(pods)} see it only after a restart (spec.consumers.restart)" if open_ else None
        )
    if proof.http is not None:
        return _unanswered(pods, open_) if open_ else None
    if unfinished := [r for r in evidence.restarts if r.revision == live.revision and r.reason != Reason.RESTARTED]:
        names = ", ".join(f"{r.kind} {r.name} ({r.reason})" for r in unfinished[:NAMED])
        return f"not all workloads are restarted: {names}"
    late = [p for p in pods if p in open_ or not p.ready]
    return f"{_named(late)} of {_count(pods)} were made before the change, or are not ready" if late else None


def _unanswered(pods: Sequence[PodView], open_: Sequence[PodView]) -> str:
    text = f"{_named(open_)} of {_count(pods)} did not answer it yet (spec.consumers.proof.http)"
    if hosts := [p for p in open_ if p.host_network]:
        text += f"; with hostNetwork a pod is not asked, so restart {_named(hosts)}, or declare another proof"
    if unready := [p for p in open_ if not p.ready and not p.host_network]:
        text += f"; a pod that is not ready is not asked: {_named(unready)}"
    return text


def _named(pods: Sequence[PodView]) -> str:
    names = ", ".join(p.name for p in pods[:NAMED])
    return f"{names} and {len(pods) - NAMED} more" if len(pods) > NAMED else names


def _count(pods: Sequence[PodView]) -> str:
    return "1 pod" if len(pods) == 1 else f"{len(pods)} pods"
