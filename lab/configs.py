"""The configuration files of the lab's components. Pure: returns what to write where."""

import base64
import json
from pathlib import Path
from string import Template

from lab.images import PAUSE
from lab.layout import Layout
from lab.pki import Pair, ca, pair


def all_files(layout: Layout, cni_plugins: Path) -> dict[Path, str]:
    """Path to content. All of them are written readable by root only: kubeconfigs hold private keys."""
    authority = ca(layout.pki)
    # What runs on the node or beside the API server uses its real address; people and tests use loopback.
    kubeconfigs = {
        layout.kubeconfig: (layout.api_url, "admin"),
        layout.etc / "controller-manager.kubeconfig": (layout.api_url_on_bridge, "controller-manager"),
        layout.etc / "scheduler.kubeconfig": (layout.api_url_on_bridge, "scheduler"),
        layout.etc / "kubelet.kubeconfig": (layout.api_url_on_bridge, "node"),
        layout.etc / "kube-proxy.kubeconfig": (layout.api_url_on_bridge, "kube-proxy"),
    }
    documents = {
        layout.etc / "openbao.json": openbao(layout),
        layout.etc / "kubelet.json": kubelet(layout),
        layout.etc / "kube-proxy.json": kube_proxy(layout),
        layout.etc / "audit-policy.json": audit_policy(),
        layout.etc / "cni" / "10-lab.conflist": cni(layout),
        **{
            path: kubeconfig(layout.name, server, authority, pair(layout.pki, user))
            for path, (server, user) in kubeconfigs.items()
        },
    }
    files = {path: json.dumps(document, indent=1) + "\n" for path, document in documents.items()}
    files[layout.etc / "containerd.toml"] = containerd(layout, cni_plugins)
    return files


def kubeconfig(name: str, server: str, authority: Path, client: Pair) -> dict[str, object]:
    def inline(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    cluster = {"server": server, "certificate-authority-data": inline(authority)}
    user = {"client-certificate-data": inline(client.certificate), "client-key-data": inline(client.key)}
    context = f"lab-{name}"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": cluster}],
        "users": [{"name": context, "user": user}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
        "current-context": context,
    }


def audit_policy() -> dict[str, object]:
    # RequestReceived would double every line; tests count calls by lines.
    rules = [{"level": "Metadata", "omitStages": ["RequestReceived"]}]
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}


def kubelet(layout: Layout) -> dict[str, object]:
    """What the machine needs; everything a test may depend on (sync periods above all) keeps its default."""
    own = pair(layout.pki, "kubelet")
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.node_address,
        "healthzBindAddress": layout.node_address,
        "tlsCertFile": str(own.certificate),
        "tlsPrivateKeyFile": str(own.key),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(ca(layout.pki))},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "podLogsDir": str(layout.logs / "pods"),
        "volumePluginDir": str(layout.data / "flex-volumes"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        # Nothing answers there until somebody deploys a DNS. Without an address, every pod would get a Warning event.
        "clusterDNS": [layout.dns_service],
        "clusterDomain": "cluster.local",
        "maxPods": 250,
        # The machine is not the lab's: a full disk must fail loudly, not evict pods in the middle of a test.
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "imageGCHighThresholdPercent": 100,
    }


def kube_proxy(layout: Layout) -> dict[str, object]:
    """Its nftables table has a fixed name, `kube-proxy`: two in one network namespace would undo each other's rules.

    That is why each lab's node has a network namespace of its own (network.py).
    """
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": str(layout.pods),
        "hostnameOverride": layout.node_name,
        "bindAddress": layout.node_address,
        "healthzBindAddress": f"{layout.node_address}:10256",
        "metricsBindAddress": f"{layout.node_address}:10249",
        "clientConnection": {"kubeconfig": str(layout.etc / "kube-proxy.kubeconfig")},
        # The limits are the machine's, not the namespace's: 0 leaves them alone.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def cni(layout: Layout) -> dict[str, object]:
    # `ptp`, not `bridge`: pods are routed, never switched, so Service addresses work without the br_netfilter module.
    ipam = {
        "type": "host-local",
        "dataDir": str(layout.run / "cni-addresses"),
        "ranges": [[{"subnet": str(layout.pods)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [
        {"type": "ptp", "ipMasq": False, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return {"cniVersion": "1.0.0", "name": layout.tag, "plugins": plugins}


def openbao(layout: Layout) -> dict[str, object]:
    own = pair(layout.pki, "openbao")
    listeners = [
        {
            "tcp": {
                "address": f"{address}:{layout.port('openbao')}",
                "cluster_address": f"{address}:{layout.port('openbao-cluster')}",
                "tls_cert_file": str(own.certificate),
                "tls_key_file": str(own.key),
            }
        }
        for address in ("127.0.0.1", layout.gateway)
    ]
    # The description is not for show: without a second key beside `options`, its parser takes one level for another.
    audit = {"description": "what tests count calls in", "options": {"file_path": str(layout.openbao_audit)}}
    return {
        # OpenBao 2.7 has no `file` storage. A raft of one survives kill -9 and is active 0.3 s after a restart.
        "storage": {
            "raft": {
                "path": str(layout.data / "openbao"),
                "node_id": "lab",
                "performance_multiplier": 1,
                # Autopilot makes a second node a voter at its next round, and of two voters one alone can do nothing.
                "autopilot_reconcile_interval": "24h",
            }
        },
        "listener": listeners,
        "api_addr": layout.bao_url,
        "cluster_addr": f"https://127.0.0.1:{layout.port('openbao-cluster')}",
        # OpenBao 2.7 refuses audit devices made by API; they are declared here.
        "audit": [{"file": {"file": audit}}],
        "log_level": "info",
    }


_CONTAINERD = Template("""\
version = 2
root = "$root"
state = "$state"
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing",
]

[grpc]
address = "$socket"

[plugins."io.containerd.internal.v1.opt"]
path = "$root/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "$pause"
# Without it and without CAP_SYS_RESOURCE, as in many virtual machines, every sandbox fails with an unclear runc error.
restrict_oom_score_adj = true
# Pods' network namespaces below the lab's folder, where `down` finds them.
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$cni_plugins"
conf_dir = "$cni_config"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "$runc"
SystemdCgroup = false
""")


def containerd(layout: Layout, cni_plugins: Path) -> str:
    return _CONTAINERD.substitute(
        root=layout.data / "containerd",
        state=layout.run / "containerd",
        socket=layout.containerd_socket,
        pause=PAUSE,
        cni_plugins=cni_plugins,
        cni_config=layout.etc / "cni",
        runc=layout.run / "runc",
    )
