"""A fake cluster with a real OpenBao beside it: what is wanted there, what has come of it, and the operator in it."""

import base64
import itertools
import ssl
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.support.cluster import eventually
from tests.e2e.support.operator import Operator
from tests.fakes.kube import FakeKube, Requests
from tests.fault.support.bao import Bao

SYSTEM = "elile-system"
AGENT = "elile-operator"
_NUMBERS = itertools.count(1)


@dataclass
class World:
    """What is wanted, by namespace and name of the ElileSecret, is kept in `wanted`: the value of its one key."""

    fake: FakeKube
    bao: Bao
    folder: Path
    mount: str
    poll: str = "1s"
    wanted: dict[tuple[str, str], str] = field(default_factory=dict)
    restarts: int = 0  # of operators that ended by themselves
    _operators: int = 0

    # ── wishes ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def namespace(self) -> str:
        """Make a namespace that is given to the operator."""
        name = f"team-{next(_NUMBERS)}"
        self.fake.create({"kind": "Namespace", "metadata": {"name": name}})
        self.fake.create(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "elile-deliver", "namespace": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "elile-deliver"},
                "subjects": [{"kind": "ServiceAccount", "name": AGENT, "namespace": SYSTEM}],
            }
        )
        return name

    def put(self, namespace: str, *names: str, value: str) -> None:
        """Write the entries of ElileSecrets that exist, or are about to."""
        for name in names:
            self.bao.put(f"{namespace}/{name}", password=value)
            if (namespace, name) in self.wanted:
                self.wanted[namespace, name] = value

    def want(self, namespace: str, *names: str, value: str = "p0", **spec: Any) -> None:
        """Make ElileSecrets and the entries that they read: the folder is the namespace, the entry has their name."""
        for name in names:
            self.bao.put(f"{namespace}/{name}", password=value)
            self.wanted[namespace, name] = value
        self.fake.apply(*(elile_secret(namespace, name, f"{namespace}/{name}", **spec) for name in names))

    # ── what has come of them ────────────────────────────────────────────────────────────────────────────────────────

    def value(self, namespace: str, name: str) -> str | None:
        """What the Secret holds."""
        body = self.fake.find("secret", name, namespace)
        return base64.b64decode(body["data"]["password"]).decode() if body else None

    def condition(self, namespace: str, name: str, type_: str = "Ready") -> dict[str, Any]:
        conditions = self.fake.get("elilesecret", name, namespace).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == type_), {})

    def wrong(self, only: Collection[tuple[str, str]] | None = None) -> list[str]:
        """What is not as it is wanted, in words; empty when all is well."""
        secrets = {_key(s): s for s in self.fake.list("secrets")}
        eliles = {_key(e): e for e in self.fake.list("elilesecrets")}
        found = []
        for key in self.wanted if only is None else only:
            where, secret, status = "/".join(key), secrets.get(key), eliles[key].get("status", {})
            if secret is None:
                found.append(f"{where} has no Secret")
            elif base64.b64decode(secret["data"]["password"]).decode() != self.wanted[key]:
                found.append(f"{where} holds another value")
            said = {c["type"]: c for c in status.get("conditions", [])}
            for type_, wanted in (("Ready", "True"), ("Synced", "True"), ("SecretCurrent", "True")):
                if said.get(type_, {}).get("status") != wanted:
                    found.append(f"{where} is not {type_}: {said.get(type_, {}).get('message')}")
            if status.get("observedGeneration") != eliles[key]["metadata"]["generation"]:
                found.append(f"{where} has a status of another generation")
        return found

    def settle(self, within: float, operator: Operator | None = None) -> float:
        """Wait until nothing is wrong; answers the seconds. An `operator` that ends is started again, as by kubelet."""
        began = time.monotonic()
        problems: list[str] = []

        def settled() -> bool:
            if operator is not None and operator.process.poll() is not None:
                self.restarts += 1
                operator.start()
            problems[:] = self.wrong()
            return not problems

        try:
            eventually("all is as wanted", settled, within=within)
        except AssertionError as e:
            raise AssertionError(f"{e}: {problems[:5]} and {max(0, len(problems) - 5)} more") from None
        return time.monotonic() - began

    # ── what was asked ───────────────────────────────────────────────────────────────────────────────────────────────

    def requests(self) -> Requests:
        """The operator's own requests; Kopf's watches and lists are not among them."""
        return self.fake.requests.where(agent=AGENT)

    def needless_writes(self) -> list[str]:
        """Writes of what was right already; Leases are there to be renewed."""
        return [
            f"{r.verb} {r.resource}/{r.subresource} {r.namespace}/{r.name}"
            for r in self.requests().writes().where(effect="unchanged")
            if r.resource != "leases"
        ]

    def secret_writes(self) -> Counter[tuple[str, str]]:
        """How often each Secret of a tenant was written."""
        found = self.requests().writes().where(resource="secrets")
        return Counter((r.namespace, r.name) for r in found if r.effect and r.namespace != SYSTEM)

    # ── the operator ─────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, *arguments: str, ready: bool = True) -> Operator:
        """Start an operator on this world; stop it yourself, or use `operator`."""
        self._operators += 1
        kubeconfig = self.fake.write_kubeconfig(self.folder / "kubeconfig")
        log = self.folder / f"operator-{self._operators}.log"
        operator = Operator(log, "--kubeconfig", str(kubeconfig), "--namespace", SYSTEM, *arguments)
        if ready:
            try:
                operator.wait_ready()
            except BaseException:
                operator.stop()
                raise
        return operator

    @contextmanager
    def operator(self, *arguments: str, ready: bool = True) -> Iterator[Operator]:
        """Run an operator for the time of a test."""
        operator = self.start(*arguments, ready=ready)
        try:
            yield operator
        finally:
            operator.stop()

    def lived_on(self) -> str:
        """How many times the process had to be started again, in words."""
        times = "once" if self.restarts == 1 else f"{self.restarts} times"
        return f"the process ended and was restarted {times}" if self.restarts else "the process lived on"


def elile_secret(namespace: str, name: str, path: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "elile.io/v1alpha1",
        "kind": "ElileSecret",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"sources": [{"name": "main", "kv": {"path": path}}], **spec},
    }


def _key(body: dict[str, Any]) -> tuple[str, str]:
    return body["metadata"]["namespace"], body["metadata"]["name"]


@contextmanager
def world(bao: Bao, folder: Path, *, poll: str = "1s", tls: ssl.SSLContext | None = None) -> Iterator[World]:
    """Make a cluster with the operator's namespace and the VaultServer `default`."""
    with FakeKube(tls=tls) as fake:
        fake.create({"kind": "Namespace", "metadata": {"name": SYSTEM}})
        made = World(fake, bao, folder, bao.trust(fake.url), poll)
        fake.apply(
            {
                "apiVersion": "elile.io/v1alpha1",
                "kind": "VaultServer",
                "metadata": {"name": "default"},
                "spec": {
                    "address": bao.address,
                    "tls": {"allowPlainHTTP": True},
                    "auth": {"kubernetes": {"mount": made.mount}},
                    "poll": {"interval": poll},
                },
            }
        )
        yield made
