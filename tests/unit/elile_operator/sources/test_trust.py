"""The ConfigMap that a server names is read with its looks, not too often; the last good answer survives outages."""

import pytest

from elile_operator.api.reasons import Reason
from elile_operator.api.vaultserver import VaultServer
from elile_operator.kube.errors import KubeUnavailableError
from elile_operator.kube.resources import CONFIG_MAPS
from elile_operator.sources import servers as servers_module
from elile_operator.sources.servers import Servers
from elile_operator.sources.trust import REREAD, CaBundles
from tests.fakes.api import MemoryKube, vault_server
from tests.fakes.clock import FakeClock
from tests.fakes.http import Authority
from tests.fakes.vault import FakeLink, FakeVault, Seen

REF = {"namespace": "vault", "name": "ca", "key": "ca.crt"}
OLD, NEW = Authority().pem, Authority().pem


def server(**ref: str) -> VaultServer:
    return VaultServer.from_body(vault_server(tls={"caBundleRef": {**REF, **ref}}))


class Stage:
    """Bundles of a cluster in memory, and the servers that are to trust them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock(monotonic=0.0)
        self.kube = MemoryKube(self.clock)
        vault = FakeVault(self.clock)
        monkeypatch.setattr(servers_module, "Link", lambda server, **_: FakeLink(server, vault))
        self.servers = Servers(clock=self.clock, observer=Seen())
        self.bundles = CaBundles(self.kube, servers=self.servers, account="elile-system:op", clock=self.clock)  # type: ignore[arg-type]

    def put(self, **data: str) -> None:
        meta = {"namespace": "vault", "name": "ca"}
        self.kube.put(CONFIG_MAPS, {"metadata": meta, "data": {k.replace("_", "."): v for k, v in data.items()}})

    def trusted(self, of: VaultServer) -> str | None:
        link = self.servers.link(of)
        return link.server.spec.tls.ca_bundle if link else None


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


async def test_a_server_that_names_none_costs_nothing(stage: Stage) -> None:
    plain = VaultServer.from_body(vault_server())
    assert await stage.bundles.look(plain) is None
    assert stage.kube.reads == []
    assert stage.servers.link(plain) is not None


async def test_a_rotation_makes_another_link_at_the_next_look(stage: Stage) -> None:
    stage.put(ca_crt=OLD)
    assert await stage.bundles.look(server()) is None
    assert stage.trusted(server()) == OLD
    link = stage.servers.find("default")
    stage.put(ca_crt=NEW)
    await stage.clock.advance(REREAD)
    assert await stage.bundles.look(server()) is None
    assert stage.trusted(server()) == NEW
    assert stage.servers.find("default") is not link
    assert stage.trusted(server()) == NEW
    assert stage.kube.reads == ["get configmaps vault/ca"] * 2


async def test_looks_in_a_row_read_once(stage: Stage) -> None:
    stage.put(ca_crt=OLD)
    for _ in range(20):
        assert await stage.bundles.look(server()) is None
        await stage.clock.advance(REREAD / 20 - 0.001)
    assert len(stage.kube.reads) == 1


async def test_another_reference_is_read_at_once(stage: Stage) -> None:
    stage.put(ca_crt=OLD, new_crt=NEW)
    await stage.bundles.look(server())
    moved = server(key="new.crt")
    assert stage.servers.link(moved) is None, "nobody is trusted until it was read"
    assert await stage.bundles.look(moved) is None
    assert stage.trusted(moved) == NEW


async def test_a_server_that_is_made_anew_is_read_for_at_once(stage: Stage) -> None:
    stage.put(ca_crt=OLD)
    await stage.bundles.look(server())
    stage.servers.forget("default")
    body = vault_server(uid="uid-2", tls={"caBundleRef": REF})
    anew = VaultServer.from_body(body)
    assert await stage.bundles.look(anew) is None
    assert stage.trusted(anew) == OLD


@pytest.mark.parametrize(
    ("status", "says"),
    [(404, "does not exist"), (403, "kubectl -n vault create role elile-ca-ca"), (None, "has no key 'ca.crt'")],
    ids=["no ConfigMap", "no right", "no key"],
)
async def test_what_is_missing_is_said_and_found_at_the_next_look(stage: Stage, status: int | None, says: str) -> None:
    stage.put(other=OLD)
    stage.kube.fail("get", CONFIG_MAPS, status)
    found = await stage.bundles.look(server())
    assert found is not None
    assert found.reason is Reason.CA_BUNDLE_UNUSABLE
    assert says in found.message
    stage.put(ca_crt=OLD)
    assert await stage.bundles.look(server()) is None


async def test_what_is_wrong_now_is_wrong_though_it_was_good(stage: Stage) -> None:
    stage.put(ca_crt=OLD)
    await stage.bundles.look(server())
    stage.put(ca_crt="hello")
    await stage.clock.advance(REREAD)
    for _ in range(2):
        assert await stage.bundles.look(server()) is not None


async def test_an_api_server_that_is_away_takes_nothing_back(stage: Stage) -> None:
    stage.kube.fail("get", CONFIG_MAPS, 0)
    with pytest.raises(KubeUnavailableError):
        await stage.bundles.look(server())
    stage.put(ca_crt=OLD)
    await stage.bundles.look(server())
    await stage.clock.advance(REREAD)
    stage.kube.fail("get", CONFIG_MAPS, 0)
    assert await stage.bundles.look(server()) is None
    assert stage.trusted(server()) == OLD
    stage.kube.fail("get", CONFIG_MAPS, 0)
    with pytest.raises(KubeUnavailableError):
        await stage.bundles.look(server(key="new.crt"))
