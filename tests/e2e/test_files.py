"""Files made of keys, on the cluster: what programs in pods read follows every change, whole."""

import json

import pytest
import yaml

from tests.e2e.support.cluster import eventually
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

FILES = [
    {"key": "dsn", "template": "postgresql://${username|url}:${password|url}@${host}:${/port}/${database}"},
    {"key": ".pgpass", "derive": "pgpass", "source": "main"},
    {"key": "app.env", "format": "shell", "keys": [{"from": "password", "to": "DB_PASSWORD"}]},
    {"key": "all.json", "format": "json"},
]
ODD = 'p@ss:w/ö "rd" $HOME #1'


def test_files_are_made_of_the_keys_and_follow_them(tenant: Tenant) -> None:
    entry = {"host": "db.example", "port": 5432, "database": "shop", "username": "shop"}
    tenant.put("db", **entry, password="first")
    tenant.want("db", files=FILES)
    tenant.wait("db", "Synced")
    pod = tenant.run_pod("app", "db")
    assert pod.read("dsn") == "postgresql://shop:first@db.example:5432/shop"
    assert sorted(tenant.data("db")) == sorted(file["key"] for file in FILES)  # and no plain keys

    tenant.put("db", **entry, password=ODD)
    changed = "postgresql://shop:p%40ss%3Aw%2F%C3%B6%20%22rd%22%20%24HOME%20%231@db.example:5432/shop"
    eventually("the file of the pod is the changed one", lambda: pod.read("dsn") == changed, within=10)
    assert pod.read(".pgpass") == 'db.example:5432:shop:shop:p@ss\\:w/ö "rd" $HOME #1\n'
    assert pod.read("app.env") == f"DB_PASSWORD='{ODD}'\n"
    assert json.loads(pod.read("all.json"))["password"] == ODD


def test_every_format_and_every_derivation_reaches_the_pod(tenant: Tenant) -> None:
    entry = {"host": "db.example", "port": 5432, "database": "shop", "username": "shop", "password": ODD}
    tenant.put("db", **entry)
    formats = [{"key": f"as.{name}", "format": name} for name in ("json", "yaml", "properties", "dotenv", "shell")]
    derived = [
        {"key": f"by.{name}", "derive": name, "source": "main"} for name in ("pgpass", "my.cnf", "url", "jdbc-url")
    ]
    # Docker compose and python-dotenv read a `$` in two ways: that format refuses it, so it gets no such value.
    plain = {"format": "dotenv", "key": "as.dotenv", "keys": [{"from": "username"}, {"from": "host"}]}
    files = [plain if file["key"] == "as.dotenv" else file for file in formats] + derived
    tenant.want("db", files=files, type="Opaque")
    tenant.wait("db", "Synced")
    pod = tenant.run_pod("app", "db")
    told = {name: str(value) for name, value in entry.items()}
    assert json.loads(pod.read("as.json") or "") == told
    assert yaml.safe_load(pod.read("as.yaml") or "") == told
    assert "host=db.example" in (pod.read("as.properties") or "").splitlines()
    assert (pod.read("as.dotenv") or "").splitlines() == ['username="shop"', 'host="db.example"']
    assert f"password='{ODD}'" in (pod.read("as.shell") or "").splitlines()
    quoted = "p%40ss%3Aw%2F%C3%B6%20%22rd%22%20%24HOME%20%231"
    assert (pod.read("by.url") or "").strip() == f"postgresql://shop:{quoted}@db.example:5432/shop"
    assert (pod.read("by.pgpass") or "").startswith("db.example:5432:shop:shop:p@ss\\:w/ö")
    assert (pod.read("by.jdbc-url") or "").startswith("jdbc:postgresql://db.example:5432/shop")
    assert (pod.read("by.my.cnf") or "").startswith("[client]")


def test_a_spec_that_asks_for_files_changes_the_secret_and_back(tenant: Tenant) -> None:
    tenant.put("db", password="p", user="u")
    tenant.want("db")
    tenant.wait("db", "Synced")
    assert tenant.data("db") == {"password": "p", "user": "u"}
    tenant.want("db", files=[{"key": "both", "template": "${user}:${password}"}], keepKeys=True)
    tenant.wait("db", "Synced")
    assert tenant.data("db") == {"password": "p", "user": "u", "both": "u:p"}
    tenant.want("db", files=[{"key": "both", "template": "${user}:${password}"}])
    tenant.wait("db", "Synced")
    assert tenant.data("db") == {"both": "u:p"}
    # A template that is none leaves what is delivered.
    tenant.want("db", files=[{"key": "both", "template": "${user"}])
    tenant.wait("db", "TemplateInvalid")
    assert tenant.data("db") == {"both": "u:p"}
    tenant.want("db")
    tenant.wait("db", "Synced")
    assert tenant.data("db") == {"password": "p", "user": "u"}


def test_every_type_of_secret_is_made_and_its_keys_are_asked_for(tenant: Tenant) -> None:
    """The API server is the judge: it refuses a Secret of a type without the keys of the type."""
    types = {
        "TLS": ("kubernetes.io/tls", {"tls.crt": "C", "tls.key": "K"}),
        "BasicAuth": ("kubernetes.io/basic-auth", {"password": "P"}),
        "SSHAuth": ("kubernetes.io/ssh-auth", {"ssh-privatekey": "S"}),
        "DockerConfigJson": ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": '{"auths": {}}'}),
    }
    for wanted, (kubernetes, entry) in types.items():
        name = wanted.lower()
        tenant.put(name, odd="x")
        tenant.want(name, type=wanted)
        told = tenant.wait(name, "ShapeInvalid")
        assert told["message"].startswith(f"spec.type {wanted} needs the key ")
        assert tenant.secret(name) is None
        tenant.put(name, **entry)
        tenant.wait(name, "Synced")
        found = tenant.secret(name)
        assert found is not None
        assert (found["type"], tenant.data(name)) == (kubernetes, entry)


def test_an_entry_of_another_shape_is_not_delivered_and_the_last_good_one_stays(tenant: Tenant) -> None:
    good = {"host": "db", "port": 5432, "username": "u", "password": "p"}
    tenant.put("db", **good)
    source = {"name": "main", "kv": {"path": f"{tenant.namespace}/db"}, "shape": "Database"}
    tenant.want("db", source)
    tenant.wait("db", "Synced")
    tenant.put("db", **{**good, "port": "canary-port", "password": "canary-new"})
    told = tenant.wait("db", "ShapeInvalid")
    assert "spec.sources[main].shape is Database" in told["message"]
    assert "port" in told["message"]
    assert "canary" not in told["message"]
    assert tenant.data("db")["password"] == "p"
    tenant.put("db", **good, database="shop")
    tenant.wait("db", "Synced")
    assert tenant.data("db")["database"] == "shop"
