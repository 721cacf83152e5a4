"""Restarting workloads: one annotation on their pod template, planned for all ElileSecrets of a namespace at once."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from elile_operator.api.consumers import RestartStatus, WorkloadKind
from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.meta import FieldManager
from elile_operator.api.model import ObjectMeta
from elile_operator.api.reasons import Reason
from elile_operator.controllers.world import World
from elile_operator.decide.consumers import is_born
from elile_operator.decide.live import LiveSecret
from elile_operator.decide.pods import PodView, Workload
from elile_operator.decide.restarts import DEBOUNCE, FINAL, Plan, Wish, due_restarts, not_allowed, plan
from elile_operator.decide.violation import Violation
from elile_operator.decide.workloads import Calm, WorkloadView, calm, read_workload, restart_body, with_pods
from elile_operator.engine import Clock, ObjectKey, Result, WorkQueue
from elile_operator.kube.client import KubeClient
from elile_operator.kube.errors import KubeConflictError, KubeForbiddenError, KubeInvalidError, KubeNotFoundError
from elile_operator.kube.events import Events
from elile_operator.kube.resources import DAEMON_SETS, DEPLOYMENTS, ELILE_SECRETS, STATEFUL_SETS, Resource

__all__ = ["Restarts"]

log = logging.getLogger(__name__)

RESOURCES: dict[str, Resource] = {
    WorkloadKind.DEPLOYMENT: DEPLOYMENTS,
    WorkloadKind.STATEFUL_SET: STATEFUL_SETS,
    WorkloadKind.DAEMON_SET: DAEMON_SETS,
}
# While a rollout goes on; nothing else is asked of the API server for it.
LOOK = timedelta(seconds=2)
# What waits for somebody: a right, a paused workload, one that is mended.
LOOK_AGAIN = timedelta(seconds=10)

View = WorkloadView | Violation | None


class Restarts:
    """Takes the wishes of ElileSecrets and carries them out, namespace by namespace; the reconciler of its queue.

    What became of each is kept in the status of the ElileSecret, from which a new process goes on.
    """

    def __init__(
        self,
        kube: KubeClient,
        *,
        world: World,
        queue: WorkQueue[str],
        events: Events,
        account: str,
        clock: Clock,
        on_news: Callable[[ObjectKey], None],
    ) -> None:
        self._kube = kube
        self._world = world
        self._queue = queue
        self._events = events
        self._account = account
        self._clock = clock
        self._on_news = on_news
        self._wishes: dict[ObjectKey, tuple[Wish, ObjectMeta]] = {}
        self._rolling: dict[str, int] = {}
        self._calm: dict[tuple[str, Workload], Calm] = {}

    def want(
        self, secret: ElileSecret, live: LiveSecret, pods: Sequence[PodView], changed: datetime | None
    ) -> tuple[RestartStatus, ...]:
        """Note what is to be restarted for the present content; return what is to be told of it."""
        meta = secret.metadata
        key = ObjectKey(meta.namespace or "", meta.name)
        known = self._known(key, secret, live.revision)
        told = known.told if known else _of(secret, live.revision)
        due = due_restarts(secret, live, pods, changed)
        if not due and all(each.reason in FINAL for each in told):
            self.forget(key)
            return told
        wish = Wish(
            name=meta.name,
            revision=live.revision,
            fingerprint=str(live.stamp or live.content),
            due=due,
            old=frozenset(pod.uid for pod in pods if not is_born(pod, live, changed)),
            since=known.since if known else self._clock.now(),
            told=told,
        )
        if wish != known:
            self._wishes[key] = wish, meta
            self._queue.add_after(key.namespace, 0.0 if known else DEBOUNCE.total_seconds())
        return told

    def forget(self, key: ObjectKey) -> None:
        """Nothing is to be restarted for this object any more; a rollout that has begun goes on without us."""
        self._wishes.pop(key, None)

    def rights_changed(self, namespace: str) -> None:
        """A RoleBinding came, changed or went: what was not allowed may be."""
        if any(key.namespace == namespace for key in self._wishes):
            self._queue.add(namespace)

    async def reconcile(self, namespace: str) -> Result:
        """Look at the workloads that are waited for, and restart those whose turn it is."""
        wishes = {key: wish for key, (wish, _) in self._wishes.items() if key.namespace == namespace}
        if not wishes:
            self._rolling.pop(namespace, None)
            self._calm = {key: value for key, value in self._calm.items() if key[0] != namespace}
            return Result.absent()
        views = await self._look(namespace, list(wishes.values()))
        elsewhere = sum(count for other, count in self._rolling.items() if other != namespace)
        planned = plan(list(wishes.values()), views, now=self._clock.now(), elsewhere=elsewhere)
        # Before the next await, so that no other namespace counts on the same room.
        self._rolling[namespace] = _rolling(planned)
        told = {key: {Workload(t.kind, t.name): t for t in planned.told[wish.name]} for key, wish in wishes.items()}
        for workload, annotations in planned.starts.items():
            outcome = await self._start(namespace, workload, views[workload], annotations)
            if outcome is not None:
                for key, wish in wishes.items():
                    if workload in told[key] and told[key][workload].reason == Reason.NEEDS_RESTART:
                        told[key][workload] = outcome.model_copy(update={"revision": wish.revision})
        for key, wish in wishes.items():
            await self._tell(key, wish, tuple(each for _, each in sorted(told[key].items())))
        return self._next(namespace)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _known(self, key: ObjectKey, secret: ElileSecret, revision: int) -> Wish | None:
        if (found := self._wishes.get(key)) is None:
            return None
        wish, meta = found
        return wish if (meta.uid, wish.revision) == (secret.metadata.uid, revision) else None

    async def _look(self, namespace: str, wishes: Sequence[Wish]) -> dict[Workload, View]:
        """Read each workload of which something may still come."""
        final = {(w.name, Workload(t.kind, t.name)) for w in wishes for t in w.told if t.reason in FINAL}
        asked = {w.name: w.due | {Workload(t.kind, t.name) for t in w.told} for w in wishes}
        wanted = sorted({each for name, all_ in asked.items() for each in all_ if (name, each) not in final})
        old = frozenset[str]().union(*(w.old for w in wishes))
        views: dict[Workload, View] = {}
        for workload in wanted:
            view = await self._view(namespace, workload)
            views[workload] = (
                self._with_pods(namespace, workload, view, old) if isinstance(view, WorkloadView) else view
            )
        return views

    async def _view(self, namespace: str, workload: Workload) -> View:
        try:
            body = await self._kube.get(RESOURCES[workload.kind], namespace, workload.name)
        except KubeNotFoundError:
            return None
        except KubeForbiddenError:
            return not_allowed(namespace, self._account)
        return read_workload(workload.kind, body)

    def _with_pods(self, namespace: str, workload: Workload, view: WorkloadView, old: frozenset[str]) -> WorkloadView:
        key, now, pods = (namespace, workload), self._clock.now(), self._world.pods_of(namespace, workload)
        found = calm(self._calm.pop(key, None), view, pods, now)
        if found is not None:
            self._calm[key] = found
        return with_pods(view, found, pods, old, now)

    async def _start(
        self, namespace: str, workload: Workload, view: View, annotations: Mapping[str, str]
    ) -> RestartStatus | None:
        """Restart one workload; None: it changed under our hands, and is looked at again."""
        assert isinstance(view, WorkloadView)  # noqa: S101 - nothing else is planned to start
        resource = RESOURCES[workload.kind]
        body = restart_body(resource.api_version, workload.kind, workload.name, view, annotations)
        told = RestartStatus(kind=workload.kind, name=workload.name, revision=0, reason=Reason.RESTARTING)
        refused = {"reason": Reason.RESTART_NOT_ALLOWED.value}
        try:
            await self._kube.apply(resource, namespace, workload.name, body=body, manager=FieldManager.RESTARTS)
        except KubeForbiddenError:
            return told.model_copy(update={**refused, "message": not_allowed(namespace, self._account).message})
        except KubeInvalidError:
            why = "the API server refuses the annotation restart.elile.io/*; allow it in the admission policy at fault"
            return told.model_copy(update={**refused, "message": why})
        except (KubeConflictError, KubeNotFoundError):
            return None
        self._calm.pop((namespace, workload), None)  # of before: the pods of the watch may be as old
        fields = {"namespace": namespace, "kind": workload.kind, "name": workload.name}
        log.info("workload restarted", extra={"fields": {**fields, "annotations": sorted(annotations)}})
        return told.model_copy(update={"time": self._clock.now()})

    async def _tell(self, key: ObjectKey, wish: Wish, told: tuple[RestartStatus, ...]) -> None:
        now, meta = self._wishes.get(key, (None, None))
        if now is None or meta is None or now.revision != wish.revision or told == wish.told:
            return  # forgotten, or of another content by now: it starts anew
        self._wishes[key] = replace(now, told=told), meta
        self._on_news(key)
        before = {(t.kind, t.name): t.reason for t in wish.told}
        for each in told:
            if each.reason == before.get((each.kind, each.name)):
                continue
            warning = each.reason in (Reason.RESTART_FAILED, Reason.RESTART_NOT_ALLOWED)
            if warning or each.reason != Reason.NEEDS_RESTART:
                note = (
                    f"revision {each.revision}: {each.kind} {each.name}: {each.message or Reason(each.reason).sentence}"
                )
                await self._events.tell(ELILE_SECRETS, meta, reason=each.reason, note=note, warning=warning)

    def _next(self, namespace: str) -> Result:
        wishes = [wish for key, (wish, _) in self._wishes.items() if key.namespace == namespace]
        open_ = [told for wish in wishes for told in wish.told if told.reason not in FINAL]
        ready = any(t.reason == Reason.NEEDS_RESTART and t.message is None for t in open_)
        if ready or any(t.reason == Reason.RESTARTING for t in open_):
            return Result.after(LOOK)
        return Result.after(LOOK_AGAIN) if open_ else Result.done()


def _of(secret: ElileSecret, revision: int) -> tuple[RestartStatus, ...]:
    told = secret.status.consumers.restarts if secret.status.consumers else ()
    return tuple(each for each in told if each.revision == revision)


def _rolling(planned: Plan) -> int:
    under_way = {(t.kind, t.name) for told in planned.told.values() for t in told if t.reason == Reason.RESTARTING}
    return len(under_way) + len(planned.starts)
