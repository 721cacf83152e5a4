"""The composition root: what it waits for, what it gives up on, and that all its parts start and stop."""

import asyncio
import json
import logging
import os
import signal
import socket
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from elile.secrets.redact import SecretStr
from elile_operator import app, shell
from elile_operator.app import parts, process, start
from elile_operator.app.start import StartError, credentials, in_own_namespace, own_namespace, wait_for_kinds
from elile_operator.delivery.fingerprint_key import KEY_SECRET, FingerprintKeyError
from elile_operator.kube.client import Json
from elile_operator.kube.credentials import CredentialsError, KubeconfigCredentials, ServiceAccountCredentials
from elile_operator.kube.errors import KubeForbiddenError, KubeNotFoundError, KubeUnavailableError
from elile_operator.kube.lease import LEASE_NAME
from elile_operator.kube.resources import ELILE_SECRETS, LEASES, SECRETS, VAULT_SERVERS
from elile_operator.obs.health import Health
from elile_operator.settings import Settings
from elile_operator.sources import servers as servers_module
from tests.fakes.api import MemoryKube, elile_secret, secret, vault_server
from tests.fakes.clock import FakeClock
from tests.fakes.vault import FakeLink, FakeVault

KINDS = ("vaultservers", "elilesecrets", "rotationschedules", "rotations")
SERVED = {"resources": [{"name": kind} for kind in (*KINDS, "elilesecrets/status")]}
OWN_KINDS = ("VaultServer", "ElileSecret", "RotationSchedule", "Rotation")
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
clusters: [{name: here, cluster: {server: "https://192.0.2.1:6443"}}]
users: [{name: me, user: {token: t}}]
contexts: [{name: here, context: {cluster: here, user: me}}]
"""
AWAY = KubeUnavailableError("GET /apis/elile.io/v1alpha1")


def settings(*arguments: str) -> Settings:
    return Settings(_cli_parse_args=["--probe-port", "0", *arguments])


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Retries come at once, and this machine's own kubeconfig is out of sight."""
    monkeypatch.setattr(start, "START_RETRY", 0.0)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))


# ── credentials and namespace ────────────────────────────────────────────────────────────────────────────────────────


def test_a_kubeconfig_that_is_named_counts_before_the_pods_own(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    found = credentials(settings("--kubeconfig", "named", "--service-account-folder", str(tmp_path), "--context", "c"))
    assert isinstance(found, KubeconfigCredentials)
    assert (found._path, found._context) == (Path("named"), "c")


def test_in_a_pod_its_own_account_counts(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    assert isinstance(credentials(settings("--service-account-folder", str(tmp_path))), ServiceAccountCredentials)


@pytest.mark.parametrize("variable", [True, False])
def test_outside_a_pod_it_is_what_kubectl_would_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: bool
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if variable:
        monkeypatch.setenv("KUBECONFIG", "elsewhere")
    else:
        monkeypatch.delenv("KUBECONFIG")
    found = credentials(settings("--service-account-folder", str(tmp_path)))
    assert isinstance(found, KubeconfigCredentials)
    assert found._path == (Path("elsewhere") if variable else tmp_path / ".kube" / "config")


@pytest.mark.parametrize(
    ("arguments", "mounted", "namespace"),
    [
        pytest.param(["--namespace", "named"], "pods", "named", id="named"),
        pytest.param([], "pods\n", "pods", id="the pod's"),
        pytest.param([], "", "elile-system", id="empty"),
        pytest.param([], None, "elile-system", id="neither"),
    ],
)
def test_the_own_namespace(tmp_path: Path, arguments: list[str], mounted: str | None, namespace: str) -> None:
    if mounted is not None:
        (tmp_path / "namespace").write_text(mounted)
    assert own_namespace(settings("--service-account-folder", str(tmp_path), *arguments)) == namespace


# ── waiting for the cluster ──────────────────────────────────────────────────────────────────────────────────────────


class Discovery:
    """The part of a KubeClient that tells what is served: each answer once, the last one for ever."""

    def __init__(self, *answers: Json | Exception) -> None:
        self.answers = list(answers)

    async def raw(self, path: str) -> Json:
        assert path == "/apis/elile.io/v1alpha1"
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_it_waits_for_the_kinds_and_says_for_what_once(caplog: pytest.LogCaptureFixture) -> None:
    missing = KubeNotFoundError("GET x", status=404, reason="NotFound")
    half: Json = {"resources": [{"name": "vaultservers"}]}
    await wait_for_kinds(Discovery(AWAY, AWAY, missing, missing, half, half, SERVED))  # type: ignore[arg-type]
    assert [record.getMessage() for record in caplog.records] == [
        "waiting: the API server does not serve us yet (GET /apis/elile.io/v1alpha1: no answer)",
        "waiting: the CRDs of group elile.io are missing: kubectl apply --server-side -f crds/",
        "waiting: the CRDs of elilesecrets, rotations, rotationschedules are missing: "
        "kubectl apply --server-side -f crds/",
    ]


async def test_without_credentials_there_is_nothing_to_wait_for() -> None:
    with pytest.raises(StartError, match=r"^no token$"):
        await wait_for_kinds(Discovery(CredentialsError("no token")))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(
            KubeNotFoundError("POST x", status=404),
            "namespace own does not exist; create it, or name the operator's own with --namespace",
            id="no namespace",
        ),
        pytest.param(
            KubeForbiddenError("POST x", status=403),
            "the operator may not hold the Lease in its own namespace own; apply policies/rbac/",
            id="no rights",
        ),
        pytest.param(FingerprintKeyError("it holds no key"), "it holds no key", id="no key"),
    ],
)
async def test_what_is_wrong_with_the_own_namespace_is_said(error: Exception, text: str) -> None:
    async def call() -> None:
        raise error

    with pytest.raises(StartError) as raised:
        await in_own_namespace("own", "hold the Lease", call)
    assert (str(raised.value), raised.value.__cause__) == (text, None)


async def test_an_api_server_that_is_away_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Exception | None] = [AWAY, AWAY, None]

    async def call() -> str:
        if answer := answers.pop(0):
            raise answer
        return "done"

    assert await in_own_namespace("own", "hold the Lease", call) == "done"
    assert [record.getMessage() for record in caplog.records] == [
        "waiting: the API server is away (GET /apis/elile.io/v1alpha1: no answer)"
    ]


# ── the whole process ────────────────────────────────────────────────────────────────────────────────────────────────


class Cluster(MemoryKube):
    """One API server for all three clients of the process; its watches never tell of anything."""

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.clients = 0
        self.closed_clients = 0

    async def raw(self, path: str) -> Json:
        assert path == "/apis/elile.io/v1alpha1"
        return SERVED

    async def watch(self, *_: Any, **__: Any) -> AsyncIterator[tuple[str, Json]]:
        await asyncio.Event().wait()
        yield "", {}

    async def close(self) -> None:
        self.closed_clients += 1


class Shell:
    """In Kopf's place: runs until told to stop, then stops the parts."""

    def __init__(self) -> None:
        self.running = asyncio.Event()
        self.stopping = asyncio.Event()
        self.watches: list[shell.Watch] = []
        self.seen: Callable[[str, str | None], None] = lambda _kind, _type: None

    async def run(
        self,
        watches: list[shell.Watch],
        *,
        seen: Callable[[str, str | None], None],
        on_stop: Callable[[], Awaitable[None]],
        **_: object,
    ) -> None:
        self.watches, self.seen = watches, seen
        self.running.set()
        await self.stopping.wait()
        await on_stop()

    def tell(self, body: Json, *, gone: bool = False) -> None:
        """What an event of Kopf's does."""
        (watch,) = [w for w in self.watches if w.resource.kind == body["kind"]]
        watch.observe(body, gone)
        self.seen(body["kind"], "DELETED" if gone else "MODIFIED")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    cluster = Cluster()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))

    def client(*_: object, **__: object) -> Cluster:
        cluster.clients += 1
        return cluster

    monkeypatch.setattr(process, "KubeClient", client)
    monkeypatch.setattr(process, "Health", partial(Health, interval=0.01))
    return cluster


@pytest.fixture
def kopf(monkeypatch: pytest.MonkeyPatch) -> Shell:
    kopf = Shell()
    monkeypatch.setattr(shell, "run", kopf.run)
    return kopf


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> FakeVault:
    vault = FakeVault(FakeClock())
    monkeypatch.setattr(servers_module, "Link", lambda server, **_: FakeLink(server, vault))
    return vault


@asynccontextmanager
async def operating(kopf: Shell, *arguments: str) -> AsyncIterator[None]:
    """A process that has begun to watch; it is stopped in the end, whatever a test finds."""
    running = asyncio.create_task(app.run(settings(*arguments)), name="operator")
    began = asyncio.create_task(kopf.running.wait(), name="began")
    try:
        await asyncio.wait([running, began], timeout=5.0, return_when=asyncio.FIRST_COMPLETED)
        assert began.done() or running.done(), "the process neither begins nor ends"
        if began.done():
            yield
    finally:
        began.cancel()
        kopf.stopping.set()
        async with asyncio.timeout(10.0):
            await running


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that takes milliseconds."""
    async with asyncio.timeout(5.0):
        while not condition():  # noqa: ASYNC110 - what is waited for knows nothing of tests
            await asyncio.sleep(0.005)


async def get(caplog: pytest.LogCaptureFixture, path: str) -> tuple[int, str]:
    """Ask the probe server of the process that runs in this test."""
    (port,) = {r.__dict__["fields"]["port"] for r in caplog.records if r.getMessage() == "probes served"}

    def ask() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5.0) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    return await asyncio.to_thread(ask)


def put_token(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """ServiceAccounts get tokens."""

    async def request_token(*_: object, **__: object) -> tuple[Any, Any]:
        return SecretStr("a.b.c"), None

    monkeypatch.setattr(cluster, "request_token", request_token, raising=False)


async def test_a_process_delivers_what_is_there_and_what_comes_and_stops_clean(
    cluster: Cluster,
    kopf: Shell,
    vault: FakeVault,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    put_token(cluster, monkeypatch)
    vault.write("db", password="p1")
    cluster.put(VAULT_SERVERS, vault_server())
    cluster.put(ELILE_SECRETS, elile_secret())
    before = asyncio.all_tasks()
    async with operating(kopf, "--namespace", "own"):
        assert sorted(watch.resource.kind for watch in kopf.watches) == [
            "ElileSecret",
            "Namespace",
            "Pod",
            "RoleBinding",
            "Rotation",
            "RotationSchedule",
            "VaultServer",
        ]
        await until(lambda: cluster.find(SECRETS, "shop", "db"))

        kopf.tell(cluster.put(ELILE_SECRETS, elile_secret("copy", uid="uid-copy")))
        await until(lambda: cluster.find(SECRETS, "shop", "copy"))
        kopf.tell({"kind": "RoleBinding", "metadata": {"namespace": "shop", "name": "elile-deliver"}})

        await asyncio.sleep(0.03)  # until health has ticked again
        status, body = await get(caplog, "/livez")
        assert (status, sorted(json.loads(body)["checks"])) == (
            200,
            sorted(
                [
                    "lease",
                    "loop",
                    *(f"resync-{kind}" for kind in (*OWN_KINDS, "Namespace", "Pod", "Secret")),
                    "watch-Secret",
                    *(f"workers-{kind}" for kind in OWN_KINDS),
                    *(f"workers-{name}" for name in ("login", "poke", "poll", "proof", "restart", "rotation-told")),
                ]
            ),
        )
        _, metrics = await get(caplog, "/metrics")
        assert 'elile_watch_events_total{kind="ElileSecret",type="MODIFIED"} 1.0' in metrics
        lease = cluster.find(LEASES, "own", LEASE_NAME)
        assert lease is not None
        assert lease["spec"]["holderIdentity"].startswith(socket.gethostname()[:200] + "_")

    await until(lambda: asyncio.all_tasks() == before)
    lease = cluster.find(LEASES, "own", LEASE_NAME)
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == "", "the next one need not wait"
    assert vault.live == [], "and its logins are revoked"
    assert cluster.closed_clients == cluster.clients == 3
    assert cluster.find(SECRETS, "own", KEY_SECRET) is not None


async def test_without_leader_election_no_lease_is_held(cluster: Cluster, kopf: Shell) -> None:
    async with operating(kopf, "--leader-election=no"):
        assert cluster.find(LEASES, "elile-system", LEASE_NAME) is None


async def test_a_standby_is_alive_and_ready_and_ends_with_the_signal(
    cluster: Cluster, kopf: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    spec = {"holderIdentity": "other", "renewTime": "2030-01-01T00:00:00.000000Z", "leaseDurationSeconds": 15}
    cluster.put(LEASES, {"kind": "Lease", "metadata": {"namespace": "own", "name": LEASE_NAME}, "spec": spec})
    # Should the process not take the signal over, it must not end this one.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        running = asyncio.create_task(app.run(settings("--namespace", "own")), name="operator")
        await until(lambda: "standby" in [r.getMessage() for r in caplog.records])
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5.0):
            await running
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
    assert not kopf.running.is_set()
    assert caplog.records[-1].getMessage() == "stopped"
    lease = cluster.find(LEASES, "own", LEASE_NAME)
    assert lease is not None
    assert lease["spec"] == spec
    assert cluster.closed_clients == 3


async def test_a_port_that_is_taken_is_named(cluster: Cluster) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartError) as raised:
            await app.run(Settings(_cli_parse_args=["--probe-port", str(port)]))
    assert str(raised.value).startswith(f"cannot serve probes on 127.0.0.1:{port} (")
    assert str(raised.value).endswith("choose another --probe-host or --probe-port")
    assert cluster.closed_clients == 3


async def test_hints_without_a_certificate_end_the_start(cluster: Cluster, kopf: Shell, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"^--hint-port needs --hint-certificate, --hint-key and --hint-tokens"):
        await app.run(settings("--hint-port", "0", "--hint-tokens", str(tmp_path)))
    files = ("--hint-certificate", str(tmp_path / "crt"), "--hint-key", str(tmp_path / "key"))
    with pytest.raises(StartError, match=r"^--hint-certificate .*crt, --hint-key .*key: No such file"):
        await app.run(settings("--hint-port", "0", "--hint-tokens", str(tmp_path), *files))


async def test_a_secret_that_is_no_fingerprint_key_ends_the_start(cluster: Cluster, kopf: Shell) -> None:
    cluster.put(SECRETS, secret(KEY_SECRET, "elile-system"))
    with pytest.raises(StartError, match="Secret elile-system/elile-fingerprint-key holds no fingerprint key"):
        await app.run(settings())
    lease = cluster.find(LEASES, "elile-system", LEASE_NAME)
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == ""
    assert cluster.closed_clients == 3


async def test_credentials_that_went_away_while_it_started_are_named(
    cluster: Cluster, kopf: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kubeconfig").unlink()
    with pytest.raises(StartError, match=r"^kubeconfig .* cannot be used \(ConfigException\)"):
        await app.run(settings())
    assert cluster.closed_clients == 3


async def test_who_may_not_hold_the_lease_is_told(cluster: Cluster) -> None:
    cluster.fail("get", LEASES, 403)
    with pytest.raises(StartError) as raised:
        await app.run(settings())
    assert str(raised.value) == (
        "the operator may not hold the Lease in its own namespace elile-system; apply policies/rbac/"
    )


def test_a_leader_that_lost_its_lease_ends_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(process.os, "_exit", ended.append)
    monkeypatch.setattr(process.logging, "shutdown", lambda: ended.append(0))
    process._exit_at_once("the Lease was not renewed in time")
    assert ended == [0, 1], "after the last line is written"
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("CRITICAL", "the Lease was not renewed in time; this process ends")
    ]


@pytest.mark.parametrize(
    ("role", "silence", "why"),
    [
        pytest.param("", None, "the API server has not answered yet", id="starting"),
        pytest.param("standby", None, "the API server does not answer", id="standby, never an answer"),
        pytest.param("standby", 19.0, None, id="standby"),
        pytest.param("standby", 20.0, "the API server does not answer", id="standby, cut off"),
        pytest.param("leader", 600.0, None, id="leader, whose Lease decides"),
    ],
)
def test_whether_a_process_could_be_of_use(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, role: str, silence: float | None, why: str | None
) -> None:
    operator = process.Operator(settings())
    operator._health.role = role
    monkeypatch.setattr(operator._lease, "silence", lambda: silence)
    assert operator._check_api() == why


def test_the_grace_for_reconciles_fits_into_kubelets() -> None:
    assert parts.STOP_GRACE < 30
