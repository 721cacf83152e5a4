"""When rotations start: times, windows, blackouts, groups, ages, on a real cluster.

Nobody waits for an hour to pass: the status says since when times of a schedule count, and is set back meanwhile.
"""

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.support.api_server import ApiServer, api_server
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.operator import Operator
from tests.e2e.support.rotating import Rotating, install_rotator
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def server(cluster: Cluster, installed: None) -> Iterator[ApiServer]:
    install_rotator(cluster)
    with api_server(cluster, slot=7) as api:
        yield api


@pytest.fixture
def api(server: ApiServer) -> ApiServer:
    server.accepts, server.account, server.broken = lambda _: True, "shop", False
    return server


@pytest.fixture
def rotating(operator: Operator, tenant: Tenant) -> Rotating:
    return Rotating(tenant)


def entries(rotating: Rotating, *names: str) -> None:
    """Values that are delivered, each of which can be rotated."""
    for name in names:
        rotating.tenant.put(name, token="first")
        rotating.tenant.want(name, consumers={"proof": {"elapsed": "1s"}})
    for name in names:
        rotating.tenant.wait(name, "Synced")


def schedule(rotating: Rotating, api: ApiServer, name: str, **spec: Any) -> None:
    wanted = {
        "fields": {"value": "token"},
        "value": {"generate": {"hex": {}}},
        "verify": [api.hook()],
        "gracePeriod": "1s",
        **spec,
    }
    rotating.schedule(name, name, **wanted)


def minutes_ago(minutes: int) -> datetime:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).replace(second=0, microsecond=0)


def at(*times: datetime) -> str:
    """Every hour, at the minutes of these times."""
    return f"{','.join(str(time.minute) for time in times)} * * * *"


def frozen() -> list[dict[str, str]]:
    """A blackout that is open now."""
    return [{"name": "freeze", "schedule": at(minutes_ago(1)), "duration": "50m"}]


def set_back(rotating: Rotating, operator: Operator, *names: str) -> None:
    """Have times count from half an hour ago, as if the operator had been away since then."""
    for name in names:
        eventually(f"{name} is seen", lambda name=name: rotating.schedule_status(name).get("liveVersion"))
    operator.stop()
    body = json.dumps({"status": {"anchorTime": f"{minutes_ago(30):%Y-%m-%dT%H:%M:%SZ}"}})
    for name in names:
        rotating.cluster.kubectl(
            *("-n", rotating.namespace, "patch", "rotationschedule", name),
            *("--subresource=status", "--type=merge", "-p", body),
        )
    operator.start()
    operator.wait_ready()


def rotations(rotating: Rotating, name: str) -> dict[str, dict[str, Any]]:
    """The Rotations of a schedule, by name."""
    found = rotating.cluster.all("rotation", rotating.namespace)
    return {item["metadata"]["name"]: item for item in found if item["spec"]["scheduleRef"]["name"] == name}


def wait_handled(rotating: Rotating, name: str, time: datetime) -> dict[str, Any]:
    label = f"{time:%Y-%m-%dT%H:%M}[Etc/UTC]"
    return eventually(
        f"{name} has taken up {label}",
        lambda: (s := rotating.schedule_status(name)).get("lastScheduleLabel") == label and s,
    )


def condition(rotating: Rotating, name: str, type_: str = "Ready") -> dict[str, Any]:
    found = rotating.schedule_status(name).get("conditions", [])
    return next((c for c in found if c["type"] == type_), {})


def wait_ready_is(rotating: Rotating, name: str, reason: str) -> dict[str, Any]:
    return eventually(f"{name} is {reason}", lambda: (c := condition(rotating, name)).get("reason") == reason and c)


# ── times ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_time_that_is_late_runs_once_and_one_that_was_missed_as_it_says(
    rotating: Rotating, operator: Operator, api: ApiServer
) -> None:
    names = ("late", "once", "skip", "window", "suspended", "often")
    entries(rotating, *names)
    recent, missed = minutes_ago(1), minutes_ago(10)
    schedule(rotating, api, "late", schedule=at(recent))
    schedule(rotating, api, "once", schedule=at(missed))
    schedule(rotating, api, "skip", schedule=at(missed), missedRun="Skip")
    schedule(rotating, api, "window", schedule=at(recent), window="1m")
    schedule(rotating, api, "suspended", schedule=at(recent), suspend=True)
    schedule(rotating, api, "often", schedule=at(*map(minutes_ago, range(1, 26, 4))))
    set_back(rotating, operator, *names)

    for name, time, lost in (("late", recent, None), ("once", missed, 1)):
        run = f"{name}-{int(time.timestamp()) // 60}"
        eventually(f"{run} is made", lambda run=run, name=name: run in rotations(rotating, name))
        status = rotating.wait_result(run, "Succeeded")
        assert (status["trigger"], status["occurrence"]) == ("Schedule", f"{time:%Y-%m-%dT%H:%M}[Etc/UTC]")
        assert wait_handled(rotating, name, time).get("missedRuns") == lost
        assert list(rotations(rotating, name)) == [run]
    assert [note.endswith("runs late") for note in rotating.tenant.notes("once", "MissedRun")] == [True]
    for name, time in (("skip", missed), ("window", recent)):
        assert wait_handled(rotating, name, time)["missedRuns"] == 1
        assert rotations(rotating, name) == {}
        assert [note.endswith("passed without a run") for note in rotating.tenant.notes(name, "MissedRun")] == [True]
    assert len(rotations(rotating, "often")) == 1  # of seven times
    assert rotations(rotating, "suspended") == {}
    assert condition(rotating, "suspended")["reason"] == "Suspended"

    rotating.ask("by-hand", "suspended")
    rotating.wait_result("by-hand", "Succeeded")
    schedule(rotating, api, "suspended", schedule=at(recent), suspend=False)
    wait_handled(rotating, "suspended", recent)
    assert set(rotations(rotating, "suspended")) == {"by-hand", f"suspended-{int(recent.timestamp()) // 60}"}

    before = {name: rotations(rotating, name).keys() for name in names if name != "often"}
    operator.stop()
    operator.start()
    operator.wait_ready()
    rotating.ask("more", "late")
    rotating.wait_result("more", "Succeeded")
    assert {name: rotations(rotating, name).keys() - {"more"} for name in before} == before


def test_the_next_time_is_told_exactly(rotating: Rotating, operator: Operator, api: ApiServer) -> None:
    entries(rotating, "plain", "splayed")
    hour = minutes_ago(-40)
    schedule(rotating, api, "plain", schedule=at(hour))
    schedule(rotating, api, "splayed", schedule=at(hour), splay="15m")
    told = {
        name: eventually(f"{name} tells", lambda name=name: rotating.schedule_status(name).get("nextRotationTime"))
        for name in ("plain", "splayed")
    }
    assert told["plain"] == f"{hour:%Y-%m-%dT%H:%M:%SZ}"
    assert hour <= datetime.fromisoformat(told["splayed"]) < hour + timedelta(minutes=15)
    eventually(
        "the ElileSecret tells it",
        lambda: rotating.tenant.elile("splayed")["status"].get("nextRotationTime") == told["splayed"],
    )
    operator.stop()
    operator.start()
    operator.wait_ready()
    rotating.ask("first", "splayed")
    rotating.wait_result("first", "Succeeded")
    assert rotating.schedule_status("splayed")["nextRotationTime"] == told["splayed"]


@pytest.mark.parametrize(
    ("spec", "reason", "said"),
    [
        ({"schedule": "0 3 * * *", "timeZone": "Mars/Olympus"}, "TimeZoneUnknown", "'Mars/Olympus'"),
        ({"schedule": "0 0 30 2 *"}, "NeverFires", "spec.schedule: "),
        (
            {"schedule": "0 3 * * *", "blackouts": [{"name": "x", "schedule": "0 0 31 4 *", "duration": "1h"}]},
            "NeverFires",
            "spec.blackouts[x]: ",
        ),
    ],
)
def test_what_only_the_operator_can_see(
    rotating: Rotating, api: ApiServer, spec: dict[str, Any], reason: str, said: str
) -> None:
    entries(rotating, "api")
    schedule(rotating, api, "api", **spec)
    ready = wait_ready_is(rotating, "api", reason)
    assert (ready["status"], said in ready["message"]) == ("False", True), ready
    assert condition(rotating, "api", "ScheduleValid")["reason"] == reason
    assert condition(rotating, "api", "Stalled")["status"] == "True"
    assert rotating.live("api")["version"] == 1
    schedule(rotating, api, "api", schedule="0 3 * * *", timeZone="Europe/Berlin", blackouts=[])
    wait_ready_is(rotating, "api", "RotationScheduled")


def test_a_value_that_is_too_old(rotating: Rotating, api: ApiServer) -> None:
    entries(rotating, "api")
    schedule(rotating, api, "api", maxAge="5s")
    made = eventually("its age has come", lambda: rotations(rotating, "api") or None)
    name = next(iter(made))
    status = rotating.wait_result(name, "Succeeded")
    assert status["trigger"] == "MaxAge"
    minute = datetime.strptime(status["occurrence"], "maxAge@%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
    assert name == f"api-{int(minute.timestamp()) // 60}"
    schedule(rotating, api, "api", maxAge="90d")


# ── windows, blackouts, groups ───────────────────────────────────────────────────────────────────────────────────────


def test_a_window_that_closes_too_early(rotating: Rotating, operator: Operator, api: ApiServer) -> None:
    api.broken = True
    entries(rotating, "api")
    time = minutes_ago(1)
    left = datetime.now(UTC) - time + timedelta(seconds=40)
    hook = api.hook(attempts=1, onInconclusive="Retry")
    schedule(rotating, api, "api", schedule=at(time), window=f"{int(left.total_seconds())}s", verify=[hook])
    set_back(rotating, operator, "api")
    run = next(iter(eventually("the run is made", lambda: rotations(rotating, "api") or None)))
    rotating.wait_result(run, "Aborted", "WindowClosed", within=90)
    assert rotating.live("api")["version"] == 1


def test_nothing_starts_in_a_blackout(rotating: Rotating, operator: Operator, api: ApiServer) -> None:
    entries(rotating, "api")
    time = minutes_ago(2)
    schedule(rotating, api, "api", schedule=at(time), blackouts=frozen())
    set_back(rotating, operator, "api")
    scheduled = next(iter(eventually("the run is made", lambda: rotations(rotating, "api") or None)))
    rotating.ask("by-hand", "api")
    eventually("it waits", lambda: rotating.status(scheduled).get("reason") == "Blackout")
    assert "blackout 'freeze' is open until" in rotating.status(scheduled)["message"]
    eventually("that one too", lambda: rotating.status("by-hand").get("reason") == "RotationScheduled")
    assert rotating.status("by-hand")["message"] == f"it waits for Rotation {scheduled!r}, which goes first"
    assert (rotating.live("api")["version"], rotating.journal("api")) == (1, None)
    schedule(rotating, api, "api", schedule=at(time), blackouts=[])
    rotating.wait_result(scheduled, "Succeeded")
    rotating.wait_result("by-hand", "Succeeded")


def test_nothing_is_retired_in_a_blackout_and_a_revert_may(rotating: Rotating, api: ApiServer) -> None:
    entries(rotating, "api")
    schedule(rotating, api, "api", gracePeriod="20s")
    rotating.ask("first", "api")
    rotating.wait_phase("first", "Promoted", "Grace")
    schedule(rotating, api, "api", gracePeriod="20s", blackouts=frozen())
    eventually("it waits", lambda: rotating.status("first").get("reason") == "Blackout", within=120)
    assert rotating.status("first")["phase"] == "Grace"
    rotating.ask("back", "api", "RollBack")
    rotating.wait_result("back", "Succeeded")
    rotating.wait_result("first", "RolledBack")
    assert rotating.live("api") == {"token": "first", "version": 3}


def test_a_group_rotates_one_after_the_other(rotating: Rotating, api: ApiServer) -> None:
    names = ("one", "two", "three")
    entries(rotating, *names)
    for name in names:
        schedule(rotating, api, name, group={"name": "shop", "spacing": "8s"}, gracePeriod="2s")
    for name in names:
        rotating.ask(f"run-{name}", name)
    waited: set[str] = set()

    def all_over() -> bool:
        found = [rotating.status(f"run-{name}") for name in names]
        waited.update(
            name for name, status in zip(names, found, strict=True) if status.get("reason") == "WaitingForGroup"
        )
        return all(status.get("result") for status in found)

    eventually("all three are over", all_over, within=150)
    assert len(waited) == 2
    runs = sorted(
        (datetime.fromisoformat(s["startTime"]), datetime.fromisoformat(s["completionTime"]))
        for s in (rotating.wait_result(f"run-{name}", "Succeeded") for name in names)
    )
    for before, after in itertools.pairwise(runs):
        assert after[0] >= before[1]
        assert after[0] - before[0] >= timedelta(seconds=7)  # times of statuses have no fractions


def test_runs_that_are_over_are_cleared_away_but_for_those_of_people(rotating: Rotating, api: ApiServer) -> None:
    entries(rotating, "api")
    schedule(rotating, api, "api", value={"external": {}}, historyLimit=1)
    for number in (1, 2, 3):
        rotating.cluster.put(f"elile-journal-inbox/{rotating.namespace}/api", token=f"value-{number}")
        eventually(f"value {number} is taken", lambda n=number: rotating.status(f"api-s{n}").get("result"), within=60)
        if number == 1:
            rotating.ask("by-hand", "api", "Abort")
            rotating.wait_result("by-hand", "Aborted")
    eventually("the older ones are gone", lambda: set(rotations(rotating, "api")) == {"api-s3", "by-hand"})
