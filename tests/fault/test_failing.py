"""Objects that fail beside one that does not, and what the API server answers instead of yes."""

import itertools
import time

import pytest

from tests.e2e.support.cluster import eventually
from tests.fault.support.world import World

SOON = 5.0
FAILING = tuple(f"failing-{i}" for i in range(20))


def time_to_deliver(w: World, namespace: str, name: str, within: float) -> float:
    began = time.monotonic()
    w.want(namespace, name)
    eventually(f"{name} is delivered", lambda: w.value(namespace, name), within=within, every=0.01)
    return time.monotonic() - began


def test_twenty_that_fail_do_not_delay_a_healthy_one(w: World, figure: list[str]) -> None:
    """P5: with a limit of workers and sleeping retries the healthy one waited for ever."""
    team = w.namespace()
    rule = w.fake.chaos.answer(503, verbs={"apply"}, resources={"secrets"}, names=FAILING)
    with w.operator():
        w.want(team, *FAILING)
        eventually("all have failed", lambda: rule.hits >= len(FAILING))
        took = [time_to_deliver(w, team, f"healthy-{i}", SOON) for i in range(5)]
        w.fake.chaos.stop()
        w.settle(60)
    figure.append(f"beside 20 failing objects a healthy one is delivered after {max(took):.2f} s at most of 5")
    assert w.needless_writes() == []


def test_twenty_whose_writes_hang_do_not_hold_up_a_healthy_one_for_long(w: World, figure: list[str]) -> None:
    """Each holds a worker for the time of a call, as with an admission webhook that does not answer."""
    team = w.namespace()
    rule = w.fake.chaos.answer(503, verbs={"apply"}, resources={"secrets"}, names=FAILING, delay=60)
    with w.operator("--api-timeout", "PT2S"):
        w.want(team, *FAILING)
        eventually("the workers are held up", lambda: rule.hits >= 16)
        took = [time_to_deliver(w, team, f"healthy-{i}", 30) for i in range(3)]
        w.fake.chaos.stop()
        w.settle(60)
    figure.append(f"beside 20 objects whose writes hang for 2 s, a healthy one: {max(took):.2f} s at most of 3")
    assert w.needless_writes() == []


REFUSALS = [
    *((code, "secrets", "", 3) for code in (409, 500, 504)),
    # What needs somebody to change a policy or a binding is looked at again every 30 s.
    *((code, "secrets", "", 1) for code in (403, 422)),
    *((code, "elilesecrets", "status", 3) for code in (403, 409, 422, 500)),
]


def test_refusals_that_pass_are_overcome(w: World) -> None:
    """Each kind of refusal for an object of its own; then they are right, and nobody had to touch them."""
    team = w.namespace()
    rules = {
        f"{resource}-{code}": w.fake.chaos.answer(
            code,
            verbs={"apply"},
            resources={resource},
            subresource=subresource,
            names={f"{resource}-{code}"},
            times=times,
        )
        for code, resource, subresource, times in REFUSALS
    }
    with w.operator():
        w.want(team, *rules)
        w.settle(5 * 30)
    assert {name: rule.hits for name, rule in rules.items()} == {f"{r}-{c}": n for c, r, _, n in REFUSALS}
    assert w.secret_writes() == {(team, name): 1 for name in rules}
    assert w.needless_writes() == []


@pytest.mark.parametrize(("resource", "subresource"), [("secrets", ""), ("elilesecrets", "status")])
def test_retry_after_is_honoured(w: World, resource: str, subresource: str) -> None:
    team, wait = w.namespace(), 5
    with w.operator():
        w.fake.chaos.answer(
            429, verbs={"apply"}, resources={resource}, subresource=subresource, names={"a"}, times=2, retry_after=wait
        )
        w.want(team, "a")
        w.settle(60)
    asked = w.requests().where(verb="apply", resource=resource, subresource=subresource)
    times = [r.at for r in asked if r.name == "a"]
    assert len(times) >= 3
    assert [b - a >= wait for a, b in itertools.pairwise(times)][:2] == [True, True], times
    assert w.needless_writes() == []
