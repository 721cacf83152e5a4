"""The parts that rotate, wired."""

import ipaddress
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from elile.secrets.rotation.egress import Dialer, EgressRule
from elile_operator.controllers.board import Board
from elile_operator.controllers.driving import Driver
from elile_operator.controllers.errands import ErrandRunner
from elile_operator.controllers.grounds import Grounds
from elile_operator.controllers.groups import Groups
from elile_operator.controllers.jobs import HookJobs
from elile_operator.controllers.looks import BetweenRuns
from elile_operator.controllers.reports import Reports, RotationObserver
from elile_operator.controllers.rotation import RotationController
from elile_operator.controllers.rotation_wakeups import RotationWakeups
from elile_operator.controllers.schedule import ScheduleController
from elile_operator.controllers.telling import TellingController
from elile_operator.controllers.world import World
from elile_operator.delivery.jobs import JobRunner
from elile_operator.engine import Clock, ObjectKey, WorkQueue
from elile_operator.kube.client import KubeClient
from elile_operator.kube.events import Events
from elile_operator.settings import EgressAllow, Settings
from elile_operator.sources.logins import Logins
from elile_operator.sources.reads import SharedReads
from elile_operator.sources.servers import Servers

__all__ = ["RotatingParts", "api_addresses", "egress_rules"]


class RotatingParts:
    """The controllers of RotationSchedules and Rotations, and of what ElileSecrets tell of them."""

    def __init__(
        self,
        settings: Settings,
        *,
        world: World,
        servers: Servers,
        logins: Logins,
        reads: SharedReads[ObjectKey],
        kube: KubeClient,
        events: Events,
        clock: Clock,
        observer: RotationObserver,
        guard: Callable[[], None],
        guarded: Iterable[str],
        account: str,
        runs: WorkQueue[ObjectKey],
        schedules: WorkQueue[ObjectKey],
        tellings: WorkQueue[ObjectKey],
    ) -> None:
        self._world = world
        # A pass that waits for a hook holds its thread; looks between runs have some of their own.
        self._threads = ThreadPoolExecutor(2 * settings.rotations, thread_name_prefix="rotation")
        self.wakeups = RotationWakeups(world=world, runs=runs, schedules=schedules, tellings=tellings)
        self.board = Board(on_schedule=self.wakeups.moved, on_secret=self.wakeups.waits)
        allowed, special = settings.egress_allow, tuple(guarded)
        driver = Driver(
            threads=self._threads,
            dialer_of=lambda namespace: Dialer(egress_rules(allowed, namespace), guarded=special),
            now=clock.now,
            monotonic=clock.monotonic,
            guard=guard,
            on_try=lambda hook, outcome, seconds: observer.verified(hook=hook, outcome=outcome.value, seconds=seconds),
        )
        grounds = Grounds(
            world=world,
            servers=servers,
            logins=logins,
            reads=reads,
            kube=kube,
            now=clock.now,
            run_job=HookJobs(JobRunner(kube, clock=clock, account=account), world=world).run,
        )
        self.runs = RotationController(
            world=world,
            grounds=grounds,
            driver=driver,
            errands=ErrandRunner(driver=driver, guard=guard),
            reports=Reports(world=world, kube=kube, events=events, observer=observer, now=clock.now),
            board=self.board,
            groups=Groups(world, on_free=self.wakeups.free),
            kube=kube,
            clock=clock,
        )
        self.schedules = ScheduleController(
            world=world,
            looks=BetweenRuns(grounds=grounds, driver=driver, now=clock.now, guard=guard),
            board=self.board,
            kube=kube,
            events=events,
            clock=clock,
        )
        self.tellings = TellingController(world=world, board=self.board, kube=kube, clock=clock)

    def connect(self) -> None:
        """Listen to the stores."""
        self.wakeups.connect(self.board)

    def close(self) -> None:
        """Take no more steps; one that is under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def egress_rules(allowed: Iterable[EgressAllow], namespace: str) -> tuple[EgressRule, ...]:
    """Return the rules of one namespace. Raises SecretsConfigurationError that names what is wrong with an entry."""
    return tuple(
        EgressRule.of(ports=entry.ports, cidr=entry.cidr, host=entry.host)
        for entry in allowed
        if entry.namespaces is None or namespace in entry.namespaces
    )


def api_addresses(server: str, host: str | None) -> tuple[str, ...]:
    """Return the addresses of the API server that are known without asking anybody."""
    found = []
    for name in (urlsplit(server).hostname, host):
        try:
            found.append(str(ipaddress.ip_address(name or "")))
        except ValueError:
            continue
    return tuple(found)
