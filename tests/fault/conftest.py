"""One OpenBao for all fault tests, and a cluster for each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.support import bao as server
from tests.fault.support.bao import Bao
from tests.fault.support.world import World, world


@pytest.fixture(scope="session")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with server.running(tmp_path_factory.mktemp("bao")) as bao:
        yield bao


@pytest.fixture
def w(bao: Bao, tmp_path: Path) -> Iterator[World]:
    """A cluster of the test's own, without an operator."""
    with world(bao, tmp_path) as made:
        yield made
