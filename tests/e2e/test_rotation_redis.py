"""Rotation of a user of Redis on two servers by objects, on a real cluster."""

from collections.abc import Iterator

import pytest

from tests.e2e.support.account_rotation import AccountRotation
from tests.e2e.support.accounts import RedisAccounts, redis_pair
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.operator import Operator
from tests.e2e.support.rotating import Rotating, install_rotator
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def accounts(cluster: Cluster, installed: None) -> Iterator[RedisAccounts]:
    install_rotator(cluster)
    with redis_pair(cluster) as servers:
        yield servers


@pytest.fixture
def rotating(operator: Operator, tenant: Tenant) -> Rotating:
    return Rotating(tenant)


class TestTwoPasswords(AccountRotation):
    """DualPassword."""
