"""Runs one trace, or many: which faults, which scenario, and what was found."""

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from elile.secrets.rotation.journal import Phase, Strategy
from elile.secrets.rotation.policy import OnProofTimeout
from tests.property.rotation.driver import OWNER, Driver, Wrong
from tests.property.rotation.world import (
    KINDS,
    CasError,
    CrashError,
    FencedError,
    Guards,
    Scenario,
    TransientError,
    Violation,
    World,
)

Faults = dict[int, str]
# Calls that a trace has at most, roughly: faults are put at any of them.
CALLS = 60


@dataclass(slots=True)
class Found:
    """What a number of traces came to."""

    traces: int = 0
    violations: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    ends: Counter[str] = field(default_factory=Counter)

    def add(self, world: World, violation: Violation | None, told: str) -> None:
        self.traces += 1
        if violation is None:
            entry, _ = world.journal.read()
            self.ends[str(entry.phase) if entry is not None else "-"] += 1
        else:
            promise = str(violation).split()[0]
            self.violations[promise] += 1
            self.first.setdefault(promise, f"{violation}: {told}")


def scenarios(*strategies: Strategy) -> list[Scenario]:
    """What may happen besides faults, for each strategy."""
    found = []
    for strategy in strategies or tuple(Strategy):
        target = strategy in (Strategy.DUAL_USER, Strategy.DUAL_PASSWORD, Strategy.SINGLE_USER)
        made: list[Scenario] = [
            Scenario(strategy=strategy),
            Scenario(strategy=strategy, hook="fails"),
            Scenario(strategy=strategy, hook="inconclusive"),
            Scenario(strategy=strategy, after="fails"),
            Scenario(strategy=strategy, after="inconclusive"),
            Scenario(strategy=strategy, foreign=True),
            Scenario(strategy=strategy, command=(Phase.VERIFIED, "Abort")),
            Scenario(strategy=strategy, command=(Phase.PROMOTED, "RollBack")),
            Scenario(strategy=strategy, command=(Phase.NEEDS_INTERVENTION, "Abort"), after="fails"),
        ]
        made += [
            *(Scenario(strategy=strategy, slow=4, on_timeout=policy) for policy in OnProofTimeout),
            *(Scenario(strategy=strategy, meddled=at) for at in (Phase.PROMOTED, Phase.GRACE, Phase.RETIRING)),
            Scenario(strategy=strategy, meddled=Phase.REVERTING, after="fails"),
            Scenario(strategy=strategy, hurried=True),
            Scenario(strategy=strategy, command=(Phase.GRACE, "Retire")),
            Scenario(strategy=strategy, hook="inconclusive", window=True),
            Scenario(strategy=strategy, compromised=True, hurried=True),
            Scenario(strategy=strategy, compromised=True, after="fails", command=(Phase.NEEDS_INTERVENTION, "Rotate")),
            Scenario(strategy=strategy, compromised=True, slow=4, on_timeout=OnProofTimeout.REVERT),
            Scenario(strategy=strategy, compromised=True, command=(Phase.PROMOTED, "RollBack")),
        ]
        if strategy is Strategy.KEYSET:
            made.append(Scenario(strategy=strategy, command=(Phase.DISTRIBUTING, "RollBack")))
        else:
            made.append(Scenario(strategy=strategy, command=(Phase.GRACE, "RollBack")))
        if target:
            made += [
                Scenario(strategy=strategy, target="rejects once"),
                Scenario(strategy=strategy, target="rejects"),
                Scenario(strategy=strategy, target="unreachable"),
                Scenario(strategy=strategy, negative=True),
                Scenario(strategy=strategy, command=(Phase.PENDING, "Abort")),
            ]
        found += made
    return found


def trace(scenario: Scenario, faults: Faults, found: Found, wrong: Wrong | None = None) -> World:
    """One driver, until nothing is left to do; then once more, which must change nothing."""
    world = World(scenario, dict(faults))
    violation = None
    try:
        driver = Driver(world, wrong)
        driver.until_done()
        world.faults = {}
        driver.until_done()  # dependencies are healthy again
        before = (world.journal.current, world.live.current, dict(world.epochs))
        driver.until_done()
        if (world.journal.current, world.live.current, world.epochs) != before:
            raise Violation("I10 the same occurrence did something again")
        world.check_end()
    except Violation as e:
        violation = e
    found.add(world, violation, f"{scenario} {faults}")
    return world


def split(
    scenario: Scenario,
    passes: int,
    calls: int,
    meanwhile: int,
    found: Found,
    *,
    faults: Faults | None = None,
    wrong: Wrong | None = None,
    guards: Guards | None = None,
    again: bool = False,
    anew: bool = False,
    deaf: bool = False,
) -> None:
    """Freeze a driver before a call of its pass, let another one run, then thaw it.

    again: the other one goes on with the next occurrence meanwhile, as long as it takes. anew: it belongs to the same
    object made again, and adopts. deaf: the frozen one has not heard of the command.
    """
    world = World(scenario, dict(faults or {}), guards or Guards())
    one, two = Driver(world, wrong), Driver(world, wrong, replace(OWNER, uid="uid-2") if anew else OWNER)
    one.deaf = deaf
    violation = None
    try:
        for _ in range(passes):
            one.run()
        frozen = one.steps()
        _advance(frozen, calls)
        for _ in range(meanwhile):
            if two.run():
                break
        if again:
            two.occurrence = "2026-11-25T02:30[Etc/UTC]"
            two.until_done()
        _advance(frozen, 200)
        two.until_done()
        world.faults = {}
        two.until_done()
        world.check("the end")
        world.check_end()
    except Violation as e:
        violation = e
    told = (
        f"split({scenario}, {passes}, {calls}, {meanwhile}, faults={faults}, again={again}, anew={anew}, deaf={deaf})"
    )
    found.add(world, violation, told)


def _advance(going: Iterator[object], calls: int) -> None:
    try:
        for _ in range(calls):
            next(going)
    except (StopIteration, CrashError, TransientError, CasError, FencedError):
        return


def placed(depth: int, calls: int = CALLS) -> Iterator[Faults]:
    """All ways to put exactly `depth` faults."""
    for places in itertools.combinations(range(calls), depth):
        for kinds in itertools.product(KINDS, repeat=depth):
            yield dict(zip(places, kinds, strict=True))


def drawn(rng: random.Random, depth: int, calls: int = CALLS) -> Faults:
    """One way to put up to `depth` faults."""
    return {rng.randrange(calls): rng.choice(KINDS) for _ in range(depth)}


def all_of(items: Iterable[Scenario], depth: int, wrong: Wrong | None = None) -> Found:
    """Every scenario with every placement of up to `depth` faults, as far as its traces reach."""
    found = Found()
    for scenario in items:
        reached = trace(scenario, {}, found, wrong).n
        for more in range(1, depth + 1):
            for faults in placed(more, min(reached + 4, CALLS * 2)):
                trace(scenario, faults, found, wrong)
    return found
