"""Hooks of rotations by objects, on a real cluster: HTTP, certificates, and containers of one's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support.api_server import ApiServer, api_server
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.operator import Operator
from tests.e2e.support.rotating import Rotating, install_rotator
from tests.e2e.support.tenant import IMAGE, Tenant

pytestmark = pytest.mark.lab

NAMES = ["web.shop.example"]


@pytest.fixture(scope="module")
def server(cluster: Cluster, installed: None) -> Iterator[ApiServer]:
    install_rotator(cluster)
    with api_server(cluster) as api:
        yield api


@pytest.fixture
def api(server: ApiServer) -> ApiServer:
    """The server as it was at first."""
    server.accepts, server.account, server.broken = lambda _: True, "shop", False
    server.asked.clear()
    return server


@pytest.fixture
def rotating(operator: Operator, tenant: Tenant) -> Rotating:
    made = Rotating(tenant)
    tenant.put("api", api_key="maps_first", base_url="https://maps.example")
    tenant.want("api", consumers={"proof": {"elapsed": "1s"}})
    tenant.wait("api", "Synced")
    return made


def schedule(rotating: Rotating, *hooks: dict[str, Any], **spec: Any) -> None:
    rotating.schedule(
        "api",
        "api",
        **{
            "fields": {"value": "api_key"},
            "value": {"generate": {"apiKey": {"prefix": "maps_"}}},
            "verify": list(hooks),
            "gracePeriod": "1s",
            **spec,
        },
    )


def job(script: str, **more: Any) -> dict[str, Any]:
    container = {"image": IMAGE, "command": ["sh", "-ec", script], "runAsUser": 1000}
    return {"name": "own", "timeout": "60s", "job": container, **more}


# ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_that_an_api_takes(rotating: Rotating, api: ApiServer) -> None:
    api.accepts = lambda key: key.startswith("maps_")
    schedule(rotating, api.hook(), api.hook("used", stage="AfterPromote"))
    rotating.ask("first", "api")
    status = rotating.wait_result("first", "Succeeded")
    live = rotating.live("api")
    assert live["api_key"] != "maps_first"
    assert live["base_url"] == "https://maps.example"
    assert set(api.asked) == {live["api_key"]}
    judged = {(each["name"], each["stage"]): each["result"] for each in status["verification"]}
    assert (judged["api", "Pending"], judged["used", "AfterPromote"]) == ("Passed", "Passed")


def test_a_key_that_the_api_refuses(rotating: Rotating, api: ApiServer) -> None:
    api.accepts = lambda key: key == "maps_first"
    before = rotating.live("api")
    schedule(rotating, api.hook())
    rotating.ask("first", "api")
    status = rotating.wait_result("first", "Aborted", "VerificationFailed")
    assert "401" in status["message"]
    assert rotating.live("api") == before
    assert len(api.asked) == 1  # a failure is final: asked again it might lock an account


def test_a_key_that_is_somebody_elses(rotating: Rotating, api: ApiServer) -> None:
    api.account = "other"
    schedule(rotating, api.hook())
    rotating.ask("first", "api")
    status = rotating.wait_result("first", "Aborted", "VerificationFailed")
    assert "/account" in status["message"]


def test_an_api_that_is_down(rotating: Rotating, api: ApiServer) -> None:
    api.broken = True
    schedule(rotating, api.hook(attempts=2))
    rotating.ask("first", "api")
    status = rotating.wait_result("first", "Aborted", "VerificationInconclusive")
    assert "503" in status["message"]
    assert len(api.asked) == 2
    schedule(rotating, api.hook(attempts=1, onInconclusive="Retry"))
    rotating.ask("second", "api")
    eventually("it holds", lambda: rotating.status("second").get("reason") == "VerificationInconclusive")
    assert "503" in rotating.status("second")["message"]
    api.broken = False
    rotating.wait_result("second", "Succeeded")


def test_what_no_entry_of_the_egress_list_has_is_not_asked(rotating: Rotating, api: ApiServer) -> None:
    hook = api.hook()
    hook["http"]["url"] = "https://127.0.0.1:1/v1/me"
    schedule(rotating, hook)
    rotating.ask("first", "api")
    status = rotating.wait_result("first", "Aborted")
    assert "127.0.0.1" in status["message"]
    assert "egress" in status["message"]


# ── containers of one's own ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_container_that_passes(rotating: Rotating) -> None:
    schedule(rotating, job('grep -q "^maps_" /run/elile/value/api_key; [ "$(cat /run/elile/value/base_url)" ]'))
    rotating.ask("first", "api")
    rotating.wait_result("first", "Succeeded", within=120)
    assert rotating.live("api")["version"] == 2
    eventually("nothing is left", lambda: not left(rotating))


def test_a_container_that_fails(rotating: Rotating) -> None:
    before = rotating.live("api")
    schedule(rotating, job("exit 3"))
    rotating.ask("first", "api")
    status = rotating.wait_result("first", "Aborted", "VerificationFailed", within=120)
    assert "the container of the job hook 'own' ended with 3" in status["message"]
    assert rotating.live("api") == before
    eventually("nothing is left", lambda: not left(rotating))


def test_a_container_that_fails_once_the_value_is_used(rotating: Rotating) -> None:
    before = rotating.live("api")
    schedule(rotating, job("true"), {**job("exit 4", stage="AfterPromote"), "name": "used"})
    rotating.ask("first", "api")
    status = rotating.wait_result("first", "RolledBack", "VerificationFailed", within=180)
    assert "the container of the job hook 'used' ended with 4" in status["message"]
    assert rotating.live("api") == {**before, "version": before["version"] + 2}


def left(rotating: Rotating) -> str:
    return rotating.cluster.kubectl(
        *("-n", rotating.namespace, "get", "jobs,pods,secrets"),
        *("-l", "app.kubernetes.io/managed-by=elile,!elile.io/secret", "-o", "name"),
    )


# ── certificates ─────────────────────────────────────────────────────────────────────────────────────────────────────


def certificate(cluster: Cluster, name: str, hosts: list[str]) -> dict[str, str]:
    assert cluster.lab is not None
    pair = cluster.lab.issue_certificate(f"web-{name}", hosts)
    return {"tls.crt": Path(pair.certificate).read_text(), "tls.key": Path(pair.key).read_text()}


def test_a_certificate_that_is_staged_is_looked_at(operator: Operator, tenant: Tenant, server: ApiServer) -> None:
    rotating, cluster = Rotating(tenant), tenant.cluster
    first, second = (certificate(cluster, f"{tenant.namespace}-{n}", NAMES) for n in range(2))
    other = certificate(cluster, f"{tenant.namespace}-other", ["other.example"])
    tenant.put("web", **first)
    tenant.want("web", type="TLS", consumers={"proof": {"elapsed": "1s"}})
    tenant.wait("web", "Synced")
    look = {"name": "web", "tls": {"names": NAMES, "caBundle": server.ca_pem}}
    rotating.schedule("web", "web", value={"external": {}}, verify=[look], gracePeriod="1s")
    inbox = f"elile-journal-inbox/{tenant.namespace}/web"

    cluster.put(inbox, **other)
    status = rotating.wait_result("web-s1", "Aborted", "VerificationFailed")
    assert NAMES[0] in status["message"]
    cluster.put(inbox, **{**second, "tls.key": first["tls.key"]})
    status = rotating.wait_result("web-s2", "Aborted", "VerificationFailed")
    assert "key" in status["message"]
    assert rotating.live("web") == {**first, "version": 1}
    cluster.put(inbox, **second)
    rotating.wait_result("web-s3", "Succeeded")
    assert rotating.live("web") == {**second, "version": 2}
    eventually("it is delivered", lambda: tenant.data("web") == second)
