"""One listing instead of a look at each entry, where OpenBao's policy allows it; it finds changes and deletions."""

import time
from collections.abc import Callable

import pytest

from tests.e2e.support.audit import Tail
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

ENTRIES = 12


def test_a_folder_is_listed_for_all_that_are_followed(
    cluster: Cluster, operator: Operator, new_tenant: Callable[[], Tenant], figure: list[str]
) -> None:
    assert cluster.lab is not None
    tenant = new_tenant()
    folder = f"{tenant.namespace}/listed"
    policy = "\n".join(
        f'path "secret/{what}" {{ capabilities = ["{may}"] }}'
        for what, may in (
            (f"data/{folder}/*", "read"),
            (f"metadata/{folder}/*", "read"),
            (f"detailed-metadata/{folder}/", "list"),
        )
    )
    role = f"lists-{tenant.namespace}"
    cluster.bao("policy", "write", role, "-", given=policy)
    cluster.bao(
        *("write", f"auth/kubernetes/role/{role}", "audience=elile", f"token_policies={role}", "token_ttl=20m"),
        *("bound_service_account_names=*", f"bound_service_account_namespaces={tenant.namespace}"),
    )
    for number in range(ENTRIES):
        cluster.put(f"{folder}/e{number}", value=f"{number}")
        source = {"name": "main", "kv": {"path": f"{folder}/e{number}"}}
        tenant.want(f"e{number}", source, vault={"role": role}, refresh={"interval": "2s"})
    for number in range(ENTRIES):
        tenant.wait(f"e{number}", "Synced")

    def asked(tail: Tail) -> tuple[int, int]:
        paths = [r["request"]["path"] for r in tail.records() if r["type"] == "response"]
        listed = sum(path == f"secret/detailed-metadata/{folder}/" for path in paths)
        return listed, sum(path.startswith(f"secret/metadata/{folder}/") for path in paths)

    def quiet() -> tuple[int, int] | None:
        tail = Tail.of(cluster.lab.bao_audit_log)  # type: ignore[union-attr] # looked at above
        time.sleep(6)
        listed, looked = asked(tail)
        return (listed, looked) if listed and not looked else None

    listed, _ = eventually("there are listings, and no looks at single entries", quiet, within=30)
    assert listed <= 8, "two in an interval of two seconds, at most"
    figure.append(f"{ENTRIES} entries of a folder at 2 s: {listed} listings and 0 metadata reads in 6 s")

    cluster.put(f"{folder}/e3", value="changed")
    eventually("the change is delivered", lambda: tenant.data("e3") == {"value": "changed"})
    cluster.bao("kv", "delete", "-mount=secret", f"{folder}/e4")
    tenant.wait("e4", "VersionDeleted")
    assert tenant.data("e4") == {"value": "4"}
