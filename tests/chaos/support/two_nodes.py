"""A second node of the lab's OpenBao, which answers reads itself and may be behind, and a balancer in front of both.

It joins as a non-voter, and stays one since the lab's autopilot never has its round: the first node can then write
while the second hears nothing, and falls behind.
"""

import contextlib
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lab import configs, control, processes, rest
from lab.cluster import Lab
from lab.processes import Process
from lab.steps import wait_until
from lab.tools import PATH

NODE = "standby"
PROCESS = "openbao-standby"
START_WITHIN = 60.0


@dataclass(slots=True)
class Standby:
    """The second node, and the process that it is."""

    lab: Lab
    port: int
    process: Process

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def client(self) -> rest.Client:
        found = control.client(self.lab.layout, self.address, timeout=10)
        found.headers["X-Vault-Token"] = self.lab.root_token
        return found


@contextmanager
def standby(lab: Lab) -> Iterator[Standby]:
    """Run the second node for a while; afterwards the first one is alone again."""
    layout, folder = lab.layout, lab.layout.data / PROCESS
    port, cluster_port = lab.spare_ports[0], lab.spare_ports[1]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = layout.etc / f"{PROCESS}.json"
    config.write_text(json.dumps(_config(lab, port, cluster_port)))
    argv = [str(layout.bin / "bao"), "server", f"-config={config}"]
    environ = {"PATH": PATH, "HOME": str(folder)}
    process = processes.spawn(argv, environ, layout.logs / f"{PROCESS}.log", layout.folder, PROCESS)
    node = Standby(lab, port, process)
    try:
        _join(node)
        yield node
    finally:
        _ask_first(lab, "/v1/sys/storage/raft/remove-peer", {"server_id": NODE})
        processes.kill([process])
        shutil.rmtree(folder, ignore_errors=True)


def _ask_first(lab: Lab, path: str, body: dict[str, object]) -> None:
    first = control.client(lab.layout, lab.bao_address, timeout=30)
    first.headers["X-Vault-Token"] = lab.root_token
    first.request("POST", path, body)


def _config(lab: Lab, port: int, cluster_port: int) -> dict[str, object]:
    layout = lab.layout
    own = lab.issue_certificate(PROCESS, ["127.0.0.1"])
    listener = {
        "address": f"127.0.0.1:{port}",
        "cluster_address": f"127.0.0.1:{cluster_port}",
        "tls_cert_file": str(own.certificate),
        "tls_key_file": str(own.key),
    }
    return {
        **configs.openbao(layout),
        "storage": {"raft": {"path": str(layout.data / PROCESS), "node_id": NODE, "performance_multiplier": 1}},
        "listener": [{"tcp": listener}],
        "api_addr": f"https://127.0.0.1:{port}",
        "cluster_addr": f"https://127.0.0.1:{cluster_port}",
    }


def _join(node: Standby) -> None:
    lab, client = node.lab, node.client()

    def answers() -> str | None:
        try:
            client.status("/v1/sys/health")
        except rest.UnreachableError as e:
            return str(e)
        return None

    wait_until(answers, "the standby answers", START_WITHIN)
    leader = {"leader_api_addr": lab.bao_address, "leader_ca_cert": lab.ca_file.read_text(), "non_voter": True}
    client.request("PUT", "/v1/sys/storage/raft/join", leader)

    def unsealed() -> str | None:
        # Until the first node has sent its keys, an unseal is refused.
        with contextlib.suppress(rest.RefusedError):
            client.request("PUT", "/v1/sys/unseal", {"key": lab.unseal_key})
        status = client.status("/v1/sys/health?standbyok=true&perfstandbyok=true")
        return None if status == 200 else f"sys/health answers {status}"

    wait_until(unsealed, "the standby is unsealed", START_WITHIN, every=0.2)


@dataclass
class Balancer:
    """Leads connections to one port at a time; a switch cuts those that are open, as a balancer's failover does."""

    port: int
    target: int
    _open: list[socket.socket] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def switch(self, target: int) -> None:
        self.target = target
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    source.close()


@contextmanager
def balancer(port: int, target: int) -> Iterator[Balancer]:
    """Listen on a port of this machine and lead to another."""
    made = Balancer(port, target)
    with socket.create_server(("127.0.0.1", port)) as listener:
        threading.Thread(target=made._serve, args=(listener,), name="chaos-balancer", daemon=True).start()
        try:
            yield made
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            made.switch(target)
