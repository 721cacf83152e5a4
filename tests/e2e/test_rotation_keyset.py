"""Rotation of sets of encryption keys by objects, on a real cluster, under pods that decrypt all the time."""

import base64
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from elile.secrets import EncryptionKeys, SecretPath
from elile.secrets.encryption import AESGCMCipher, DecryptionError
from tests.e2e.support.cluster import ROOT, Cluster, eventually
from tests.e2e.support.operator import Operator
from tests.e2e.support.programs import PROOF, run_program
from tests.e2e.support.rotating import ROTATOR, Rotating, install_rotator
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

KEYSET: dict[str, Any] = {
    "value": {"keyset": {"algorithm": "AES256GCM"}},
    "verify": [{"name": "works", "crypto": {}}],
    "gracePeriod": "1s",
}


@pytest.fixture
def rotating(cluster: Cluster, operator: Operator, tenant: Tenant) -> Rotating:
    install_rotator(cluster)
    return Rotating(tenant)


@pytest.fixture
def exchange(rotating: Rotating) -> Iterator[Path]:
    """A folder of the node that pods of the tenant share."""
    folder = Path(tempfile.mkdtemp(prefix="elile-exchange-"))
    folder.chmod(0o777)
    yield folder
    rotating.cluster.kubectl("-n", rotating.namespace, "delete", "pods", "--all", "--now")  # they write in it
    shutil.rmtree(folder)


def new_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def stored(rotating: Rotating, path: str, version: int) -> dict[str, Any]:
    found = rotating.cluster.entry(path, version)
    assert found is not None
    data: dict[str, Any] = found["data"]
    return data


def cipher(entry: dict[str, Any]) -> AESGCMCipher:
    return AESGCMCipher(EncryptionKeys.parse(entry))


def allow(rotating: Rotating, path: str) -> tuple[str, str]:
    """Give the tenant one application's path, as policies/vault/README.md says; the roles of reader and rotator."""
    cluster, namespace = rotating.cluster, rotating.namespace
    roles = (f"{namespace}-reader", f"{namespace}-rotator")
    for persona, role, account in zip(("reader", "rotator"), roles, ("default", ROTATOR), strict=True):
        policy = (ROOT / "policies" / "vault" / "personas" / f"{persona}.hcl").read_text()
        cluster.bao("policy", "write", role, "-", given=policy.replace("APPLICATION", path))
        cluster.bao(
            *("write", f"auth/kubernetes/role/{role}", "audience=elile", f"token_policies={role}", "token_ttl=20m"),
            *(f"bound_service_account_names={account}", f"bound_service_account_namespaces={namespace}"),
        )
    return roles


def test_the_primary_key_of_the_application_is_rotated_while_it_is_used(
    rotating: Rotating, exchange: Path, figure: list[str]
) -> None:
    """The use case that everything began with, by its name."""
    path = SecretPath.ENCRYPTION_PRIMARY.value
    reader, rotator = allow(rotating, "elile/encryption")
    rotating.cluster.put(path, key=new_key())
    old = cipher(stored(rotating, path, 1))
    for n in range(20):
        (exchange / f"old-{n}").write_bytes(old.encrypt(f"old-{n}".encode()))
    rotating.tenant.want(
        "keys",
        {"name": "main", "kv": {"path": path}},
        vault={"role": reader},
        consumers={"proof": PROOF},
    )
    rotating.tenant.wait("keys", "Synced")
    names = [f"pod-{n}" for n in range(3)]
    pods = [run_program(rotating.tenant, name, "keys", "keys", name, exchange=exchange) for name in names]
    for pod in pods:
        pod.wait(f"{pod.name} decrypts", "decrypted", 50)
    rotating.schedule("keys", "keys", vault={"role": rotator, "serviceAccountName": ROTATOR}, **KEYSET)
    rotating.ask("first", "keys")
    status = rotating.wait_result("first", "Succeeded", within=120)
    assert status["consumers"]["summary"] == "3/3"
    for pod in pods:
        pod.fares_well(2)
        figure.append(f"{pod.name}: {pod.told()['decrypted']} texts decrypted during a rotation of the key, 0 failed")

    handed_out, promoted = stored(rotating, path, 2), stored(rotating, path, 3)
    assert (handed_out["primary"], set(handed_out["keys"])) == ("1", {"1", "2"})
    assert promoted == {
        **handed_out,
        "primary": "2",
        "keys": promoted["keys"],
        "key": promoted["keys"]["2"]["material"],
    }
    assert {name: key["status"] for name, key in promoted["keys"].items()} == {"1": "decrypt", "2": "primary"}
    new = cipher(promoted)
    seals = [p.read_bytes() for p in exchange.iterdir() if not p.suffix]
    assert {text[1:3] for text in seals} == {b"\x011", b"\x012"}  # texts of both keys
    assert all(new.decrypt(text) for text in seals)


def keys_of(rotating: Rotating) -> dict[str, str]:
    return {name: key["status"] for name, key in rotating.live("keys")["keys"].items()}


def rotate(rotating: Rotating, **keyset: Any) -> AESGCMCipher:
    """Rotate a set once; what encrypted before."""
    rotating.tenant.put("keys", key=new_key())
    before = cipher(rotating.live("keys"))
    rotating.tenant.want("keys", consumers={"proof": {"elapsed": "1s"}})
    rotating.tenant.wait("keys", "Synced")
    value = {"keyset": {"algorithm": "AES256GCM", **keyset}}
    rotating.schedule("keys", "keys", **{**KEYSET, "value": value})
    rotating.ask("first", "keys")
    rotating.wait_result("first", "Succeeded")
    return before


def ready(rotating: Rotating) -> str:
    conditions = rotating.schedule_status("keys").get("conditions", [])
    return next((str(c["reason"]) for c in conditions if c["type"] == "Ready"), "")


def looked_at(rotating: Rotating) -> None:
    generation = rotating.cluster.get("rotationschedule", "keys", rotating.namespace)["metadata"]["generation"]
    eventually(
        "the schedule is looked at", lambda: rotating.schedule_status("keys").get("observedGeneration") == generation
    )
    conditions = rotating.schedule_status("keys")["conditions"]
    assert {c["type"]: c["status"] for c in conditions}["ScheduleValid"] == "True", conditions


def settled(rotating: Rotating) -> None:
    """Nothing that was written here looks like somebody else's change."""
    live = rotating.live("keys")["version"]
    eventually("the schedule knows the version", lambda: rotating.schedule_status("keys").get("liveVersion") == live)
    assert ready(rotating) == "RotationScheduled"


def test_a_key_is_destroyed_by_name_alone(rotating: Rotating) -> None:
    before = rotate(rotating)
    text = before.encrypt(b"text")
    assert cipher(rotating.live("keys")).decrypt(text) == b"text"
    rotating.ask("wrong", "keys", "DestroyKey", keyID="2")
    refused = rotating.wait_result("wrong", "Aborted")
    assert "key '2' is the primary and cannot be destroyed: rotate first" in refused["message"]
    rotating.ask("destroy", "keys", "DestroyKey", keyID="1")
    rotating.wait_result("destroy", "Succeeded")
    live = rotating.live("keys")
    assert (live["keys"]["1"]["status"], "material" in live["keys"]["1"]) == ("disabled", False)
    with pytest.raises(DecryptionError, match="'1', which is not in the set"):
        cipher(live).decrypt(text)
    versions = (rotating.cluster.versions(f"{rotating.namespace}/keys") or {})["versions"]
    assert {number: version["destroyed"] for number, version in versions.items()} == {
        **{str(n): True for n in range(1, live["version"])},
        str(live["version"]): False,
    }
    settled(rotating)
    rotating.ask("second", "keys")
    rotating.wait_result("second", "Succeeded")
    assert keys_of(rotating) == {"1": "disabled", "2": "decrypt", "3": "primary"}


def test_old_keys_are_disabled_when_their_time_is_over(rotating: Rotating) -> None:
    before = rotate(rotating, disableAfter="1h")
    text = before.encrypt(b"text")
    assert keys_of(rotating) == {"1": "decrypt", "2": "primary"}
    assert cipher(rotating.live("keys")).decrypt(text) == b"text"
    version = rotating.live("keys")["version"]
    soon = {**KEYSET, "value": {"keyset": {"algorithm": "AES256GCM", "disableAfter": "1s"}}}
    begun = datetime.now(UTC) - timedelta(minutes=1)
    blackout = {"name": "freeze", "schedule": f"{begun.minute} * * * *", "duration": "50m"}
    for paused in ({"suspend": True}, {"blackouts": [blackout]}):
        rotating.schedule("keys", "keys", **soon, **paused)
        looked_at(rotating)
        assert keys_of(rotating) == {"1": "decrypt", "2": "primary"}
    rotating.schedule("keys", "keys", **soon)
    eventually("the key is disabled", lambda: keys_of(rotating) == {"1": "disabled", "2": "primary"}, within=60)
    live = rotating.live("keys")
    assert live["version"] == version + 1
    assert "material" in live["keys"]["1"]  # it can be enabled again
    settled(rotating)
    assert rotating.tenant.notes("keys", "KeysDisabled") == [
        "keys replaced more than 1s ago are disabled, as spec.value.keyset.disableAfter says; "
        f"version {live['version']} of the live path has them"
    ]
    assert [r["metadata"]["name"] for r in rotating.cluster.all("rotation", rotating.namespace)] == ["first"]
    rotating.ask("second", "keys")
    rotating.wait_result("second", "Succeeded")
    eventually(
        "the next one is too",
        lambda: keys_of(rotating) == {"1": "disabled", "2": "disabled", "3": "primary"},
        within=60,
    )
    settled(rotating)
