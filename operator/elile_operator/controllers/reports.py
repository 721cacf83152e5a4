"""Telling what became of Rotations: statuses, events, a line in the log, and figures."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from elile.secrets.rotation.journal import JournalEntry
from elile_operator.api.meta import FieldManager
from elile_operator.api.reasons import Reason
from elile_operator.api.rotation import Rotation, RotationResult, RotationStatus
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.controllers.status import apply_status
from elile_operator.controllers.world import World
from elile_operator.decide.orders import Answer
from elile_operator.decide.readers import Counted
from elile_operator.decide.rotation_status import ended
from elile_operator.kube.client import KubeClient
from elile_operator.kube.errors import KubeNotFoundError
from elile_operator.kube.events import Events
from elile_operator.kube.resources import ROTATION_SCHEDULES, ROTATIONS

__all__ = ["Reports", "RotationObserver"]

log = logging.getLogger(__name__)

_GOOD = frozenset({RotationResult.SUCCEEDED, RotationResult.ALREADY_DONE})


class RotationObserver(Protocol):
    """Told of Rotations and of tries of hooks that ended, for metrics; `seconds` None where nothing was begun."""

    def rotation_ended(
        self, *, namespace: str, schedule: str, action: str, result: str, seconds: float | None
    ) -> None: ...

    def verified(self, *, hook: str, outcome: str, seconds: float) -> None: ...


class Reports:
    """Writes statuses of Rotations and the events about them."""

    def __init__(
        self,
        *,
        world: World,
        kube: KubeClient,
        events: Events,
        observer: RotationObserver,
        now: Callable[[], datetime],
    ) -> None:
        self._world = world
        self._kube = kube
        self._events = events
        self._observer = observer
        self._now = now

    async def tell(self, rotation: Rotation, status: RotationStatus) -> None:
        """Write a status if it says anything new, and an event when it is another reason than before."""
        if status == rotation.status:
            return
        before = rotation.status
        try:
            written = await apply_status(self._kube, ROTATIONS, rotation, status, manager=FieldManager.ROTATION_STATUS)
        except KubeNotFoundError:
            return
        self._world.rotations.observe(written)
        if before.reason != status.reason and status.reason:
            await self._say(rotation, Reason(status.reason), status.message or "", warning=False)

    async def finish(
        self, answers: Sequence[Answer], entry: JournalEntry | None, counted: Counted | None = None
    ) -> None:
        """Write the end of each; `counted` are the consumers at the end of the run that the entry is of."""
        for answer in answers:
            await self._finish(answer, entry, counted)

    async def _finish(self, answer: Answer, entry: JournalEntry | None, counted: Counted | None) -> None:
        rotation, now = answer.rotation, self._now()
        status = ended(rotation, answer.result, answer.reason, answer.message, now, entry, counted)
        try:
            written = await apply_status(self._kube, ROTATIONS, rotation, status, manager=FieldManager.ROTATION_STATUS)
        except KubeNotFoundError:
            return
        self._world.rotations.observe(written)
        start = rotation.status.start_time
        self._observer.rotation_ended(
            namespace=rotation.metadata.namespace or "",
            schedule=rotation.spec.schedule_ref.name,
            action=rotation.spec.action.value,
            result=answer.result.value,
            seconds=(now - start).total_seconds() if start is not None else None,
        )
        await self._say(rotation, answer.reason, answer.message, warning=answer.result not in _GOOD)

    async def orphaned(self, schedule: RotationSchedule, note: str) -> None:
        """Tell that a run is left as it is."""
        meta = schedule.metadata
        fields = {"namespace": meta.namespace, "name": meta.name, "reason": Reason.JOURNAL_ORPHANED}
        log.warning("%s", note, extra={"fields": fields})
        await self._events.tell(ROTATION_SCHEDULES, meta, reason=Reason.JOURNAL_ORPHANED, note=note, warning=True)

    async def _say(self, rotation: Rotation, reason: Reason, note: str, *, warning: bool) -> None:
        meta = rotation.metadata
        fields = {"namespace": meta.namespace, "name": meta.name, "reason": reason}
        log.log(logging.WARNING if warning else logging.INFO, "%s", note, extra={"fields": fields})
        await self._events.tell(ROTATIONS, meta, reason=reason, note=note, warning=warning)
