"""VaultServer: ask the server how it is, say so in the status, and wake those who waited for it."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from elile.secrets.errors import SecretsError
from elile_operator.api.meta import FieldManager
from elile_operator.api.reasons import Reason
from elile_operator.api.vaultserver import VaultServer, VaultServerStatus
from elile_operator.controllers.status import apply_status
from elile_operator.controllers.world import Unreadable, World
from elile_operator.decide.conditions import find
from elile_operator.decide.failures import explain_server
from elile_operator.decide.polling import Pace, PollState, judge_polls, poll_state
from elile_operator.decide.server import Answer, check_address, hints_mark, judge, server_status
from elile_operator.decide.violation import Violation
from elile_operator.engine import Clock, ObjectKey, Result
from elile_operator.kube.client import KubeClient
from elile_operator.kube.errors import KubeNotFoundError
from elile_operator.kube.events import Events
from elile_operator.kube.resources import VAULT_SERVERS
from elile_operator.sources.hints import HintsFlow
from elile_operator.sources.servers import Servers
from elile_operator.sources.trust import CaBundles

__all__ = ["ServerController", "ServerObserver"]

log = logging.getLogger(__name__)

LOOK_EVERY = timedelta(seconds=30)
# Another look at polls that seem to have become late, or to be on time again.
LOOK_CLOSER = timedelta(seconds=10)
# A call without a token, answered from memory or not at all: cheap enough to notice the end of an outage at once.
LOOK_AGAIN = timedelta(seconds=0.25)
# A server that throttles is helped by being left alone, and a ConfigMap is put right by a person.
LET_ALONE = timedelta(seconds=5)
SLOW_TO_MEND = frozenset({Reason.VAULT_THROTTLED, Reason.CA_BUNDLE_UNUSABLE})


class ServerObserver(Protocol):
    """Told how each server is, for metrics: None when it is gone."""

    def server_ready(self, server: str, ready: bool | None) -> None: ...


class ServerController:
    """Reconciles VaultServers.

    `on_usable` is called with the name of a server that is new, changed or back, `on_trouble` when one is lost: those
    who read from it must note since when they cannot be compared. `pace` tells how the polls of a server kept their
    intervals since it was asked last, of which there are `pollers` at one time, and `flow` whether its hints come.
    """

    def __init__(
        self,
        *,
        world: World,
        servers: Servers,
        bundles: CaBundles,
        kube: KubeClient,
        events: Events,
        clock: Clock,
        observer: ServerObserver,
        pace: Callable[[str], Pace],
        pollers: int,
        flow: Callable[[str], HintsFlow],
        on_usable: Callable[[str], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._world = world
        self._servers = servers
        self._bundles = bundles
        self._kube = kube
        self._events = events
        self._clock = clock
        self._observer = observer
        self._pace = pace
        self._pollers = pollers
        self._flow = flow
        self._polls: dict[str, PollState] = {}
        self._on_usable = on_usable
        self._on_trouble = on_trouble

    async def reconcile(self, key: ObjectKey) -> Result:
        """Look at one server."""
        server = self._world.servers.get(key)
        if server is None:
            self._servers.forget(key.name)
            self._polls.pop(key.name, None)
            self._observer.server_ready(key.name, None)
            return Result.absent()
        if isinstance(server, Unreadable):
            log.error("VaultServer cannot be read", extra={"fields": {"name": key.name, "why": server.message}})
            self._servers.report(key.name, Violation(Reason.SPEC_INVALID, server.message))
            self._observer.server_ready(key.name, False)
            return Result.done()
        before, cluster = self._servers.trouble(key.name), self._servers.cluster(key.name)
        answer = await self._ask(server)
        another = cluster is not None and cluster != self._servers.cluster(key.name)  # a Vault that was set up anew
        first_or_changed = server.status.observed_generation != server.metadata.generation
        # A link that was made anew meanwhile, for another CA, has forgotten the trouble of the one before.
        turned = self._servers.report(key.name, answer.violation) or (before is None) != (answer.violation is None)
        self._observer.server_ready(key.name, answer.violation is None)
        if answer.violation is None and (turned or first_or_changed or another):
            self._on_usable(key.name)
        elif answer.violation is not None and turned:
            self._on_trouble(key.name)
        await self._write(server, answer)
        undecided = self._polls.get(key.name, PollState()).against > 0
        return Result.after(LOOK_CLOSER if undecided and answer.violation is None else _next_look(answer.violation))

    async def _ask(self, server: VaultServer) -> Answer:
        if refused := check_address(server):
            return Answer(None, refused)
        if unusable := await self._bundles.look(server):
            return Answer(None, unusable)
        link = self._servers.link(server)
        assert link is not None  # noqa: S101 - its bundle was read right here
        try:
            state = await link.call("state", lambda client: client.state())
        except SecretsError as e:
            return Answer(None, explain_server(e, server.metadata.name, server.spec.address))
        if state.cluster_id:  # a sealed one does not say it
            self._servers.identify(server.metadata.name, state.cluster_id)
        return Answer(state, judge(server, state))

    async def _write(self, server: VaultServer, answer: Answer) -> None:
        flow = self._flow(server.metadata.name)
        hints = hints_mark(server, flow=flow.speaks) if flow.expected else None
        status = server_status(server, answer, self._judge_polls(server), self._clock.now(), hints)
        if status == server.status:
            return
        try:
            written = await apply_status(
                self._kube, VAULT_SERVERS, server, status, manager=FieldManager.VAULTSERVER_STATUS
            )
        except KubeNotFoundError:
            return
        self._world.servers.observe(written)
        await self._tell(server, status, "Ready", good=Reason.SERVER_READY)
        await self._tell(server, status, "PollDelayed", good=Reason.POLL_ON_TIME)
        await self._tell(server, status, "HintsFlowing", good=Reason.HINTS_FLOWING)

    async def _tell(self, server: VaultServer, status: VaultServerStatus, type_: str, *, good: Reason) -> None:
        """Say it when a condition has another reason; what is well from the first is no news, but for the server."""
        before, after = find(server.status.conditions, type_), find(status.conditions, type_)
        if after is None or (before is not None and before.reason == after.reason):
            return
        if before is None and type_ != "Ready" and after.reason == good:
            return
        warning = after.reason != good
        fields = {"kind": "VaultServer", "name": server.metadata.name, "reason": after.reason}
        log.log(logging.WARNING if warning else logging.INFO, "%s", after.message, extra={"fields": fields})
        await self._events.tell(
            VAULT_SERVERS, server.metadata, reason=after.reason, note=after.message, warning=warning
        )

    def _judge_polls(self, server: VaultServer) -> PollState:
        name = server.metadata.name
        state = self._polls.get(name) or poll_state(find(server.status.conditions, "PollDelayed"))
        state = judge_polls(state, self._pace(name), server.spec.limits, pollers=self._pollers)
        self._polls[name] = state
        return state


def _next_look(violation: Violation | None) -> timedelta:
    if violation is None:
        return LOOK_EVERY
    return LET_ALONE if violation.reason in SLOW_TO_MEND else LOOK_AGAIN
