"""Workloads whose pods use a Secret, as application teams have them."""

from dataclasses import dataclass
from typing import Any

from tests.e2e.support.cluster import eventually
from tests.e2e.support.tenant import IMAGE, Tenant

# Longer than the debounce, a look at a rollout, and what a pass needs in between.
QUIET = 6.0
# Breaks at the start with the value `bad`, as an application does whose password is wrong.
COMMAND = ["sh", "-c", '[ "$VALUE" != bad ] && exec sleep 1000000']


@dataclass(frozen=True)
class Workload:
    """One workload in the namespace of a tenant."""

    tenant: Tenant
    kind: str
    name: str

    def get(self) -> dict[str, Any]:
        return self.tenant.cluster.get(self.kind, self.name, self.tenant.namespace)

    @property
    def generation(self) -> int:
        """How often its spec was changed; a restart is one change."""
        return int(self.get()["metadata"]["generation"])

    @property
    def restarts(self) -> dict[str, str]:
        annotations = self.get()["spec"]["template"]["metadata"].get("annotations") or {}
        return {name: value for name, value in annotations.items() if name.startswith("restart.elile.io/")}

    def wait(self) -> None:
        """Return when its rollout is complete."""
        where = ("-n", self.tenant.namespace)
        self.tenant.cluster.kubectl(*where, "rollout", "status", f"{self.kind}/{self.name}", "--timeout=60s")

    def value(self) -> str:
        """Return what the process of one of its pods was started with."""
        where = ("-n", self.tenant.namespace)
        return self.tenant.cluster.kubectl(
            *where, "exec", f"{self.kind}/{self.name}", "--", "sh", "-c", "echo -n $VALUE"
        )

    def reads(self, value: str) -> bool:
        try:
            return self.value() == value
        except AssertionError:  # the pod is on its way
            return False


def run(tenant: Tenant, name: str, secret: str, kind: str = "Deployment", *, by: str = "env", **spec: Any) -> Workload:
    """Start a workload with one pod that uses a Secret as environment or as volume, and wait for it."""
    tenant.cluster.apply(manifest(tenant.namespace, name, secret, kind, by=by, **spec))
    workload = Workload(tenant, kind, name)
    eventually(f"{kind} {name} is there", lambda: tenant.cluster.find(kind, name, tenant.namespace))
    workload.wait()
    return workload


def manifest(namespace: str, name: str, secret: str, kind: str, *, by: str = "env", **spec: Any) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "app", "image": IMAGE, "imagePullPolicy": "Never", "command": COMMAND}
    volumes = [{"name": "elile", "secret": {"secretName": secret}}]
    if by == "env":
        ref = {"secretKeyRef": {"name": secret, "key": "value"}}
        container["env"] = [{"name": "VALUE", "valueFrom": ref}]
    else:
        container["volumeMounts"] = [{"name": "elile", "mountPath": "/etc/elile", "readOnly": True}]
    pod = {
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        **({"volumes": volumes} if by != "env" else {}),
    }
    more: dict[str, Any] = {} if kind == "DaemonSet" else {"replicas": 1}
    if kind == "Deployment":
        more["progressDeadlineSeconds"] = 5
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
            **more,
            **spec,
        },
    }


def want(tenant: Tenant, name: str = "db", value: str = "one", **consumers: Any) -> None:
    """Have a value delivered, with restarts of those that cannot see the file unless the consumers are others."""
    tenant.put(name, value=value)
    tenant.want(name, consumers=consumers or {"restart": {"when": "CannotSeeFile"}})
    tenant.wait(name, "Synced")


def change(tenant: Tenant, value: str, name: str = "db") -> None:
    """Have another value delivered, and wait until the Secret has it and the status is about it."""

    def revision() -> int:
        return int(tenant.elile(name)["status"].get("revision") or 0)

    before = revision()
    tenant.put(name, value=value)
    eventually("the Secret has it", lambda: tenant.data(name).get("value") == value)
    eventually("the status is about it", lambda: revision() > before)


def restarts(tenant: Tenant, name: str = "db") -> dict[str, str]:
    """Return what the status tells of restarts, by workload."""
    told = tenant.elile(name)["status"].get("consumers", {}).get("restarts", [])
    return {each["name"]: each["reason"] for each in told}
