"""Pods that mount Secrets of a fleet, and when a new value was in their files."""

from collections.abc import Sequence
from pathlib import Path

from bench.fleet import Fleet
from bench.progress import until
from tests.chaos.support.clients import Api, Body
from tests.e2e.support.tenant import pod_manifest

__all__ = ["Mounts"]


class Mounts:
    """Starts pods, each with `each` of the objects' Secrets as volumes, and returns when they run."""

    def __init__(self, fleet: Fleet, objects: Sequence[int], *, each: int = 5) -> None:
        self._pods = fleet.world.lab.kubelet_pods
        self._volumes: dict[int, Path] = {}
        pods: dict[tuple[str, str], list[int]] = {}
        for namespace in fleet.namespaces:
            mine = [i for i in objects if fleet.namespace(i) == namespace]
            for start in range(0, len(mine), each):
                pods[namespace, f"app-{start // each}"] = mine[start : start + each]
        fleet.world.cluster.apply(*(_manifest(fleet, *key, mine) for key, mine in pods.items()))
        api = Api(fleet.world.lab, 30)

        def running() -> int:
            for namespace in fleet.namespaces:
                for found in api.list(f"/api/v1/namespaces/{namespace}/pods"):
                    key = namespace, found["metadata"]["name"]
                    if key in pods and found.get("status", {}).get("phase") == "Running":
                        volumes = self._pods / found["metadata"]["uid"] / "volumes" / "kubernetes.io~secret"
                        self._volumes |= {i: volumes / f"v-{i}" for i in pods.pop(key)}
            return total - len(pods)

        total = self.count = len(pods)
        until("pods run", running, total, every=1.0)

    def swapped(self, i: int, value: str) -> float | None:
        """Return when kubelet put a value into the file of object `i`, in seconds since 1970; None while it is not.

        The file is read by way of the node, where it is the same mount as in the pod. The time is that of the link that
        kubelet's writer puts in place when all of a volume's new files are there.
        """
        volume = self._volumes[i]
        try:
            if (volume / "value").read_text() == value:
                return (volume / "..data").lstat().st_mtime
        except FileNotFoundError:  # between two looks the old folder went
            pass
        return None


def _manifest(fleet: Fleet, namespace: str, name: str, objects: Sequence[int]) -> Body:
    manifest = pod_manifest(namespace, name, "")
    manifest["spec"]["volumes"] = [{"name": f"v-{i}", "secret": {"secretName": fleet.name(i)}} for i in objects]
    manifest["spec"]["containers"][0]["volumeMounts"] = [
        {"name": f"v-{i}", "mountPath": f"/etc/elile/{fleet.name(i)}", "readOnly": True} for i in objects
    ]
    return manifest
