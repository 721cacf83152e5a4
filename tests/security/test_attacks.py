"""One tenant tries to get at another's secret, through every field that names something: all refused, with a reason."""

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.support.cluster import Cluster, CommandError, eventually
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

VALUE = "the-victims-own-value"
REFUSED = "refused when it is applied"


def spec(**source: Any) -> dict[str, Any]:
    return {"sources": [{"name": "s", **source}]}


def kv(**entry: Any) -> dict[str, Any]:
    return spec(kv=entry)


# What the attacker may read, beside something that it may not ask for.
OWN = kv(path="OWN/db")
VICTIMS = kv(path="VICTIM/db")
NOT_OF_AN_ENGINE = "what is under sys, auth, identity"
NAME_OF_AN_OBJECT = "as the name of an object"
RESERVED = "must not hold app.kubernetes.io/managed-by nor names under kubernetes.io"

# What is asked for, the reason that it ends with, and what the API server says where that is REFUSED.
ATTACKS: dict[str, tuple[dict[str, Any], str, str]] = {
    "kv path": (VICTIMS, "PermissionDenied", ""),
    "kv path, pinned": (kv(path="VICTIM/db", version=1), "PermissionDenied", ""),
    "kv path as version 1": (kv(path="data/VICTIM/db", engine="v1"), "PermissionDenied", ""),
    "kv mount and path in one": (kv(mount="secret/data/VICTIM", path="db", engine="v1"), "PermissionDenied", ""),
    "kv mount that ends in a folder": (kv(mount="secret/VICTIM", path="db"), "PermissionDenied", ""),
    "kv dots": (kv(path="OWN/../VICTIM/db"), REFUSED, "segments '.' or '..'"),
    "kv encoded dots": (kv(path="OWN/%2e%2e/VICTIM/db"), REFUSED, "must not hold % * ?"),
    "kv empty segment": (kv(path="/VICTIM/db"), REFUSED, "must not begin or end with a slash"),
    "kv query": (kv(path="OWN/db?x=/VICTIM/db"), REFUSED, "must not hold % * ?"),
    "kv line break": (kv(path="OWN/db\nVICTIM/db"), REFUSED, "invisible characters"),
    "kv placeholder": (kv(path="${namespace}/db"), REFUSED, "must not hold ${ here"),
    "mount with dots": (kv(mount="secret/../secret/data/VICTIM", path="db"), REFUSED, "segments '.' or '..'"),
    "read of the entry": (spec(read={"path": "secret/data/VICTIM/db"}), "PermissionDenied", ""),
    "read of the token": (spec(read={"path": "auth/token/lookup-self"}), REFUSED, NOT_OF_AN_ENGINE),
    "lease of the entry": (spec(lease={"path": "secret/data/VICTIM/db"}), "PermissionDenied", ""),
    "lease that mints a token": (
        spec(lease={"path": "auth/token/create", "method": "POST"}),
        REFUSED,
        NOT_OF_AN_ENGINE,
    ),
    "generate over the entry": (
        spec(generate={"kv": {"path": "VICTIM/db"}, "keys": {"password": {"hex": {}}}}),
        "PermissionDenied",
        "",
    ),
    "certificate of a mount that is a path": (
        spec(pki={"mount": "secret/data/VICTIM", "role": "db", "commonName": "c"}),
        "PermissionDenied",
        "",
    ),
    "the victim's account": ({**VICTIMS, "vault": {"serviceAccountName": "victim"}}, "ServiceAccountNotFound", ""),
    "an account elsewhere": (
        {**VICTIMS, "vault": {"serviceAccountName": "VICTIM/victim"}},
        REFUSED,
        NAME_OF_AN_OBJECT,
    ),
    "the victim's role": ({**VICTIMS, "vault": {"role": "only-VICTIM"}}, "LoginDenied", ""),
    "a role that is a path": ({**VICTIMS, "vault": {"role": "../VICTIM"}}, REFUSED, "the name of a role"),
    "the victim's server": ({**VICTIMS, "vault": {"server": "only-VICTIM"}}, "NamespaceNotAllowed", ""),
    "a Secret elsewhere": ({**OWN, "delivery": {"secret": {"name": "VICTIM/db"}}}, REFUSED, NAME_OF_AN_OBJECT),
    "a Secret of somebody else": ({**OWN, "delivery": {"secret": {"name": "foreign"}}}, "SecretNotOwned", ""),
    "a Secret that the token controller fills": (
        {**OWN, "delivery": {"secret": {"annotations": {"kubernetes.io/service-account.name": "default"}}}},
        REFUSED,
        RESERVED,
    ),
    "a Secret of its type": ({**OWN, "type": "kubernetes.io/service-account-token"}, REFUSED, "Unsupported value"),
    "a Secret that names another owner": (
        {**OWN, "delivery": {"secret": {"labels": {"elile.io/secret": "db"}}}},
        REFUSED,
        RESERVED,
    ),
    "a file outside of the volume": (
        {**OWN, "files": [{"key": "../../etc/passwd", "template": "x"}]},
        REFUSED,
        "as a key of a Secret",
    ),
    "a template that computes": (
        {**OWN, "files": [{"key": "f", "template": "${password.__class__.__mro__}"}]},
        "KeyNotFound",
        "",
    ),
}


def test_no_field_leads_to_another_tenant(
    cluster: Cluster, operator: Operator, new_tenant: Callable[[], Tenant], figure: list[str]
) -> None:
    victim, attacker = new_tenant(), new_tenant()
    victim.put("db", password=VALUE)
    attacker.put("db", password="mine")
    cluster.kubectl("-n", victim.namespace, "create", "serviceaccount", "victim")
    cluster.bao(
        *("write", f"auth/kubernetes/role/only-{victim.namespace}", "audience=elile", "token_policies=elile"),
        *("bound_service_account_names=*", f"bound_service_account_namespaces={victim.namespace}"),
    )
    server = cluster.get("vaultserver", "default")["spec"]
    only = {**server, "allowedNamespaces": {"names": [victim.namespace]}}
    kind = {"apiVersion": "elile.io/v1alpha1", "kind": "VaultServer"}
    cluster.apply({**kind, "metadata": {"name": f"only-{victim.namespace}"}, "spec": only})
    foreign = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "foreign", "namespace": attacker.namespace}}
    cluster.apply({**foreign, "stringData": {"theirs": "x"}})
    try:
        assert len(ATTACKS) >= 25
        applied: dict[str, str] = {}
        names = {"VICTIM": victim.namespace, "OWN": attacker.namespace}
        for number, (asked, reason, says) in enumerate(ATTACKS.values()):
            text = json.dumps(attacker.manifest(f"a{number}") | {"spec": asked})
            body = json.loads(re.sub("|".join(names), lambda found: names[found[0]], text))
            if reason == REFUSED:
                with pytest.raises(CommandError, match=re.escape(says)):
                    cluster.apply(body)
            else:
                cluster.apply(body)
                applied[body["metadata"]["name"]] = reason
        for name, reason in applied.items():
            attacker.wait(name, reason)
        figure.append(f"attacks on another tenant: {len(ATTACKS)} tried, {len(ATTACKS)} refused")
        text = cluster.kubectl("-n", attacker.namespace, "get", "secrets,elilesecrets,events", "-o", "json")
        assert VALUE not in text
        assert base64.b64encode(VALUE.encode()).decode() not in text
        entry = json.loads(cluster.bao("kv", "get", "-format=json", "-mount=secret", f"{victim.namespace}/db"))
        assert entry["data"]["data"] == {"password": VALUE}, "and nothing was written there"
        assert cluster.get("secret", "foreign", attacker.namespace)["data"] == {
            "theirs": base64.b64encode(b"x").decode()
        }
    finally:
        cluster.kubectl("delete", "vaultserver", f"only-{victim.namespace}")


def test_a_secret_that_became_one_of_the_token_controllers_is_never_written(operator: Operator, tenant: Tenant) -> None:
    """Somebody makes the Secret first, as one that the token controller fills: it is not ours, and stays as it is."""
    token = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "db",
            "namespace": tenant.namespace,
            "annotations": {"kubernetes.io/service-account.name": "default", "elile.io/adopt": "db"},
            "labels": {"app.kubernetes.io/managed-by": "elile", "elile.io/secret": "db"},
        },
        "type": "kubernetes.io/service-account-token",
    }
    tenant.cluster.apply(token)
    eventually("the token controller filled it", lambda: "token" in tenant.data("db"))
    before = tenant.data("db")
    tenant.put("db", password="p")
    tenant.want("db")
    eventually(
        "it is refused",
        lambda: tenant.condition("db").get("reason") in ("SecretNotOwned", "SecretConflict"),
    )
    assert tenant.data("db") == before
