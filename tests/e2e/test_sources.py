"""Every kind of source, from a real engine to the Secret: read, made, issued, followed, renewed."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.engines import Engines, serving
from tests.e2e.support.fixtures import server_manifest
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant
from tests.support.engines import database_role

pytestmark = pytest.mark.lab

AS = {"vault": {"role": "engines"}}


@pytest.fixture(scope="module")
def engines(cluster: Cluster, installed: None) -> Iterator[Engines]:
    with serving(cluster) as engines:
        yield engines


def test_version_1_of_kv_is_followed(engines: Engines, tenant: Tenant) -> None:
    path = f"{tenant.namespace}/db"
    engines.call("POST", f"kv1/{path}", {"password": "first", "port": 5432})
    tenant.want("db", {"name": "main", "kv": {"mount": "kv1", "path": path, "engine": "v1"}}, **AS)
    tenant.wait("db", "Synced")
    assert tenant.data("db") == {"password": "first", "port": "5432"}
    assert "version" not in tenant.elile("db")["status"]["sources"][0]
    engines.call("POST", f"kv1/{path}", {"password": "second"})
    eventually("the change is delivered", lambda: tenant.data("db") == {"password": "second"})
    # What is the same is neither written nor told.
    before = tenant.secret("db")
    engines.call("POST", f"kv1/{path}", {"password": "second"})
    time.sleep(2.5)  # two polls
    assert tenant.secret("db") == before


def test_static_credentials_are_read_again_when_their_time_is_over(
    engines: Engines, cluster: Cluster, tenant: Tenant
) -> None:
    user = f"static_{tenant.namespace[2:]}"
    engines.postgresql.sql(f"CREATE ROLE {user} LOGIN PASSWORD 'static'")
    role = {"db_name": "main", "username": user, "rotation_period": "8s"}
    engines.call("POST", f"database/static-roles/{user}", role)
    # A poll of an hour: what comes sooner comes since the server said when.
    slow = server_manifest(cluster, f"hourly-{tenant.namespace}")
    slow["spec"]["poll"] = {"interval": "1h"}  # type: ignore[index]
    cluster.apply(slow)
    try:
        source = {"name": "static", "read": {"path": f"database/static-creds/{user}"}}
        tenant.want("db", source, vault={"role": "engines", "server": f"hourly-{tenant.namespace}"})
        tenant.wait("db", "Synced")
        assert tenant.elile("db")["status"]["nextRefreshTime"]
        seen = {tenant.data("db")["password"]}
        assert "ttl" not in tenant.data("db")

        def another() -> bool:
            seen.add(tenant.data("db")["password"])
            return len(seen) > 2

        eventually("two other passwords were delivered", another, within=90)
        assert tenant.condition("db")["reason"] == "Synced"
    finally:
        cluster.kubectl("delete", "vaultserver", f"hourly-{tenant.namespace}")


def test_what_is_missing_is_made_once_and_what_is_there_is_adopted(engines: Engines, tenant: Tenant) -> None:
    keys = {"password": {"password": {"length": 40}}, "key": {"aes": {}}}
    made = {"name": "made", "generate": {"kv": {"path": f"{tenant.namespace}/made"}, "keys": keys}}
    tenant.want("made", made, **AS)
    tenant.want("again", made, **AS)
    tenant.wait("made", "Synced")
    tenant.wait("again", "Synced")
    data = tenant.data("made")
    assert (len(data["password"]), len(data["key"])) == (40, 44)
    assert tenant.data("again") == data
    assert tenant.elile("made")["status"]["sources"][0]["version"] == 1
    tenant.put("theirs", password="theirs")
    theirs = {"name": "made", "generate": {"kv": {"path": f"{tenant.namespace}/theirs"}, "keys": keys}}
    tenant.want("adopted", theirs, **AS)
    tenant.wait("adopted", "Synced")
    assert tenant.data("adopted") == {"password": "theirs"}


def test_who_may_not_create_is_told(tenant: Tenant) -> None:
    keys = {"password": {"hex": {}}}
    tenant.want("made", {"name": "made", "generate": {"kv": {"path": f"{tenant.namespace}/made"}, "keys": keys}})
    told = tenant.wait("made", "PermissionDenied")["message"]
    assert f"read or create secret/data/{tenant.namespace}/made; allow it in the role's policy" in told


def test_a_certificate_is_issued_and_another_one_before_its_end(engines: Engines, tenant: Tenant) -> None:
    pki = {"role": "web", "commonName": "shop.example.com", "altNames": ["www.example.com"], "ttl": "60s"}
    tenant.want("web", {"name": "web", "pki": {**pki, "renewAt": "20%"}}, type="TLS", **AS)
    tenant.wait("web", "Synced")
    first = tenant.elile("web")["status"]["sources"][0]
    leaf = x509.load_pem_x509_certificate(tenant.data("web")["tls.crt"].encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"shop.example.com", "www.example.com"}
    assert f"{leaf.serial_number:x}" == first["serial"].replace(":", "").lstrip("0")
    assert abs((leaf.not_valid_after_utc - datetime.fromisoformat(first["certificateExpires"])).total_seconds()) <= 2
    authority = x509.load_pem_x509_certificate(tenant.data("web")["ca.crt"].encode())
    leaf.verify_directly_issued_by(authority)

    def renewed() -> dict[str, str] | None:
        status = tenant.elile("web")["status"]["sources"][0]
        return tenant.data("web") if status["serial"] != first["serial"] else None

    data = eventually("another one is delivered", renewed, within=55)
    other = x509.load_pem_x509_certificate(data["tls.crt"].encode())
    key = load_pem_private_key(data["tls.key"].encode(), None)
    public = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert other.public_key().public_bytes(*public) == key.public_key().public_bytes(*public)
    assert tenant.notes("web", "LeaseReplaced")


def test_an_engine_that_refuses_is_explained(engines: Engines, tenant: Tenant) -> None:
    tenant.want("dyn", {"name": "dyn", "lease": {"path": "database/creds/nobody"}}, **AS)
    assert "has no role that database/creds/nobody names" in tenant.wait("dyn", "PathNotFound")["message"]
    tenant.want("web", {"name": "web", "pki": {"role": "web", "commonName": "example.org"}}, **AS)
    assert "correct spec.sources[web].pki, or allow it" in tenant.wait("web", "SpecInvalid")["message"]
    tenant.want("none", {"name": "dyn", "lease": {"path": "nowhere/creds/shop"}}, **AS)
    tenant.wait("none", "MountNotFound")
    tenant.want("kv", {"name": "dyn", "lease": {"path": f"kv1/{tenant.namespace}/x"}}, **AS)
    tenant.wait("kv", "PathNotFound")


def test_an_object_that_goes_takes_its_lease_along(engines: Engines, tenant: Tenant) -> None:
    database_role(engines.call, "hour", ttl="1h", longest="2h")
    tenant.want("dyn", {"name": "dyn", "lease": {"path": "database/creds/hour"}}, **AS)
    tenant.wait("dyn", "Synced")
    data = tenant.data("dyn")
    assert engines.logs_in(data["username"], data["password"])
    tenant.cluster.kubectl("-n", tenant.namespace, "delete", "elilesecret", "dyn")
    eventually("the login is over", lambda: not engines.logs_in(data["username"], data["password"]))


def test_a_namespace_that_goes_takes_its_lease_along(
    engines: Engines, operator: Operator, new_tenant: Callable[[], Tenant]
) -> None:
    tenant = new_tenant()
    database_role(engines.call, "with-namespace", ttl="1h", longest="2h")
    tenant.want("dyn", {"name": "dyn", "lease": {"path": "database/creds/with-namespace"}}, **AS)
    tenant.wait("dyn", "Synced")
    data = tenant.data("dyn")
    assert engines.logs_in(data["username"], data["password"])
    tenant.cluster.kubectl("delete", "namespace", tenant.namespace, "--wait=false")
    eventually("the login is over", lambda: not engines.logs_in(data["username"], data["password"]))
    # The deadline of the finalizer is two minutes; nothing here has to wait for it.
    eventually(
        "the namespace is gone",
        lambda: tenant.cluster.find("namespace", tenant.namespace) is None,
        within=110,
    )
