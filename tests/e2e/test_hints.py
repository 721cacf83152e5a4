"""A write in OpenBao is in the pod's file within a second, at rest with a thousand objects and a poll of a minute."""

import http.client
import random
import statistics
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from elile_operator.decide.hints import MAX_HINTS, Batch, Hint, encode
from lab import rest
from tests.e2e.support.audit import Tail, bao_requests
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.fixtures import SYSTEM, server_manifest
from tests.e2e.support.fleet import POLL, Fleet
from tests.e2e.support.hints import HintSite, forwarding, metric
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant
from tests.support.proc import cpu_seconds, rss_mib

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("no_operator")]

OBJECTS = 1_000
WRITES = 100
MOUNTED = 20
# Five times what is promised of the slowest of a hundred.
WITHIN = 5.0
SPARE = -2  # of the lab's ports
FLOOD, SENDERS = 100_000, 4


@pytest.fixture(scope="module")
def site(cluster: Cluster, installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HintSite]:
    """A VaultServer with a poll of a minute and what its forwarder needs."""
    assert cluster.lab is not None
    name = "hinted"
    body = server_manifest(cluster, name)
    body["spec"] = {**body["spec"], "poll": {"interval": f"{POLL:.0f}s"}}  # type: ignore[dict-item] # a mapping
    cluster.apply(body)
    yield HintSite.make(cluster, tmp_path_factory.mktemp("hints"), name, cluster.lab.spare_ports[SPARE])
    cluster.kubectl("delete", "vaultserver", name)


@pytest.fixture(scope="module")
def fleet(site: HintSite) -> Iterator[Fleet]:
    """A thousand objects, which stay for all tests here."""
    namespace = "t-hinted"
    site.cluster.kubectl("create", "namespace", namespace)
    yield Fleet(Tenant(site.cluster, namespace), site, OBJECTS, MOUNTED)
    site.cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def hints_flowing(site: HintSite) -> dict[str, str]:
    """The condition, empty while it is not there."""
    conditions = site.cluster.get("vaultserver", site.server).get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == "HintsFlowing"), {})


def flows(site: HintSite) -> str:
    return hints_flowing(site).get("status", "")


def test_a_hundred_writes_are_in_the_files_within_a_second(
    site: HintSite, fleet: Fleet, tmp_path: Path, figure: list[str]
) -> None:
    with site.operator(tmp_path / "operator.log") as operator, forwarding(site):
        fleet.wait()
        eventually("hints flow", lambda: flows(site) == "True")
        time.sleep(2)
        took = []
        for n in range(1, WRITES + 1):
            time.sleep(random.random() / 5)  # noqa: S311 - a phase, not a secret
            i = n % MOUNTED
            fleet.put(i, str(n))
            began = time.monotonic()
            eventually(f"write {n}", lambda i=i, n=n: fleet.file(i) == str(n), within=WITHIN, every=0.005)  # type: ignore[misc] # bound in the loop
            took.append(time.monotonic() - began)
        wanted = metric(operator, "elile_hints_received_total", server=site.server, wanted="yes")
    ordered = sorted(took)
    spread = f"p50 {statistics.median(took):.3f} s, p95 {ordered[94]:.3f} s, p99 {ordered[98]:.3f} s"
    figure.append(f"{WRITES} writes, {OBJECTS} objects at rest, poll {POLL:.0f} s: file after {spread}")
    assert wanted >= WRITES


def test_none_is_missed_when_forwarder_and_operator_are_killed(
    site: HintSite, fleet: Fleet, tmp_path: Path, figure: list[str]
) -> None:
    with site.operator(tmp_path / "operator.log") as operator, forwarding(site) as forwarder:
        fleet.wait()
        eventually("hints flow", lambda: flows(site) == "True")
        for n in range(1, WRITES + 1):
            if n == WRITES // 4:
                forwarder.kill()
            if n == WRITES // 2:
                forwarder.start()
                operator.process.kill()
                operator.process.wait()
                operator.start()
            fleet.put(n % MOUNTED, str(n))
            time.sleep(0.1)
        began = time.monotonic()
        eventually("all have arrived", fleet.all_arrived, within=POLL + 5 * WITHIN, every=0.1)
        late = time.monotonic() - began
        eventually("hints flow again", lambda: flows(site) == "True", within=60)
    figure.append(
        f"{WRITES} writes, forwarder and operator killed once each: all in the files {late:.1f} s after the last"
    )


def test_without_a_forwarder_the_poll_finds_it_and_the_server_says_so(
    site: HintSite, new_tenant: Any, tmp_path: Path
) -> None:
    fleet = Fleet(new_tenant(), site, 4, 4)
    with site.operator(tmp_path / "operator.log"), forwarding(site) as forwarder:
        fleet.wait()
        eventually("hints flow", lambda: flows(site) == "True")
        forwarder.kill()
        fleet.put(0, "later")
        eventually("the poll finds it", lambda: fleet.file(0) == "later", within=2 * POLL)
        eventually("nobody speaks", lambda: flows(site) == "False", within=90)
        told = next(
            c
            for c in site.cluster.get("vaultserver", site.server)["status"]["conditions"]
            if c["type"] == "HintsFlowing"
        )
        assert told["reason"] == "HintsSilent"
        assert "elile hints forward" in told["message"]


def test_a_standby_refuses_and_the_leader_is_found(site: HintSite, new_tenant: Any, tmp_path: Path) -> None:
    """Two operators on two addresses of one name, as replicas behind a Service without an address of its own."""
    assert site.cluster.lab is not None
    fleet = Fleet(new_tenant(), site, 4, 4)
    arguments = ("--kubeconfig", str(site.cluster.kubeconfig), "--namespace", SYSTEM)
    with site.operator(tmp_path / "leader.log") as leader:
        other = HintSite(site.cluster, site.folder, site.cluster.lab.spare_ports[SPARE - 1], site.server, site.token)
        standby = Operator(tmp_path / "standby.log", *arguments, *other.operator_arguments())
        try:
            eventually("it is ready", lambda: standby.probe("/readyz")[0] == 200)
            with forwarding(other) as forwarder:  # told of the standby alone
                eventually(
                    "it is refused", lambda: metric(standby, "elile_hint_requests_total", code="421") > 0, within=30
                )
                fleet.wait()
                leader.process.kill()
                leader.process.wait()
                eventually("the standby leads and takes them", lambda: flows(site) == "True", within=120)
                fleet.put(1, "after")
                eventually("it arrives", lambda: fleet.file(1) == "after", within=WITHIN)
                assert forwarder.process.poll() is None
        finally:
            standby.stop()


def test_a_flood_is_bounded_and_a_real_change_arrives(
    site: HintSite, new_tenant: Any, tmp_path: Path, figure: list[str]
) -> None:
    """A hundred thousand hints in ten seconds, by who has the token: random, forged of what is read, and repeated."""
    fleet = Fleet(new_tenant(), site, 200, 8)
    with site.operator(tmp_path / "operator.log") as operator, forwarding(site):
        fleet.wait()
        eventually("hints flow", lambda: flows(site) == "True")
        time.sleep(3)
        assert site.cluster.lab is not None
        audit, cpu, rss = Tail.of(site.cluster.lab.bao_audit_log), cpu_seconds(operator.pid), rss_mib(operator.pid)
        flood = Flood(site, fleet.tenant.namespace, 200)
        took = []
        for n in range(1, 6):
            time.sleep(1.5)
            fleet.put(n, f"real-{n}")
            began = time.monotonic()
            eventually("the real one", lambda n=n: fleet.file(n) == f"real-{n}", within=5 * WITHIN, every=0.01)  # type: ignore[misc]
            took.append(time.monotonic() - began)
        seconds = flood.wait()
        asked = len(bao_requests(audit))
        cpu, grown = cpu_seconds(operator.pid) - cpu, rss_mib(operator.pid) - rss
        assert operator.process.poll() is None
    cost = f"{cpu:.1f} s of CPU, {asked} Vault requests, {grown:.0f} MiB more"
    figure.append(f"flood of {FLOOD} hints in {seconds:.0f} s, requests answered {dict(flood.codes)}: {cost}")
    figure.append(f"  real changes meanwhile: in the files after {max(took):.2f} s at most")
    assert sum(flood.codes.values()) == FLOOD // MAX_HINTS
    assert set(flood.codes) == {204, 429}
    assert asked < 3_000
    assert grown < 60
    assert cpu < seconds


class Flood:
    """Four senders of together FLOOD hints in ten seconds, a third each of random, forged and repeated ones."""

    def __init__(self, site: HintSite, namespace: str, objects: int, seconds: float = 10.0) -> None:
        self._site = site
        self._pause = seconds / (FLOOD / MAX_HINTS) * SENDERS
        forged = [Hint("", "secret", f"data/{namespace}/s-{i}", 1_000_000 + i) for i in range(objects)]
        self._bodies = [
            encode(Batch([Hint("", "secret", f"data/{uuid.uuid4()}", 1) for _ in range(MAX_HINTS)])),
            encode(Batch((forged * (MAX_HINTS // objects))[:MAX_HINTS])),
            encode(Batch([forged[0]] * MAX_HINTS, gap=True)),
        ]
        self.codes: Counter[int] = Counter()
        self._began = time.monotonic()
        self._threads = [threading.Thread(target=self._send) for _ in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def wait(self) -> float:
        """Return how many seconds it took, when it is over."""
        for thread in self._threads:
            thread.join()
        return time.monotonic() - self._began

    def _send(self) -> None:
        parts = urlsplit(self._site.address)
        trust = rest.tls(self._site.cluster.bao_ca_file)
        headers = {"Authorization": f"Bearer {self._site.token}"}
        for n in range(FLOOD // MAX_HINTS // SENDERS):
            # A connection of its own each time: none is known long enough to be trusted with more.
            connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=10, context=trust)
            connection.request("POST", f"/v1/hints/{self._site.server}", self._bodies[n % len(self._bodies)], headers)
            self.codes[connection.getresponse().status] += 1
            connection.close()
            time.sleep(max(0.0, self._began + (n + 1) * self._pause - time.monotonic()))
