"""The lab's network: a bridge on the machine, and behind it the node in a network namespace of its own.

      machine (tests, operator, API server, OpenBao)          node (containerd, kubelet, kube-proxy, pods)
      +---------------------------+                           +-------------------------------------+
      | 127.0.0.1                 |                           |  pods, one veth each, routed        |
      | bridge  .0.1  ------------+---- veth, one cable ------+--- eth0 .0.2     nftables kube-proxy |
      | route to pods, Services --+-->                        |                                     |
      +---------------------------+                           +-------------------------------------+

A namespace per node, as a real node would have, and not only for show: kube-proxy's nftables table has a fixed name, so
two of them on one machine would undo each other's rules; and all a node ever did to the network (veths, rules,
addresses, connection tracking) is gone when its namespace is. The machine can reach pods and Services: the API server
calls webhooks by their Service, tests call pods.
"""

import json
import os
import subprocess
from pathlib import Path

from lab.errors import LabError
from lab.layout import Layout
from lab.tools import PATH


def in_node(layout: Layout, argv: list[str]) -> list[str]:
    """A command line that runs on the node's network. It keeps its pid and its view of files."""
    return ["nsenter", f"--net={layout.netns}", "--", *argv]


def has_node(layout: Layout) -> bool:
    """A network namespace is held by a mount on a plain file; after a restart of the machine only the file is left."""
    return any(line.split()[4] == str(layout.netns) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def create(layout: Layout) -> None:
    """Make what is missing. Keeps what exists, so that running pods keep their network."""
    if not _link_exists(layout.bridge):
        _run(["ip", "link", "add", layout.bridge, "type", "bridge"])
    _run(["ip", "addr", "replace", f"{layout.gateway}/24", "dev", layout.bridge])
    _run(["ip", "link", "set", layout.bridge, "up"])
    if not has_node(layout):
        layout.netns.touch()
        _run(["unshare", f"--net={layout.netns}", "true"])
    if not _link_exists(layout.node_link):
        _plug_in(layout)
    # Also a cable that a test pulled, or one whose bridge somebody removed.
    _run(["ip", "link", "set", layout.node_link, "master", layout.bridge, "up"])
    for network in (layout.pods, layout.services):
        _run(["ip", "route", "replace", str(network), "via", layout.node_address, "dev", layout.bridge])
    _lead_loopback_to_api_server(layout)
    _drop_table("inet", layout.cut_table)


def _plug_in(layout: Layout) -> None:
    # `ip` knows namespaces by name or by a process in them: make the cable inside, push its other end out to us.
    cable = ["ip", "link", "add", "eth0", "type", "veth", "peer", "name", layout.node_link, "netns", str(os.getpid())]
    _run(in_node(layout, cable))
    for command in (
        ["ip", "addr", "add", f"{layout.node_address}/24", "dev", "eth0"],
        ["ip", "link", "set", "lo", "up"],
        ["ip", "link", "set", "eth0", "up"],
        ["ip", "route", "add", "default", "via", layout.gateway],
        ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"],
    ):
        _run(in_node(layout, command))


def _lead_loopback_to_api_server(layout: Layout) -> None:
    """The API server listens on one address only, and the node needs that to be the bridge's: 127.0.0.1 is led there.

    This way round, and not a listener on loopback led to from the bridge: that would need `route_localnet`, which opens
    every loopback service of the machine to pods.
    """
    port = layout.port("apiserver")
    rules = f"""
        table ip {layout.tag}
        delete table ip {layout.tag}
        table ip {layout.tag} {{
            chain output {{
                type nat hook output priority -100
                ip daddr 127.0.0.1 tcp dport {port} dnat to {layout.gateway}:{port}
            }}
        }}
    """
    _run(["nft", "-f", "-"], rules)


def set_node_link(layout: Layout, *, up: bool) -> None:
    """Pull or plug the cable between machine and node. Node and pods then reach nobody, and nobody reaches them."""
    _run(["ip", "link", "set", layout.node_link, "up" if up else "down"])


def remove(layout: Layout) -> None:
    """The machine's side. The node's goes with its namespace, when the mount that holds it is gone (cleanup.py)."""
    for link in (layout.node_link, layout.bridge):
        if _link_exists(link):
            _run(["ip", "link", "delete", link])
    _drop_table("ip", layout.tag)
    _drop_table("inet", layout.cut_table)


def leftovers(layout: Layout) -> list[str]:
    """What is on the machine of this lab's network, for `down` to prove that it left nothing."""
    found = [f"link {link}" for link in (layout.node_link, layout.bridge) if _link_exists(link)]
    tables = json.loads(_run(["nft", "--json", "list", "tables"]))["nftables"]
    names = {item["table"]["name"] for item in tables if "table" in item}
    return found + [f"nftables table {name}" for name in (layout.tag, layout.cut_table) if name in names]


def _drop_table(family: str, name: str) -> None:
    # Declared first, so that deleting it cannot fail for not being there.
    _run(["nft", "-f", "-"], f"table {family} {name}\ndelete table {family} {name}\n")


def _link_exists(link: str) -> bool:
    return Path(f"/sys/class/net/{link}").exists()


def _run(command: list[str], text: str | None = None) -> str:
    environ = {**os.environ, "PATH": PATH}
    done = subprocess.run(command, input=text, check=False, capture_output=True, text=True, env=environ)
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout
