"""The Lease in every order of events: taken, kept, lost, released; time and the API server are arguments."""

import copy
import datetime as dt
from typing import Any

import pytest

from elile_operator.kube.errors import (
    KubeConflictError,
    KubeError,
    KubeExistsError,
    KubeNotFoundError,
    KubeUnavailableError,
)
from elile_operator.kube.lease import LEASE_NAME, LeaderLease

START = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)


class Lost(Exception):  # noqa: N818 - what ends a process in these tests
    """The process would have ended."""


class Clock:
    """Seconds that pass only when somebody sleeps, or a test says so; `after` runs what happens meanwhile."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.plans: list[tuple[float, Any]] = []

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> dt.datetime:
        return START + dt.timedelta(seconds=self.seconds)

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        while self.plans and self.plans[0][0] <= self.seconds:
            self.plans.pop(0)[1]()

    def after(self, seconds: float, plan: Any) -> None:
        self.plans.append((self.seconds + seconds, plan))
        self.plans.sort(key=lambda entry: entry[0])


class Server:
    """One Lease with compare-and-swap, as the API server keeps it; `fault` is raised by the next calls instead."""

    def __init__(self) -> None:
        self.body: dict[str, Any] | None = None
        self.fault: KubeError | None = None
        self.swallow_answer = False
        self.writes = 0

    async def get(self, _resource: Any, _namespace: str, name: str) -> dict[str, Any]:
        self._check()
        if self.body is None:
            raise KubeNotFoundError("GET", status=404)
        assert name == LEASE_NAME
        return copy.deepcopy(self.body)

    async def create(self, _resource: Any, _namespace: str, body: dict[str, Any], **_: str) -> dict[str, Any]:
        self._check()
        if self.body is not None:
            raise KubeExistsError("POST", status=409, reason="AlreadyExists")
        return self._store(body)

    async def replace(
        self, _resource: Any, _namespace: str, _name: str, *, body: dict[str, Any], **_: str
    ) -> dict[str, Any]:
        self._check()
        if self.body is None:
            raise KubeNotFoundError("PUT", status=404)
        if body["metadata"]["resourceVersion"] != self.body["metadata"]["resourceVersion"]:
            raise KubeConflictError("PUT", status=409, reason="Conflict")
        stored = self._store(body)
        if self.swallow_answer:
            self.swallow_answer = False
            raise KubeUnavailableError("PUT")
        return stored

    def _check(self) -> None:
        if self.fault is not None:
            raise self.fault

    def _store(self, body: dict[str, Any]) -> dict[str, Any]:
        self.writes += 1
        self.body = copy.deepcopy(body)
        self.body["metadata"]["resourceVersion"] = str(self.writes)
        return copy.deepcopy(self.body)

    @property
    def holder(self) -> str:
        assert self.body is not None
        return str(self.body["spec"]["holderIdentity"])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> Server:
    return Server()


def lease(server: Server, clock: Clock, identity: str = "me") -> LeaderLease:
    def lost(why: str) -> None:
        raise Lost(why)

    return LeaderLease(
        server,  # type: ignore[arg-type] # the three calls that are made
        namespace="elile-system",
        identity=identity,
        monotonic=clock.monotonic,
        now=clock.now,
        sleep=clock.sleep,
        lost=lost,
    )


async def test_a_free_lease_is_made_and_held(server: Server, clock: Clock) -> None:
    mine = lease(server, clock)
    assert not mine.held
    await mine.acquire()
    assert mine.held
    assert server.body is not None
    spec = server.body["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("me", 15, 1)
    assert spec["acquireTime"] == spec["renewTime"] == "2026-11-24T00:16:40.000000Z"


async def test_a_dead_holder_is_replaced_15_seconds_after_its_last_sign(server: Server, clock: Clock) -> None:
    await lease(server, clock, "other").acquire()
    began = clock.seconds
    mine = lease(server, clock)
    await mine.acquire()
    assert 15 <= clock.seconds - began <= 15 + 2, "the promise is 20 s"
    assert server.holder == "me"
    assert server.body is not None
    assert server.body["spec"]["leaseTransitions"] == 2


async def test_a_living_holder_is_left_alone_whatever_its_clock_says(server: Server, clock: Clock) -> None:
    other = lease(server, clock, "other")
    await other.acquire()
    assert server.body is not None
    server.body["spec"]["renewTime"] = "1999-01-01T00:00:00.000000Z"
    renewals = []

    def renew() -> None:
        assert server.body is not None
        server.body["spec"]["renewTime"] = f"1999-01-01T00:00:{len(renewals) + 1:02}.000000Z"
        renewals.append(clock.seconds)

    for i in range(1, 8):
        clock.after(i * 10.0, renew)
    began = clock.seconds
    await lease(server, clock).acquire()
    assert len(renewals) == 7
    assert clock.seconds - began >= 70 + 15


async def test_a_released_lease_is_taken_at_the_next_look(server: Server, clock: Clock) -> None:
    other = lease(server, clock, "other")
    await other.acquire()
    await other.release()
    assert (server.holder, other.held) == ("", False)
    began = clock.seconds
    await lease(server, clock).acquire()
    assert clock.seconds - began <= 2


async def test_two_that_see_the_same_free_lease_do_not_both_get_it(server: Server, clock: Clock) -> None:
    first, second = lease(server, clock, "first"), lease(server, clock, "second")
    await first.look()
    await second.look()
    await first.acquire()
    assert not await second._try_to_acquire()
    assert (first.held, second.held, server.holder) == (True, False, "first")


async def test_an_acquisition_whose_answer_was_lost_is_completed_at_once(server: Server, clock: Clock) -> None:
    other = lease(server, clock, "other")
    await other.acquire()
    await other.release()
    server.swallow_answer = True
    mine = lease(server, clock)
    began = clock.seconds
    await mine.acquire()
    assert mine.held
    assert clock.seconds - began <= 4


async def test_it_is_renewed_every_5_seconds(server: Server, clock: Clock) -> None:
    mine = lease(server, clock)
    await mine.acquire()
    clock.after(26.0, lambda: (_ for _ in ()).throw(Lost("enough")))
    with pytest.raises(Lost, match="enough"):
        await mine.keep()
    assert server.writes == 1 + 5
    assert server.body is not None
    assert server.body["spec"]["leaseTransitions"] == 1


async def test_a_holder_that_cannot_renew_ends_10_seconds_after_the_last_renewal(server: Server, clock: Clock) -> None:
    mine = lease(server, clock)
    await mine.acquire()
    began, server.fault = clock.seconds, KubeUnavailableError("PUT")
    with pytest.raises(Lost, match="not renewed in time"):
        await mine.keep()
    assert 10 <= clock.seconds - began <= 11


async def test_a_short_outage_is_survived(server: Server, clock: Clock) -> None:
    mine = lease(server, clock)
    await mine.acquire()
    server.fault = KubeUnavailableError("PUT")
    clock.after(8.0, lambda: setattr(server, "fault", None))
    clock.after(30.0, lambda: (_ for _ in ()).throw(Lost("enough")))
    with pytest.raises(Lost, match="enough"):
        await mine.keep()
    assert mine.held


async def test_a_lease_that_somebody_took_ends_the_holder_at_once(server: Server, clock: Clock) -> None:
    mine = lease(server, clock)
    await mine.acquire()
    assert server.body is not None
    server.body["spec"]["holderIdentity"] = "thief"
    server.body["metadata"]["resourceVersion"] = "99"
    with pytest.raises(Lost, match="held by thief"):
        await mine.keep()
    assert clock.seconds == 1000 + 5


async def test_a_deleted_lease_ends_the_holder(server: Server, clock: Clock) -> None:
    mine = lease(server, clock)
    await mine.acquire()
    server.body = None
    with pytest.raises(Lost, match="was deleted"):
        await mine.keep()


async def test_a_lease_that_was_only_touched_is_kept(server: Server, clock: Clock) -> None:
    mine = lease(server, clock)
    await mine.acquire()
    assert server.body is not None
    server.body["metadata"]["resourceVersion"] = "99"
    server.body["metadata"]["annotations"] = {"a": "b"}
    clock.after(12.0, lambda: (_ for _ in ()).throw(Lost("enough")))
    with pytest.raises(Lost, match="enough"):
        await mine.keep()
    assert mine.held
    assert server.body["metadata"]["annotations"] == {"a": "b"}


async def test_the_fence_stops_a_leader_that_overslept_and_nobody_else(server: Server, clock: Clock) -> None:
    mine = lease(server, clock)
    mine.check()  # no leader yet, and nothing it could overwrite: a process without election passes too
    await mine.acquire()
    clock.seconds += 9.9
    mine.check()
    clock.seconds += 0.2
    with pytest.raises(Lost, match="not renewed in time"):
        mine.check()


async def test_one_that_overslept_does_not_release_what_may_be_anothers(server: Server, clock: Clock) -> None:
    mine = lease(server, clock)
    await mine.acquire()
    clock.seconds += 12
    await mine.release()
    assert server.holder == "me"
    assert server.writes == 1


async def test_release_survives_an_api_server_that_is_away(server: Server, clock: Clock) -> None:
    mine = lease(server, clock)
    await mine.acquire()
    server.fault = KubeUnavailableError("PUT")
    await mine.release()
    assert not mine.held


async def test_a_standby_knows_how_long_the_api_server_was_silent(server: Server, clock: Clock) -> None:
    await lease(server, clock, "other").acquire()
    mine = lease(server, clock)
    assert mine.silence() is None
    await mine.look()
    assert mine.silence() == 0
    server.fault = KubeUnavailableError("GET")
    assert not await mine._try_to_acquire()
    clock.seconds += 30
    assert mine.silence() == 30
    assert mine.holder == "other"
