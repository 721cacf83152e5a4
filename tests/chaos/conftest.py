"""Chaos happens on the lab only: a cluster that was given by --kubeconfig is somebody's."""

import random

import pytest

from tests.e2e.support.cluster import Cluster


@pytest.fixture(autouse=True)
def _on_the_lab(cluster: Cluster) -> None:
    if cluster.lab is None:
        pytest.skip("needs the lab: these tests kill the servers of a cluster")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed that was asked for, else a new one, which the report names."""
    given: int | None = request.config.getoption("--chaos-seed")
    return given if given is not None else random.SystemRandom().randrange(1_000_000)
