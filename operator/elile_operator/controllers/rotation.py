"""Rotation: what the journal and the objects say, one pass of the engine, and what came of it told in the status."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from elile.secrets.errors import SecretConflictError, SecretsError
from elile.secrets.rotation.journal import TERMINAL, JournalEntry, Owner, Phase
from elile.secrets.rotation.journal import Reason as Cause
from elile.secrets.rotation.steps import Finished, NeedsPerson, Wait
from elile_operator.api.reasons import Reason
from elile_operator.api.rotation import Rotation, RotationResult, Trigger
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.controllers import finalizer
from elile_operator.controllers.allowing import RETRY, allow, keep
from elile_operator.controllers.board import Board, Standing
from elile_operator.controllers.driving import Driver, Ground, RunState
from elile_operator.controllers.grounds import Grounds
from elile_operator.controllers.groups import Groups
from elile_operator.controllers.reports import Reports
from elile_operator.controllers.world import World
from elile_operator.decide.causes import BY_HOOK, REMEDIES, explain_cause
from elile_operator.decide.due import Calendar, read_calendar
from elile_operator.decide.orders import (
    BEFORE_PROMOTED,
    Answer,
    Order,
    abort,
    give_order,
    is_under_way,
    trigger_of,
)
from elile_operator.decide.rotation_status import Progress, began, commanding, in_progress, waiting
from elile_operator.decide.violation import Violation
from elile_operator.engine import Clock, ObjectKey, Result
from elile_operator.kube.client import KubeClient
from elile_operator.kube.errors import KubeConflictError
from elile_operator.kube.resources import ROTATION_SCHEDULES

__all__ = ["Errands", "RotationController"]

AGAIN_AFTER_CONFLICT = timedelta(seconds=0.3)
CONFLICTS = 10  # in a row, until it is told
LOOK_AGAIN = timedelta(seconds=30)
_GOING = BEFORE_PROMOTED | {Phase.ABORTING, Phase.REVERTING, Phase.RETIRING}


class Errands(Protocol):
    """What a Rotation may ask for that is no run."""

    async def do(self, ground: Ground, rotation: Rotation, owner: Owner) -> Answer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pass:
    """One look at one schedule."""

    key: ObjectKey
    ground: Ground
    calendar: Calendar
    owner: Owner
    asked: frozenset[str]  # the names of the Rotations that were open as it began
    leaving: bool

    @property
    def schedule(self) -> RotationSchedule:
        return self.ground.schedule

    @property
    def state(self) -> RunState:
        return self.ground.state


class RotationController:
    """Reconciles the Rotations of one schedule at a time: the keys are schedules, so that one value has one run.

    While a run is under way the schedule has the finalizer, which is how a process that has just begun knows that
    there is a journal to go on with.
    """

    def __init__(
        self,
        *,
        world: World,
        grounds: Grounds,
        driver: Driver,
        errands: Errands,
        reports: Reports,
        board: Board,
        groups: Groups,
        kube: KubeClient,
        clock: Clock,
    ) -> None:
        self._world = world
        self._grounds = grounds
        self._driver = driver
        self._errands = errands
        self._reports = reports
        self._board = board
        self._groups = groups
        self._kube = kube
        self._clock = clock
        self._states: dict[ObjectKey, RunState] = {}

    async def reconcile(self, key: ObjectKey) -> Result:
        """Go on with what is under way, or begin what is asked for."""
        schedule = self._world.schedule(key)
        open_ = self._world.open_rotations(key)
        if schedule is None:
            self._forget(key)
            return await self._without_schedule(key, open_)
        flying = finalizer.held(schedule)
        # One that is made again goes on with what its predecessor has left; after one look there is nothing to find.
        quiet = not open_ and schedule.status.live_path is not None
        if not flying and (quiet or schedule.metadata.deletion_timestamp is not None):
            self._forget(key)
            return Result.done()
        calendar = read_calendar(schedule)
        state = self._states.setdefault(key, RunState())
        ground = await self._grounds.find(schedule, state, flying=flying)
        if isinstance(calendar, Violation):
            return await self._held_up(schedule, open_, calendar)
        if isinstance(ground, Violation):
            return await self._held_up(schedule, open_, ground)
        at = _Pass(
            key=key,
            ground=ground,
            calendar=calendar,
            owner=self._grounds.owner(schedule),
            asked=frozenset(rotation.metadata.name for rotation in open_),
            leaving=self._grounds.leaves(key, schedule),
        )
        try:
            result = await self._look(at)
        except KubeConflictError:
            return Result.after(AGAIN_AFTER_CONFLICT)
        except SecretConflictError as e:
            state.conflicts += 1
            if state.conflicts < CONFLICTS:
                return Result.after(AGAIN_AFTER_CONFLICT)
            # Not an answer that was lost, nor a standby: somebody else keeps changing the same journal or account.
            why = Violation(Reason.JOURNAL_CONFLICT, f"{ground.place.where}: {e.safe_text}")
            return await self._held_up(schedule, self._world.open_rotations(key), why)
        except SecretsError as e:
            return await self._held_up(
                schedule, self._world.open_rotations(key), self._grounds.explain(e, ground.place)
            )
        state.conflicts = 0
        return result

    # ── one look ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _look(self, at: _Pass) -> Result:
        journal = await self._driver.read_journal(at.ground)
        at.state.entry = entry = journal.entry
        if entry is not None and not at.owner.adopts(entry.owner):
            return await self._not_ours(at, entry)
        order = self._order(at, entry)
        await self._reports.finish(order.answers, entry)
        if is_under_way(entry):
            if at.leaving and (entry.phase not in _GOING or finalizer.overdue(at.schedule, self._clock.now())):
                return await self._orphan(at, order)
            return await self._drive(at, order)
        if order.errand is not None:
            done = await self._errands.do(at.ground, order.errand, at.owner)
            await self._reports.finish((done,), entry)
            return Result.after(timedelta(0))
        if order.active is None:
            return await self._rest(at)
        if (hold := keep(at.schedule, at.calendar, order.active, self._groups, self._clock.now())) is not None:
            why, delay = hold
            if why[0] is Reason.WINDOW_CLOSED:
                await self._reports.finish(abort([order.active], why), entry)
                return Result.after(timedelta(0))
            await self._reports.tell(order.active, waiting(order.active, why))
            await self._queue_up(order)
            await self._let_go(at.schedule)
            self._board.post(at.key, None)
            return Result.after(delay)
        await self._begin(at, order.active)
        # All that is due at the same time begins before any of it goes on: nobody waits for the hooks of others.
        return await self._drive(at, order, to_begin=True)

    async def _not_ours(self, at: _Pass, entry: JournalEntry) -> Result:
        other = f"{entry.owner.namespace}/{entry.owner.name}".strip("/")
        text = f"the journal {at.ground.place.journal} belongs to {other!r}: delete one of the two, or release it there"
        await self._reports.finish(abort(self._world.open_rotations(at.key), (Reason.MANAGED_ELSEWHERE, text)), None)
        return await self._rest(at)

    async def _begin(self, at: _Pass, rotation: Rotation) -> None:
        """Before the first write to Vault: what finds the run again, and tells it from a repetition of itself."""
        at.state.told = None
        at.state.quiet.since = None
        at.state.verification.clear()
        at.state.detail = ""
        await self._hold(at)
        ids = self._grounds.rotation_ids(at.ground.place, (rotation,))
        await self._reports.tell(rotation, began(rotation, ids[rotation.metadata.name], self._clock.now()))

    async def _drive(self, at: _Pass, order: Order, *, to_begin: bool = False) -> Result:
        latest = order

        async def on_step(_: object) -> bool:
            nonlocal latest
            entry = at.state.entry
            if entry is None or entry.phase in TERMINAL:
                return True
            # A step may take minutes. Who asks meanwhile that the run ends must not wait until there is no way back.
            latest = self._order(at, entry)
            if entry.phase is not at.state.told:
                await self._tell(at, latest, None)
            return not to_begin

        await self._hold(at)
        policy = allow(at.schedule.spec, at.calendar, at.owner, lambda: latest, self._clock.now)
        end = await self._driver.drive(at.ground, policy, on_step)
        if end is None:
            return Result.after(timedelta(0))
        at.state.waits_for = await self._grounds.waits_for(at.ground, at.state)
        match end:
            case Wait():
                if not is_under_way(at.state.entry) and (ended := await self._is_taken(at, order, end)):
                    return ended
                await self._tell(at, order, end)
                return Result.after(max(timedelta(seconds=0.05), end.until - self._clock.now()))
            case NeedsPerson():
                return await self._needs_person(at, order, end)
            case Finished():
                return await self._finished(at, order, end)

    async def _is_taken(self, at: _Pass, order: Order, end: Wait) -> Result | None:
        """End a run whose value another one has taken: it would wait for the next, and leave that one's run without."""
        active = self._world.current(order.active)
        if active is None or end.reason is not Cause.INBOX_EMPTY or trigger_of(active) is not Trigger.STAGED:
            return None
        text = "AlreadyDone: another run has taken what was staged"
        done = Answer(rotation=active, result=RotationResult.ALREADY_DONE, reason=Reason.ALREADY_DONE, message=text)
        await self._reports.finish((done,), at.state.entry)
        return await self._rest(at)

    async def _finished(self, at: _Pass, order: Order, end: Finished) -> Result:
        entry = at.state.entry
        counted = await self._grounds.count(at.ground, entry) if entry is not None else None
        await self._reports.finish(self._order(at, entry).answers, entry, counted)
        active = order.active
        request = order.request
        over = {past.rotation_id for past in entry.history} if entry is not None else set()
        if active is not None and request is not None and request.rotation_id not in over:
            why = explain_cause(end.reason, end.detail)
            if at.state.refusal is not None and end.reason is Cause.PREFLIGHT:
                why = at.state.refusal.reason, at.state.refusal.message
            await self._reports.finish(abort([active], why), entry)
        return await self._rest(at)

    async def _needs_person(self, at: _Pass, order: Order, end: NeedsPerson) -> Result:
        reason, message = explain_cause(end.reason, end.detail or (at.state.detail if end.reason in BY_HOOK else ""))
        remedy = REMEDIES.get(end.reason, "look, then make a Rotation with action RollBack, Abort or Rotate")
        note = f"{message}; nothing was removed: {remedy.format(journal=at.ground.place.journal)}"
        if order.active is not None:
            answer = Answer(
                rotation=order.active, result=RotationResult.NEEDS_INTERVENTION, reason=reason, message=note
            )
            await self._reports.finish((answer,), at.state.entry)
        self._board.post(at.key, Standing(phase=Phase.NEEDS_INTERVENTION, active=None, reason=reason, message=note))
        await self._queue_up(order)
        return Result.done()

    async def _rest(self, at: _Pass) -> Result:
        """Nothing is under way: let the schedule go, and see whether anything else is asked for."""
        self._board.post(at.key, None)
        await self._grounds.record(at.schedule, at.ground.place)
        await self._let_go(at.schedule)
        left = {rotation.metadata.name for rotation in self._world.open_rotations(at.key)}
        if left and not at.leaving:
            # A look that ended nothing would end nothing at once again.
            return Result.after(timedelta(0) if left < at.asked else RETRY)
        self._states.pop(at.key, None)
        return Result.done()

    # ── telling ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _tell(self, at: _Pass, order: Order, end: Wait | None) -> None:
        entry = at.state.entry
        if entry is None or entry.phase in TERMINAL:
            await self._tell_waiting(at, order, end)
            return
        at.state.told = entry.phase
        why = None
        if end is not None and end.reason is not Cause.IN_GRACE:
            why = explain_cause(end.reason, at.state.detail if end.reason in BY_HOOK else "")
            if end.reason is Cause.AWAITING_CONSUMERS and at.state.waits_for:
                why = Reason.AWAITING_CONSUMERS, self._grounds.describe(at.ground, at.state.waits_for)
        counted = await self._grounds.count(at.ground, entry)
        progress = Progress(
            entry=entry, verification=tuple(at.state.verification), detail=at.state.detail, counted=counted, why=why
        )
        if (active := self._world.current(order.active)) is not None:
            await self._reports.tell(active, in_progress(active, progress, self._clock.now()))
        if (commander := self._world.current(order.commander)) is not None:
            await self._reports.tell(commander, commanding(commander, progress, self._clock.now()))
        await self._queue_up(order)
        overlaps = entry.phase in (Phase.PROMOTED, Phase.GRACE, Phase.DISTRIBUTING)
        follows = overlaps or entry.phase is Phase.REVERTING
        self._board.post(
            at.key,
            Standing(
                phase=entry.phase,
                active=order.active.metadata.name if order.active is not None else None,
                reason=why[0] if why else None,
                message=why[1] if why else "",
                valid_until=entry.deadline if entry.phase is Phase.GRACE else None,
                retry=end.until.replace(microsecond=0)
                if end is not None and why is not None and not overlaps
                else None,
                holds_up=self._grounds.holds_up(at.state.waits_for) if follows else {},
            ),
        )

    async def _tell_waiting(self, at: _Pass, order: Order, end: Wait | None) -> None:
        """What is looked at before a run begins gave no answer yet."""
        active = self._world.current(order.active)
        if end is None or active is None:
            return
        reason, message = explain_cause(end.reason, at.state.detail if end.reason in BY_HOOK else "")
        await self._reports.tell(active, waiting(active, (reason, message)))
        await self._queue_up(order)
        name, retry = active.metadata.name, end.until.replace(microsecond=0)
        self._board.post(
            at.key, Standing(phase=Phase.PENDING, active=name, reason=reason, message=message, retry=retry)
        )

    async def _queue_up(self, order: Order) -> None:
        turn = order.active or order.commander
        name = f"Rotation {turn.metadata.name!r}" if turn is not None else "the run that is under way"
        for rotation in order.waiting:
            if (found := self._world.current(rotation)) is not None:
                why = (Reason.ROTATION_SCHEDULED, f"it waits for {name}, which goes first")
                await self._reports.tell(found, waiting(found, why))

    async def _held_up(self, schedule: RotationSchedule, open_: list[Rotation], why: Violation) -> Result:
        """Nothing can be done now. What a person has to change ends what has not begun; all else is tried again."""
        flying = finalizer.held(schedule)
        if schedule.metadata.deletion_timestamp is not None and finalizer.overdue(schedule, self._clock.now()):
            await self._reports.orphaned(schedule, why.message)
            await self._let_go(schedule)
            return Result.absent()
        if not flying and self._grounds.is_final(why):
            await self._reports.finish(abort(open_, (why.reason, why.message)), None)
            return Result.done()
        for rotation in open_:
            await self._reports.tell(rotation, waiting(rotation, (why.reason, why.message)))
        return Result.after(RETRY if flying else LOOK_AGAIN)

    async def _without_schedule(self, key: ObjectKey, open_: list[Rotation]) -> Result:
        why = (
            Reason.SCHEDULE_NOT_FOUND,
            f"spec.scheduleRef names RotationSchedule {key.name!r}, which does not exist; create it, or delete this",
        )
        for rotation in open_:
            await self._reports.tell(rotation, waiting(rotation, why))
        return Result.done() if open_ else Result.absent()

    async def _orphan(self, at: _Pass, order: Order) -> Result:
        """The object goes, and both values are valid: they stay so, and the journal tells of them."""
        text = (
            f"both values stay valid; the journal {at.ground.place.journal} tells of them, and a RotationSchedule of "
            "the same name goes on with it"
        )
        await self._reports.orphaned(at.schedule, text)
        if (active := self._world.current(order.active)) is not None:
            await self._reports.finish(abort([active], (Reason.JOURNAL_ORPHANED, text)), None)
        self._board.post(at.key, None)
        await self._let_go(at.schedule)
        return Result.done()

    # ── small things ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _order(self, at: _Pass, entry: JournalEntry | None) -> Order:
        open_ = self._world.open_rotations(at.key)
        ids = self._grounds.rotation_ids(at.ground.place, open_)
        return give_order(open_, ids, entry, leaving=self._grounds.leaves(at.key, at.schedule))

    async def _hold(self, at: _Pass) -> None:
        if body := await finalizer.hold(self._kube, ROTATION_SCHEDULES, self._world.schedule(at.key) or at.schedule):
            self._world.schedules.observe(body)
        await self._grounds.record(at.schedule, at.ground.place)

    async def _let_go(self, schedule: RotationSchedule) -> None:
        key = ObjectKey(schedule.metadata.namespace or "", schedule.metadata.name)
        current = self._world.schedule(key) or schedule
        if finalizer.held(current):
            if body := await finalizer.let_go(self._kube, ROTATION_SCHEDULES, current):
                self._world.schedules.observe(body)
            self._groups.free(key)

    def _forget(self, key: ObjectKey) -> None:
        self._states.pop(key, None)
        self._board.post(key, None)
        self._groups.free(key)
