"""Everything Kopf: it logs in, watches and handles signals; each event only goes into a store, and cannot fail."""

import asyncio
import datetime as dt
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import kopf

from elile_operator.kube.credentials import Credentials, CredentialSource
from elile_operator.kube.resources import Resource

__all__ = ["Watch", "run"]

# Seconds before credentials that were refused are tried again.
REFUSED_WAIT = 1.0


@dataclass(frozen=True, slots=True)
class Watch:
    """One kind to watch in all namespaces. `observe` gets the raw object, and whether it was deleted."""

    resource: Resource
    observe: Callable[[Mapping[str, Any], bool], object]
    label_selector: str | None = None


class EndlessBackoffs:
    """Seconds between tries of one request, for ever.

    Kopf's own list ends after 54 s, and then a watcher ends the process and an object is dropped; an outage of the API
    server is no reason for either. Kopf asks for an iterator with each request.
    """

    def __iter__(self) -> Iterator[float]:
        for base in (0.5, 1.0, 2.0, 4.0, 8.0):
            yield base * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not a secret
        while True:
            yield 15.0 * random.uniform(0.7, 1.3)  # noqa: S311


class NothingStored(kopf.DiffBaseStorage):
    """No memory of handled states: nothing here asks for differences, and building them is half of what Kopf computes.

    It is also why Kopf can never copy an object into an annotation of it.
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        """Keep nothing."""


async def run(
    watches: Iterable[Watch],
    *,
    credentials: CredentialSource,
    seen: Callable[[str, str | None], None],
    on_stop: Callable[[], Awaitable[None]],
) -> None:
    """Watch until SIGTERM or SIGINT, then call `on_stop` and return.

    `seen` is told the kind and type of every event, for metrics. `on_stop` runs while the event loop is still whole:
    tasks that were born after Kopf would otherwise be waited for, and cancelled.
    """
    registry, settings = kopf.OperatorRegistry(), _settings()
    for watch in watches:
        resource = watch.resource
        if watch.label_selector:
            settings.watching.label_selectors[resource.group, resource.version, resource.plural] = watch.label_selector
        _register(watch, registry, seen)

    last: Credentials | None = None

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        nonlocal last
        found = await credentials.load()
        if last is not None and last.expires > dt.datetime.now(dt.UTC) and replace(found, expires=last.expires) == last:
            # Asked before their time: they were refused with 401. Kopf would try the same at once, a hundred times a
            # second; kubelet may need a moment to bring the next token.
            await asyncio.sleep(REFUSED_WAIT)
            found = await credentials.load()
        last = found
        return kopf.ConnectionInfo(
            server=found.server,
            ca_path=found.ca_file,
            certificate_path=found.certificate_file,
            private_key_path=found.key_file,
            scheme="Bearer" if found.token else None,
            token=found.token.reveal() if found.token else None,
            # Kopf keeps credentials until a 401 unless it is told their end; a rotated token would then be refused.
            expiration=found.expires,
        )

    @kopf.on.cleanup(registry=registry)
    async def cleanup(**_: Any) -> None:
        await on_stop()

    await kopf.operator(registry=registry, settings=settings, clusterwide=True, standalone=True)


def _register(watch: Watch, registry: kopf.OperatorRegistry, seen: Callable[[str, str | None], None]) -> None:
    resource = watch.resource

    @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)
    async def on_event(type: str | None, event: Mapping[str, Any], **_: Any) -> None:
        watch.observe(event["object"], type == "DELETED")
        seen(resource.kind, type)


def _settings() -> kopf.OperatorSettings:
    """What was measured to matter, see docs/adr/0001-kopf-as-event-source.md."""
    settings = kopf.OperatorSettings()
    settings.persistence.diffbase_storage = NothingStored()
    settings.networking.error_backoffs = EndlessBackoffs()
    settings.networking.request_timeout = 60  # seconds; Kopf's 300 would let one hung request block a watch for minutes
    settings.networking.connect_timeout = 10
    settings.watching.connect_timeout = 10
    settings.watching.server_timeout = 300  # spreads reconnects; bookmarks already tell a dead stream
    settings.watching.client_timeout = 330
    settings.watching.chunk_size = 500  # with idle_timeout: 93 MB instead of 214 MB at 10,000 objects
    settings.queueing.worker_limit = None  # with a limit, finished workers keep their places for idle_timeout
    settings.queueing.idle_timeout = 0.5
    settings.scanning.disabled = True  # the CRDs are there before Kopf starts; one watch and one right less
    settings.peering.standalone = True  # peering is a heartbeat, not a lock
    settings.posting.enabled = False  # events are written by kube/events.py, with reasons of the closed list
    settings.process.ultimate_exiting_timeout = 25  # below the 30 s that kubelet gives a pod to stop
    return settings
