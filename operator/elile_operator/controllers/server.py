"""VaultServer: ask the server how it is, say so in the status, and wake those who waited for it."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from elile.secrets.errors import SecretsError
from elile_operator.api.meta import FieldManager
from elile_operator.api.reasons import Reason
from elile_operator.api.vaultserver import VaultServer
from elile_operator.controllers.status import apply_status
from elile_operator.controllers.world import Unreadable, World
from elile_operator.decide.conditions import find
from elile_operator.decide.failures import explain_server
from elile_operator.decide.server import Answer, check_address, judge, server_status
from elile_operator.decide.violation import Violation
from elile_operator.engine import Clock, ObjectKey, Result
from elile_operator.kube.client import KubeClient
from elile_operator.kube.errors import KubeNotFoundError
from elile_operator.kube.events import Events
from elile_operator.kube.resources import VAULT_SERVERS
from elile_operator.sources.servers import Servers

__all__ = ["ServerController", "ServerObserver"]

log = logging.getLogger(__name__)

LOOK_EVERY = timedelta(seconds=30)
# A call without a token, answered from memory or not at all: cheap enough to notice the end of an outage at once.
LOOK_AGAIN = timedelta(seconds=0.25)
# A server that throttles is helped by being left alone.
LET_ALONE = timedelta(seconds=5)


class ServerObserver(Protocol):
    """Told how each server is, for metrics: None when it is gone."""

    def server_ready(self, server: str, ready: bool | None) -> None: ...


class ServerController:
    """Reconciles VaultServers.

    `on_usable` is called with the name of a server that is new, changed or back, `on_trouble` when one is lost: those
    who read from it must note since when they cannot be compared.
    """

    def __init__(
        self,
        *,
        world: World,
        servers: Servers,
        kube: KubeClient,
        events: Events,
        clock: Clock,
        observer: ServerObserver,
        on_usable: Callable[[str], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._world = world
        self._servers = servers
        self._kube = kube
        self._events = events
        self._clock = clock
        self._observer = observer
        self._on_usable = on_usable
        self._on_trouble = on_trouble

    async def reconcile(self, key: ObjectKey) -> Result:
        """Look at one server."""
        server = self._world.servers.get(key)
        if server is None:
            self._servers.forget(key.name)
            self._observer.server_ready(key.name, None)
            return Result.absent()
        if isinstance(server, Unreadable):
            log.error("VaultServer cannot be read", extra={"fields": {"name": key.name, "why": server.message}})
            self._servers.report(key.name, Violation(Reason.SPEC_INVALID, server.message))
            self._observer.server_ready(key.name, False)
            return Result.done()
        answer = await self._ask(server)
        first_or_changed = server.status.observed_generation != server.metadata.generation
        turned = self._servers.report(key.name, answer.violation)
        self._observer.server_ready(key.name, answer.violation is None)
        if answer.violation is None and (turned or first_or_changed):
            self._on_usable(key.name)
        elif answer.violation is not None and turned:
            self._on_trouble(key.name)
        await self._write(server, answer)
        return Result.after(_next_look(answer.violation))

    async def _ask(self, server: VaultServer) -> Answer:
        if refused := check_address(server):
            return Answer(None, refused)
        link = self._servers.link(server)
        try:
            state = await link.call("state", lambda client: client.state())
        except SecretsError as e:
            return Answer(None, explain_server(e, server.metadata.name, server.spec.address))
        return Answer(state, judge(server, state))

    async def _write(self, server: VaultServer, answer: Answer) -> None:
        status = server_status(server, answer, self._clock.now())
        if status == server.status:
            return
        try:
            written = await apply_status(
                self._kube, VAULT_SERVERS, server, status, manager=FieldManager.VAULTSERVER_STATUS
            )
        except KubeNotFoundError:
            return
        self._world.servers.observe(written)
        before, after = find(server.status.conditions, "Ready"), find(status.conditions, "Ready")
        if after is None or (before is not None and before.reason == after.reason):
            return
        fields = {"kind": "VaultServer", "name": server.metadata.name, "reason": after.reason}
        level = logging.WARNING if answer.violation else logging.INFO
        log.log(level, "%s", after.message, extra={"fields": fields})
        await self._events.tell(
            VAULT_SERVERS,
            server.metadata,
            reason=after.reason,
            note=after.message,
            warning=answer.violation is not None,
        )


def _next_look(violation: Violation | None) -> timedelta:
    if violation is None:
        return LOOK_EVERY
    return LET_ALONE if violation.reason is Reason.VAULT_THROTTLED else LOOK_AGAIN
