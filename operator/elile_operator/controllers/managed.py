"""The Secrets of the namespaces that are given to the operator: each is followed as far as its rights go there."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from elile_operator.decide.fingerprint import FingerprintKey
from elile_operator.decide.live import LiveSecret, read_secret
from elile_operator.engine import (
    Change,
    Clock,
    DeniedError,
    Following,
    ListExpiredError,
    ObjectKey,
    ObjectStore,
    Page,
    Reflector,
    object_key,
)
from elile_operator.engine.body import Body
from elile_operator.kube.client import KubeClient
from elile_operator.kube.errors import KubeForbiddenError, KubeGoneError
from elile_operator.kube.resources import SECRETS

__all__ = ["ManagedSecrets", "SecretWatcher"]

log = logging.getLogger(__name__)

STREAM_SECONDS = 300
EVERYWHERE = ""


class SecretWatcher:
    """Lists and watches the Secrets with our label in one namespace, or in all of them.

    A stream takes `longest` seconds at the most: only between two of them is it time for a new list.
    """

    def __init__(self, kube: KubeClient, namespace: str, *, selector: str, longest: float = STREAM_SECONDS) -> None:
        self._kube = kube
        self._namespace = namespace or None
        self._selector = selector
        self._seconds = int(min(STREAM_SECONDS, longest))

    async def list_page(self, token: str) -> Page:
        """Return one page."""
        try:
            items, following, version = await self._kube.list_page(
                SECRETS, namespace=self._namespace, token=token, label_selector=self._selector
            )
        except KubeForbiddenError:
            raise DeniedError from None
        except KubeGoneError:
            raise ListExpiredError from None
        return Page(items, following, version)

    async def watch(self, version: str) -> AsyncIterator[tuple[str, Body]]:
        """Yield what happens after a version."""
        try:
            async for event in self._kube.watch(
                SECRETS,
                namespace=self._namespace,
                version=version,
                label_selector=self._selector,
                seconds=self._seconds,
            ):
                yield event
        except KubeForbiddenError:
            raise DeniedError from None
        except KubeGoneError:
            raise ListExpiredError from None


@dataclass(slots=True)
class _Managed:
    store: ObjectStore[ObjectKey, LiveSecret]
    reflector: Reflector[ObjectKey, LiveSecret]
    task: asyncio.Task[None]


class ManagedSecrets:
    """One store and one watch for each namespace with an ElileSecret; with `everywhere`, one for the whole cluster.

    RBAC knows no label selectors: the right to list Secrets in the cluster is the right to read all of them. So rights
    are given namespace by namespace, and what may not be watched is not asked for. `on_turn` is called with a namespace
    whose Secrets became known, or were taken from us.
    """

    def __init__(
        self,
        *,
        key: FingerprintKey,
        watcher: Callable[[str], SecretWatcher],
        clock: Clock,
        rand: Callable[[], float],
        period: float,
        everywhere: bool,
    ) -> None:
        self._key = key
        self._watcher = watcher
        self._clock = clock
        self._rand = rand
        self._period = period
        self._everywhere = everywhere
        self._managed: dict[str, _Managed] = {}
        self._changed: Callable[[Change[ObjectKey, LiveSecret]], None] = lambda _change: None
        self._turned: Callable[[str], None] = lambda _namespace: None

    def connect(
        self, *, on_change: Callable[[Change[ObjectKey, LiveSecret]], None], on_turn: Callable[[str], None]
    ) -> None:
        """Say who is told of changed Secrets and of namespaces that turned. Call it before anything is managed."""
        self._changed, self._turned = on_change, on_turn

    # ── which namespaces ─────────────────────────────────────────────────────────────────────────────────────────────

    def manage(self, namespace: str) -> None:
        """Begin to follow a namespace, if it is not followed yet."""
        name = self._name(namespace)
        if name in self._managed:
            return
        store: ObjectStore[ObjectKey, LiveSecret] = ObjectStore(
            kind="Secret",
            key_of=object_key,
            project=lambda body: read_secret(body, self._key),
            indexes={
                "owner": lambda live: live.owner_uids,
                "merger": lambda live: [(live.namespace, name) for name in live.shares],
            },
        )
        store.subscribe(self._changed)
        reflector = Reflector(
            store=store,
            watcher=self._watcher(name),
            clock=self._clock,
            rand=self._rand,
            on_change=lambda: self._turn(name),
            period=self._period,
        )
        task = asyncio.create_task(reflector.run(), name=f"elile-secrets-{name or 'everywhere'}")
        self._managed[name] = _Managed(store, reflector, task)

    def leave(self, namespace: str) -> None:
        """Stop following a namespace in which nothing is wanted any more."""
        if not self._everywhere and (managed := self._managed.pop(namespace, None)):
            managed.task.cancel()

    def nudge(self, namespace: str) -> None:
        """Rights in a namespace changed: ask again now, if they were missing."""
        if managed := self._managed.get(self._name(namespace)):
            managed.reflector.nudge()

    def following(self, namespace: str) -> Following:
        """Tell how much is known of a namespace."""
        managed = self._managed.get(self._name(namespace))
        return managed.reflector.following if managed else Following.STARTING

    # ── the Secrets ──────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, key: ObjectKey) -> LiveSecret | None:
        """Return a Secret with our label as it was last seen, None when there is none."""
        managed = self._managed.get(self._name(key.namespace))
        return managed.store.get(key) if managed else None

    def owned(self, namespace: str, uid: str) -> list[LiveSecret]:
        """Return the Secrets that have an owner with this uid: more than one after the wanted name changed."""
        managed = self._managed.get(self._name(namespace))
        found = [managed.store.get(key) for key in managed.store.by("owner", uid)] if managed else []
        return [live for live in found if live is not None]

    def shared(self, namespace: str, name: str) -> list[LiveSecret]:
        """Return the Secrets of a namespace into which the ElileSecret of this name has merged keys."""
        managed = self._managed.get(self._name(namespace))
        found = [managed.store.get(key) for key in managed.store.by("merger", (namespace, name))] if managed else []
        return [live for live in found if live is not None]

    def observe(self, body: Body) -> None:
        """Take a Secret as the answer to a write."""
        if managed := self._managed.get(self._name(object_key(body).namespace)):
            managed.store.observe(body)

    # ── for health and the end ───────────────────────────────────────────────────────────────────────────────────────

    def age(self) -> float:
        """Seconds since the oldest of the lists; namespaces without rights do not count."""
        ages = [m.reflector.age() for m in self._managed.values() if m.reflector.following is not Following.DENIED]
        return max(ages, default=0.0)

    def tasks(self) -> list[asyncio.Task[None]]:
        """Return the tasks that follow; none may ever end by itself."""
        return [managed.task for managed in self._managed.values()]

    async def stop(self) -> None:
        """End all watches."""
        tasks = self.tasks()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._managed.clear()

    def _name(self, namespace: str) -> str:
        return EVERYWHERE if self._everywhere else namespace

    def _turn(self, name: str) -> None:
        managed = self._managed.get(name)
        if managed is not None and managed.reflector.following is Following.DENIED:
            log.warning("no rights to Secrets", extra={"fields": {"namespace": name or "all"}})
        self._turned(name)
