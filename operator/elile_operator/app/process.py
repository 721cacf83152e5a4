"""The life of the process: probes, the wait for the cluster, the Lease, the work, the end."""

import asyncio
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable
from importlib.metadata import version

from elile_operator import shell
from elile_operator.app.parts import Parts
from elile_operator.app.rotating import api_addresses
from elile_operator.app.start import (
    StartError,
    api_server,
    credentials,
    in_own_namespace,
    own_namespace,
    wait_for_kinds,
)
from elile_operator.delivery.fingerprint_key import load_fingerprint_key
from elile_operator.engine import SystemClock
from elile_operator.kube.client import KubeClient
from elile_operator.kube.lease import LeaderLease
from elile_operator.obs import checks
from elile_operator.obs.health import Health
from elile_operator.obs.metrics import Metrics
from elile_operator.obs.probes import ProbeServer
from elile_operator.settings import Settings
from elile_operator.sources.receiver import HintReceiver, ReceiverError, Tokens

__all__ = ["run"]

log = logging.getLogger(__name__)

# Seconds without an answer after which a standby is not ready; it asks every two.
API_SILENCE = 20.0


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
    """One running operator."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._source = credentials(settings)
        self._metrics = Metrics(version=version("elile"))
        self._clock = SystemClock()
        self._health = Health(on_tick=self._tick)
        self._namespace = own_namespace(settings)
        self._parts: Parts | None = None
        self._receiver: HintReceiver | None = None
        # Three pools: renewing the Lease must not wait behind a thousand writes, and a watch holds its connection.
        self._lease_kube = self._client(connections=2)
        self._lease = LeaderLease(
            self._lease_kube,
            namespace=self._namespace,
            identity=f"{socket.gethostname()[:200]}_{secrets.token_hex(4)}",
            monotonic=self._clock.monotonic,
            now=self._clock.now,
            sleep=self._clock.sleep,
            lost=_exit_at_once,
        )
        self._kube = self._client(connections=settings.workers + settings.pollers, fence=self._lease.check)
        self._watch_kube = self._client(connections=0)

    async def run(self) -> None:
        """Serve probes, and work while this process is the leader; ends when it is told to."""
        self._health.add_ready("api", self._check_api)
        self._health.start()
        probes = await self._serve_probes()
        self._receiver = await self._receive_hints()
        keeping: asyncio.Task[None] | None = None
        try:
            await wait_for_kinds(self._kube)
            if self._settings.leader_election:
                keeping = await self._lead()
            self._health.role = "leader"
            self._metrics.leader(True)
            await self._work()
        finally:
            if keeping is not None:
                keeping.cancel()
            if self._receiver is not None:
                await self._receiver.stop()
            await probes.stop()
            await self._health.stop()

    async def close(self) -> None:
        """Release the Lease and close all connections."""
        await self._lease.release()
        for kube in (self._lease_kube, self._kube, self._watch_kube):
            await kube.close()

    # ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _serve_probes(self) -> ProbeServer:
        host, port = self._settings.probe_host, self._settings.probe_port
        probes = ProbeServer(health=self._health, render=self._metrics.render, host=host, port=port)
        try:
            bound = await probes.start()
        except OSError as e:
            raise StartError(
                f"cannot serve probes on {host}:{port} ({e.strerror}); choose another --probe-host or --probe-port"
            ) from None
        log.info("probes served", extra={"fields": {"host": host, "port": bound}})
        return probes

    async def _receive_hints(self) -> HintReceiver | None:
        """Listen for hints, where the settings say so: a standby too, to say that it is none who takes them."""
        settings = self._settings
        if settings.hint_port is None:
            return None
        certificate, key, tokens = settings.hint_certificate, settings.hint_key, settings.hint_tokens
        if certificate is None or key is None or tokens is None:
            raise StartError(
                "--hint-port needs --hint-certificate, --hint-key and --hint-tokens: hints come over TLS, with a token"
            )
        host, port = settings.hint_host, settings.hint_port
        receiver = HintReceiver(
            host=host, port=port, certificate=certificate, key=key, tokens=Tokens(tokens), observer=self._metrics
        )
        try:
            bound = await receiver.start()
        except ReceiverError as e:
            raise StartError(str(e)) from None
        except OSError as e:
            raise StartError(
                f"cannot take hints on {host}:{port} ({e.strerror}); choose another --hint-host or --hint-port"
            ) from None
        log.info("hints taken", extra={"fields": {"host": host, "port": bound}})
        return receiver

    async def _lead(self) -> "asyncio.Task[None]":
        """Return once this process is the leader, with the task that keeps it so."""
        self._health.role = "standby"
        await in_own_namespace(self._namespace, "hold the Lease", self._lease.look)
        await self._lease.acquire()
        keeping = asyncio.create_task(self._lease.keep(), name="elile-lease")
        self._health.add_live("lease", checks.running(lambda: [keeping]))
        return keeping

    async def _work(self) -> None:
        self._health.add_ready(
            "started",
            checks.holds(lambda: self._parts is not None and self._parts.started, "the first lists are not complete"),
        )
        key = await in_own_namespace(
            self._namespace,
            "get and create its fingerprint key",
            lambda: load_fingerprint_key(self._kube, self._namespace, random=secrets.token_bytes),
        )
        parts = self._parts = Parts(
            self._settings,
            kube=self._kube,
            watch_kube=self._watch_kube,
            key=key,
            account=f"{self._namespace}:{self._settings.account}",
            clock=self._clock,
            metrics=self._metrics,
            guard=self._lease.check,
            guarded=api_addresses(await api_server(self._source), os.environ.get("KUBERNETES_SERVICE_HOST")),
            receiver=self._receiver,
        )
        await parts.start(self._health)
        await shell.run(parts.watches, credentials=self._source, seen=self._seen, on_stop=parts.stop)

    # ── small things ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _client(self, *, connections: int, fence: Callable[[], None] = lambda: None) -> KubeClient:
        timeout = self._settings.api_timeout.total_seconds()
        return KubeClient(self._source, timeout=timeout, connections=connections, observer=self._metrics, fence=fence)

    def _check_api(self) -> str | None:
        """For a standby, all there is to tell: it could take over when the API server answers it."""
        if self._health.role != "standby":
            return None if self._health.role else "the API server has not answered yet"
        silence = self._lease.silence()
        return None if silence is not None and silence < API_SILENCE else "the API server does not answer"

    def _tick(self, lag: float) -> None:
        self._metrics.loop_lag(lag)
        self._metrics.sample()

    def _seen(self, kind: str, kind_of_event: str | None) -> None:
        self._metrics.watch_event(kind=kind, type=kind_of_event)


def _exit_at_once(why: str) -> None:
    """End this process without another word to the cluster: somebody else may be the leader by now."""
    log.critical("%s; this process ends", why)
    logging.shutdown()
    os._exit(1)
