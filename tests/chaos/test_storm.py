"""Every part killed, frozen and restarted under load: nothing is lost, torn, taken from others or left behind."""

import platform
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from tests.chaos.storm import Counts, Report, Storm, plan, teams_of
from tests.chaos.support.parts import Part, Parts, parts
from tests.e2e.support.cluster import ROOT, Cluster
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

TEAMS = 3
SAMPLE = Counts(kills=8, freezes=2, restarts=4, longest_freeze=6.0)
FULL = Counts(kills=200, freezes=16, restarts=16)


@pytest.fixture
def hit(cluster: Cluster, no_operator: None) -> Iterator[Parts]:
    """The parts, with two operators of the test's own."""
    with parts(cluster) as made:
        yield made


def test_a_sample_of_faults_under_load(
    hit: Parts, new_tenant: Callable[[], Tenant], seed: int, figure: list[str]
) -> None:
    report = storm(hit, new_tenant, seed, SAMPLE, print, within=240)
    figure += lines(report)
    assert report.violations == []
    assert report.kills == SAMPLE.kills


@pytest.mark.chaos
def test_two_hundred_kills_under_load(
    hit: Parts, new_tenant: Callable[[], Tenant], seed: int, figure: list[str]
) -> None:
    file = ROOT / "docs" / "evidence" / f"chaos-{datetime.now(UTC):%Y-%m-%d}.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as log:

        def say(line: str) -> None:
            print(f"{datetime.now(UTC):%H:%M:%S} {line}", file=log, flush=True)

        say(f"seed {seed}; {platform.machine()}, Python {platform.python_version()}; replay: --chaos-seed {seed}")
        report = storm(hit, new_tenant, seed, FULL, say, within=1500)
        for line in lines(report):
            say(line)
        for line in report.violations:
            say(f"VIOLATION {line}")
    figure += lines(report)
    assert report.violations == []
    assert report.kills == FULL.kills


def storm(
    hit: Parts, new_tenant: Callable[[], Tenant], seed: int, counts: Counts, say: Callable[[str], None], within: float
) -> Report:
    say(f"seed {seed}")
    teams = teams_of([new_tenant().namespace for _ in range(TEAMS)], seed)
    return Storm(hit, teams, seed=seed, say=say).run(plan(seed, counts), within=within)


def lines(report: Report) -> list[str]:
    """The report, as it is printed and kept."""
    return [
        f"storm, seed {report.seed}: {report.kills} kills, {sum(report.hits.values())} faults in all, "
        f"{report.rounds} rounds, {report.seconds:.0f} s, violations: {len(report.violations)}",
        *(f"  {part}: {', '.join(_of(report, part))}" for part in Part),
        "  from all servers healthy to all Secrets and statuses right:",
        *report.recovery(),
    ]


def _of(report: Report, part: Part) -> list[str]:
    return [f"{what.split()[1]} {n}" for what, n in sorted(report.hits.items()) if what.split()[0] == part]
