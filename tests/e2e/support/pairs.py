"""Users of a PostgreSQL server that are rotated under a client pod, each test with its own."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.support.asked import Asked, asked_server
from tests.e2e.support.clients import Client
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.databases import Pair, Rotated, postgresql
from tests.e2e.support.operator import Operator
from tests.e2e.support.rotating import Rotating, install_rotator
from tests.e2e.support.tenant import Tenant

ELAPSED = {"proof": {"elapsed": "1s"}}
HTTP = {"proof": {"http": {"port": 8080}}}
# What a schedule of a single account has beside the usual.
SINGLE = {"strategy": "SingleUser"}


@pytest.fixture(scope="module")
def database(cluster: Cluster, installed: None) -> Iterator[Rotated]:
    """A server for the users of one module's tests."""
    install_rotator(cluster)
    with postgresql(cluster) as server:
        yield server


@pytest.fixture(scope="module")
def asked(cluster: Cluster) -> Iterator[Asked]:
    """What hooks of type http ask."""
    assert cluster.lab is not None
    with asked_server(cluster.lab.gateway, cluster.lab.spare_ports[-1]) as server:
        yield server


@pytest.fixture
def rotated(operator: Operator, tenant: Tenant, database: Rotated) -> "RotatedPair":
    """A pair of users that nothing rotates yet."""
    return RotatedPair.make(tenant, database)


@dataclass(frozen=True)
class RotatedPair:
    """A pair of users of one tenant, the entry `db` of the one in use, its reader and its schedule."""

    rotating: Rotating
    database: Rotated
    pair: Pair

    @classmethod
    def make(cls, tenant: Tenant, database: Rotated, consumers: dict[str, Any] | None = None) -> "RotatedPair":
        """Make the users, the two entries and the reader."""
        pair = database.pair(tenant.namespace.replace("-", "_"))
        tenant.put("db", username=pair.users[0], password=pair.password)
        tenant.cluster.put(f"{tenant.namespace}/admin", **database.admin_entry(*pair.users))
        made = cls(Rotating(tenant), database, pair)
        made.read(consumers or ELAPSED)
        return made

    @property
    def tenant(self) -> Tenant:
        return self.rotating.tenant

    def read(self, consumers: dict[str, Any] | None) -> None:
        """Have the entry delivered, to consumers that prove it in this way; None: in none."""
        self.tenant.want("db", **({"consumers": consumers} if consumers else {}))
        self.tenant.wait("db", "Synced")

    def spec(self, *, single: bool = False, **spec: Any) -> dict[str, Any]:
        """Return the spec of a schedule but for what all have."""
        more = {**SINGLE, "users": self.pair.users[:1]} if single else {}
        return {
            "fields": {"username": "username", "value": "password"},
            "apply": self.database.target(self.pair, f"{self.tenant.namespace}/admin", **more),
            "gracePeriod": "2s",
            **({"acceptDowntime": True} if single else {}),
            **spec,
        }

    def schedule(self, *, single: bool = False, **spec: Any) -> None:
        """Apply the schedule `db`."""
        self.rotating.schedule("db", "db", **self.spec(single=single, **spec))

    def client(self) -> Client:
        """Start a pod that uses it all the time."""
        return Client(self.tenant, self.database.host, self.database.port, "db")

    def live(self) -> dict[str, Any]:
        return self.rotating.live("db")

    def works(self, value: dict[str, Any]) -> bool:
        return self.database.logs_in(value["username"], value["password"])

    def delivered(self, value: dict[str, Any]) -> None:
        """Wait until the Secret has a value."""
        eventually("it is delivered", lambda: self.tenant.data("db").get("password") == value["password"])

    def wiped(self, phase: str) -> None:
        """The journal tells of the end, and none of its versions holds a value any more."""
        readable = self.rotating.journal_versions("db")
        assert readable[-1]["phase"] == phase
        assert all(not (j["pending"] or j["previous"] or j["distributed"]) for j in readable)

    def has_events(self, *reasons: str, kind: str = "Rotation", name: str = "first") -> None:
        """Wait until events about an object have these reasons: they are written after what they are about."""

        def missing() -> set[str]:
            return set(reasons) - {e["reason"] for e in self.tenant.events(name) if e["regarding"]["kind"] == kind}

        try:
            eventually(f"events about {kind} {name}", lambda: not missing())
        except AssertionError as e:
            raise AssertionError(f"{e}; there is none of {missing()}") from None
