"""A limit that is too low for the polls is said on the VaultServer, by how much, with the figure that would do."""

from typing import Any

import pytest

from tests.e2e.support.cluster import eventually
from tests.e2e.support.fixtures import server_manifest
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

OBJECTS = 12
# It takes two looks at the server, which are half a minute apart, or less.
SAID_WITHIN = 150.0


def test_a_rate_that_is_too_low_for_the_polls_is_named(tenant: Tenant) -> None:
    name = f"tight-{tenant.namespace}"
    body = server_manifest(tenant.cluster, name)
    body["spec"] = {**body["spec"], "limits": {"requestsPerSecond": 2}}  # type: ignore[dict-item] # a manifest
    tenant.cluster.apply(body)
    for i in range(OBJECTS):
        tenant.put(f"db-{i}", password="p")
        tenant.want(f"db-{i}", vault={"server": name})

    def condition(of: str) -> dict[str, Any]:
        found = tenant.cluster.get("vaultserver", of).get("status", {}).get("conditions", [])
        return next((c for c in found if c["type"] == "PollDelayed"), {})

    try:
        for i in range(OBJECTS):
            tenant.wait(f"db-{i}", "Synced")
        found = eventually(
            "it is said",
            lambda: found if (found := condition(name)).get("status") == "True" else None,
            within=SAID_WITHIN,
        )
        assert found["reason"] == "PollDelayed"
        assert "polls that should come every 1 s come up to" in found["message"]
        assert "raise spec.limits.requestsPerSecond from 2 to 15, or poll every" in found["message"]
        assert condition("default").get("status") != "True", "the others are on time"
    finally:
        tenant.cluster.kubectl("delete", "vaultserver", name)
