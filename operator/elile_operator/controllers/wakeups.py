"""Which change wakes which object: the only knowledge of how the kinds depend on each other."""

from collections.abc import Callable
from typing import Any

from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.reasons import Reason
from elile_operator.api.vaultserver import VaultServer
from elile_operator.controllers.world import Namespace, World, spec_or_wish_changed
from elile_operator.decide.conditions import find
from elile_operator.decide.live import LiveSecret
from elile_operator.decide.pods import PodView
from elile_operator.decide.secret import Standing, standing
from elile_operator.engine import Change, ObjectKey, Priority, WorkQueue

__all__ = ["PODS_SETTLE", "Wakeups"]

# Objects a second that say they are current again after an outage: a write and an event for each, which must not hold
# up those that have something to deliver.
SAYING = 500
# Pods come and go in bursts, and only the count of consumers depends on them.
PODS_SETTLE = 1.0


class Wakeups:
    """Puts keys into the queues of the two controllers. `cluster` tells which Vault a server is."""

    def __init__(
        self,
        *,
        world: World,
        secrets: WorkQueue[ObjectKey],
        servers: WorkQueue[ObjectKey],
        cluster: Callable[[str], str | None] = lambda _server: None,
    ) -> None:
        self._world = world
        self._secrets = secrets
        self._servers = servers
        self._cluster = cluster

    def connect(self) -> None:
        """Listen to the stores."""
        self._world.servers.subscribe(self._server)
        self._world.secrets.subscribe(self._secret)
        self._world.live.connect(on_change=self._live, on_turn=self._turned)
        self._world.pods.subscribe(self._pod)
        self._world.namespaces.subscribe(self._namespace)

    # ── told by other parts ──────────────────────────────────────────────────────────────────────────────────────────

    def changed(self, reader: ObjectKey) -> None:
        """A poll found another version, or another error."""
        self._secrets.add(reader, priority=Priority.URGENT)

    def settled(self, namespace: str, name: str) -> None:
        """The last poke that was owed has been sent."""
        self._secrets.add(ObjectKey(namespace, name))

    def consumers_changed(self, key: ObjectKey) -> None:
        """A pod proved something, or a workload was restarted."""
        self._secrets.add(key)

    def server_usable(self, name: str, *, followed: Callable[[ObjectKey], bool]) -> None:
        """A server is new, changed or back: nobody waits out a backoff, and they do not come all at once.

        All its entries are polled at the same time. An object that is right waits for what the polls find, if it is
        `followed`, which is to say that it will be told; who only has to say that it is current again comes later.
        """
        now, later = [], []
        for key in self._world.secrets.by("server", name):
            found = self._standing(key) if followed(key) and not self._secrets.failures(key) else Standing.OPEN
            if found is Standing.OPEN:
                now.append(key)
            elif found is Standing.STALE:
                later.append(key)
        self._secrets.retry_now(now)
        for i, key in enumerate(later):
            self._secrets.add_after(key, (len(later) + i) / SAYING)

    def server_lost(self, name: str) -> None:
        """A server is away: its objects note since when they cannot be compared."""
        for key in self._world.secrets.by("server", name):
            self._secrets.add(key)

    def server_suspected(self, name: str) -> None:
        """A read got no answer: look at the server itself now."""
        self._servers.add(ObjectKey("", name), priority=Priority.URGENT)

    def rights_changed(self, namespace: str) -> None:
        """A RoleBinding of the namespace came, changed or went: those who lacked rights there try again."""
        self._world.live.nudge(namespace)
        for key in self._world.secrets.by("namespace", namespace):
            found = self._world.secret(key)
            ready = find(found.status.conditions, "Ready") if isinstance(found, ElileSecret) else None
            if ready is not None and ready.reason == Reason.NAMESPACE_NOT_BOUND:
                self._secrets.add(key, priority=Priority.URGENT)

    def _standing(self, key: ObjectKey) -> Standing:
        secret = self._world.secret(key)
        if not isinstance(secret, ElileSecret):
            return Standing.OPEN
        live = self._world.live.get(ObjectKey(key.namespace, secret.secret_name))
        return standing(secret, live, self._cluster(secret.spec.vault.server))

    # ── told by the stores ───────────────────────────────────────────────────────────────────────────────────────────

    def _server(self, change: Change[ObjectKey, VaultServer | Any]) -> None:
        if not change.spec_changed:
            return
        self._servers.add(change.key, priority=Priority.URGENT)
        for key in self._world.secrets.by("server", change.key.name):
            self._secrets.add(key)

    def _secret(self, change: Change[ObjectKey, Any]) -> None:
        namespace = change.key.namespace
        if change.old is None:
            self._world.live.manage(namespace)
        elif change.new is None and not self._world.secrets.by("namespace", namespace):
            self._world.live.leave(namespace)
        if spec_or_wish_changed(change):
            self._secrets.add(change.key, priority=Priority.URGENT)

    def _live(self, change: Change[ObjectKey, LiveSecret]) -> None:
        namespace, writer = change.key.namespace, self._world.writer
        if writer is not None:
            # Taken over for one from another, as a whole or a key of it: the other one does not know yet.
            keys = frozenset(ObjectKey(namespace, name) for name in _dispossessed(change)) - {writer}
        else:
            # By the name it has, and by the owner it names: one left over from a former name is nobody's target.
            named = {entry.value.owner for entry in (change.old, change.new) if entry is not None and entry.value.owner}
            owners = {ObjectKey(namespace, name) for name in named}
            keys = self._world.secrets.by("target", (namespace, change.key.name)) | owners
        for key in keys:
            if key in self._world.secrets:
                self._secrets.add(key, priority=Priority.URGENT)

    def _turned(self, namespace: str) -> None:
        """The Secrets of a namespace (empty: of all) became known, or may not be known any more."""
        keys = self._world.secrets.by("namespace", namespace) if namespace else self._world.secrets.keys()
        for key in keys:
            self._secrets.add(key)

    def _pod(self, change: Change[ObjectKey, PodView]) -> None:
        old, new = change.old and change.old.value, change.new and change.new.value
        if old == new:
            return
        for name in (old.secrets if old else frozenset()) | (new.secrets if new else frozenset()):
            for key in self._world.secrets.by("target", (change.key.namespace, name)):
                self._secrets.add_after(key, PODS_SETTLE)

    def _namespace(self, change: Change[ObjectKey, Namespace]) -> None:
        old, new = change.old and change.old.value, change.new and change.new.value
        if old != new:
            for key in self._world.secrets.by("namespace", change.key.name):
                self._secrets.add(key)


def _dispossessed(change: Change[ObjectKey, LiveSecret]) -> set[str]:
    """Names of the ElileSecrets that had more of a Secret than they have now."""
    if change.old is None or change.new is None:
        return set()
    old, new = change.old.value, change.new.value
    lost = {name for name, share in old.shares.items() if share != new.shares.get(name)}
    return lost | ({old.owner} if old.owner and old.owner != new.owner else set())
