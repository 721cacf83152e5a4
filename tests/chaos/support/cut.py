"""A cut in the network: packets to some ports vanish, without an answer, as when a cable is pulled."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from lab.cluster import Lab
from lab.tools import PATH


@contextmanager
def cut(lab: Lab, *ports: int, host: str = "127.0.0.1") -> Iterator[None]:
    """Drop what this machine sends to these ports of `host`, in an nftables table of the lab's own, until the end.

    The operator goes by loopback; a test that looks on goes by the lab's bridge, which is not cut.
    """
    table = f"inet {lab.layout.cut_table}"
    address = f"ip daddr {host} tcp dport {{ {', '.join(map(str, ports))} }}"
    # Before -100: there the API server's loopback address becomes the bridge's.
    chain = f"type filter hook output priority -150; {address} drop"
    _nft(f"table {table}\ndelete table {table}\ntable {table} {{\nchain output {{\n{chain}\n}}\n}}\n")
    try:
        yield
    finally:
        _nft(f"delete table {table}\n")


def _nft(rules: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True, env={"PATH": PATH})
