"""Watches and lists that break, lie or fall silent: whatever they miss is made up for."""

import time
from typing import Any

from tests.e2e.support.cluster import eventually
from tests.fault.support.bao import polled
from tests.fault.support.world import World

# An object is delivered within a second of its creation; five times that is asserted.
SOON = 5.0
# The shortest period of resync that settings allow, and five times it.
RESYNC = 10
REPAIRED = 5.0 * RESYNC
# Kopf needs five seconds to end a process whose watch has failed.
KOPF_ENDS = 7.0


def test_a_restart_writes_nothing(w: World) -> None:
    team = w.namespace()
    w.want(team, *(f"s-{i}" for i in range(10)))
    with w.operator():
        w.settle(5 * SOON)
        w.put(team, "s-0", value="p1")
        w.settle(2 * SOON)
    assert w.secret_writes()[team, "s-0"] == 2
    before = len(w.requests().writes().where(resource=("secrets", "elilesecrets")))
    with w.operator():
        w.want(team, "new")
        w.settle(SOON)
    after = w.requests().writes().where(resource=("secrets", "elilesecrets"))
    assert {r.name for r in after.all[before:]} == {"new"}
    assert w.needless_writes() == []


def test_an_error_event_that_is_not_410(w: World, figure: list[str]) -> None:
    """Kopf ends the process on one (P6); what counts is that a restart, at the latest, is as if nothing had been."""
    team = w.namespace()
    w.want(team, "a", "b")
    with w.operator() as operator:
        w.settle(5 * SOON)
        assert w.fake.stream_error(500, "etcdserver: leader changed") > 0
        w.want(team, "c")
        time.sleep(KOPF_ENDS)
        w.settle(5 * SOON, operator)
    figure.append(f"ERROR event 500 in every watch: {w.lived_on()}")
    assert set(w.secret_writes().values()) == {1}
    assert w.needless_writes() == []


def test_410_on_every_watch(w: World) -> None:
    team = w.namespace()
    w.want(team, "a", "b")
    with w.operator() as operator:
        w.settle(5 * SOON)
        w.fake.expire_streams()
        w.want(team, "c")
        w.put(team, "a", value="p1")
        w.settle(5 * SOON)
        assert operator.process.poll() is None
    assert w.secret_writes() == {(team, "a"): 2, (team, "b"): 1, (team, "c"): 1}
    assert w.needless_writes() == []


def two_pages_of_pods(w: World, namespace: str) -> None:
    for i in range(600):
        meta = {"name": f"p-{i}", "namespace": namespace}
        w.fake.create({"kind": "Pod", "metadata": meta, "spec": {"containers": []}, "status": {"phase": "Running"}})


def test_410_on_the_continue_tokens_of_the_first_lists(w: World, figure: list[str]) -> None:
    """The resync lists before it is ready, and begins anew; Kopf, which lists too, may end the process."""
    team = w.namespace()
    two_pages_of_pods(w, team)
    w.want(team, "a")
    rule = w.fake.chaos.answer(410, resources={"pods"}, continued=True, times=2)
    with w.operator() as operator:
        eventually("both refusals were met", lambda: rule.hits == 2)
        w.want(team, "b")
        w.settle(5 * SOON, operator)
    figure.append(f"410 on continue tokens at the start: {w.lived_on()}")
    assert w.needless_writes() == []


def test_410_on_the_continue_token_of_a_watch_that_lists_again(w: World, figure: list[str]) -> None:
    """Kopf ends the process (P18); the Lease is released, so the next one starts at once."""
    team = w.namespace()
    two_pages_of_pods(w, team)
    w.want(team, "a")
    with w.operator() as operator:
        w.settle(5 * SOON)
        rule = w.fake.chaos.answer(410, resources={"pods"}, continued=True, times=1)
        w.fake.expire_streams()
        eventually("the refusal was met", lambda: rule.hits == 1)
        w.want(team, "b")
        time.sleep(KOPF_ENDS)
        w.settle(5 * SOON, operator)
    figure.append(f"410 on a continue token of a watch: {w.lived_on()}")
    assert w.needless_writes() == []


def test_a_silent_stream_is_made_up_for_by_a_resync(w: World, figure: list[str]) -> None:
    team = w.namespace()
    w.want(team, "a")
    with w.operator("--resync", str(RESYNC)) as operator:
        w.settle(5 * SOON)
        w.fake.silence_streams()
        w.want(team, "b")
        took = w.settle(REPAIRED)
        assert operator.process.poll() is None
    figure.append(f"every stream silent, resync {RESYNC} s: a new object is delivered after {took:.1f} s")
    assert w.needless_writes() == []


def test_what_vanishes_without_an_event_is_forgotten(w: World, figure: list[str]) -> None:
    """Stores, subscriptions and polls: nobody asks OpenBao for what nobody wants."""
    team = w.namespace()
    gone, kept = [f"gone-{i}" for i in range(20)], [f"kept-{i}" for i in range(5)]
    w.want(team, *gone, *kept)
    with w.operator("--resync", str(RESYNC)) as operator:
        w.settle(5 * SOON)
        w.fake.vanish("elilesecrets", gone, team)
        began = time.monotonic()
        for name in gone:
            del w.wanted[team, name]

        def still_polled() -> list[str]:
            tail = w.bao.tail()
            time.sleep(2.5)  # at a poll of one second everything that is polled shows
            return [path for path in polled(tail) if path.startswith(f"{team}/gone-")]

        eventually("vanished objects are polled no more", lambda: not still_polled(), within=REPAIRED)
        took = time.monotonic() - began
        tail = w.bao.tail()
        time.sleep(2.5)
        assert polled(tail).keys() == {f"{team}/{name}" for name in kept}
        scheduled = metric(operator.probe("/metrics")[1], 'elile_queue_scheduled{queue="poll"}')
        assert scheduled <= len(kept), "no poll is left over"
        w.put(team, "kept-0", value="p1")
        w.settle(2 * SOON)
    figure.append(f"20 objects vanished without an event, resync {RESYNC} s: forgotten after {took:.1f} s")
    assert w.needless_writes() == []


def test_a_secret_that_vanishes_without_an_event_is_written_again(w: World) -> None:
    team = w.namespace()
    w.want(team, "a", "b")
    with w.operator("--resync", str(RESYNC)):
        w.settle(5 * SOON)
        w.fake.vanish("secrets", ["a"], team)
        eventually("the Secret is back", lambda: w.value(team, "a"), within=REPAIRED)
        w.settle(SOON)
    assert w.secret_writes() == {(team, "a"): 2, (team, "b"): 1}
    assert w.needless_writes() == []


def test_a_secret_that_was_replaced_unnoticed_is_not_overwritten(w: World) -> None:
    """No watch has told that a Secret of that name is somebody else's by now; the uid of the old one does."""
    team = w.namespace()
    w.want(team, "a", "b")
    with w.operator():
        w.settle(5 * SOON)
        w.fake.silence_streams()
        w.fake.vanish("secrets", ["a"], team)
        meta = {"name": "a", "namespace": team}
        w.fake.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"password": "dGhlaXJz"}})
        w.put(team, "a", "b", value="p1")
        eventually("b is current", lambda: w.value(team, "b") == "p1")
        ready = eventually("a says so", lambda: _failed(w.condition(team, "a")))
        assert ready["reason"] == "SecretNotOwned"
        assert w.value(team, "a") == "theirs"
    assert w.needless_writes() == []


def test_a_status_is_not_written_to_an_object_made_anew(w: World) -> None:
    """An ElileSecret is replaced by one of its name, which nobody notices; the old one's status is not for it."""
    team = w.namespace()
    w.want(team, "a", "b")
    with w.operator():
        w.settle(5 * SOON)
        w.fake.silence_streams()
        w.fake.vanish("elilesecrets", ["a"], team)
        w.want(team, "a", value="p1")
        w.put(team, "b", value="p1")
        eventually("b is current", lambda: w.value(team, "b") == "p1")
        time.sleep(3)  # three polls of `a`
        assert "status" not in w.fake.get("elilesecret", "a", team)
    with w.operator():
        w.settle(5 * SOON)
    assert w.needless_writes() == []


def _failed(condition: dict[str, Any]) -> dict[str, Any] | None:
    return condition if condition.get("status") == "False" else None


def metric(text: str, name: str) -> float:
    line = next(x for x in text.splitlines() if x.startswith(name))
    return float(line.rsplit(" ", 1)[1])
