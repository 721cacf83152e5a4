"""The kinds the operator talks about, and where each lives on the API server."""

from dataclasses import dataclass
from urllib.parse import quote

from elile_operator.api.meta import GROUP, VERSION

__all__ = [
    "CONFIG_MAPS",
    "DAEMON_SETS",
    "DEPLOYMENTS",
    "ELILE_SECRETS",
    "EVENTS",
    "JOBS",
    "LEASES",
    "NAMESPACES",
    "PODS",
    "ROLE_BINDINGS",
    "ROTATIONS",
    "ROTATION_SCHEDULES",
    "SECRETS",
    "SERVICE_ACCOUNTS",
    "STATEFUL_SETS",
    "VAULT_SERVERS",
    "Resource",
]


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind as the API server serves it: `group` is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the path of a collection, an object or a subresource; every part is quoted."""
        parts = [self.root]
        if namespace is not None:
            parts.append(f"namespaces/{quote(namespace, safe='')}")
        parts.append(self.plural)
        parts += [quote(p, safe="") for p in (name, subresource) if p is not None]
        return "/".join(parts)


VAULT_SERVERS = Resource(GROUP, VERSION, "vaultservers", "VaultServer", namespaced=False)
ELILE_SECRETS = Resource(GROUP, VERSION, "elilesecrets", "ElileSecret")
ROTATION_SCHEDULES = Resource(GROUP, VERSION, "rotationschedules", "RotationSchedule")
ROTATIONS = Resource(GROUP, VERSION, "rotations", "Rotation")
SECRETS = Resource("", "v1", "secrets", "Secret")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
PODS = Resource("", "v1", "pods", "Pod")
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", "StatefulSet")
DAEMON_SETS = Resource("apps", "v1", "daemonsets", "DaemonSet")
JOBS = Resource("batch", "v1", "jobs", "Job")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
EVENTS = Resource("events.k8s.io", "v1", "events", "Event")
