"""A limit on calls a second, shared by everybody who waits for it."""

from elile_operator.engine import Clock

__all__ = ["RateLimit"]


class RateLimit:
    """At most `per_second` calls a second, after a burst of `burst` (the generic cell rate algorithm: one number)."""

    def __init__(self, per_second: float, *, burst: int, clock: Clock) -> None:
        self._step = 1.0 / per_second
        self._slack = self._step * burst
        self._clock = clock
        self._next = clock.monotonic() - self._slack  # the burst is there from the start

    async def wait(self) -> None:
        """Return when the caller may go. The turn is taken at once, so that waiters keep their order."""
        now = self._clock.monotonic()
        turn = self._next = max(self._next, now - self._slack) + self._step
        if turn > now:
            await self._clock.sleep(turn - now)
