"""The network between the operator and what it needs is cut: nothing is undone, and all is current once it is whole."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.chaos.support.clients import Api, Bao, decoded, elilesecrets, secrets
from tests.chaos.support.cut import cut
from tests.chaos.support.expect import differences
from tests.chaos.support.parts import Parts, parts
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

OBJECTS = 10
# A call that vanished is given up after 10 s; then, or when the Lease has run out, a new leader reads everything.
RECOVER_WITHIN = 150.0


@pytest.fixture
def hit(cluster: Cluster, no_operator: None) -> Iterator[Parts]:
    with parts(cluster) as made:
        yield made


@pytest.mark.parametrize(
    ("what", "seconds"),
    [
        ("openbao", 8),
        ("apiserver", 25),
        pytest.param("openbao", 60, marks=pytest.mark.chaos),
        pytest.param("apiserver", 60, marks=pytest.mark.chaos),
    ],
)
def test_a_cut_is_survived(
    hit: Parts, new_tenant: Callable[[], Tenant], what: str, seconds: int, figure: list[str]
) -> None:
    lab, tenant = hit.lab, new_tenant()
    api, bao = Api(lab, 10), Bao(lab, lab.bao_pod_address)  # by the bridge, which is not cut
    names = [f"o-{i}" for i in range(OBJECTS)]
    for name in names:
        bao.put(f"{tenant.namespace}/{name}", {"value": "1"})
        api.apply(elilesecrets(tenant.namespace, name), tenant.manifest(name))

    def right() -> bool:
        return not differences(api, bao, [tenant.namespace])

    eventually("all is delivered", right)
    with cut(lab, lab.layout.port(what)):
        for name in names:
            bao.put(f"{tenant.namespace}/{name}", {"value": "2"})
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            bodies = api.list(elilesecrets(tenant.namespace))
            ready = [c["status"] for b in bodies for c in b["status"]["conditions"] if c["type"] == "Ready"]
            assert ready == ["True"] * OBJECTS
            time.sleep(0.5)
        assert decoded(api.get(secrets(tenant.namespace, names[0])) or {}) == {"value": "1"}
    began = time.monotonic()
    eventually("all is current", right, within=RECOVER_WITHIN, every=0.05)
    figure.append(
        f"cut between operator and {what} for {seconds} s: all current after {time.monotonic() - began:.2f} s; "
        f"operators ended: {dict(hit.replicas.exits) or 'none'}"
    )
    assert hit.replicas.unexplained == []
