"""Wires the parts of the forwarder together, and runs them until it is told to stop.

The main thread reads, so that nothing is lost when the file is cut while the operator is slow; another one sends. What
is between them is bounded.
"""

import logging
import random
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

from elile.secrets.tls import client_context
from elile_operator.decide.hints import HEARTBEAT
from elile_operator.hints.connection import Connection, resolve
from elile_operator.hints.credentials import WatchedFile, authorities_of, token_of
from elile_operator.hints.gaps import Gap
from elile_operator.hints.handover import Handover
from elile_operator.hints.metrics import Metrics
from elile_operator.hints.options import ConfigurationError, Options, Target, check_file, target_of
from elile_operator.hints.pending import Pending
from elile_operator.hints.reader import Reader
from elile_operator.hints.sending import Outcome, Sender
from elile_operator.hints.serving import MetricsServer
from elile_operator.hints.state import StateFile
from elile_operator.hints.tail import Tail

__all__ = ["Forwarder"]

log = logging.getLogger(__name__)

EVERY = 0.01  # seconds between two reads that find nothing
SAVE_EVERY = 1.0  # seconds
STOP_WITHIN = 2.0  # seconds to send what waits
READER_STUCK, SENDER_STUCK = 10.0, 120.0  # seconds; a round of a few addresses may take half a minute


class Forwarder:
    """One run from `run` to `stop`; nothing of it can be used again."""

    def __init__(self, options: Options) -> None:
        """Read what the options name. Raises ConfigurationError for what can never work."""
        target = target_of(options.to, options.server)
        check_file(options.file)
        self.metrics = Metrics()
        self._state = StateFile(options.state_file) if options.state_file else None
        self._tail = Tail(options.file, known=self._state.load() if self._state else None, monotonic=time.monotonic)
        self._handover = Handover(Pending())
        self._reader = Reader(self._tail, self._handover, self.metrics)
        self._sender = Sender(
            target,
            token=WatchedFile("--token-file", options.token_file, token_of),
            context=_context(target, options.ca_file),
            resolve=resolve,
            connect=Connection,
            rand=random.random,
            answered=self.metrics.answered,
        )
        self._server = self._bind(options)
        # A daemon: a resolver that hangs must not hold up the end.
        self._sending = threading.Thread(target=self._send, name="elile-hints-sender", daemon=True)
        self._stopping = False
        self._failed = False
        now = time.monotonic()
        self._read_at = self._sent_at = self._saved_at = now

    def stop(self) -> None:
        """Let `run` come to its end. Safe in a signal handler: it takes no lock."""
        self._stopping = True

    def run(self) -> bool:
        """Forward until `stop` is called, then send what waits for two seconds at most; False if it failed."""
        if self._server is not None:
            self._server.start()
            log.info("metrics served", extra={"fields": {"port": self._server.port}})
        self._reader.read()  # before anything is sent: the first batch has to say that there is a gap
        self._sending.start()
        while not self._stopping and self._sending.is_alive():
            if not self._reader.read():
                time.sleep(EVERY)
            self._read_at = now = time.monotonic()
            if now - self._saved_at >= SAVE_EVERY:
                self._saved_at = now
                self._keep()
        self._end()
        return not self._failed

    def _end(self) -> None:
        deadline = time.monotonic() + STOP_WITHIN
        while self._reader.read() and time.monotonic() < deadline:
            pass
        self._handover.close()
        self._sending.join(max(0.0, deadline - time.monotonic()))
        self._handover.abandon()
        self._keep()
        self._tail.close()
        if self._server is not None:
            self._server.stop()
        untold = len(self._handover)
        log.log(
            logging.WARNING if untold else logging.INFO,
            "the forwarder has stopped",
            extra={"fields": {"untold": untold}},
        )

    def _keep(self) -> None:
        """Save up to where all is told, and show where we are."""
        self.metrics.pending.set(len(self._handover))
        self.metrics.behind.set(self._tail.behind())
        done = self._handover.done
        known = self._tail.known(done) if done and self._state else None
        if known and self._state:
            self._state.save(known)

    def _send(self) -> None:
        try:
            within = 0.0  # the first one at once, whatever it says
            while (batch := self._handover.take(within)) is not None:
                self._sent_at, within = time.monotonic(), HEARTBEAT
                result = self._sender.send(batch)
                dropped = self._handover.settle(result.outcome)
                if result.outcome is Outcome.TAKEN:
                    self.metrics.sent.inc(len(batch.hints))
                    self.metrics.last_taken.set(time.time())
                elif dropped:
                    self.metrics.dropped.inc(dropped)
                    self.metrics.gap(Gap.REFUSED)
                if result.wait:
                    self._handover.pause(result.wait)
            self._sender.close()
        except BaseException:
            self._failed = True
            raise  # to the hook that logs it

    def _bind(self, options: Options) -> MetricsServer | None:
        if options.metrics_port is None:
            return None
        host, port = options.metrics_host, options.metrics_port
        try:
            return MetricsServer(host=host, port=port, render=self.metrics.render, ill=self._ill)
        except OSError as e:
            raise ConfigurationError(
                "--metrics-port", f"{host} port {port} cannot be used ({e.strerror}); give another, or --metrics-host"
            ) from None

    def _ill(self) -> str | None:
        now = time.monotonic()
        if now - self._read_at > READER_STUCK:
            return "the audit file is not read any more"
        return "nothing is sent any more" if now - self._sent_at > SENDER_STUCK else None


def _context(target: Target, ca_file: Path | None) -> Callable[[], ssl.SSLContext | None]:
    if not target.tls:
        return lambda: None
    if ca_file is not None:
        return WatchedFile("--ca-file", ca_file, authorities_of).get
    of_the_system = client_context(None)
    return lambda: of_the_system
