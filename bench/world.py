"""A lab of the bench's own with the operator on it."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.progress import say
from lab.cluster import Lab
from tests.chaos.support.clients import Api, Body, elilesecrets
from tests.e2e.support.cluster import ROOT, Cluster, eventually
from tests.e2e.support.fixtures import SYSTEM, egress_arguments, install
from tests.e2e.support.hints import Forwarder, HintSite, forwarding
from tests.e2e.support.operator import Operator, running

__all__ = ["SERVER", "World", "world"]

SERVER = "default"
LISTS = 'path "secret/detailed-metadata/{{identity.entity.aliases.ACCESSOR.metadata.service_account_namespace}}/"'


@dataclass(frozen=True)
class World:
    """Cluster, OpenBao and a folder for logs."""

    cluster: Cluster
    lab: Lab
    folder: Path

    def allow_listing(self) -> None:
        """Let each namespace list the folder of its name, as policies/vault/README.md says."""
        accessor = json.loads(self.cluster.bao("auth", "list", "-format=json"))["kubernetes/"]["accessor"]
        policy = (ROOT / "policies" / "vault" / "elile.hcl").read_text()
        given = f'{policy}\n{LISTS} {{ capabilities = ["list"] }}\n'.replace("ACCESSOR", accessor)
        self.cluster.bao("policy", "write", "elile", "-", given=given)

    @contextmanager
    def operator(self, *more: str) -> Iterator[Operator]:
        """Run the operator as it runs by default: JSON log at INFO."""
        arguments = ("--kubeconfig", str(self.cluster.kubeconfig), "--namespace", SYSTEM)
        with running(self.folder / self._new("operator.log"), *arguments, *more) as operator:
            yield operator

    @contextmanager
    def hinted(self) -> Iterator[tuple[Operator, Forwarder]]:
        """Run an operator that takes hints, and a forwarder beside OpenBao that it has heard of."""
        site = HintSite.make(self.cluster, self.folder / self._new("hints"), SERVER, self.lab.spare_ports[-2])
        with self.operator(*site.operator_arguments()) as operator, forwarding(site) as forwarder:
            eventually("hints flow", self._hints_flow, within=60)
            yield operator, forwarder

    @contextmanager
    def egress(self) -> Iterator[Operator]:
        """Run an operator that may connect to the databases of the lab."""
        with self.operator(*egress_arguments(self.cluster)) as operator:
            yield operator

    def synced(self, namespaces: tuple[str, ...]) -> int:
        """Count the ElileSecrets that are Ready, by lists: not for asking again and again."""
        api = Api(self.lab, 30)
        return sum(_is_ready(body) for n in namespaces for body in api.list(elilesecrets(n)))

    def _hints_flow(self) -> bool:
        conditions = self.cluster.get("vaultserver", SERVER).get("status", {}).get("conditions", [])
        return any((c["type"], c["status"]) == ("HintsFlowing", "True") for c in conditions)

    def _new(self, name: str) -> str:
        return f"{time.monotonic_ns()}-{name}"


def _is_ready(body: Body) -> bool:
    conditions = body.get("status", {}).get("conditions", [])
    return any((c["type"], c["status"], c["reason"]) == ("Ready", "True", "Synced") for c in conditions)


@contextmanager
def world(name: str) -> Iterator[World]:
    """Bring up a new lab, set up what an administrator does, and take the lab down again.

    New each time: to delete thousands of objects takes longer, and leaves etcd with their history. The operators' logs
    are kept when something fails.
    """
    lab, folder = Lab.open(name), Path(tempfile.mkdtemp(prefix="elile-bench-"))
    say(f"  lab {name!r} comes up")
    try:
        lab.down(echo=_silent)  # what a run that was killed has left
        lab.up(echo=_silent)
        made = World(Cluster.of_lab(lab), lab, folder)
        install(made.cluster)
        yield made
    except BaseException:
        say(f"  logs of the operators are in {folder}")
        raise
    else:
        shutil.rmtree(folder)
    finally:
        lab.down(echo=_silent)


def _silent(_line: str) -> None:
    """The lab's steps are not what a run is about."""
