"""OpenBao of a lab: initialised and unsealed with keys kept in the lab's folder, configured, and emptied by reset."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lab import rest
from lab.control import client
from lab.errors import LabError
from lab.layout import Layout
from lab.pki import ca, write_private
from lab.steps import wait_until

KV_MOUNT = "secret/"
KUBERNETES_MOUNT = "kubernetes/"
# Made by the server itself; the rest is ours or a test's.
BUILT_IN_MOUNTS = frozenset({"cubbyhole/", "identity/", "sys/"})
BUILT_IN_AUTH = frozenset({"token/"})
BUILT_IN_POLICIES = frozenset({"root", "default"})


@dataclass(frozen=True, slots=True)
class Keys:
    unseal_key: str
    root_token: str


def keys(layout: Layout) -> Keys:
    try:
        return Keys(**json.loads(layout.openbao_keys.read_text()))
    except FileNotFoundError:
        raise LabError(f"no {layout.openbao_keys}: lab {layout.name!r} is not up") from None


def admin(layout: Layout) -> rest.Client:
    connection = client(layout, layout.bao_url, timeout=30)
    connection.headers["X-Vault-Token"] = keys(layout).root_token
    return connection


def answers(layout: Layout) -> str | None:
    """None as soon as the server answers at all, sealed or not."""
    try:
        client(layout, layout.bao_url, timeout=2).status("/v1/sys/health")
    except rest.UnreachableError as error:
        return str(error)
    return None


def seal(layout: Layout) -> None:
    admin(layout).request("PUT", "/v1/sys/seal")


def unseal(layout: Layout) -> None:
    """Initialise a new server, unseal a sealed one, do nothing to an unsealed one; returns when it is active."""
    server = client(layout, layout.bao_url, timeout=30)
    if not server.get("/v1/sys/init")["initialized"]:
        made = server.request("PUT", "/v1/sys/init", {"secret_shares": 1, "secret_threshold": 1})
        fresh = {"unseal_key": made["keys_base64"][0], "root_token": made["root_token"]}
        write_private(layout.openbao_keys, json.dumps(fresh).encode())
    if server.get("/v1/sys/seal-status")["sealed"]:
        server.request("PUT", "/v1/sys/unseal", {"key": keys(layout).unseal_key})

    def active() -> str | None:
        status = server.status("/v1/sys/health")
        return None if status == 200 else f"sys/health answers {status}"

    wait_until(active, "OpenBao active after unsealing", 30)


def lost_keys(layout: Layout) -> bool:
    """`up` was killed after the server initialised itself, before its only key was written: that data is lost."""
    return (layout.data / "openbao" / "vault.db").exists() and not layout.openbao_keys.exists()


def mount_kv(bao: rest.Client) -> None:
    if KV_MOUNT in bao.get("/v1/sys/mounts")["data"]:
        return
    bao.request("POST", f"/v1/sys/mounts/{KV_MOUNT.rstrip('/')}", {"type": "kv", "options": {"version": "2"}})

    def upgraded() -> str | None:
        # A new version 2 mount refuses everything for a moment, while it turns itself from version 1.
        try:
            bao.get(f"/v1/{KV_MOUNT}config")
        except rest.RefusedError as error:
            return str(error)
        return None

    wait_until(upgraded, f"OpenBao's mount {KV_MOUNT}", 10, every=0.01)


def enable_kubernetes_auth(layout: Layout, reviewer_token: str) -> None:
    """Logins with ServiceAccount tokens, which the lab's API server is asked to review."""
    bao = admin(layout)
    if KUBERNETES_MOUNT not in bao.get("/v1/sys/auth")["data"]:
        bao.request("POST", f"/v1/sys/auth/{KUBERNETES_MOUNT.rstrip('/')}", {"type": "kubernetes"})
    config = {
        "kubernetes_host": layout.api_url,
        "kubernetes_ca_cert": ca(layout.pki).read_text(),
        # A token for another audience cannot review itself, so the server needs one of its own.
        "token_reviewer_jwt": reviewer_token,
        "disable_local_ca_jwt": True,
    }
    bao.request("POST", f"/v1/auth/{KUBERNETES_MOUNT}config", config)


def reset(layout: Layout) -> None:
    """Back to what `up` configured: no secret, mount, role, policy or token made since stays. Entities may."""
    bao = admin(layout)
    _remove_namespaces(bao, "")
    for mount in bao.get("/v1/sys/mounts")["data"].keys() - BUILT_IN_MOUNTS:
        bao.request("DELETE", f"/v1/sys/mounts/{quote(mount.rstrip('/'))}")
    for mount in bao.get("/v1/sys/auth")["data"].keys() - BUILT_IN_AUTH - {KUBERNETES_MOUNT}:
        bao.request("DELETE", f"/v1/sys/auth/{quote(mount.rstrip('/'))}")
    for role in _list(bao, f"/v1/auth/{KUBERNETES_MOUNT}role"):
        bao.request("DELETE", f"/v1/auth/{KUBERNETES_MOUNT}role/{quote(role)}")
    for policy in set(_list(bao, "/v1/sys/policies/acl")) - BUILT_IN_POLICIES:
        bao.request("DELETE", f"/v1/sys/policies/acl/{quote(policy)}")
    # Tokens of logins and those made from the root token have leases; the root token has none.
    bao.request("PUT", "/v1/sys/leases/revoke-prefix/auth", {"sync": True})
    mount_kv(bao)


def _remove_namespaces(bao: rest.Client, parent: str) -> None:
    """The innermost first: a namespace that holds others cannot be deleted. Deleting goes on after the answer."""
    at = f"/v1/{quote(parent)}sys/namespaces"
    names = _list(bao, at)
    for name in names:
        _remove_namespaces(bao, parent + name)
        bao.request("DELETE", f"{at}/{quote(name.rstrip('/'))}")
    if names:
        wait_until(lambda: " ".join(_list(bao, at)) or None, f"no namespaces in {parent or 'the root'}", 30)


def _list(bao: rest.Client, path: str) -> list[str]:
    """Names below a path; OpenBao answers 404 where there are none."""
    try:
        answer: Any = bao.request("LIST", path)
    except rest.RefusedError as error:
        if error.status == 404:
            return []
        raise
    names: list[str] = answer["data"]["keys"]
    return names
