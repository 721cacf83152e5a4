"""Rotation of accounts of MariaDB by objects, on a real cluster."""

from collections.abc import Iterator

import pytest

from tests.e2e.support.account_rotation import AccountRotation, account, login
from tests.e2e.support.accounts import MariaDBAccounts, mariadb
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.operator import Operator
from tests.e2e.support.rotating import Rotating, install_rotator
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def accounts(cluster: Cluster, installed: None) -> Iterator[MariaDBAccounts]:
    install_rotator(cluster)
    with mariadb(cluster) as server:
        yield server


@pytest.fixture
def rotating(operator: Operator, tenant: Tenant) -> Rotating:
    return Rotating(tenant)


class TestTwoAccounts(AccountRotation):
    """DualUser."""


def test_the_only_account(rotating: Rotating, accounts: MariaDBAccounts) -> None:
    name, tenant = account(rotating), rotating.tenant
    before = accounts.make(name)
    tenant.put("db", **before)
    rotating.cluster.put(f"{tenant.namespace}/admin", **accounts.admin_entry(name))
    tenant.want("db", consumers={"proof": {"elapsed": "1s"}})
    tenant.wait("db", "Synced")
    target = accounts.target(name, f"{tenant.namespace}/admin", strategy="SingleUser", users=[before["username"]])
    rotating.schedule(
        "db",
        "db",
        fields={"username": "username", "value": "password"},
        apply=target,
        acceptDowntime=True,
        verify=[login(accounts)],
        gracePeriod="1s",
    )
    rotating.ask("first", "db")
    rotating.wait_result("first", "Succeeded")
    after = rotating.live("db")
    assert after["username"] == before["username"]
    assert (accounts.logs_in(after), accounts.logs_in(before)) == (True, False)
