"""Ask kubelet to look at a changed Secret now: one annotation on each pod that mounts it, twice."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, Protocol

from elile_operator.api.meta import FieldManager, delivered_annotation
from elile_operator.decide.pods import PodView
from elile_operator.engine import Clock, Result, WorkQueue
from elile_operator.kube.client import KubeClient
from elile_operator.kube.errors import KubeError, KubeNotFoundError
from elile_operator.kube.resources import PODS
from elile_operator.sources.rate import RateLimit

__all__ = ["AGAIN_AFTER", "PokeKey", "PokeObserver", "Poker"]

log = logging.getLogger(__name__)

# kubelet hears of pods and of Secrets by two watches; if the pod's is faster, the old content is looked at again, and
# the next look would be a minute later. By then the Secret's watch has told, hence the second poke.
AGAIN_AFTER = timedelta(seconds=1.5)
# A poke is a pod sync on its node, about 20 ms of kubelet's work.
PER_NODE_AND_SECOND = 20.0
BURST_PER_NODE = 20
AT_ONCE = 16


class PokeKey(NamedTuple):
    """One pod, for one ElileSecret."""

    namespace: str
    pod: str
    name: str


class PokeObserver(Protocol):
    """Told of every poke, for metrics."""

    def poke(self, *, outcome: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Debt:
    node: str
    resource_version: str
    number: int  # of the next poke: 1 or 2


class Poker:
    """Pokes at once, then again through its queue, whose reconciler it is; failed pokes are retried there."""

    def __init__(self, kube: KubeClient, *, queue: WorkQueue[PokeKey], clock: Clock, observer: PokeObserver) -> None:
        self._kube = kube
        self._queue = queue
        self._clock = clock
        self._observer = observer
        self._debts: dict[PokeKey, _Debt] = {}
        self._nodes: dict[str, RateLimit] = {}
        self._settled: list[Callable[[str, str], None]] = []

    def on_settled(self, callback: Callable[[str, str], None]) -> None:
        """Call back with namespace and name when the last poke that an ElileSecret still owed has been sent."""
        self._settled.append(callback)

    async def poke(self, name: str, pods: Iterable[PodView], resource_version: str) -> bool:
        """Poke the pods for a Secret as of this resourceVersion; tell whether every one was reached."""
        keys = []
        for pod in pods:
            key = PokeKey(pod.namespace, pod.name, name)
            self._debts[key] = _Debt(pod.node, resource_version, 1)
            keys.append(key)
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(key: PokeKey) -> None:
            async with gate:
                await self._first(key)

        async with asyncio.TaskGroup() as group:
            for key in keys:
                group.create_task(one(key), name=f"elile-poke-{key.pod}")
        return not any((debt := self._debts.get(key)) and debt.number == 1 for key in keys)

    async def reconcile(self, key: PokeKey) -> Result:
        """Send the poke that is due."""
        debt = self._debts.get(key)
        if debt is None:
            return Result.absent()
        try:
            await self._send(key, debt)
        except KubeNotFoundError:
            self._forget(key)
            return Result.absent()
        except KubeError as e:
            log.warning("poke failed", extra={"fields": {**key._asdict(), "error": e.safe_text}})
            return Result.retry()
        if self._debts.get(key) is not debt:  # a newer version is owed by now, and its first poke was sent
            return Result.after(AGAIN_AFTER)
        if debt.number == 1:
            self._debts[key] = _Debt(debt.node, debt.resource_version, 2)
            self._tell_if_settled(key)
            return Result.after(AGAIN_AFTER)
        self._forget(key)
        return Result.absent()

    def owes(self, namespace: str, name: str) -> bool:
        """Whether a pod was not reached yet for the last version of this ElileSecret."""
        return any(k.namespace == namespace and k.name == name and d.number == 1 for k, d in self._debts.items())

    async def _first(self, key: PokeKey) -> None:
        debt = self._debts[key]
        try:
            await self._send(key, debt)
        except KubeNotFoundError:
            self._forget(key)
        except KubeError as e:
            log.warning("poke failed", extra={"fields": {**key._asdict(), "error": e.safe_text}})
            self._queue.add_after(key, 1.0)
        else:
            if self._debts.get(key) is debt:
                self._debts[key] = _Debt(debt.node, debt.resource_version, 2)
            self._queue.add_after(key, AGAIN_AFTER.total_seconds())

    async def _send(self, key: PokeKey, debt: _Debt) -> None:
        limit = self._nodes.get(debt.node)
        if limit is None:
            limit = self._nodes[debt.node] = RateLimit(PER_NODE_AND_SECOND, burst=BURST_PER_NODE, clock=self._clock)
        await limit.wait()
        value = f"{debt.resource_version}-{debt.number}"
        body = {"metadata": {"annotations": {delivered_annotation(key.name): value}}}
        outcome = "error"
        try:
            # Through the status subresource: the right to patch pods would be the right to change their images.
            await self._kube.merge_patch(
                PODS, key.namespace, key.pod, body=body, manager=FieldManager.SECRETS, subresource="status"
            )
            outcome = "ok"
        except KubeNotFoundError:
            outcome = "gone"
            raise
        finally:
            self._observer.poke(outcome=outcome)

    def _forget(self, key: PokeKey) -> None:
        debt = self._debts.pop(key, None)
        if debt is not None and debt.number == 1:  # a second poke settles nothing
            self._tell_if_settled(key)

    def _tell_if_settled(self, key: PokeKey) -> None:
        if not self.owes(key.namespace, key.name):
            for callback in self._settled:
                callback(key.namespace, key.name)
