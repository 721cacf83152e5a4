"""Options of the whole suite, and the figures that tests print at the end of a run."""

from pathlib import Path

import pytest

from tests.e2e.support.fixtures import cluster, installed, kubeconfig, new_tenant, no_operator, operator, tenant
from tests.e2e.support.pairs import asked, database, rotated

# The fixtures are defined once, here, for e2e and security alike: one cluster and one operator for the whole run.
__all__ = [
    "asked",
    "cluster",
    "database",
    "installed",
    "kubeconfig",
    "new_tenant",
    "no_operator",
    "operator",
    "rotated",
    "tenant",
]

FIGURES: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kubeconfig", type=Path, default=None, help="run the e2e tests on this cluster, not on the lab")
    parser.addoption("--lab-name", default="test", help="name of the lab that the e2e tests bring up")
    parser.addoption("--chaos-seed", type=int, default=None, help="replay the faults and the load of one storm")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not any(item.iter_markers(name=weight) for weight in ("chaos", "bench")):
            item.add_marker(pytest.mark.ci)


@pytest.fixture
def figure() -> list[str]:
    """Lines to print after the run: what was measured beside what was asserted."""
    return FIGURES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section("figures")
        for line in FIGURES:
            terminalreporter.write_line(line)
