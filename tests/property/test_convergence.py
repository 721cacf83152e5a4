"""Any sequence of edits, values, faults and restarts ends with what the last spec and the last values say.

The model is too simple to be wrong: the entries as they were written, the specs as they were applied, and `expected`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from lab.cluster import Lab
from tests.chaos.support.clients import Api, Bao, Body, KvEntry, decoded, elilesecrets, secrets
from tests.chaos.support.expect import OWNER, expected, secret_name, wrong_secret, wrong_status
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

# A poll of 1 s, a retry after at most 30 s where nothing is watched: five times that.
SETTLE_WITHIN = 150.0

names = st.sampled_from(("one", "two", "three"))
paths = st.sampled_from(("a", "b", "c"))
Wanted = list[tuple[str, str, str | None]]
wanted = st.lists(
    st.tuples(paths, st.sampled_from(("", "", "x-")), st.sampled_from((None, None, "value", "more"))),
    min_size=1,
    max_size=2,
)


@dataclass
class World:
    """What all examples share; each makes a namespace of its own."""

    lab: Lab
    operator: Operator
    new_tenant: Callable[[], Tenant]
    may_kill: bool
    settled: int = 0
    steps: dict[str, int] = field(default_factory=dict)


class Convergence(RuleBasedStateMachine):
    """One namespace, three names, three paths."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.api, self.bao = Api(world.lab, 10), Bao(world.lab)
        self.namespace = world.new_tenant().namespace
        self.entries: dict[str, KvEntry | None] = {self.path(p): None for p in "abc"}
        self.hidden: dict[str, dict[str, str]] = {}  # values of deleted versions
        self.written: set[str] = set()
        self.specs: dict[str, Body] = {}
        self.retained: set[str] = set()  # Secrets that a spec said should stay
        self.ever: dict[str, set[str]] = {}  # names of Secrets that an object wanted
        self.sealed = False
        self.since = self.since_restart = 0  # steps since the last settling, since the last restart
        note(f"namespace {self.namespace}")

    @initialize(first=wanted, second=wanted, third=wanted)
    def begin(self, first: Wanted, second: Wanted, third: Wanted) -> None:
        for path in "ab":
            self.write(path)
        for name, given in zip(("one", "two", "three"), (first, second, third), strict=True):
            self.apply(name, given, None, retain=False)

    def path(self, name: str) -> str:
        return f"{self.namespace}/{name}"

    def did(self, what: str) -> None:
        self.world.steps[what] = self.world.steps.get(what, 0) + 1
        self.since += 1
        self.since_restart += 1

    # ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: not self.sealed)
    @rule(path=paths)
    def write(self, path: str) -> None:
        key = self.path(path)
        value = f"{key}#{len(self.written)}"
        self.written.add(value)
        values = {"value": value, "more": value}
        self.entries[key] = KvEntry(self.bao.put(key, values), values)
        self.did("writes")

    @precondition(lambda self: not self.sealed)
    @rule(path=paths)
    def delete_value(self, path: str) -> None:
        key = self.path(path)
        entry = self.entries[key]
        if entry is None or entry.values is None:
            return
        self.bao.delete(key)
        self.hidden[key], self.entries[key] = entry.values, KvEntry(entry.version, None)
        self.did("deletes")

    @precondition(lambda self: not self.sealed)
    @rule(path=paths)
    def undelete_value(self, path: str) -> None:
        key = self.path(path)
        entry = self.entries[key]
        if entry is None or entry.values is not None:
            return
        self.bao.undelete(key, entry.version)
        self.entries[key] = KvEntry(entry.version, self.hidden[key])
        self.did("undeletes")

    # ── specs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(name=names, given=wanted, renamed=st.sampled_from((None, None, "x", "y")), retain=st.booleans())
    def apply(self, name: str, given: Wanted, renamed: str | None, retain: bool) -> None:
        spec: Body = {"sources": [self.source(i, *one) for i, one in enumerate(given)]}
        if renamed:
            spec["delivery"] = {"secret": {"name": f"{name}-{renamed}"}}
        if retain:
            spec["deletionPolicy"] = "Retain"
        meta = {"name": name, "namespace": self.namespace}
        body = {"apiVersion": "elile.io/v1alpha1", "kind": "ElileSecret", "metadata": meta, "spec": spec}
        self.api.apply(elilesecrets(self.namespace, name), body)
        self.specs[name] = body
        self.ever.setdefault(name, set()).add(secret_name(body))
        if retain:
            self.retained.add(secret_name(body))
        self.did("spec edits")

    def source(self, index: int, path: str, prefix: str, key: str | None) -> Body:
        found: Body = {"name": f"s{index}", "kv": {"path": self.path(path)}}
        if prefix:
            found["prefix"] = prefix
        if key:
            found["keys"] = [{"from": key, "to": f"{key}.txt"}]
        return found

    @rule(name=names)
    def remove(self, name: str) -> None:
        if self.specs.pop(name, None):
            self.api.delete(elilesecrets(self.namespace, name))
            self.did("removals")

    # ── hands and faults ─────────────────────────────────────────────────────────────────────────────────────────────

    @rule(name=names, delete=st.booleans())
    def meddle(self, name: str, delete: bool) -> None:
        if name not in self.specs:
            return
        where = secrets(self.namespace, secret_name(self.specs[name]))
        if delete:
            self.api.delete(where)
        else:
            self.api.merge(where, {"stringData": {"value": "by-hand", "added": "by-hand"}})
        self.did("hand edits")

    @precondition(lambda self: self.since_restart > 3)
    @rule(kill=st.booleans())
    def restart(self, kill: bool) -> None:
        operator = self.world.operator
        if kill and self.world.may_kill:
            operator.process.kill()
            operator.process.wait()
        else:
            operator.stop()
        operator.start()
        self.did("restarts")
        self.since_restart = 0

    @precondition(lambda self: not self.sealed and self.since > 2)
    @rule()
    def seal(self) -> None:
        self.world.lab.seal()
        self.sealed = True
        self.did("seals")

    @precondition(lambda self: self.sealed)
    @rule()
    def unseal(self) -> None:
        self.world.lab.unseal()
        self.sealed = False

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.since > 3)
    @rule()
    def settle(self) -> None:
        if self.sealed:
            self.unseal()
        self.world.operator.wait_ready()
        last: list[str] = []

        def right() -> bool:
            last[:] = self.wrong()
            return not last

        try:
            eventually("all is as the model says", right, within=SETTLE_WITHIN, every=0.1)
        except AssertionError as e:
            raise AssertionError(f"{e}: {'; '.join(last)}") from None
        self.world.settled += 1
        self.since = 0

    def teardown(self) -> None:
        self.settle()

    def wrong(self) -> list[str]:
        """Compare everything in the namespace with the model."""
        objects = {b["metadata"]["name"]: b for b in self.api.list(elilesecrets(self.namespace))}
        live = {b["metadata"]["name"]: b for b in self.api.list(secrets(self.namespace))}
        found = [f"ElileSecret {n} should not be there" for n in objects.keys() - self.specs.keys()]
        may_stay = set(self.retained)
        for name in self.specs:
            body = objects.get(name)
            if body is None:
                found.append(f"ElileSecret {name} is gone")
                continue
            want = expected(body, self.entries)
            found += wrong_status(body, want)
            may_stay |= {secret_name(body)} if want.data is not None else self.ever[name]
            if want.data is not None:
                found += wrong_secret(body, live.get(secret_name(body)), want)
        ours = {n: b for n, b in live.items() if OWNER in b["metadata"].get("labels", {})}
        found += [f"Secret {n} was left behind" for n in ours.keys() - may_stay]
        for name, body in ours.items():
            found += self.invented(name, decoded(body))
        return found

    def invented(self, name: str, data: dict[str, str]) -> list[str]:
        """A failed read leaves the last good content, and never another: neither nothing nor something made up."""
        if not data:
            return [f"Secret {name} is empty"]
        return [f"Secret {name} holds {v!r}" for v in data.values() if v != "by-hand" and v not in self.written]


def converge(world: World, *, examples: int, steps: int, derandomize: bool = False) -> None:
    run_state_machine_as_test(
        lambda: Convergence(world),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=derandomize,
            deadline=None,
            database=None,
            print_blob=True,
            # To shrink a failure is to run it many times more; on a lab that takes longer than to read it.
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def world(cluster: Cluster, operator: Operator, new_tenant: Callable[[], Tenant]) -> World:
    if cluster.lab is None:
        pytest.skip("needs the lab: OpenBao is sealed")
    return World(cluster.lab, operator, new_tenant, may_kill=False)


def test_every_sequence_converges(world: World, figure: list[str]) -> None:
    converge(world, examples=5, steps=12, derandomize=True)  # others are for `make chaos`
    figure.append(told(world))


@pytest.mark.chaos
def test_many_long_sequences_converge(world: World, figure: list[str]) -> None:
    world.may_kill = True
    converge(world, examples=40, steps=25)
    figure.append(told(world))


def told(world: World) -> str:
    did = ", ".join(f"{n} {what}" for what, n in sorted(world.steps.items()))
    return f"convergence: {world.settled} times settled as the model says, after {did}"
