"""The parts of a working operator, wired: the only place where they meet."""

import asyncio
import logging
import math
import secrets
import socket
from collections.abc import Callable, Hashable
from importlib.metadata import version
from random import SystemRandom
from typing import Any

from elile_operator import shell
from elile_operator.app.rotating import RotatingParts
from elile_operator.controllers.consumers import ConsumersWatch
from elile_operator.controllers.listing import KubeLister
from elile_operator.controllers.managed import ManagedSecrets, SecretWatcher
from elile_operator.controllers.restarts import Restarts
from elile_operator.controllers.secret import SecretController
from elile_operator.controllers.server import ServerController
from elile_operator.controllers.wakeups import Wakeups
from elile_operator.controllers.world import SECRET_SELECTOR, World
from elile_operator.decide.fingerprint import FingerprintKey
from elile_operator.delivery.poke import PokeKey, Poker
from elile_operator.delivery.proof import HttpAsker, Prober
from elile_operator.delivery.secrets import SecretWriter
from elile_operator.engine import ObjectKey, Resync, Runner, SystemClock, WorkQueue
from elile_operator.kube.client import KubeClient
from elile_operator.kube.events import EventWriter
from elile_operator.kube.resources import (
    ELILE_SECRETS,
    NAMESPACES,
    PODS,
    ROLE_BINDINGS,
    ROTATION_SCHEDULES,
    ROTATIONS,
    VAULT_SERVERS,
    Resource,
)
from elile_operator.obs import checks
from elile_operator.obs.health import Health
from elile_operator.obs.metrics import Metrics, QueueSample
from elile_operator.settings import Scope, Settings
from elile_operator.sources.hints import Hints
from elile_operator.sources.holdings import Holdings
from elile_operator.sources.identity import Identity, TokenRequests
from elile_operator.sources.logins import Logins
from elile_operator.sources.reads import Entry, SharedReads
from elile_operator.sources.receiver import HintReceiver
from elile_operator.sources.servers import Servers
from elile_operator.sources.trust import CaBundles

__all__ = ["Parts"]

log = logging.getLogger(__name__)

# Seconds for reconciles that run when the process is told to stop; kubelet gives 30 for everything.
STOP_GRACE = 5.0
# Whoever waits for a server that is slow holds a worker. So work is done in lanes, one for each VaultServer, as wide as
# the settings say, and there are workers for so many lanes: one server less can be slow before another one notices.
LANES = 8
LOGIN_WORKERS = 2
# Seconds for a pass of a rotation: sixteen hooks of half an hour with twenty attempts are allowed, and nobody has them.
ROTATION_DEADLINE = 4 * 3600.0


class Parts:
    """Queues, stores, controllers and their workers. `start` before Kopf, which waits for tasks younger than itself."""

    def __init__(
        self,
        settings: Settings,
        *,
        kube: KubeClient,
        watch_kube: KubeClient,
        key: FingerprintKey,
        account: str,
        clock: SystemClock,
        metrics: Metrics,
        guard: Callable[[], None],
        guarded: tuple[str, ...],
        receiver: HintReceiver | None,
    ) -> None:
        self._settings = settings
        self._kube = kube
        self._clock = clock
        self._metrics = metrics
        self._random = SystemRandom()
        self._resyncs: list[Resync[Any, Any]] = []
        self._runners: list[Runner[Any]] = []
        self._managed = ManagedSecrets(
            key=key,
            watcher=lambda namespace: SecretWatcher(
                watch_kube, namespace, selector=SECRET_SELECTOR, longest=settings.resync.total_seconds()
            ),
            clock=clock,
            rand=self._random.random,
            period=settings.resync.total_seconds(),
            everywhere=settings.scope is Scope.CLUSTER,
        )
        self._world = World(self._managed)
        metrics.track_objects(self._world.samples)
        metrics.track_rotations(self._world.rotation_samples)
        secret_queue: WorkQueue[ObjectKey] = self._queue("ElileSecret", self._world.server_of, settings.workers)
        server_queue: WorkQueue[ObjectKey] = self._queue("VaultServer")
        self._servers = Servers(clock=clock, observer=metrics)
        self._wakeups = Wakeups(
            world=self._world, secrets=secret_queue, servers=server_queue, cluster=self._servers.cluster
        )
        self._logins, self._reads = self._sources(account)
        self._receiver = receiver
        self._hints = Hints(
            reads=self._reads,
            clock=clock,
            expects=receiver.expects if receiver is not None else lambda _server: False,
            on_flow=lambda server: server_queue.add(ObjectKey("", server)),
            observer=metrics,
        )
        self._holdings: Holdings[ObjectKey] = Holdings(
            servers=self._servers, logins=self._logins, clock=clock, rand=self._random.random, observer=metrics
        )
        self._poker, pokes = self._delivery()
        self._events = EventWriter(
            kube, instance=socket.gethostname()[:128], now=clock.now, unique=lambda: secrets.token_hex(8)
        )
        self._prober, self._restarts = self._consumers(account)
        self._runner("VaultServer", server_queue, self._server_controller(account), workers=4 * LANES)
        workers = settings.workers * LANES
        self._runner("ElileSecret", secret_queue, self._secret_controller(key, account), workers=workers)
        self._runner("poke", pokes, self._poker, workers=4)
        self._rotating = self._rotation(account, guard, guarded)
        world = self._world
        self.watches = [
            self._watch(VAULT_SERVERS, world.servers),
            self._watch(ELILE_SECRETS, world.secrets),
            self._watch(PODS, world.pods),
            self._watch(NAMESPACES, world.namespaces),
            self._watch(ROTATION_SCHEDULES, world.schedules),
            self._watch(ROTATIONS, world.rotations),
            shell.Watch(ROLE_BINDINGS, lambda body, _gone: self._rights_changed(body["metadata"]["namespace"])),
        ]

    @property
    def started(self) -> bool:
        """Whether the first lists are complete and the workers run."""
        return all(runner.alive() for runner in self._runners)

    async def start(self, health: Health) -> None:
        """Learn all that there is, then begin to work; add to `health` what is worth watching."""
        self._wakeups.connect()
        self._rotating.connect()
        for resync in self._resyncs:
            resync.start()
        # Decisions need all kinds: without the servers every object would first be told that there is none.
        for resync in self._resyncs:
            await resync.wait_ready()
        self._check_health(health)
        for runner in self._runners:
            runner.start()
        if self._receiver is not None:
            self._receiver.lead(self._hints.take)
        fields = {"version": version("elile"), "elilesecrets": len(self._world.secrets)}
        log.info("started", extra={"fields": fields})

    async def stop(self) -> None:
        """End what runs, in the order of dependence, and revoke what was borrowed."""
        log.info("stopping")
        for resync in self._resyncs:
            await resync.stop()
        await self._managed.stop()
        self._hints.close()
        await asyncio.gather(*(runner.stop(STOP_GRACE) for runner in self._runners))
        self._rotating.close()
        await self._reads.stop()
        await self._prober.close()
        await self._logins.close()
        self._servers.close()

    # ── groups of parts ──────────────────────────────────────────────────────────────────────────────────────────────

    def _sources(self, account: str) -> tuple[Logins, SharedReads[ObjectKey]]:
        pollers = self._settings.pollers
        polls: WorkQueue[Entry] = self._queue("poll", lambda entry: entry.identity.server, pollers)
        renewals: WorkQueue[Identity] = self._queue("login", lambda identity: identity.server, LOGIN_WORKERS)
        logins = Logins(
            servers=self._servers,
            tokens=TokenRequests(self._kube, account=account),
            clock=self._clock,
            renewals=renewals,
            in_use=lambda identity: reads.in_use(identity),  # noqa: PLW0108 - reads is made below
            observer=self._metrics,
        )
        reads: SharedReads[ObjectKey] = SharedReads(
            logins=logins,
            clock=self._clock,
            rand=self._random.random,
            polls=polls,
            on_change=self._wakeups.changed,
            observer=self._metrics,
            usable=lambda server: self._servers.trouble(server) is None,
            origin=self._servers.find,
            same_vault=self._servers.same_vault,
        )
        self._runner("poll", polls, reads, workers=pollers * LANES)
        self._runner("login", renewals, logins, workers=LOGIN_WORKERS * LANES)
        return logins, reads

    def _delivery(self) -> tuple[Poker, WorkQueue[PokeKey]]:
        pokes: WorkQueue[PokeKey] = self._queue("poke")
        poker = Poker(self._kube, queue=pokes, clock=self._clock, observer=self._metrics)
        poker.on_settled(self._wakeups.settled)
        return poker, pokes

    def _consumers(self, account: str) -> tuple[Prober, Restarts]:
        proofs: WorkQueue[ObjectKey] = self._queue("proof")
        restarts: WorkQueue[str] = self._queue("restart")
        news = self._wakeups.consumers_changed
        prober = Prober(HttpAsker(), queue=proofs, on_news=news)
        restarter = Restarts(
            self._kube,
            world=self._world,
            queue=restarts,
            events=self._events,
            account=account,
            clock=self._clock,
            on_news=news,
        )
        self._runner("proof", proofs, prober, workers=8)
        self._runner("restart", restarts, restarter, workers=2)
        return prober, restarter

    def _rotation(self, account: str, guard: Callable[[], None], guarded: tuple[str, ...]) -> RotatingParts:
        settings = self._settings
        runs: WorkQueue[ObjectKey] = self._queue("Rotation", self._world.target_of, settings.rotations_per_target)
        schedules: WorkQueue[ObjectKey] = self._queue("RotationSchedule")
        tellings: WorkQueue[ObjectKey] = self._queue("rotation-told")
        rotating = RotatingParts(
            settings,
            world=self._world,
            servers=self._servers,
            logins=self._logins,
            reads=self._reads,
            kube=self._kube,
            events=self._events,
            clock=self._clock,
            observer=self._metrics,
            guard=guard,
            guarded=guarded,
            account=account,
            runs=runs,
            schedules=schedules,
            tellings=tellings,
        )
        self._runner("Rotation", runs, rotating.runs, workers=settings.rotations, deadline=ROTATION_DEADLINE)
        self._runner("RotationSchedule", schedules, rotating.schedules, workers=settings.rotations)
        self._runner("rotation-told", tellings, rotating.tellings, workers=4)
        return rotating

    def _rights_changed(self, namespace: str) -> None:
        self._wakeups.rights_changed(namespace)
        self._restarts.rights_changed(namespace)

    def _server_controller(self, account: str) -> ServerController:
        return ServerController(
            world=self._world,
            servers=self._servers,
            bundles=CaBundles(self._kube, servers=self._servers, account=account, clock=self._clock),
            kube=self._kube,
            events=self._events,
            clock=self._clock,
            observer=self._metrics,
            pace=self._reads.pace,
            pollers=self._settings.pollers,
            flow=self._hints.flow,
            on_usable=self._server_usable,
            on_trouble=self._wakeups.server_lost,
        )

    def _secret_controller(self, key: FingerprintKey, account: str) -> SecretController:
        return SecretController(
            world=self._world,
            servers=self._servers,
            reads=self._reads,
            holdings=self._holdings,
            kube=self._kube,
            writer=SecretWriter(self._kube),
            poker=self._poker,
            consumers=ConsumersWatch(prober=self._prober, restarts=self._restarts, clock=self._clock),
            events=self._events,
            key=key,
            account=account,
            clock=self._clock,
            standby_lag=self._settings.standby_lag,
            observer=self._metrics,
            on_server_trouble=self._wakeups.server_suspected,
        )

    def _server_usable(self, server: str) -> None:
        self._reads.look_again(server)
        self._wakeups.server_usable(server, followed=self._reads.follows)
        self._rotating.wakeups.server_usable(server)

    # ── single parts ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _queue(
        self, name: str, lane_of: Callable[[Any], Hashable] = lambda _: None, width: float = math.inf
    ) -> WorkQueue[Any]:
        queue: WorkQueue[Any] = WorkQueue(clock=self._clock, rand=self._random.random, lane_of=lane_of, width=width)

        def sample() -> QueueSample:
            stats = queue.stats()
            return QueueSample(stats.ready, stats.running, stats.scheduled, stats.oldest_ready)

        self._metrics.track_queue(name, sample)
        return queue

    def _runner(
        self, name: str, queue: WorkQueue[Any], reconciler: Any, *, workers: int, deadline: float | None = None
    ) -> None:
        self._runners.append(
            Runner(
                name=name,
                queue=queue,
                reconciler=reconciler,
                clock=self._clock,
                workers=workers,
                reconcile_deadline=deadline or self._settings.reconcile_deadline.total_seconds(),
                observer=self._metrics,
            )
        )

    def _watch(self, resource: Resource, store: Any) -> shell.Watch:
        resync: Resync[Any, Any] = Resync(
            store=store,
            lister=KubeLister(self._kube, resource),
            clock=self._clock,
            rand=self._random.random,
            period=self._settings.resync.total_seconds(),
            observer=self._metrics,
        )
        self._resyncs.append(resync)
        self._metrics.track_resync(store.kind, resync.age)
        return shell.Watch(resource, lambda body, gone: store.observe(body, deleted=gone))

    def _check_health(self, health: Health) -> None:
        # Three missed lists: one may meet a restart of the API server, two a long one.
        limit = 3 * self._settings.resync.total_seconds()
        for resync in self._resyncs:
            health.add_live(f"resync-{resync.kind}", checks.fresh(resync.age, limit, f"list of {resync.kind}"))
        health.add_live("resync-Secret", checks.fresh(self._managed.age, limit, "list of Secret"))
        health.add_live("watch-Secret", checks.running(self._managed.tasks))
        for runner in self._runners:
            health.add_live(f"workers-{runner.name}", checks.holds(runner.alive, f"a worker of {runner.name} has died"))
