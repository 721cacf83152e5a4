"""All scenarios, in the order in which they are measured."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.figures import Figure
from bench.scale import Scale
from bench.scenarios import cold, floors, forwarder, growth, latency, library, most, recovery, rest, rotations
from bench.world import World

__all__ = ["SCENARIOS", "Scenario"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """It has `measure`, which is given an empty lab, or `alone`, which needs none. `figures`: how its keys begin."""

    name: str
    what: str
    figures: tuple[str, ...]
    measure: Callable[[World, Scale], Iterator[Figure]] | None = None
    alone: Callable[[Scale], Iterator[Figure]] | None = None


SCENARIOS = (
    Scenario("library", "the client library", ("library.",), alone=library.library),
    Scenario(
        "most",
        "10,000 objects on few paths, against a fake API server",
        ("compare.", "idle.cpu", "rss.10000"),
        alone=most.shared,
    ),
    Scenario(
        "most-distinct",
        "10,000 objects on as many paths, against a fake API server",
        ("idle.cpu.distinct",),
        alone=most.distinct,
    ),
    Scenario("floors", "what the machine can do at best", ("floor.", "reads."), floors.floors),
    Scenario("cold", "1,000 new objects", tuple(f"cold.{x}.1000" for x in cold.BUDGETED), cold.some),
    Scenario("cold-many", "3,000 new objects", tuple(f"cold.{x}.3000" for x in cold.BUDGETED), cold.many),
    Scenario("rest", "at rest, by path", ("rest.vault.path", "rest.cpu.path", "rest.api.", "rss.1000"), rest.by_path),
    Scenario("rest-listing", "at rest, by listing", ("rest.vault.listing", "rest.cpu.listing"), rest.by_listing),
    Scenario("hints", "latency with hints", ("hints.",), latency.with_hints),
    Scenario("poll", "latency at a 10 s poll", ("poll.",), latency.by_poll),
    Scenario("listing", "latency at a 2 s poll by listing", ("listing.",), latency.by_listing),
    Scenario("growth", "an hour's worth of changes", ("growth.", "change."), growth.growth),
    Scenario("forwarder", "writes with and without a forwarder", ("forwarder.",), forwarder.forwarder),
    Scenario("recovery", "after Vault was sealed", ("recovery.",), recovery.recovery),
    Scenario("rotations", "a hundred rotations at one time", ("rotations.",), rotations.rotations),
)
