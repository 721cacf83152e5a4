"""`up`: from whatever is there, nothing or a half-dead lab, to a cluster and an OpenBao that work."""

import shutil
import subprocess
from pathlib import Path

from lab import apiserver, build, cgroups, cleanup, configs, images, network, openbao, pki, processes, slots, tools
from lab.errors import LabError
from lab.fleet import Fleet
from lab.layout import Layout
from lab.steps import Echo, Steps
from lab.tools import Tools


def up(name: str, folder: Path, echo: Echo) -> None:
    """Idempotent: starts what does not run, makes what is missing, leaves alone what works."""
    found = tools.ensure(echo)
    binary = build.kubelab(echo)
    if slots.recorded(name, folder) is None and folder.exists():
        shutil.rmtree(folder)  # the logs that the last `down` left to read
    layout = slots.choose(name, folder)
    echo(f"lab {name!r} in {folder}, slot {layout.slot}, node {layout.node_name}")
    with Steps(echo) as steps:
        fleet = Fleet(layout, steps.gave_up)
        with steps.step("certificates, configuration, network"):
            _take_stock(layout, fleet)
            _prepare(layout, found, binary)
        _start(layout, fleet, steps)
        echo(
            f"lab {name!r} is up after {steps.seconds:.1f} s: KUBECONFIG={layout.kubeconfig} BAO_ADDR={layout.bao_url}"
        )


def _take_stock(layout: Layout, fleet: Fleet) -> None:
    """Recognise what lives, clear what is dead."""
    living = list(processes.marked(layout.folder))
    for found in living:
        component = fleet.components.get(found.component)
        if component is not None and component.process is None and component.is_own(found.argv):
            component.adopt(found.process)
    if not living:
        # Never up before, or the machine was restarted: what the kernel still holds of the node belongs to nobody.
        cleanup.clear_node(layout)
        if busy := slots.busy_ports(layout):
            raise LabError(
                f"ports {busy} of lab {layout.name!r} are in use by something else; free them, or run"
                f" `python -m lab down --name {layout.name}` so that the next `up` takes others"
            )
    elif not network.has_node(layout):
        # The node's network is gone under living processes: they cannot get into a new one.
        fleet.stop_node()
        cleanup.clear_node(layout)
    if openbao.lost_keys(layout):
        fleet["openbao"].kill()
        shutil.rmtree(layout.data / "openbao")


def _prepare(layout: Layout, found: Tools, binary: Path) -> None:
    for folder in (
        layout.bin,
        layout.etc / "cni",
        layout.run,
        layout.logs / "pods",
        layout.data / "openbao",
        layout.kubelet_root,
    ):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Links of our own: a component restarted by a test must be the same program, whatever was built or installed since.
    for link, target in {"kubelab": binary, "bao": found.bao, "kubectl": found.kubectl}.items():
        path = layout.bin / link
        if not path.exists():  # or leads nowhere: the checkout or the .venv it was made from is gone
            path.unlink(missing_ok=True)
            path.symlink_to(target)
    pki.create(layout)
    for path, content in configs.all_files(layout, found.cni).items():
        pki.write_private(path, content.encode())
    network.create(layout)
    cgroups.create(layout.cgroup)
    cleanup.share_mounts(layout)


def _start(layout: Layout, fleet: Fleet, steps: Steps) -> None:
    """What can be done beside each other is; what waits for what is written down in this order."""

    def start_containerd() -> None:
        fleet["containerd"].start()
        import_images(layout)

    def start_openbao() -> None:
        fleet["openbao"].start()
        openbao.mount_kv(openbao.admin(layout))

    def start_kube_proxy() -> None:
        steps.wait(lambda: apiserver.has_node(layout), "the node registered", 30)
        fleet["kube-proxy"].start()

    containerd = steps.beside("containerd, images", start_containerd)
    bao = steps.beside("OpenBao unsealed", start_openbao)
    with steps.step("etcd"):
        fleet["etcd"].start()
    with steps.step("kube-apiserver"):
        fleet["kube-apiserver"].start()
    others = [steps.beside(name, fleet[name].start) for name in ("kube-controller-manager", "kube-scheduler")]
    containerd.result()
    with steps.step("kubelet"):
        fleet["kubelet"].start()
    # It asks for its node once a second: early, it would be a second late.
    others.append(steps.beside("kube-proxy", start_kube_proxy))

    def kubernetes_auth() -> None:
        bao.result()
        steps.wait(
            lambda: apiserver.has_namespace(layout, apiserver.REVIEWER_NAMESPACE), "the API server's namespaces", 30
        )
        openbao.enable_kubernetes_auth(layout, apiserver.reviewer_token(layout))

    auth = steps.beside("OpenBao accepts ServiceAccount tokens", kubernetes_auth)
    with steps.step("node ready"):
        steps.wait(lambda: apiserver.node_problem(layout), "node ready", 60)
        steps.wait(lambda: apiserver.default_account_problem(layout), "account for pods", 30)
    for future in [*others, auth]:
        future.result()


def import_images(layout: Layout) -> None:
    ctr = ["ctr", "--address", str(layout.containerd_socket), "--namespace", "k8s.io", "images"]
    present = subprocess.run([*ctr, "list", "--quiet"], check=False, capture_output=True, text=True)
    if {images.BUSYBOX, images.PAUSE} <= set(present.stdout.split()):
        return
    archive = images.of_busybox(tools.BUSYBOX)
    done = subprocess.run([*ctr, "import", "-"], input=archive, check=False, capture_output=True)
    if done.returncode != 0:
        raise LabError(f"ctr images import failed: {done.stderr.decode(errors='replace').strip()}")
