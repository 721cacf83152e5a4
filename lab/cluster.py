"""The lab as tests and the demo use it: `Lab.open()`, then up, reset, down, and each component under control."""

import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab import bringup, cleanup, client_image, network, openbao, pki, reset, slots, tools
from lab.control import Component
from lab.errors import LabError
from lab.fleet import Fleet
from lab.layout import Layout, check_name, folder_of
from lab.steps import Echo

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Lab:
    """One lab by its name. Opening it does nothing; its addresses are known once it has been up."""

    name: str
    folder: Path

    @classmethod
    def open(cls, name: str = DEFAULT) -> "Lab":
        return cls(check_name(name), folder_of(name))

    # --- the whole ---------------------------------------------------------------------------------------------------

    def up(self, echo: Echo = print) -> None:
        """Bring up what is not up. Seconds; minutes the very first time, when Kubernetes is built."""
        with slots.lock(self._lock):
            bringup.up(self.name, self.folder, echo)

    def down(self, echo: Echo = print) -> None:
        """End everything and remove everything but the logs. Raises LabError if anything of it is left."""
        with slots.lock(self._lock):
            layout = slots.recorded(self.name, self.folder)
            if layout is None:
                echo(f"lab {self.name!r} is not on this machine")
                return
            Fleet(layout).stop_all()
            cleanup.clear_all(layout)
            cleanup.check_gone(layout)
            echo(f"lab {self.name!r} is gone; its logs are in {layout.logs}")

    def reset(self) -> None:
        """Empty the cluster and OpenBao. Revives what a test left dead, frozen, sealed or cut off."""
        with slots.lock(self._lock):
            fleet = self._fleet
            self.reconnect_node()
            for name in fleet.problems():
                fleet[name].start()
            with ThreadPoolExecutor() as pool:
                for future in [pool.submit(reset.reset, self.layout), pool.submit(openbao.reset, self.layout)]:
                    future.result()

    def is_up(self) -> bool:
        """Whether every component runs and is healthy."""
        return slots.recorded(self.name, self.folder) is not None and not self._fleet.problems()

    @property
    def _lock(self) -> Path:
        return self.folder.parent / f".{self.name}.lock"

    # --- where things are --------------------------------------------------------------------------------------------

    @property
    def layout(self) -> Layout:
        layout = slots.recorded(self.name, self.folder)
        if layout is None:
            raise LabError(f"lab {self.name!r} is not up: run `python -m lab up --name {self.name}`")
        return layout

    @property
    def kubeconfig(self) -> Path:
        """Cluster administrator, by loopback."""
        return self.layout.kubeconfig

    @property
    def node_name(self) -> str:
        return self.layout.node_name

    @property
    def gateway(self) -> str:
        """The machine's address on the lab's bridge: what listens here, pods can reach."""
        return self.layout.gateway

    @property
    def spare_ports(self) -> range:
        """Ports reserved for this lab and not used by it: for databases and other servers of tests."""
        return self.layout.spare_ports

    @property
    def bao_address(self) -> str:
        """OpenBao for clients on this machine."""
        return self.layout.bao_url

    @property
    def bao_pod_address(self) -> str:
        """OpenBao for pods."""
        return self.layout.bao_url_on_bridge

    @property
    def api_pod_address(self) -> str:
        """The API server as pods may reach it without its Service."""
        return self.layout.api_url_on_bridge

    @property
    def ca_file(self) -> Path:
        """The certificate authority of the API server, of OpenBao and of what `issue_certificate` issues."""
        return pki.ca(self.layout.pki)

    @property
    def root_token(self) -> str:
        return openbao.keys(self.layout).root_token

    @property
    def unseal_key(self) -> str:
        return openbao.keys(self.layout).unseal_key

    @property
    def bao_audit_log(self) -> Path:
        """One JSON object a line; values are HMACs, paths are clear text. Append only: read from an offset."""
        return self.layout.openbao_audit

    @property
    def api_audit_log(self) -> Path:
        """One JSON object a line, level Metadata; one a request, two a watch. Append only: read from an offset."""
        return self.layout.api_audit

    @property
    def kubelet_root(self) -> Path:
        """The kubelet's folder, where CSI drivers register; a shared mount."""
        return self.layout.kubelet_root

    @property
    def kubelet_pods(self) -> Path:
        """Pods' folders by uid: `<uid>/volumes/kubernetes.io~secret/<volume>/<key>` is what the pod reads."""
        return self.layout.kubelet_root / "pods"

    @property
    def bin(self) -> Path:
        """`kubectl` and `bao`, for PATH."""
        return self.layout.bin

    def client_image(self, echo: Echo = print) -> str:
        """Name of an image with Python, the client library as it is in this checkout, and drivers of databases."""
        return client_image.ensure(self.layout, tools.BUSYBOX, echo)

    # --- parts of it -------------------------------------------------------------------------------------------------

    @property
    def _fleet(self) -> Fleet:
        return Fleet(self.layout)

    def component(self, name: str) -> Component:
        return self._fleet[name]

    def components(self) -> Sequence[Component]:
        return list(self._fleet.components.values())

    def seal(self) -> None:
        openbao.seal(self.layout)

    def unseal(self) -> None:
        """Returns when OpenBao is active again."""
        openbao.unseal(self.layout)

    def disconnect_node(self) -> None:
        """Cut the node and its pods off from the machine: from the API server, OpenBao and databases."""
        network.set_node_link(self.layout, up=False)

    def reconnect_node(self) -> None:
        network.set_node_link(self.layout, up=True)

    def issue_certificate(self, name: str, hosts: Sequence[str]) -> pki.Pair:
        """A server certificate of the lab's CA for `hosts` (names or addresses), and its key. One pair per name."""
        return pki.issue(self.layout.pki, f"issued-{name}", hosts=list(hosts))

    # --- clients -----------------------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """What kubectl, bao and hvac need to talk to this lab as its administrator."""
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "BAO_ADDR": self.bao_address,
            "BAO_CACERT": str(self.ca_file),
            "BAO_TOKEN": self.root_token,
            "ELILE_LAB_FOLDER": str(self.folder),
        }

    def kubectl(self, *args: str, input: str | None = None) -> str:
        """Its standard output. Raises LabError with its standard error."""
        return self._run("kubectl", args, input)

    def bao(self, *args: str, input: str | None = None) -> str:
        """Its standard output, as root. Raises LabError with its standard error."""
        return self._run("bao", args, input)

    def _run(self, program: str, args: Sequence[str], text: str | None) -> str:
        # Nothing of the caller's environment: his proxies and VAULT_ variables lead elsewhere.
        environ = {**self.environment(), "PATH": tools.PATH, "HOME": str(self.layout.data)}
        command = [str(self.bin / program), *args]
        done = subprocess.run(command, input=text, check=False, capture_output=True, text=True, env=environ)
        if done.returncode != 0:
            raise LabError(f"{program} {' '.join(args)}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout
