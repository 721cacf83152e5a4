"""The composition root: the only place that wires the parts together, starts them in order and stops them again."""

import asyncio
import logging
import os
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from random import SystemRandom
from typing import Any, TypeVar

from elile_operator import shell
from elile_operator.api.meta import GROUP, VERSION
from elile_operator.controllers.listing import KubeLister
from elile_operator.controllers.managed import ManagedSecrets, SecretWatcher
from elile_operator.controllers.secret import SecretController
from elile_operator.controllers.server import ServerController
from elile_operator.controllers.wakeups import Wakeups
from elile_operator.controllers.world import SECRET_SELECTOR, World
from elile_operator.delivery.fingerprint_key import FingerprintKeyError, load_fingerprint_key
from elile_operator.delivery.poke import PokeKey, Poker
from elile_operator.delivery.secrets import SecretWriter
from elile_operator.engine import ObjectKey, Resync, Runner, SystemClock, WorkQueue
from elile_operator.kube.client import KubeClient
from elile_operator.kube.credentials import (
    CredentialsError,
    CredentialSource,
    KubeconfigCredentials,
    ServiceAccountCredentials,
)
from elile_operator.kube.errors import KubeError, KubeForbiddenError, KubeNotFoundError
from elile_operator.kube.events import EventWriter
from elile_operator.kube.lease import LeaderLease
from elile_operator.kube.resources import ELILE_SECRETS, NAMESPACES, PODS, ROLE_BINDINGS, VAULT_SERVERS, Resource
from elile_operator.obs import checks
from elile_operator.obs.health import Health
from elile_operator.obs.metrics import Metrics, QueueSample
from elile_operator.obs.probes import ProbeServer
from elile_operator.settings import Scope, Settings
from elile_operator.sources.identity import Identity, TokenRequests
from elile_operator.sources.logins import Logins
from elile_operator.sources.reads import Entry, SharedReads
from elile_operator.sources.servers import Servers

__all__ = ["StartError", "run"]

T = TypeVar("T")
log = logging.getLogger(__name__)

SYSTEM_NAMESPACE = "elile-system"
# Seconds for reconciles that run when the process is told to stop; kubelet gives 30 for everything.
STOP_GRACE = 5.0
START_RETRY = 2.0
# Seconds without an answer after which a standby is not ready; it asks every two.
API_SILENCE = 20.0


class StartError(Exception):
    """The operator cannot start; the message says what to do."""


async def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises StartError when it can never work as it was started."""
    operator = Operator(settings)
    loop, main = asyncio.get_running_loop(), asyncio.current_task()
    assert main is not None  # noqa: S101 - a coroutine always runs in one
    for number in (signal.SIGTERM, signal.SIGINT):
        # Until Kopf takes the signals over: a standby, and a leader that is still starting, stop at once.
        loop.add_signal_handler(number, main.cancel)
    try:
        await operator.run()
    except asyncio.CancelledError:
        log.info("stopped")
    finally:
        await operator.close()


class Operator:
    """One running operator: its parts, in the order in which they start."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.source = _credentials(settings)
        self.metrics = Metrics(version=version("elile"))
        self.clock = SystemClock()
        self.random = SystemRandom()
        self.health = Health(on_tick=self._tick)
        self.resyncs: list[Resync[Any, Any]] = []
        self.runners: list[Runner[Any]] = []
        self.namespace = settings.namespace or _pod_namespace(settings.service_account_folder) or SYSTEM_NAMESPACE
        self.account = f"{self.namespace}:{settings.account}"
        # Three pools: renewing the Lease must not wait behind a thousand writes, and a watch holds its connection.
        self.lease_kube = self._client(connections=2)
        self.lease = LeaderLease(
            self.lease_kube,
            namespace=self.namespace,
            identity=f"{socket.gethostname()[:200]}_{secrets.token_hex(4)}",
            monotonic=self.clock.monotonic,
            now=self.clock.now,
            sleep=self.clock.sleep,
            lost=_exit_at_once,
        )
        self.kube = self._client(connections=settings.workers + settings.pollers, fence=self.lease.check)
        self.watch_kube = self._client(connections=0)

    def _client(self, *, connections: int, fence: Callable[[], None] = lambda: None) -> KubeClient:
        timeout = self.settings.api_timeout.total_seconds()
        return KubeClient(self.source, timeout=timeout, connections=connections, observer=self.metrics, fence=fence)

    async def close(self) -> None:
        """Release the Lease and close all connections."""
        await self.lease.release()
        for kube in (self.lease_kube, self.kube, self.watch_kube):
            await kube.close()

    async def run(self) -> None:
        """Start everything, watch until told to stop, stop everything."""
        self.health.add_ready("api", self._check_api)
        self.health.start()
        probes = ProbeServer(
            health=self.health,
            render=self.metrics.render,
            host=self.settings.probe_host,
            port=self.settings.probe_port,
        )
        try:
            port = await probes.start()
        except OSError as e:
            raise StartError(
                f"cannot serve probes on {self.settings.probe_host}:{self.settings.probe_port} "
                f"({e.strerror}); choose another --probe-host or --probe-port"
            ) from None
        log.info("probes served", extra={"fields": {"host": self.settings.probe_host, "port": port}})
        keeping: asyncio.Task[None] | None = None
        try:
            await self._wait_for_api()
            if self.settings.leader_election:
                self.health.role = "standby"
                await self._in_own_namespace("hold the Lease", self.lease.look)
                await self.lease.acquire()
                keeping = asyncio.create_task(self.lease.keep(), name="elile-lease")
                self.health.add_live("lease", checks.running(lambda: [keeping] if keeping else []))
            self.health.add_ready(
                "started", checks.holds(lambda: bool(self.runners), "the first lists are not complete")
            )
            self.health.role = "leader"
            self.metrics.leader(True)
            await self._run_controllers()
        finally:
            if keeping is not None:
                keeping.cancel()
            await probes.stop()
            await self.health.stop()

    async def _run_controllers(self) -> None:
        settings, clock = self.settings, self.clock
        key = await self._in_own_namespace(
            "get and create its fingerprint key",
            lambda: load_fingerprint_key(self.kube, self.namespace, random=secrets.token_bytes),
        )
        managed = ManagedSecrets(
            key=key,
            watcher=lambda namespace: SecretWatcher(self.watch_kube, namespace, selector=SECRET_SELECTOR),
            clock=clock,
            rand=self.random.random,
            period=settings.resync.total_seconds(),
            everywhere=settings.scope is Scope.CLUSTER,
        )
        world = World(managed)
        servers = Servers(clock=clock, observer=self.metrics)
        secret_queue: WorkQueue[ObjectKey] = self._queue("ElileSecret")
        server_queue: WorkQueue[ObjectKey] = self._queue("VaultServer")
        polls: WorkQueue[Entry] = self._queue("poll")
        renewals: WorkQueue[Identity] = self._queue("login")
        pokes: WorkQueue[PokeKey] = self._queue("poke")
        logins = Logins(
            servers=servers,
            tokens=TokenRequests(self.kube, account=self.account),
            clock=clock,
            renewals=renewals,
            in_use=lambda identity: reads.in_use(identity),  # noqa: PLW0108 - reads is made below
            observer=self.metrics,
        )
        wakeups = Wakeups(world=world, secrets=secret_queue, servers=server_queue)
        reads: SharedReads[ObjectKey] = SharedReads(
            logins=logins,
            clock=clock,
            rand=self.random.random,
            polls=polls,
            on_change=wakeups.changed,
            observer=self.metrics,
            usable=lambda server: servers.trouble(server) is None,
        )
        poker = Poker(self.kube, queue=pokes, clock=clock, observer=self.metrics)
        poker.on_settled(wakeups.settled)
        events = EventWriter(
            self.kube, instance=socket.gethostname()[:128], now=clock.now, unique=lambda: secrets.token_hex(8)
        )

        def usable(server: str) -> None:
            reads.look_again(server)
            wakeups.server_usable(server)

        server_controller = ServerController(
            world=world,
            servers=servers,
            kube=self.kube,
            events=events,
            clock=clock,
            observer=self.metrics,
            on_usable=usable,
            on_trouble=wakeups.server_lost,
        )
        secret_controller = SecretController(
            world=world,
            servers=servers,
            reads=reads,
            kube=self.kube,
            writer=SecretWriter(self.kube),
            poker=poker,
            events=events,
            key=key,
            account=self.account,
            clock=clock,
            observer=self.metrics,
            on_server_trouble=wakeups.server_suspected,
        )
        watches = [
            self._watch(VAULT_SERVERS, world.servers),
            self._watch(ELILE_SECRETS, world.secrets),
            self._watch(PODS, world.pods),
            self._watch(NAMESPACES, world.namespaces),
            shell.Watch(ROLE_BINDINGS, lambda body, _gone: wakeups.rights_changed(body["metadata"]["namespace"])),
        ]
        wakeups.connect()
        for resync in self.resyncs:
            resync.start()
        # Decisions need all kinds: without the servers every object would first be told that there is none.
        for resync in self.resyncs:
            await resync.wait_ready()
        self._runner("VaultServer", server_queue, server_controller, workers=4)
        self._runner("ElileSecret", secret_queue, secret_controller, workers=settings.workers)
        self._runner("poll", polls, reads, workers=settings.pollers)
        self._runner("login", renewals, logins, workers=2)
        self._runner("poke", pokes, poker, workers=4)
        self._check_health(managed)
        for runner in self.runners:
            runner.start()
        log.info(
            "started",
            extra={
                "fields": {"version": version("elile"), "namespace": self.namespace, "elilesecrets": len(world.secrets)}
            },
        )

        async def stop() -> None:
            log.info("stopping")
            for resync in self.resyncs:
                await resync.stop()
            await managed.stop()
            await asyncio.gather(*(runner.stop(STOP_GRACE) for runner in self.runners))
            await reads.stop()
            await logins.close()
            servers.close()

        await shell.run(watches, credentials=self.source, seen=self._seen, on_stop=stop)

    # ── parts ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _queue(self, name: str) -> WorkQueue[Any]:
        queue: WorkQueue[Any] = WorkQueue(clock=self.clock, rand=self.random.random)

        def sample() -> QueueSample:
            stats = queue.stats()
            return QueueSample(stats.ready, stats.running, stats.scheduled, stats.oldest_ready)

        self.metrics.track_queue(name, sample)
        return queue

    def _runner(self, name: str, queue: WorkQueue[Any], reconciler: Any, *, workers: int) -> None:
        self.runners.append(
            Runner(
                name=name,
                queue=queue,
                reconciler=reconciler,
                clock=self.clock,
                workers=workers,
                reconcile_deadline=self.settings.reconcile_deadline.total_seconds(),
                observer=self.metrics,
            )
        )

    def _watch(self, resource: Resource, store: Any) -> shell.Watch:
        resync: Resync[Any, Any] = Resync(
            store=store,
            lister=KubeLister(self.kube, resource),
            clock=self.clock,
            rand=self.random.random,
            period=self.settings.resync.total_seconds(),
            observer=self.metrics,
        )
        self.resyncs.append(resync)
        self.metrics.track_resync(store.kind, resync.age)
        return shell.Watch(resource, lambda body, gone: store.observe(body, deleted=gone))

    def _check_health(self, managed: ManagedSecrets) -> None:
        # Three missed lists: one may meet a restart of the API server, two a long one.
        limit = 3 * self.settings.resync.total_seconds()
        for resync in self.resyncs:
            self.health.add_live(f"resync-{resync.kind}", checks.fresh(resync.age, limit, f"list of {resync.kind}"))
        self.health.add_live("resync-Secret", checks.fresh(managed.age, limit, "list of Secret"))
        self.health.add_live("watch-Secret", checks.running(managed.tasks))
        for runner in self.runners:
            self.health.add_live(
                f"workers-{runner.name}", checks.holds(runner.alive, f"a worker of {runner.name} has died")
            )

    def _check_api(self) -> str | None:
        """For a standby, all there is to tell: it could take over when the API server answers it."""
        if self.health.role != "standby":
            return None if self.health.role else "the API server has not answered yet"
        silence = self.lease.silence()
        return None if silence is not None and silence < API_SILENCE else "the API server does not answer"

    def _tick(self, lag: float) -> None:
        self.metrics.loop_lag(lag)
        self.metrics.sample()

    def _seen(self, kind: str, kind_of_event: str | None) -> None:
        self.metrics.watch_event(kind=kind, type=kind_of_event)

    # ── waiting for the cluster ──────────────────────────────────────────────────────────────────────────────────────

    async def _wait_for_api(self) -> None:
        """Return once the API server answers and serves our kinds; says what it waits for, once for each cause."""
        wanted, said = {VAULT_SERVERS.plural, ELILE_SECRETS.plural}, ""
        while True:
            try:
                served = {r["name"] for r in (await self.kube.raw(f"/apis/{GROUP}/{VERSION}"))["resources"]}
                missing = wanted - served
                why = f"the CRDs of {', '.join(sorted(missing))} are missing: kubectl apply --server-side -f crds/"
                if not missing:
                    return
            except KubeNotFoundError:
                why = "the CRDs of group elile.io are missing: kubectl apply --server-side -f crds/"
            except CredentialsError as e:
                raise StartError(str(e)) from None
            except KubeError as e:
                why = f"the API server does not serve us yet ({e.safe_text})"
            if why != said:
                log.warning("waiting: %s", why)
                said = why
            await asyncio.sleep(START_RETRY)

    async def _in_own_namespace(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call that needs the operator's own namespace and rights in it; waits while the API server is away."""
        said = False
        while True:
            try:
                return await call()
            except KubeNotFoundError:
                raise StartError(
                    f"namespace {self.namespace} does not exist; create it, or name the operator's own with --namespace"
                ) from None
            except KubeForbiddenError:
                raise StartError(
                    f"the operator may not {what} in its own namespace {self.namespace}; apply policies/rbac/"
                ) from None
            except FingerprintKeyError as e:
                raise StartError(str(e)) from None
            except KubeError as e:
                if not said:
                    log.warning("waiting: the API server is away (%s)", e.safe_text)
                said = True
            await asyncio.sleep(START_RETRY)


def _exit_at_once(why: str) -> None:
    """End this process without another word to the cluster: somebody else may be the leader by now."""
    log.critical("%s; this process ends", why)
    logging.shutdown()
    os._exit(1)


def _credentials(settings: Settings) -> CredentialSource:
    """What was named; else the pod's own; else what kubectl would use."""
    if settings.kubeconfig:
        return KubeconfigCredentials(settings.kubeconfig, settings.context)
    if ServiceAccountCredentials.present(settings.service_account_folder):
        return ServiceAccountCredentials(settings.service_account_folder)
    named = os.environ.get("KUBECONFIG")
    return KubeconfigCredentials(Path(named) if named else Path.home() / ".kube" / "config", settings.context)


def _pod_namespace(folder: Path) -> str | None:
    try:
        return (folder / "namespace").read_text().strip() or None
    except OSError:
        return None
