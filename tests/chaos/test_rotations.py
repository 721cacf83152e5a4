"""Operator killed, stopped and frozen, OpenBao and the API server killed in the middle of rotations."""

import platform
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from tests.chaos.rotations import Clients, Report, Rounds, teams_of
from tests.chaos.support.parts import Parts, parts
from tests.e2e.support.cluster import ROOT, Cluster
from tests.e2e.support.databases import Rotated, postgresql
from tests.e2e.support.rotating import install_rotator
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

CLIENTS = 3


@pytest.fixture
def database(cluster: Cluster, installed: None) -> Iterator[Rotated]:
    install_rotator(cluster)
    with postgresql(cluster, slot=3) as server:
        yield server


@pytest.fixture
def hit(cluster: Cluster, no_operator: None) -> Iterator[Parts]:
    """The parts, with two operators of the test's own."""
    with parts(cluster) as made:
        yield made


def run(
    hit: Parts,
    database: Rotated,
    new_tenant: Callable[[], Tenant],
    *,
    teams: int,
    rounds: int,
    seed: int,
    say: Callable[[str], None],
) -> Report:
    made = teams_of(database, new_tenant, teams)
    clients = Clients(made[:CLIENTS], database)
    report = Rounds(hit, made, database, seed=seed, say=say).run(rounds)
    clients.add_up(report)
    report.violations += hit.replicas.unexplained
    return report


def test_a_sample_of_rotations_under_faults(
    hit: Parts, database: Rotated, new_tenant: Callable[[], Tenant], seed: int, figure: list[str]
) -> None:
    report = run(hit, database, new_tenant, teams=4, rounds=2, seed=seed, say=print)
    figure += report.lines()
    assert report.violations == []
    assert report.failed == 0


@pytest.mark.chaos
def test_two_hundred_rotations_under_faults(
    hit: Parts, database: Rotated, new_tenant: Callable[[], Tenant], seed: int, figure: list[str]
) -> None:
    file = ROOT / "docs" / "evidence" / f"rotations-chaos-{datetime.now(UTC):%Y-%m-%d}.log"
    with file.open("w") as log:

        def say(line: str) -> None:
            print(f"{datetime.now(UTC):%H:%M:%S} {line}", file=log, flush=True)

        say(f"seed {seed}; {platform.machine()}, Python {platform.python_version()}; replay: --chaos-seed {seed}")
        report = run(hit, database, new_tenant, teams=8, rounds=26, seed=seed, say=say)
        for line in report.lines():
            say(line)
    figure += report.lines()
    assert report.violations == []
    assert report.failed == 0
    assert report.runs >= 200
