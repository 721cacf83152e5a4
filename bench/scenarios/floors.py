"""What the machine can do at best: the same requests by a plain client, without an operator."""

import time
from collections.abc import Iterator
from typing import Any

from bench.figures import Figure, seconds
from bench.fleet import Fleet, body
from bench.parallel import parallel
from bench.scale import Scale
from bench.scenarios.reading import reads, root
from bench.world import World
from tests.chaos.support.clients import Api, Bao, elilesecrets, secrets

__all__ = ["floors"]

THREADS = 16
NAMESPACE = "bench-0"


def floors(world: World, scale: Scale) -> Iterator[Figure]:
    """Reads, a listing, Secrets, statuses; and what one read costs by each client."""
    numbers = range(scale.objects)
    Fleet(world, scale.objects, scale.objects, identities=1).fill()

    def bao() -> Bao:
        return Bao(world.lab)

    how = f"{THREADS} threads, a connection each"
    took = parallel("reads", bao, lambda c, i: c.get(f"{NAMESPACE}/p-{i}"), numbers, threads=THREADS)
    yield seconds("floor.reads", f"read {scale.objects:,} paths", took, how)
    client = root(world)
    began = time.perf_counter()
    client.request("LIST", f"/v1/secret/detailed-metadata/{NAMESPACE}/")
    yield seconds("floor.listing", f"one listing of {scale.objects:,} entries", time.perf_counter() - began, "once")

    def api() -> Api:
        return Api(world.lab, 30)

    took = parallel(
        "Secrets", api, lambda c, i: c.apply(secrets(NAMESPACE, f"s-{i}"), _secret(i)), numbers, threads=THREADS
    )
    yield seconds("floor.secrets", f"apply {scale.objects:,} Secrets", took, how)
    took = parallel("statuses", api, lambda c, i: c.apply(_status(i), _said(i)), numbers, threads=THREADS)
    yield seconds("floor.statuses", f"apply {scale.objects:,} statuses", took, how)
    yield from reads(world, scale, f"{NAMESPACE}/p-0")


def _secret(i: int) -> dict[str, Any]:
    meta = {"name": f"s-{i}", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"value": f"{i}"}}


def _status(i: int) -> str:
    return f"{elilesecrets(NAMESPACE, f's-{i}')}/status"


def _said(i: int) -> dict[str, Any]:
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Synced",
        "message": "what a floor says",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    whole = body(NAMESPACE, f"s-{i}", "", "60s")
    return {key: whole[key] for key in ("apiVersion", "kind", "metadata")} | {"status": {"conditions": [condition]}}
