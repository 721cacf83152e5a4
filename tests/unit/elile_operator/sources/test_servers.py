"""One link for each server as its spec is now, and a report that says when a server turns."""

import pytest

from elile_operator.api.reasons import Reason
from elile_operator.api.vaultserver import CaBundleRef, VaultServer
from elile_operator.decide.violation import Violation
from elile_operator.sources import servers as module
from elile_operator.sources.servers import Servers
from tests.fakes.api import vault_server
from tests.fakes.clock import FakeClock
from tests.fakes.vault import FakeLink, FakeVault, Seen

SEALED = Violation(Reason.VAULT_SEALED, "it is sealed")
AWAY = Violation(Reason.VAULT_UNREACHABLE, "it does not answer")


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    clock = FakeClock()
    monkeypatch.setattr(module, "Link", lambda server, **_: FakeLink(server, FakeVault(clock)))
    return Servers(clock=clock, observer=Seen())


def server(**changes: object) -> VaultServer:
    body = vault_server(**changes)  # type: ignore[arg-type]
    body["status"] = {"serverVersion": str(len(changes))}
    return VaultServer.from_body(body)


def is_closed(link: object) -> bool:
    assert isinstance(link, FakeLink)
    return link.closed


def test_a_link_is_made_on_first_use_and_found_from_then_on(servers: Servers) -> None:
    assert servers.find("default") is None
    link = servers.link(server())
    assert (servers.find("default"), servers.link(server())) == (link, link)


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        pytest.param({"generation": 2}, True, id="nothing but its generation and status"),
        pytest.param({"uid": "uid-2"}, False, id="made anew"),
        pytest.param({"address": "https://other.test:8200"}, False, id="another address"),
        pytest.param({"limits": {"concurrency": 1}}, False, id="other limits"),
    ],
)
def test_a_link_lives_as_long_as_the_spec(servers: Servers, changes: dict[str, object], kept: bool) -> None:
    link = servers.link(server())
    servers.report("default", SEALED)
    after = servers.link(server(**changes))
    assert (after is link, is_closed(link)) == (kept, not kept)
    assert servers.find("default") is after
    assert servers.trouble("default") == (SEALED if kept else None), "what is known is of the old server"


def test_without_the_bundle_that_it_names_a_server_has_no_link(servers: Servers) -> None:
    ref = {"namespace": "vault", "name": "ca", "key": "ca.crt"}
    named = server(tls={"caBundleRef": ref, "serverName": "vault"})
    plain = servers.link(server())
    assert servers.link(named) is None
    assert is_closed(plain)
    trouble = servers.trouble("default")
    assert trouble is not None
    assert (trouble.reason, servers.find("default")) == (Reason.SERVER_NOT_READY, None)
    servers.report("default", SEALED)
    assert servers.link(named) is None
    assert servers.trouble("default") == SEALED, "what a look found says more"
    servers.report("default", None)

    servers.trust("default", CaBundleRef(**ref), "PEM")
    link = servers.link(named)
    assert link is not None
    tls = link.server.spec.tls
    assert (tls.ca_bundle, tls.ca_bundle_ref, tls.server_name) == ("PEM", None, "vault")
    assert servers.link(named) is link
    servers.trust("default", CaBundleRef(**ref), "PEM of another CA")
    assert servers.link(named) is not link
    assert is_closed(link)
    servers.forget("default")
    assert servers.link(named) is None, "another server of the name trusts what it names itself"


def test_servers_have_links_of_their_own(servers: Servers) -> None:
    one, two = servers.link(server(name="one")), servers.link(server(name="two"))
    servers.forget("one")
    assert (is_closed(one), is_closed(two)) == (True, False)
    assert (servers.find("one"), servers.find("two")) == (None, two)


@pytest.mark.parametrize(
    ("before", "now", "turned"),
    [
        pytest.param(None, None, False, id="well, still"),
        pytest.param(None, SEALED, True, id="lost"),
        pytest.param(SEALED, SEALED, False, id="lost, still"),
        pytest.param(SEALED, AWAY, False, id="lost, for another reason"),
        pytest.param(AWAY, None, True, id="back"),
    ],
)
def test_a_report_tells_whether_the_server_turned(
    servers: Servers, before: Violation | None, now: Violation | None, turned: bool
) -> None:
    servers.report("default", before)
    assert servers.report("default", now) is turned
    assert servers.trouble("default") == now
    assert servers.trouble("other") is None


def test_what_is_forgotten_has_no_trouble(servers: Servers) -> None:
    servers.report("default", SEALED)
    servers.forget("default")
    assert servers.trouble("default") is None


def test_close_closes_all_links(servers: Servers) -> None:
    links = [servers.link(server(name=name)) for name in ("one", "two")]
    servers.close()
    assert [is_closed(link) for link in links] == [True, True]
    assert servers.find("one") is None
