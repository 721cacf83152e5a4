"""The process itself: told to stop in the middle of a burst, its token replaced under it."""

import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.support.cluster import eventually
from tests.e2e.support.operator import Operator, running
from tests.fault.support.bao import Bao
from tests.fault.support.world import AGENT, SYSTEM, World, world

SOON = 5.0
BURST = 500
EXIT_WITHIN = 25.0  # of the 30 s that kubelet gives; five times the five that running work has
# Kopf needs five seconds to end a process that it does not trust any more.
KOPF_ENDS = 7.0


def test_sigterm_in_a_burst(w: World, figure: list[str]) -> None:
    """500 new objects, SIGTERM at about a fifth of them; then a restart."""
    team = w.namespace()
    names = [f"s-{i}" for i in range(BURST)]
    with w.operator() as operator:
        w.want(team, *names)
        eventually("a fifth is written", lambda: len(w.fake.list("secrets", team)) >= BURST // 5, every=0.01)
        began = time.monotonic()
        operator.process.send_signal(signal.SIGTERM)
        code = operator.process.wait(3 * EXIT_WITHIN)
        took = time.monotonic() - began
        done = len(w.fake.list("secrets", team))
        operator.start()
        operator.wait_ready()
        converged = w.settle(60)
    figure.append(
        f"SIGTERM in a burst of {BURST}: exit {code} after {took:.1f} s with {done} Secrets, "
        f"all {BURST} delivered {converged:.1f} s after the next was ready"
    )
    assert code == 0
    assert took < EXIT_WITHIN
    assert done < BURST, "the burst was over before the signal"
    assert w.secret_writes() == {(team, name): 1 for name in names}
    assert w.needless_writes() == []


def test_kill_in_a_burst(w: World) -> None:
    """The same without a goodbye: what was written and not told is found again, and not written again."""
    team = w.namespace()
    names = [f"s-{i}" for i in range(BURST // 2)]
    with w.operator() as operator:
        w.want(team, *names)
        eventually("some are written", lambda: len(w.fake.list("secrets", team)) >= BURST // 10, every=0.01)
        operator.process.kill()
        operator.process.wait()
        operator.start()
        operator.wait_ready()
        w.settle(60)
    assert w.secret_writes() == {(team, name): 1 for name in names}
    assert w.needless_writes() == []


@pytest.fixture
def in_pod(bao: Bao, tmp_path: Path) -> Iterator["InPod"]:
    """A cluster with TLS that knows one token, and the files that kubelet would mount."""
    with world(bao, tmp_path, tls=bao.authority.server_context()) as made:
        made.fake.create({"kind": "ServiceAccount", "metadata": {"name": AGENT, "namespace": SYSTEM}})
        pod = InPod(made, tmp_path / "mounted")
        pod.folder.mkdir()
        (pod.folder / "ca.crt").write_text(bao.authority.pem)
        (pod.folder / "namespace").write_text(SYSTEM)
        pod.accept(pod.mount())
        yield pod


class InPod:
    """A pod's mount of its ServiceAccount."""

    def __init__(self, w: World, folder: Path) -> None:
        self.w = w
        self.folder = folder

    def mount(self) -> str:
        """Replace the token file, at once as kubelet does."""
        token = self.w.fake.token(SYSTEM, AGENT)
        fresh = self.folder / "token.new"
        fresh.write_text(token)
        fresh.rename(self.folder / "token")
        return token

    def accept(self, *tokens: str) -> None:
        self.w.fake.chaos.tokens = frozenset(tokens)

    def run(self, log: Path) -> AbstractContextManager[Operator]:
        server = urlsplit(self.w.fake.url)
        env = {"KUBERNETES_SERVICE_HOST": server.hostname or "", "KUBERNETES_SERVICE_PORT": str(server.port)}
        return running(log, "--service-account-folder", str(self.folder), env=env)


def refused(w: World) -> int:
    return len(w.fake.requests.where(status=401))


def test_a_rotated_token(in_pod: InPod, tmp_path: Path, figure: list[str]) -> None:
    """The old one is refused from the moment the new one is there, again and again."""
    w = in_pod.w
    team = w.namespace()
    w.want(team, *(f"s-{i}" for i in range(5)))
    with in_pod.run(tmp_path / "log") as operator:
        w.settle(5 * SOON)
        counts = []
        for turn in range(3):
            before = refused(w)
            in_pod.accept(in_pod.mount())
            w.fake.kick_streams()
            w.put(team, *(f"s-{i}" for i in range(5)), value=f"turn-{turn}")
            w.want(team, f"new-{turn}")
            w.settle(5 * SOON)
            counts.append(refused(w) - before)
        assert operator.process.poll() is None
    figure.append(f"token rotated 3 times, the old one refused at once: {counts} answers 401")
    assert max(counts) < 30, "no storm"
    assert w.needless_writes() == []


def test_a_token_refused_before_the_next_is_there(in_pod: InPod, tmp_path: Path, figure: list[str]) -> None:
    """Three seconds with no valid token at all: the worst that a slow kubelet can do."""
    w = in_pod.w
    team = w.namespace()
    w.want(team, "a")
    with in_pod.run(tmp_path / "log") as operator:
        w.settle(5 * SOON)
        in_pod.accept()
        w.fake.kick_streams()
        w.want(team, "b")
        time.sleep(3)
        seen = refused(w)
        in_pod.accept(in_pod.mount())
        time.sleep(KOPF_ENDS)
        w.settle(6 * SOON, operator)
    figure.append(f"3 s without a valid token: {seen} answers 401, {w.lived_on()}")
    assert seen < 100, "no storm"
    assert w.needless_writes() == []
