"""What the controllers work with, in memory: a cluster, a Vault, and the parts between them as they are wired."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from elile.secrets.redact import SecretBytes
from elile_operator.api.meta import Condition
from elile_operator.api.model import ObjectMeta
from elile_operator.controllers.consumers import ConsumersWatch
from elile_operator.controllers.restarts import Restarts
from elile_operator.controllers.wakeups import Wakeups
from elile_operator.controllers.world import World
from elile_operator.decide.fingerprint import FingerprintKey
from elile_operator.decide.live import LiveSecret, read_secret
from elile_operator.delivery.poke import PokeKey, Poker
from elile_operator.delivery.proof import Prober
from elile_operator.delivery.secrets import SecretWriter
from elile_operator.engine import Change, Following, ObjectKey, ObjectStore, WorkQueue, object_key
from elile_operator.kube.client import Json
from elile_operator.kube.resources import ELILE_SECRETS, NAMESPACES, PODS, SECRETS, VAULT_SERVERS, Resource
from elile_operator.sources import servers as servers_module
from elile_operator.sources.holdings import Holdings
from elile_operator.sources.identity import Identity
from elile_operator.sources.logins import Logins
from elile_operator.sources.reads import Entry, SharedReads
from elile_operator.sources.servers import Servers
from tests.fakes.api import MemoryKube, elile_secret, vault_server
from tests.fakes.clock import FakeClock
from tests.fakes.vault import FakeLink, FakeTokens, FakeVault, Seen

KEY = FingerprintKey("k1", SecretBytes(b"k" * 32))
ACCOUNT = "elile-system:elile-operator"
DB = ObjectKey("shop", "db")
SERVER = ObjectKey("", "default")


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class KnownSecrets:
    """As ManagedSecrets, without watches: what it is told, in namespaces that are followed as tests say."""

    def __init__(self) -> None:
        self._store: ObjectStore[ObjectKey, LiveSecret] = ObjectStore(
            kind="Secret",
            key_of=object_key,
            project=lambda body: read_secret(body, KEY),
            indexes={
                "owner": lambda live: live.owner_uids,
                "merger": lambda live: [(live.namespace, name) for name in live.shares],
            },
        )
        self.state: dict[str, Following] = {}
        self.managed: list[str] = []
        self.left: list[str] = []
        self.nudged: list[str] = []
        self.turned: Callable[[str], None] = lambda _: None

    def connect(
        self, *, on_change: Callable[[Change[ObjectKey, LiveSecret]], None], on_turn: Callable[[str], None]
    ) -> None:
        self._store.subscribe(on_change)
        self.turned = on_turn

    def manage(self, namespace: str) -> None:
        self.managed.append(namespace)

    def leave(self, namespace: str) -> None:
        self.left.append(namespace)

    def nudge(self, namespace: str) -> None:
        self.nudged.append(namespace)

    def following(self, namespace: str) -> Following:
        return self.state.get(namespace, Following.CURRENT)

    def get(self, key: ObjectKey) -> LiveSecret | None:
        return self._store.get(key)

    def owned(self, namespace: str, uid: str) -> list[LiveSecret]:
        found = (self._store.get(key) for key in self._store.by("owner", uid) if key.namespace == namespace)
        return [live for live in found if live is not None]

    def shared(self, namespace: str, name: str) -> list[LiveSecret]:
        found = (self._store.get(key) for key in self._store.by("merger", (namespace, name)))
        return [live for live in found if live is not None]

    def observe(self, body: Mapping[str, Any], *, deleted: bool = False) -> None:
        self._store.observe(body, deleted=deleted)


class Events:
    """Remembers what was told: object, reason, note, and whether it is a warning."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str, bool]] = []

    async def tell(self, resource: Resource, meta: ObjectMeta, *, reason: str, note: str, warning: bool) -> None:
        self.told.append((f"{resource.kind} {meta.name}", reason, note, warning))

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reason, _, _ in self.told]


class Pods:
    """What pods answer, by URL; the others do not answer."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []

    async def ask(self, url: str) -> bytes | None:
        self.asked.append(url)
        return self.answers.get(url)

    async def close(self) -> None:
        """Nothing is open."""


class Stage:
    """All parts between a cluster and a Vault in memory; the queues only fill, tests take what is due."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock(monotonic=0.0)
        self.kube = MemoryKube(self.clock)
        self.vault = FakeVault(self.clock)
        self.tokens = FakeTokens()
        self.seen = Seen()
        self.events = Events()
        self.live = KnownSecrets()
        self.world = World(self.live)  # type: ignore[arg-type]
        self.secrets: WorkQueue[ObjectKey] = self._queue()
        self.checks: WorkQueue[ObjectKey] = self._queue()
        self.polls: WorkQueue[Entry] = self._queue()
        self.pokes: WorkQueue[PokeKey] = self._queue()
        self.wakeups = Wakeups(world=self.world, secrets=self.secrets, servers=self.checks)
        monkeypatch.setattr(servers_module, "Link", lambda server, **_: FakeLink(server, self.vault))
        self.servers = Servers(clock=self.clock, observer=self.seen)
        renewals: WorkQueue[Identity] = self._queue()
        self.logins = Logins(
            servers=self.servers,
            tokens=self.tokens,
            clock=self.clock,
            renewals=renewals,
            in_use=lambda identity: self.reads.in_use(identity),  # noqa: PLW0108 - made below
            observer=self.seen,
        )
        self.holdings = self.new_holdings()
        self.reads: SharedReads[ObjectKey] = SharedReads(
            logins=self.logins,
            clock=self.clock,
            rand=lambda: 1.0,
            polls=self.polls,
            on_change=self.wakeups.changed,
            observer=self.seen,
            usable=lambda server: self.servers.trouble(server) is None,
        )
        self.writer = SecretWriter(self.kube)  # type: ignore[arg-type]
        self.poker = Poker(self.kube, queue=self.pokes, clock=self.clock, observer=self)  # type: ignore[arg-type]
        self.poker.on_settled(self.wakeups.settled)
        self.written: list[str] = []
        self.latencies: list[float] = []
        self.pods = Pods()
        self.proofs: WorkQueue[ObjectKey] = self._queue()
        self.prober = Prober(self.pods, queue=self.proofs, on_news=self.wakeups.consumers_changed)
        self.rollouts: WorkQueue[str] = self._queue()
        self.restarts = Restarts(
            self.kube,  # type: ignore[arg-type]
            world=self.world,
            queue=self.rollouts,
            events=self.events,
            account=ACCOUNT,
            clock=self.clock,
            on_news=self.wakeups.consumers_changed,
        )
        self.consumers = ConsumersWatch(prober=self.prober, restarts=self.restarts, clock=self.clock)

    def new_holdings(self) -> Holdings[ObjectKey]:
        """What a process holds that has just started."""
        return Holdings(
            servers=self.servers, logins=self.logins, clock=self.clock, rand=lambda: 0.0, observer=self.seen
        )

    def poke(self, *, outcome: str) -> None:
        """As a PokeObserver."""

    def secret_written(self, *, operation: str) -> None:
        """As a SecretObserver."""
        self.written.append(operation)

    def secret_current(self, *, seconds: float) -> None:
        """As a SecretObserver."""
        self.latencies.append(seconds)

    # ── the cluster ──────────────────────────────────────────────────────────────────────────────────────────────────

    def put(self, resource: Resource, body: Json) -> Json:
        """Have an object in the cluster, and have the watch tell of it."""
        found = self.kube.put(resource, body)
        self.observe(resource, found)
        return found

    def edit(self, resource: Resource, namespace: str, name: str, change: Callable[[Json], object]) -> Json:
        """Change an object in the cluster as somebody would, and have the watch tell of it."""
        body = self.kube.find(resource, namespace, name)
        assert body is not None
        change(body)
        return self.put(resource, body)

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        body = self.kube.find(resource, namespace, name)
        assert body is not None
        self.kube.remove(resource, namespace, name)
        self.observe(resource, body, deleted=True)

    def observe(self, resource: Resource, body: Json, *, deleted: bool = False) -> None:
        stores: dict[str, Any] = {
            VAULT_SERVERS.plural: self.world.servers,
            ELILE_SECRETS.plural: self.world.secrets,
            PODS.plural: self.world.pods,
            NAMESPACES.plural: self.world.namespaces,
            SECRETS.plural: self.live,
        }
        stores[resource.plural].observe(body, deleted=deleted)

    def want(self, name: str = "db", **spec: Any) -> None:
        """An ElileSecret appears."""
        self.put(ELILE_SECRETS, elile_secret(name, **spec))

    def change(self, name: str = "db", **spec: Any) -> None:
        """Its spec is edited."""

        def edit(body: Json) -> None:
            body["spec"] |= spec
            body["metadata"]["generation"] += 1

        self.edit(ELILE_SECRETS, "shop", name, edit)

    def serve(self, **spec: Any) -> None:
        """The VaultServer appears, or another spec of it, with what is known of it as it was."""
        known = self.kube.find(VAULT_SERVERS, "", "default")
        generation = known["metadata"]["generation"] + 1 if known else 1
        body = vault_server(generation=generation, **spec)
        self.put(VAULT_SERVERS, {**body, "status": known.get("status", {})} if known else body)

    # ── what came of it ──────────────────────────────────────────────────────────────────────────────────────────────

    def secret(self, name: str = "db") -> Json:
        body = self.kube.find(SECRETS, "shop", name)
        assert body is not None, f"there is no Secret {name}"
        return body

    def data(self, name: str = "db") -> dict[str, str]:
        return {key: base64.b64decode(value).decode() for key, value in self.secret(name)["data"].items()}

    def status(self, name: str = "db") -> Json:
        body = self.kube.find(ELILE_SECRETS, "shop", name)
        assert body is not None
        found: Json = body.get("status", {})
        return found

    def condition(self, type_: str = "Ready", *, resource: Resource = ELILE_SECRETS, key: ObjectKey = DB) -> Condition:
        body = self.kube.find(resource, key.namespace, key.name)
        assert body is not None
        found = [Condition.model_validate(c) for c in body["status"]["conditions"] if c["type"] == type_]
        assert len(found) == 1, f"{len(found)} conditions {type_}"
        return found[0]

    def says(self, type_: str = "Ready") -> str:
        """Status and reason of a condition of the ElileSecret `db`."""
        found = self.condition(type_)
        return f"{found.status} {found.reason}"

    def calls(self) -> list[str]:
        """What was asked of API server and Vault since the last time this was asked; logins and tokens apart."""
        made = [f"{w.verb} {w.resource} {w.name}" for w in self.kube.writes]
        made += self.kube.reads
        made += [f"{c.operation} {c.path}" for c in self.vault.calls if c.operation in ("metadata", "read", "state")]
        for log in (self.kube.writes, self.kube.reads, self.vault.calls):
            log.clear()
        return made

    def due(self, queue: WorkQueue[Any] | None = None) -> list[Any]:
        """Keys that are ready, taken out of the queue of the ElileSecrets, or of another."""
        queue, found = self.secrets if queue is None else queue, []
        while (key := queue.get_nowait()) is not None:
            queue.done(key)
            found.append(key)
        return found

    def _queue(self) -> WorkQueue[Any]:
        return WorkQueue(clock=self.clock, rand=lambda: 1.0)
