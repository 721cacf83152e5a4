"""Whether this process is well, told truthfully: checks that are run by the event loop itself, and how late it does so.

The loop ticks once a second: it notes the time, runs every check and leaves a report. Whoever is asked (`probes`, on
another thread) reads the report and the time. So a loop that is stuck is reported as stuck, not just silent.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from elile_operator.obs.failure import describe

log = logging.getLogger(__name__)

Check: TypeAlias = Callable[[], str | None]
"""Quick, synchronous: None if all is well, else why not, in words that are safe to show."""


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to one probe. `checks` names each check, with why it fails, or None."""

    checks: dict[str, str | None]
    role: str = ""  # what this process is among its replicas, for people who look

    @property
    def ok(self) -> bool:
        return not any(self.checks.values())

    def body(self) -> dict[str, object]:
        """As JSON: {"status": "ok"|"fail", "checks": {name: {"ok": bool, "why": str}}}; `why` only where it fails."""
        return {
            "status": "ok" if self.ok else "fail",
            **({"role": self.role} if self.role else {}),
            "checks": {n: {"ok": why is None} | ({"why": why} if why else {}) for n, why in self.checks.items()},
        }


@dataclass(frozen=True, slots=True)
class _Tick:
    at: float
    live: Report
    ready: Report


class Health:
    """Named checks, run every `interval` seconds in the event loop. A loop `lag_limit` seconds late is not alive.

    `on_tick` is called with the lag of each tick, in seconds, for metrics and whatever else wants a heartbeat.
    `monotonic` and `sleep` are those of the clock; `monotonic` is also called from the thread of the server.
    """

    def __init__(
        self,
        *,
        interval: float = 1.0,
        lag_limit: float = 10.0,
        on_tick: Callable[[float], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._interval = interval
        self._lag_limit = lag_limit
        self._on_tick = on_tick
        self._monotonic = monotonic
        self._sleep = sleep
        self.role = ""  # leader or standby, once that is known
        self._live: dict[str, Check] = {}
        self._ready: dict[str, Check] = {}
        # Immutable and replaced whole: a reader on another thread sees the old one or the new one.
        self._last: _Tick | None = None
        self._task: asyncio.Task[None] | None = None

    def add_live(self, name: str, check: Check) -> None:
        """A check that only a new process can mend when it fails. Raises ValueError if the name is taken."""
        self._add(self._live, name, check)

    def add_ready(self, name: str, check: Check) -> None:
        """A check that must pass before this process is of use. Raises ValueError if the name is taken."""
        self._add(self._ready, name, check)

    def start(self) -> asyncio.Task[None]:
        """Begin to tick, in a task of its own. Call it before kopf.operator()."""
        self._task = asyncio.create_task(self._run(), name="elile-health-ticker")
        return self._task

    async def stop(self) -> None:
        """End the task. From then on the loop counts as stuck, once `lag_limit` is over."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def tick(self, lag: float = 0.0) -> None:
        """Run all checks now. Raises nothing: a check that does, fails."""
        self._last = _Tick(self._monotonic(), _run_all(self._live), _run_all(self._ready))
        if self._on_tick is not None:
            try:
                self._on_tick(lag)
            except Exception as error:
                log.warning("on_tick failed", extra={"fields": {"error": describe(error)}})

    def live(self) -> Report:
        """For /livez. Callable on any thread."""
        last = self._last
        return self._report(last, last.live if last else None)

    def ready(self) -> Report:
        """For /readyz. Callable on any thread."""
        last = self._last
        return self._report(last, last.ready if last else None)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _add(self, checks: dict[str, Check], name: str, check: Check) -> None:
        if name in checks or name == "loop":
            raise ValueError(f"a health check named {name!r} exists already")
        checks[name] = check

    def _report(self, last: _Tick | None, report: Report | None) -> Report:
        """Put the one check in front that cannot be made by the loop it is about."""
        if last is None or report is None:
            return Report({"loop": "health has not started to tick"})
        late = self._monotonic() - last.at - self._interval
        why = None if late < self._lag_limit else f"the event loop is {late:.0f} s late, limit {self._lag_limit:.0f} s"
        return Report({"loop": why, **report.checks}, self.role)

    async def _run(self) -> None:
        lag = 0.0
        while True:
            began = self._monotonic()
            self.tick(lag)
            await self._sleep(self._interval)
            lag = max(0.0, self._monotonic() - began - self._interval)


def _run_all(checks: dict[str, Check]) -> Report:
    found: dict[str, str | None] = {}
    for name, check in checks.items():
        try:
            found[name] = check()
        except Exception as error:  # a check that cannot tell has not passed
            found[name] = f"the check failed: {describe(error)}"
    return Report(found)
