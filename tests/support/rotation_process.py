"""A process that rotates and is killed on the way: the engine with real ports, each of whose effects has a number."""

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from elile.secrets.errors import SecretsError
from elile.secrets.redact import SecretStr
from elile.secrets.rotation.engine import Engine, Parts
from elile.secrets.rotation.journal import Owner, Strategy, Value
from elile.secrets.rotation.journal_kv import KVJournal
from elile.secrets.rotation.live_kv import KVLive
from elile.secrets.rotation.policy import Policy, Request
from elile.secrets.rotation.ports import Target
from elile.secrets.rotation.steps import Delivered, Proofs, Stage, Wait
from elile.secrets.rotation.verify.hooks import Hook
from elile.secrets.rotation.verify.outcome import Verification
from elile.secrets.transport import VaultEndpoint
from elile.secrets.vault import VaultClient
from elile.secrets.vault_backend import KV2Backend
from elile.secrets.vault_session import TokenAuth, VaultSession
from tests.support.openbao import ROOT

OWNER = Owner("test", "team", "db", "uid-1")
GRACE = timedelta(seconds=0.4)
EFFECTS = {
    "journal": ("write", "wipe"),
    "live": ("write",),
    "target": ("apply", "lock", "restore"),
    "consumers": ("deliver",),
}
BEFORE, AFTER, WITHIN = "before", "after", "within"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One rotation. `spec` says which target (see `TARGETS`), `verdict` what the hooks say: ok, fails, spoilt;
    `readers` is the folder in which the clients tell what they have (see `Readers`).

    kill: the number of an effect and when, seen from it, the process dies; `pause`: seconds into it for `within`.
    """

    address: str
    path: str
    readers: str
    spec: dict[str, Any]
    occurrence: str
    verdict: str = "ok"
    kill: tuple[int, str] | None = None
    pause: float = 0.001
    owner: Owner = OWNER


@dataclass
class Effects:
    """Counts effects, and dies at the one that it was told."""

    kill: tuple[int, str] | None
    pause: float
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    names: list[str] = field(default_factory=list)

    def call(self, name: str, act: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        number = next(self.numbers)
        self.names.append(name)
        if self.kill == (number, BEFORE):
            die()
        if self.kill == (number, WITHIN):
            threading.Timer(self.pause, die).start()
        result = act(*args, **kwargs)
        if self.kill == (number, AFTER):
            die()
        return result

    def around(self, port: Any, kind: str) -> Any:
        """The port, with its effects counted. Methods are attributes of the object, so that it stays what it is."""

        class Counted:
            pass

        counted = Counted()
        for name in dir(port):
            if name.startswith("_"):
                continue
            held = getattr(port, name)
            if name in EFFECTS[kind]:
                held = self._counted(f"{kind}.{name}", held)
            setattr(counted, name, held)
        return counted

    def _counted(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: self.call(name, act, args, kwargs)


class Readers:
    """Clients that read the live path, each of which keeps in a file of `folder` the version of its last login."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def deliver(self, value: Value, live_version: int) -> Delivered:
        return Delivered.DONE

    def proofs(self, value: Value, live_version: int) -> Proofs:
        """A client that has read an older version may be on its way to the server with it."""
        seen = [int(file.read_text()) for file in self._folder.iterdir()]
        return Proofs.PROVED if seen and min(seen) >= live_version else Proofs.WAITING


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# By `kind` of a spec.
TARGETS: dict[str, Callable[[dict[str, Any]], Target]] = {}


def target(kind: str) -> Callable[[Callable[[dict[str, Any]], Target]], Callable[[dict[str, Any]], Target]]:
    """Register how a target is made."""

    def register(make: Callable[[dict[str, Any]], Target]) -> Callable[[dict[str, Any]], Target]:
        TARGETS[kind] = make
        return make

    return register


def hooks(verdict: str) -> list[Hook]:
    """Hooks that fail before anybody sees the value (fails), or after it (spoilt)."""
    at = {"fails": Stage.PENDING, "spoilt": Stage.AFTER_PROMOTE}.get(verdict)
    if at is None:
        return []
    return [Hook(name=verdict, check=lambda _: Verification.failed("so it was told"), stages=frozenset({at}))]


def session(address: str, token: SecretStr = ROOT) -> VaultSession:
    return VaultSession(VaultClient(VaultEndpoint(address=address)), TokenAuth(token))


def engine(job: Job, login: VaultSession, effects: Effects) -> Engine:
    backend = KV2Backend(login)
    parts = Parts(
        path=job.path,
        journal_id="test-journal",
        journal=effects.around(KVJournal(login), "journal"),
        live=effects.around(KVLive(backend, login, mount="secret", path=job.path), "live"),
        target=effects.around(TARGETS[job.spec["kind"]](job.spec), "target"),
        consumers=effects.around(Readers(job.readers), "consumers"),
        hooks=hooks(job.verdict),
        negative=job.spec["strategy"] != Strategy.SINGLE_USER,
    )
    return Engine(parts)


def policy(job: Job) -> Policy:
    return Policy(
        owner=job.owner,
        strategy=Strategy(job.spec["strategy"]),
        request=Request(f"{job.path}-{job.occurrence}", job.occurrence),
        grace=GRACE,
        retry=timedelta(seconds=0.1),
        probe_spacing=timedelta(seconds=0.1),
    )


def rotate(job: Job, told: Connection) -> None:
    """Run passes to the end and tell the names of the effects and how it ended; or die."""
    login = session(job.address)
    effects = Effects(job.kill, job.pause)
    rotation = engine(job, login, effects)
    ends = time.monotonic() + 60
    end: Any = None
    while time.monotonic() < ends:
        with contextlib.suppress(SecretsError):
            end = rotation.run(lambda: policy(job))
            if not isinstance(end, Wait):
                break
        time.sleep(0.05)
    login.close()
    told.send((effects.names, type(end).__name__, str(getattr(end, "reason", ""))))
    told.close()
