"""What a pod answered to the question which revisions it has loaded."""

import ipaddress
import json

from elile_operator.api.consumers import HttpProof

__all__ = ["MAX_ANSWER", "address", "read_answer"]

# Bytes; a process that uses a thousand secrets says so in about 60 KiB.
MAX_ANSWER = 64 * 1024


def address(ip: str, proof: HttpProof) -> str | None:
    """Return the URL to ask, None for what is no address of a pod: a status can be written by others than kubelet."""
    try:
        parsed = ipaddress.ip_address(ip)
    except ValueError:
        return None
    plain = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped else parsed
    if plain.is_loopback or plain.is_link_local or plain.is_unspecified or plain.is_multicast or plain.is_reserved:
        return None
    host = f"[{plain}]" if isinstance(plain, ipaddress.IPv6Address) else str(plain)
    return f"{proof.scheme.lower()}://{host}:{proof.port}{proof.path}"


def read_answer(body: bytes, name: str) -> int | None:
    """Return the revision of an ElileSecret that the answer names; None where it names none, or is something else."""
    try:
        revision = json.loads(body)["secrets"][name]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None
    return revision if type(revision) is int and revision > 0 else None
