"""Looks between runs: what was staged, what is too old, whether the value works and readers could follow another."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from elile.secrets.errors import SecretConflictError, SecretNotFoundError, SecretsError, SecretValidationError
from elile.secrets.rotation.drift import check
from elile.secrets.rotation.keys import Keys, disable_old_keys
from elile.secrets.rotation.targets.keyset import oldest_replaced
from elile.secrets.rotation.verify.outcome import Outcome, Verification
from elile_operator.api.durations import format_duration
from elile_operator.api.reasons import Reason
from elile_operator.api.rotating import OnExternalChange
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.controllers.driving import Driver, Ground, RunState
from elile_operator.controllers.grounds import Grounds
from elile_operator.controllers.schedule import Sight
from elile_operator.decide.due import read_calendar
from elile_operator.decide.schedule_status import Live
from elile_operator.decide.violation import Violation

__all__ = ["BetweenRuns"]

LOOK_AGAIN = timedelta(seconds=30)
AFTER_CONFLICT = timedelta(seconds=2)


class BetweenRuns:
    """Looks as the rotator of the tenant; while a run is under way it leaves everything to that."""

    def __init__(
        self, *, grounds: Grounds, driver: Driver, now: Callable[[], datetime], guard: Callable[[], None]
    ) -> None:
        self._grounds = grounds
        self._driver = driver
        self._now = now
        self._guard = guard
        # By the uid of a schedule: of which version it was read, and since when its oldest key encrypts no more.
        self._replaced: dict[str, tuple[int, datetime | None]] = {}

    async def look(self, schedule: RotationSchedule, live: Live, *, busy: bool) -> Sight:
        """Look at what the spec asks for, when it is due."""
        ground = await self._grounds.find(schedule, RunState(), flying=busy)
        if isinstance(ground, Violation):
            return Sight(violation=ground, again=LOOK_AGAIN)
        if busy:
            return Sight()
        violation = self._grounds.check_readers(ground)
        sight = Sight(violation=violation, other_readers=self._grounds.other_readers(ground))
        try:
            if schedule.spec.value.external is not None:
                again = self._grounds.poll_interval(ground.place)
                sight = replace(sight, staged=await self._staged(ground), again=again)
            if live.foreign is not None and (ours := await self._known_to_journal(ground, live)) is not None:
                sight, live = replace(sight, ours=ours), ours
            if schedule.spec.value.keyset is not None:
                sight = await self._end_keys(ground, live, sight)
            wanted, left = self._drift_is_due(schedule, sight.ours or live)
            sight = replace(sight, again=_sooner(sight.again, left))
            return self._judge(schedule, await self._check(ground), sight) if wanted else sight
        except SecretsError as e:
            return replace(sight, violation=self._grounds.explain(e, ground.place), again=LOOK_AGAIN)

    def _judge(self, schedule: RotationSchedule, found: Verification, sight: Sight) -> Sight:
        now = self._now()
        if found.outcome is Outcome.FAILED:
            text = f"the value that is live no longer works: {found.detail}; set the right one, or make a Rotation"
            return replace(sight, drift=Violation(Reason.DRIFT_DETECTED, text), drifted=now)
        passed = found.outcome is Outcome.PASSED
        adopts = passed and schedule.spec.drift.on_external_change is OnExternalChange.ADOPT
        return replace(sight, drifted=now if passed else None, adopted=adopts, again=sight.again or LOOK_AGAIN)

    def _drift_is_due(self, schedule: RotationSchedule, live: Live) -> tuple[bool, timedelta | None]:
        """Return whether the value is to be verified now, and else in how long."""
        spec = schedule.spec.drift
        if live.foreign is not None and spec.on_external_change is OnExternalChange.ADOPT:
            return True, spec.interval
        if spec.interval is None:
            return False, None
        last = schedule.status.last_drift_time or live.since
        if last is None or self._now() >= last + spec.interval:
            return True, spec.interval
        return False, last + spec.interval - self._now()

    async def _known_to_journal(self, ground: Ground, live: Live) -> Live | None:
        """Return what is live if the journal says that it is ours: objects that told of it may be gone, or be none."""
        entry = (await self._driver.read_journal(ground)).entry
        owner = self._grounds.owner(ground.schedule)
        if entry is None or entry.live_version != live.foreign or not owner.adopts(entry.owner):
            return None
        ended = entry.history[-1].at.replace(microsecond=0) if entry.history else None
        return Live(live.foreign, max((at for at in (live.since, ended) if at is not None), default=None))

    async def _end_keys(self, ground: Ground, live: Live, sight: Sight) -> Sight:
        """Disable the keys of a set that were replaced long enough ago."""
        keyset, uid = ground.schedule.spec.value.keyset, ground.schedule.metadata.uid
        if keyset is None or keyset.disable_after is None or live.version is None or live.foreign is not None:
            return sight
        after, now = keyset.disable_after, self._now()
        known, replaced = self._replaced.get(uid, (None, None))
        if known != live.version:
            try:
                version, replaced = await self._driver.blocking(lambda: self._oldest(ground))
            except SecretValidationError as e:
                wrong = Violation(Reason.SHAPE_INVALID, f"the live entry is no set of keys: {e.detail}; write one")
                return replace(sight, violation=sight.violation or wrong)
            if version >= live.version:  # else a standby has answered
                self._replaced[uid] = version, replaced
        if replaced is None:
            return sight
        if now < replaced + after:
            return replace(sight, again=_sooner(sight.again, replaced + after - now))
        calendar = read_calendar(ground.schedule)
        if ground.schedule.spec.suspend or isinstance(calendar, Violation):
            return sight
        if (blackout := calendar.blackout(now)) is not None:
            return replace(sight, again=_sooner(sight.again, blackout.closes(now) - now))
        try:
            written = await self._driver.blocking(lambda: self._disable(ground, now - after))
        except SecretConflictError:
            return replace(sight, again=AFTER_CONFLICT)  # a run has begun, or somebody else writes
        self._replaced.pop(uid, None)
        if written is None:
            return replace(sight, again=AFTER_CONFLICT)
        text = (
            f"keys replaced more than {format_duration(after)} ago are disabled, as spec.value.keyset.disableAfter says"
        )
        return replace(
            sight,
            ours=Live(written, live.since),
            disabled=f"{text}; version {written} of the live path has them",
            again=AFTER_CONFLICT,
        )

    def _oldest(self, ground: Ground) -> tuple[int, datetime | None]:
        found = self._driver.parts(ground).live.read()
        return found.version, oldest_replaced(found.value) if found.value is not None else None

    def _disable(self, ground: Ground, before: datetime) -> int | None:
        parts = self._driver.parts(ground)
        owner = self._grounds.owner(ground.schedule)
        keys = Keys(path=ground.place.path, live=parts.live, journal=parts.journal, owner=owner, guard=self._guard)
        return disable_old_keys(keys, before=before)

    async def _staged(self, ground: Ground) -> int | None:
        """Return the version that is in the inbox, None for nothing; its value is left alone."""
        place = ground.place
        mount, where = place.mount, f"{place.prefix}-inbox/{place.path}"

        def read() -> int | None:
            try:
                found = ground.calls.call(
                    f"{mount}/metadata/{where}",
                    lambda client, token: client.kv2_metadata(token, mount=mount, path=where),
                )
            except SecretNotFoundError:
                return None
            state = found.versions.get(found.current)
            return found.current if state is not None and state.readable else None

        return await self._driver.blocking(read)

    async def _check(self, ground: Ground) -> Verification:
        def verify() -> Verification:
            parts = self._driver.parts(ground)
            live = parts.live.read()
            if live.value is None:
                return Verification.inconclusive("the live path holds no value")
            return check(parts, live.value)

        return await self._driver.blocking(verify)


def _sooner(one: timedelta | None, other: timedelta | None) -> timedelta | None:
    return min((t for t in (one, other) if t is not None), default=None)
