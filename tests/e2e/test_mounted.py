"""The mounted backend reads what the real kubelet swaps, while it swaps."""

import base64
import http.client
import json
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from elile.secrets.mounted import MountedBackend, MountedConfig
from tests.e2e.support.cluster import BIN, SOON, Cluster, eventually
from tests.e2e.support.tenant import Pod, Tenant

pytestmark = pytest.mark.lab

SWAPS = 200
PODS = 8  # one Secret: each change of it is a swap in each of them
READERS = 8
# The first poke may come before kubelet's watch has told of the Secret.
AGAIN_AFTER = 0.25


class Api:
    """Patches by way of one `kubectl proxy`: a process for each of a thousand calls would be the load of the test."""

    def __init__(self, port: int, namespace: str) -> None:
        self._port = port
        self._namespace = namespace

    def patch(self, what: str, body: dict[str, Any]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SOON)
        try:
            connection.request(
                "PATCH",
                f"/api/v1/namespaces/{self._namespace}/{what}",
                json.dumps(body),
                {"Content-Type": "application/merge-patch+json"},
            )
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
        finally:
            connection.close()


@pytest.fixture
def tenant(new_tenant: Callable[[], Tenant]) -> Tenant:
    """A namespace; no operator is needed here."""
    return new_tenant()


@pytest.fixture
def api(cluster: Cluster, tenant: Tenant) -> Iterator[Api]:
    command = [str(BIN / "kubectl"), "--kubeconfig", str(cluster.kubeconfig), "proxy", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout is not None
        try:
            port = re.search(r":(\d+)$", proxy.stdout.readline().strip())
            assert port is not None
            yield Api(int(port[1]), tenant.namespace)
        finally:
            proxy.terminate()


def content(n: int) -> dict[str, str]:
    """One set: every value tells which, and one key is only in every second."""
    return {"n": str(n), "user": f"u{n}", "password": f"p{n}", **({"extra": f"x{n}"} if n % 2 else {})}


class Reader:
    """Reads one volume until told to stop, and once more after that.

    One that forgets takes a new snapshot each time, so that a swap often falls into one.
    """

    def __init__(self, volume: Path, done: threading.Event, *, forgets: bool) -> None:
        # Every reader has a backend of its own, as every process has.
        self._backend = MountedBackend(MountedConfig(root=volume.parent))
        self._path = volume.name
        self._done = done
        self._forgets = forgets
        self.reads = 0
        self.seen: list[int] = []

    def run(self) -> None:
        while not self._done.is_set():
            self._read()
            time.sleep(0.001)
        self._read()

    def _read(self) -> None:
        if self._forgets:
            self._backend.close()
        reading = self._backend.read(self._path)
        found = reading.data.reveal()
        n = int(found["n"])
        assert found == content(n)
        assert reading.metadata.source == "mounted"
        self.reads += 1
        if not self.seen or self.seen[-1] != n:
            self.seen.append(n)


def change(api: Api, pods: list[Pod], n: int) -> None:
    """Write the Secret, poke the pods, and return when kubelet has swapped all their volumes."""
    before = {pod: (pod.volume() / "..data").readlink() for pod in pods}
    data: dict[str, str | None] = {k: base64.b64encode(v.encode()).decode() for k, v in content(n).items()}
    api.patch("secrets/shop", {"data": {"extra": None} | data})
    for poke in range(int(SOON / AGAIN_AFTER)):
        waiting = [pod for pod, old in before.items() if (pod.volume() / "..data").readlink() == old]
        if not waiting:
            return
        for pod in waiting:
            annotation = {"metadata": {"annotations": {"elile.io/delivered.shop": f"{n}-{poke}"}}}
            api.patch(f"pods/{pod.name}/status", annotation)
        deadline = time.monotonic() + AGAIN_AFTER
        while time.monotonic() < deadline and any(
            (pod.volume() / "..data").readlink() == before[pod] for pod in waiting
        ):
            time.sleep(0.005)
    raise AssertionError(f"kubelet did not swap: {[pod.name for pod in waiting]}")


def wait_for(readers: list[Reader], running: list[Future[None]], n: int) -> None:
    """Return when every reader has met this set; raise what ended one."""

    def met() -> bool:
        for future in running:
            if future.done():
                future.result()
        return all(reader.seen[-1:] == [n] for reader in readers)

    eventually(f"all readers see {n}", met, every=0.002)


def test_real_swaps_under_eight_readers(tenant: Tenant, api: Api, figure: list[str]) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop", "namespace": tenant.namespace}}
    tenant.cluster.apply({**secret, "stringData": content(0)})
    pods = [tenant.run_pod(f"app-{i}", "shop") for i in range(PODS)]
    swaps: Counter[Path] = Counter()
    done = threading.Event()
    readers = [Reader(pods[i % PODS].volume(), done, forgets=i % 2 == 0) for i in range(READERS)]
    notices = {pod: MountedBackend(MountedConfig(root=pod.volume().parent)) for pod in pods}

    began = time.monotonic()
    with ThreadPoolExecutor(READERS) as pool:
        running = [pool.submit(reader.run) for reader in readers]
        try:
            wait_for(readers, running, 0)
            for n in range(1, SWAPS // PODS + 1):
                change(api, pods, n)
                for pod, backend in notices.items():
                    assert backend.version("elile") == str((pod.volume() / "..data").readlink())
                    assert backend.read("elile").data.reveal()["n"] == str(n), "a change that was not noticed"
                    swaps[pod.volume()] += 1
                wait_for(readers, running, n)
        finally:
            done.set()
        for future in running:
            future.result()
    took = time.monotonic() - began

    assert sum(swaps.values()) >= SWAPS
    for reader in readers:
        assert reader.seen == list(range(SWAPS // PODS + 1))
    reads = sum(reader.reads for reader in readers)
    figure.append(f"{sum(swaps.values())} swaps by kubelet, 8 readers: {reads} reads, 0 mixed, {took:.0f} s")
