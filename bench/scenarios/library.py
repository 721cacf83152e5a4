"""The client library: what a cached value, an unchanged volume and the import itself cost."""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from bench.figures import Figure, milliseconds
from bench.process import ROOT
from bench.scale import Scale
from elile.secrets import MemorySecretsManager, MountedSecretsManager, SyncSecrets
from elile.secrets.testing.volumes import VolumeWriter

__all__ = ["library"]

ROUNDS = 9


def library(scale: Scale) -> Iterator[Figure]:
    """Calls in this process; imports in new ones."""
    memory = MemorySecretsManager({"shop/db": {"username": "shop", "password": "p"}})
    with closing(SyncSecrets(memory)) as secrets:
        secrets.get_secret("shop/db")
        how = f"best mean of {ROUNDS} times {scale.calls:,} calls"
        found = asyncio.run(_per_await(memory, scale.calls))
        yield _microseconds("library.cached.asyncio", "cached get, asyncio", found, how)
        found = _per_call(lambda: secrets.get_secret("shop/db"), scale.calls)
        yield _microseconds("library.cached.blocking", "cached get, blocking", found, how)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:  # memory, as kubelet's volumes are
        VolumeWriter(Path(folder) / "db").write({"username": "shop", "password": "p"})
        with closing(SyncSecrets(MountedSecretsManager(folder))) as mounted:
            found = _per_call(lambda: mounted.get_secret("db"), scale.calls)
            yield _microseconds("library.mounted", "mounted read of an unchanged volume", found, how)
    bare, loaded = _started("pass"), _started("import elile.secrets")
    used = _started("from elile.secrets import MountedSecretsManager")
    how = f"median of {ROUNDS} processes, less that of a bare Python"
    yield milliseconds("library.import", "import elile.secrets", loaded - bare, how)
    yield milliseconds("library.import.used", "import of MountedSecretsManager as well", used - bare, how)


def _microseconds(key: str, name: str, value: float, how: str) -> Figure:
    return Figure(key, name, value * 1e6, "µs", f"{value * 1e6:.2f} µs", how)


def _per_call(call: Callable[[], object], calls: int) -> float:
    """Return the best mean of several rounds, in seconds: what others do on the machine only adds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(calls):
            call()
        best = min(best, (time.perf_counter() - began) / calls)
    return best


async def _per_await(manager: MemorySecretsManager, calls: int) -> float:
    """As `_per_call`, for the asynchronous face."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(calls):
            await manager.get_secret("shop/db")
        best = min(best, (time.perf_counter() - began) / calls)
    return best


def _started(code: str) -> float:
    """Return the median seconds of a Python that runs `code`."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "operator")})
        times.append(time.perf_counter() - began)
    return statistics.median(times)
