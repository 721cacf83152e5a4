"""The client library: what a cached value, an unchanged volume and the import itself cost. `python -m bench.client`."""

import asyncio
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.world import ROOT
from elile.secrets import MemorySecretsManager, MountedSecretsManager, SyncSecrets
from elile.secrets.testing.volumes import VolumeWriter

ROUNDS = 9
CALLS = 20_000


def per_call(call: Callable[[], object]) -> float:
    """Return the best mean of several rounds, in microseconds: what others do on the machine only adds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            call()
        best = min(best, (time.perf_counter() - began) / CALLS)
    return best * 1e6


async def per_await(manager: MemorySecretsManager) -> float:
    """As `per_call`, for the asynchronous face."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            await manager.get_secret("shop/db")
        best = min(best, (time.perf_counter() - began) / CALLS)
    return best * 1e6


def started(code: str) -> float:
    """Return the median milliseconds of a Python that runs `code`."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "operator")})
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


def main() -> None:
    """Print the figures beside their budgets."""
    print(f"{platform.machine()}, Python {platform.python_version()}; best of {ROUNDS} × {CALLS} calls\n")
    print("| figure | value | budget |\n|---|---|---|")
    memory = MemorySecretsManager({"shop/db": {"username": "shop", "password": "p"}})
    secrets = SyncSecrets(memory)
    secrets.get_secret("shop/db")
    print(f"| cached get, asyncio | {asyncio.run(per_await(memory)):.2f} µs | ≤ 2 µs |")
    print(f"| cached get, blocking | {per_call(lambda: secrets.get_secret('shop/db')):.2f} µs | ≤ 2 µs |")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        VolumeWriter(Path(folder) / "db").write({"username": "shop", "password": "p"})
        mounted = SyncSecrets(MountedSecretsManager(folder))
        print(
            f"| mounted read of an unchanged volume | {per_call(lambda: mounted.get_secret('db')):.2f} µs | ≤ 30 µs |"
        )
        mounted.close()
    bare, loaded = started("pass"), started("import elile.secrets")
    used = started("from elile.secrets import MountedSecretsManager")
    print(f"| import elile.secrets, over bare Python | {loaded - bare:.0f} ms | ≤ 60 ms |")
    print(f"| from elile.secrets import MountedSecretsManager | {used - bare:.0f} ms | – |")
    secrets.close()


if __name__ == "__main__":
    main()
