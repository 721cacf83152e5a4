"""The processes of a lab: command line, environment and health of each. Pure; the files they read are in configs.py."""

from dataclasses import dataclass, field
from pathlib import Path

from lab.layout import Layout
from lab.pki import ca, pair

# What the brief and people call them, beside their own names.
ALIASES = {
    "apiserver": "kube-apiserver",
    "api-server": "kube-apiserver",
    "controller-manager": "kube-controller-manager",
    "scheduler": "kube-scheduler",
    "proxy": "kube-proxy",
    "bao": "openbao",
}

# In the order of their start; stopping goes the other way round.
NAMES = (
    "openbao",
    "etcd",
    "containerd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
)


@dataclass(frozen=True, slots=True)
class Probe:
    """Where to ask for health: an HTTP path that answers one of `healthy`, or a unix socket that accepts."""

    url: str = ""
    path: str = ""
    healthy: tuple[int, ...] = (200,)
    with_client_certificate: bool = False
    socket: Path | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    name: str
    argv: list[str]
    probe: Probe
    in_node: bool = False  # runs in the node's network namespace
    environ: dict[str, str] = field(default_factory=dict)
    start_within: float = 60  # seconds
    stop_within: float = 10


def all_specs(layout: Layout) -> dict[str, Spec]:
    specs = (
        _openbao(layout),
        _etcd(layout),
        _containerd(layout),
        _kube_apiserver(layout),
        _kube_controller_manager(layout),
        _kube_scheduler(layout),
        _kubelet(layout),
        _kube_proxy(layout),
    )
    return {spec.name: spec for spec in specs}


def _kubelab(layout: Layout, component: str, flags: dict[str, object]) -> list[str]:
    return [str(layout.bin / "kubelab"), component, *(f"--{flag}={_text(value)}" for flag, value in flags.items())]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _openbao(layout: Layout) -> Spec:
    return Spec(
        name="openbao",
        argv=[str(layout.bin / "bao"), "server", f"-config={layout.etc / 'openbao.json'}"],
        # 200 is unsealed and active. Sealed, it answers 503: it runs, but is of no use to anybody.
        probe=Probe(layout.bao_url, "/v1/sys/health"),
    )


def _etcd(layout: Layout) -> Spec:
    own = pair(layout.pki, "etcd")
    client, peer = (f"https://127.0.0.1:{layout.port(name)}" for name in ("etcd", "etcd-peer"))
    tls = {
        f"{prefix}{flag}": value
        for prefix in ("", "peer-")
        for flag, value in {
            "cert-file": own.certificate,
            "key-file": own.key,
            "trusted-ca-file": ca(layout.pki),
            "client-cert-auth": True,
        }.items()
    }
    flags: dict[str, object] = {
        "name": "lab",
        "data-dir": layout.data / "etcd",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"lab={peer}",
        **tls,
        # As kubeadm sets it: consistent lists from the API server's cache wait for it.
        "watch-progress-notify-interval": "5s",
        # A killed etcd loses nothing by it; only a machine that loses power does.
        "unsafe-no-fsync": True,
    }
    return Spec("etcd", _kubelab(layout, "etcd", flags), Probe(client, "/health", with_client_certificate=True))


def _kube_apiserver(layout: Layout) -> Spec:
    own, etcd = pair(layout.pki, "kube-apiserver"), pair(layout.pki, "etcd")
    to_kubelet = pair(layout.pki, "apiserver-kubelet-client")
    flags: dict[str, object] = {
        # One address is all it can listen on. The node needs this one; loopback is led here, see network.py.
        "bind-address": layout.gateway,
        "advertise-address": layout.gateway,
        "secure-port": layout.port("apiserver"),
        "tls-cert-file": own.certificate,
        "tls-private-key-file": own.key,
        "client-ca-file": ca(layout.pki),
        "etcd-servers": f"https://127.0.0.1:{layout.port('etcd')}",
        "etcd-cafile": ca(layout.pki),
        "etcd-certfile": etcd.certificate,
        "etcd-keyfile": etcd.key,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": True,
        "service-cluster-ip-range": layout.services,
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": layout.pki / "service-account.pub",
        "service-account-signing-key-file": layout.pki / "service-account.key",
        "kubelet-certificate-authority": ca(layout.pki),
        "kubelet-client-certificate": to_kubelet.certificate,
        "kubelet-client-key": to_kubelet.key,
        "kubelet-preferred-address-types": "InternalIP",
        "audit-policy-file": layout.etc / "audit-policy.json",
        "audit-log-path": layout.api_audit,
        "audit-log-maxsize": 0,  # never rotated: tests count lines from an offset
        "profiling": False,
    }
    return Spec(
        "kube-apiserver",
        _kubelab(layout, "kube-apiserver", flags),
        Probe(layout.api_url_on_bridge, "/readyz", with_client_certificate=True),
        # With clients connected it takes its full minute, for the sake of a load balancer that we do not have.
        stop_within=5,
    )


def _kube_controller_manager(layout: Layout) -> Spec:
    own, authority = pair(layout.pki, "loopback"), pair(layout.pki, "ca")
    flags: dict[str, object] = {
        "kubeconfig": layout.etc / "controller-manager.kubeconfig",
        "bind-address": "127.0.0.1",
        "secure-port": layout.port("controller-manager"),
        "tls-cert-file": own.certificate,
        "tls-private-key-file": own.key,
        "use-service-account-credentials": True,  # its own user may do little; each controller has an account that may
        "leader-elect": False,  # there is one; an election would only cost its time at every start
        "root-ca-file": authority.certificate,
        "service-account-private-key-file": layout.pki / "service-account.key",
        "cluster-signing-cert-file": authority.certificate,
        "cluster-signing-key-file": authority.key,
        "service-cluster-ip-range": layout.services,
        "allocate-node-cidrs": False,
        "flex-volume-plugin-dir": layout.data / "flex-volumes",
        # Namespaces of hundreds of tests are deleted at once; the default of 20 a second makes that a bottleneck.
        "kube-api-qps": 300,
        "kube-api-burst": 600,
        "profiling": False,
    }
    url = f"https://127.0.0.1:{layout.port('controller-manager')}"
    return Spec("kube-controller-manager", _kubelab(layout, "kube-controller-manager", flags), Probe(url, "/healthz"))


def _kube_scheduler(layout: Layout) -> Spec:
    own = pair(layout.pki, "loopback")
    flags: dict[str, object] = {
        "kubeconfig": layout.etc / "scheduler.kubeconfig",
        "bind-address": "127.0.0.1",
        "secure-port": layout.port("scheduler"),
        "tls-cert-file": own.certificate,
        "tls-private-key-file": own.key,
        "leader-elect": False,
        "profiling": False,
    }
    url = f"https://127.0.0.1:{layout.port('scheduler')}"
    return Spec("kube-scheduler", _kubelab(layout, "kube-scheduler", flags), Probe(url, "/healthz"))


def _containerd(layout: Layout) -> Spec:
    return Spec(
        "containerd",
        ["containerd", "--config", str(layout.etc / "containerd.toml")],
        Probe(socket=layout.containerd_socket),
        in_node=True,
    )


def _kubelet(layout: Layout) -> Spec:
    flags: dict[str, object] = {
        "config": layout.etc / "kubelet.json",
        "kubeconfig": layout.etc / "kubelet.kubeconfig",
        "root-dir": layout.kubelet_root,
        "cert-dir": layout.pki / "kubelet",
        "hostname-override": layout.node_name,
        "node-ip": layout.node_address,
    }
    return Spec(
        "kubelet",
        _kubelab(layout, "kubelet", flags),
        Probe(f"http://{layout.node_address}:10248", "/healthz"),
        in_node=True,
    )


def _kube_proxy(layout: Layout) -> Spec:
    return Spec(
        "kube-proxy",
        _kubelab(layout, "kube-proxy", {"config": layout.etc / "kube-proxy.json"}),
        Probe(f"http://{layout.node_address}:10256", "/healthz"),
        in_node=True,
    )
