"""Leader election by a Lease: of several processes one works, and one that cannot prove to be the one stops at once.

          another process dies, or releases
standby ────────────────────────────────────► leader ──── stop ────► released: the next one takes over in a second
   ▲  looks every 2 s                           │  renews every 5 s
   └────────────────────────────────────────────┘
            not renewed for 10 s, or somebody else holds it: the process exits
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from elile_operator.api.meta import FieldManager
from elile_operator.kube.client import Json, KubeClient
from elile_operator.kube.errors import KubeConflictError, KubeError, KubeExistsError, KubeNotFoundError
from elile_operator.kube.resources import LEASES

__all__ = ["LEASE_NAME", "LeaderLease", "Timing"]

log = logging.getLogger(__name__)

LEASE_NAME = "elile-operator"


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. A holder gives up `deadline` after its last renewal, and nobody takes the Lease before `duration`: the
    difference is what clocks may drift and a last call may take."""

    duration: float = 15.0
    renew_every: float = 5.0
    deadline: float = 10.0
    retry: float = 1.0
    look_every: float = 2.0


class LeaderLease:
    """One process's view of the Lease. `identity` must be no other process's, also not of an earlier life of this pod.

    Whether another holder is dead is measured on our own clock, from when its last renewal was first seen: clocks
    of two machines are never compared. `lost` is called when this process may not go on; it must not return.
    """

    def __init__(
        self,
        kube: KubeClient,
        *,
        namespace: str,
        identity: str,
        monotonic: Callable[[], float],
        now: Callable[[], dt.datetime],
        sleep: Callable[[float], Awaitable[None]],
        lost: Callable[[str], None],
        timing: Timing = Timing(),
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._identity = identity
        self._monotonic = monotonic
        self._now = now
        self._sleep = sleep
        self._lost = lost
        self._timing = timing
        self._body: Json | None = None  # as last seen
        self._seen = ("", "")  # holder and its renewal, as last seen
        self._seen_at = monotonic()
        self._renewed: float | None = None  # when our last successful renewal was sent
        self._answered: float | None = None  # when the API server last answered

    @property
    def held(self) -> bool:
        """Whether this process may act: it renewed in time."""
        return self._renewed is not None and self._monotonic() - self._renewed < self._timing.deadline

    def check(self) -> None:
        """Let a leader pass whose time is not over, and end the process of one that overslept, right before it acts."""
        if self._renewed is not None and not self.held:
            self._lost("the Lease was not renewed in time")

    def silence(self) -> float | None:
        """Seconds since the API server last answered; None before the first time."""
        return None if self._answered is None else self._monotonic() - self._answered

    @property
    def holder(self) -> str:
        """Who holds the Lease, as last seen; empty when nobody does."""
        return self._seen[0]

    async def look(self) -> None:
        """Read the Lease once, to find out whether that is allowed. Raises KubeError; one that is not there is fine."""
        with suppress(KubeNotFoundError):
            self._look(await self._kube.get(LEASES, self._namespace, LEASE_NAME))
        self._answered = self._monotonic()

    async def acquire(self) -> None:
        """Return once this process is the leader."""
        said = ""
        while not await self._try_to_acquire():
            if self.holder and self.holder != said:
                log.info("standby", extra={"fields": {"leader": self.holder}})
                said = self.holder
            await self._sleep(self._timing.look_every)
        log.info("leader", extra={"fields": {"identity": self._identity}})

    async def keep(self) -> None:
        """Renew until cancelled; calls `lost` when that is not possible in time."""
        while True:
            await self._sleep(self._timing.renew_every)
            while not await self._renew():
                await self._sleep(self._timing.retry)

    async def release(self) -> None:
        """Give the Lease up, so that the next one need not wait for its end. Harmless if it is not held."""
        if not self.held or self._body is None:
            return
        try:
            await self._write(self._body, holder="")
        except KubeError as e:
            log.info("the Lease could not be released, it ends by itself", extra={"fields": {"error": e.safe_text}})
        self._renewed = None

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _try_to_acquire(self) -> bool:
        sent = self._monotonic()
        try:
            body = await self._kube.get(LEASES, self._namespace, LEASE_NAME)
        except KubeNotFoundError:
            body = {}
        except KubeError as e:
            log.warning("the Lease cannot be read", extra={"fields": {"error": e.safe_text}})
            return False
        self._answered = self._monotonic()
        self._look(body)
        others = self.holder not in ("", self._identity)  # ours already: the answer to an earlier try was lost
        if body and others and self._monotonic() - self._seen_at < self._timing.duration:
            return False
        try:
            await (self._write(body, holder=self._identity) if body else self._create())
        except (KubeConflictError, KubeExistsError):
            return False  # somebody was faster
        except KubeError as e:
            log.warning("the Lease cannot be taken", extra={"fields": {"error": e.safe_text}})
            return False
        self._renewed = sent
        return True

    async def _renew(self) -> bool:
        self.check()
        sent = self._monotonic()
        assert self._body is not None  # noqa: S101 - it was acquired
        assert self._renewed is not None  # noqa: S101
        try:
            # A call that hangs must not carry the process past its deadline.
            async with asyncio.timeout(self._renewed + self._timing.deadline - sent):
                await self._write(self._body, holder=self._identity)
        except TimeoutError:
            self._lost("the Lease was not renewed in time")
            return False
        except (KubeConflictError, KubeNotFoundError):
            await self._look_again()
            return False
        except KubeError as e:
            log.warning("the Lease was not renewed", extra={"fields": {"error": e.safe_text}})
            self.check()
            return False
        self._renewed = self._answered = sent
        return True

    async def _look_again(self) -> None:
        """The Lease is not as we left it: somebody touched it, took it, or deleted it."""
        try:
            body = await self._kube.get(LEASES, self._namespace, LEASE_NAME)
        except KubeNotFoundError:
            self._lost("the Lease was deleted")
            return
        except KubeError:
            self.check()
            return
        self._look(body)
        if self.holder != self._identity:
            self._lost(f"the Lease is held by {self.holder or 'nobody'}")

    def _look(self, body: Json) -> None:
        spec = body.get("spec") or {}
        seen = (spec.get("holderIdentity") or "", spec.get("renewTime") or "")
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._monotonic()
        self._body = body or None

    async def _create(self) -> None:
        body: Json = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": LEASE_NAME, "namespace": self._namespace},
            "spec": self._spec({}, self._identity),
        }
        self._look(await self._kube.create(LEASES, self._namespace, body, manager=FieldManager.SECRETS))

    async def _write(self, body: Json, *, holder: str) -> None:
        """Replace the Lease as it was last seen; the resourceVersion in it makes that a compare-and-swap."""
        changed = {**body, "spec": self._spec(body.get("spec") or {}, holder)}
        self._look(
            await self._kube.replace(LEASES, self._namespace, LEASE_NAME, body=changed, manager=FieldManager.SECRETS)
        )

    def _spec(self, before: Json, holder: str) -> Json:
        now = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        changes = bool(holder) and before.get("holderIdentity") != holder
        return {
            **before,
            "holderIdentity": holder,
            "leaseDurationSeconds": int(self._timing.duration),
            "renewTime": now,
            **({"acquireTime": now} if changes else {}),
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + changes,
        }
