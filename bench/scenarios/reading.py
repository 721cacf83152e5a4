"""What a read of Vault costs whoever asks, by client and by how reads come: CPU of this process, not of the server."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import local

import requests

from bench.figures import Figure, milliseconds
from bench.scale import Scale
from bench.world import World
from elile.secrets.redact import SecretStr
from elile.secrets.transport import VaultEndpoint
from elile.secrets.vault import VaultClient
from lab import control, rest

__all__ = ["reads", "root"]

READS = 300
AT_ONCE = 16
# As 1,000 polls a minute come.
EVERY = 0.06


def reads(world: World, scale: Scale, path: str) -> Iterator[Figure]:
    """Metadata of one entry, which is there."""
    endpoint = VaultEndpoint(address=world.lab.bao_address, ca_pem=world.lab.ca_file.read_text())
    token, url = SecretStr(world.lab.root_token), f"/v1/secret/metadata/{path}"
    own = local()

    def plain() -> object:
        if not hasattr(own, "client"):
            own.client = root(world)
        return own.client.get(url)

    with closing(VaultClient(endpoint)) as client, closing(requests.Session()) as session:
        session.trust_env, session.verify = False, str(world.lab.ca_file)
        session.headers["X-Vault-Token"] = world.lab.root_token
        ways: dict[str, Callable[[], object]] = {
            "the operator's client": lambda: client.kv2_metadata(token, mount="secret", path=path),
            "requests": lambda: session.get(f"{world.lab.bao_address}{url}", timeout=10).json(),
            "http.client": plain,
        }
        for name, read in ways.items():
            how = f"thread's CPU, mean of {READS} reads, one after another, over one connection"
            yield milliseconds(f"reads.{_word(name)}", f"a read by {name}: CPU", _in_a_row(read), how)
        for name in ("the operator's client", "http.client"):
            for size in (1, AT_ONCE):
                found = _paced(ways[name], scale.paced, size)
                how = f"process's CPU, mean of {scale.paced} reads in threads, {size} every {EVERY * size:.2f} s"
                what = "one by one" if size == 1 else f"in bursts of {size}"
                yield milliseconds(f"reads.{_word(name)}.{size}", f"a read by {name}, {what}: CPU", found, how)


def root(world: World) -> rest.Client:
    """A plain client with the root token."""
    client = control.client(world.lab.layout, world.lab.bao_address)
    client.headers["X-Vault-Token"] = world.lab.root_token
    return client


def _word(name: str) -> str:
    return name.split()[-1].replace(".", "-")


def _in_a_row(read: Callable[[], object]) -> float:
    for _ in range(READS // 10):
        read()
    began = time.thread_time()
    for _ in range(READS):
        read()
    return (time.thread_time() - began) / READS


def _paced(read: Callable[[], object], number: int, size: int) -> float:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        _burst(pool, read, 2 * AT_ONCE)  # connects
        began, due = time.process_time(), time.monotonic()
        for _ in range(number // size):
            _burst(pool, read, size)
            due += EVERY * size
            time.sleep(max(0.0, due - time.monotonic()))
        return (time.process_time() - began) / (number // size * size)


def _burst(pool: ThreadPoolExecutor, read: Callable[[], object], size: int) -> None:
    for future in [pool.submit(read) for _ in range(size)]:
        future.result()
