"""What a real API server makes of the kinds: each manifest is accepted, or refused with the remedy."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from elile_operator.api.consumers import ConsumersStatus
from elile_operator.api.elilesecret import ElileSecretStatus, SourceStatus
from elile_operator.api.meta import Condition, ConditionStatus, FieldManager
from tests.e2e.support.kinds import CRDS, Result, elsewhere, establish, kubectl

pytestmark = pytest.mark.lab

HERE = Path(__file__).parent
MANIFESTS = HERE.parent / "golden" / "manifests"
PAGE = HERE.parents[1] / "docs" / "vaultserver.md"
HEADER = "# refused: "
UNWATCHED = "unwatched.test"
KIND = f"elilesecrets.{UNWATCHED}"

PASSING = sorted(MANIFESTS.glob("accepted/*/*.yaml"))
FAILING = sorted(MANIFESTS.glob("refused/*/*.yaml"))


def name_of(manifest: Path) -> str:
    return str(manifest.relative_to(MANIFESTS).with_suffix(""))


def fresh(text: str) -> dict[str, Any]:
    """Return the object under a name that no object of another test has: an apply would only be a change of that."""
    body: dict[str, Any] = yaml.safe_load(text)
    if body["metadata"]["name"] == "default":
        body["metadata"]["name"] = "not-there-yet"
    return body


@pytest.fixture(scope="module")
def served(kubeconfig: Path) -> Path:
    """A served that knows the kinds; the API server has accepted the cost of their rules."""
    establish(kubeconfig, str(CRDS))
    return kubeconfig


@pytest.mark.parametrize("manifest", PASSING, ids=name_of)
def test_passes(served: Path, manifest: Path) -> None:
    applied = kubectl(
        served, "apply", "--dry-run=server", "--filename=-", body=fresh(manifest.read_text(encoding="utf-8"))
    )
    assert (applied.returncode, applied.stderr) == (0, "")


@pytest.mark.parametrize("number", range(PAGE.read_text().count("```yaml")))
def test_the_manifests_of_the_page_pass(served: Path, number: int) -> None:
    block = PAGE.read_text().split("```yaml")[number + 1].partition("```")[0]
    applied = kubectl(served, "apply", "--dry-run=server", "--filename=-", body=fresh(block))
    assert (applied.returncode, applied.stderr) == (0, "")


@pytest.mark.parametrize("manifest", FAILING, ids=name_of)
def test_is_refused_with_the_remedy(served: Path, manifest: Path) -> None:
    header = manifest.read_text(encoding="utf-8").splitlines()[0]
    assert header.startswith(HEADER)
    applied = kubectl(
        served, "apply", "--dry-run=server", "--filename=-", body=fresh(manifest.read_text(encoding="utf-8"))
    )
    assert applied.returncode == 1
    assert header.removeprefix(HEADER) in applied.stderr


def test_the_largest_object_is_within_the_cost_of_rules(served: Path) -> None:
    """The cost is estimated when the kind is made and counted when an object is: both have a limit."""
    keys = [{"from": f"{'f' * 150}{n}", "to": f"{'t' * 150}{n}"} for n in range(64)]
    sources = [{"name": f"s{n}", "kv": {"path": f"{'p' * 500}/{n}"}, "keys": keys} for n in range(64)]
    named = [{"from": f"{'f' * 150}{n}", "to": f"{'t' * 150}{n}"} for n in range(64)]
    files = [{"key": f"{'k' * 150}{n}", "format": "json", "keys": named} for n in range(32)]
    files += [{"key": f"{'d' * 150}{n}", "derive": "url", "source": f"s{n}"} for n in range(32)]
    body = {
        "apiVersion": "elile.io/v1alpha1",
        "kind": "ElileSecret",
        "metadata": {"name": "largest", "namespace": "default"},
        "spec": {"sources": sources, "files": files},
    }
    made = kubectl(served, "create", "--dry-run=server", "--filename=-", body=body)
    assert (made.returncode, made.stderr) == (0, "")


def test_the_largest_schedule_is_within_the_cost_of_rules(served: Path) -> None:
    cron = f"{','.join(str(n) for n in range(10, 47))} 3 * * 0"
    authority = f"-----BEGIN CERTIFICATE-----{'A' * 30_000}-----END CERTIFICATE-----"
    headers = [{"name": f"{'x' * 120}{n}", "value": "v" * 1024} for n in range(16)]
    http = {
        "url": f"https://api.example.com/{'p' * 990}",
        "auth": "Header",
        "header": "h" * 128,
        "headers": headers,
        "equals": [{"pointer": f"/{'e' * 250}{n}", "value": "v" * 1024} for n in range(16)],
        "tls": {"caBundle": authority},
    }
    hooks = [{"name": f"h{n}", "http": http} for n in range(16)]
    zone = "A" * 64
    blackouts = [{"name": f"b{n}", "schedule": cron, "duration": "1d23h59m59s", "timeZone": zone} for n in range(32)]
    body = {
        "apiVersion": "elile.io/v1alpha1",
        "kind": "RotationSchedule",
        "metadata": {"name": "largest", "namespace": "default"},
        "spec": {
            "secretRef": {"name": "shop", "source": "db"},
            "vault": {"role": "r" * 128, "serviceAccountName": "s" * 253},
            "fields": {"value": "v" * 253, "username": "u" * 253},
            "schedule": cron,
            "blackouts": blackouts,
            "value": {"generate": {"password": {"exclude": "x" * 64}}},
            "apply": {
                "redis": {
                    "nodes": [{"host": f"{'r' * 250}{n}", "port": 6379} for n in range(32)],
                    "user": "u" * 128,
                    "admin": {"mount": "m" * 256, "path": "p" * 512},
                    "tls": {"caBundle": authority},
                }
            },
            "verify": hooks,
        },
    }
    made = kubectl(served, "create", "--dry-run=server", "--filename=-", body=body)
    assert (made.returncode, made.stderr) == (0, "")


@pytest.fixture(scope="module")
def unwatched(served: Path) -> Iterator[Path]:
    """The kinds once more: an operator of another test would give an object its own status."""
    for plural in ("elilesecrets", "rotations"):
        establish(served, "-", elsewhere(plural, UNWATCHED))
    yield served
    kubectl(served, "delete", "crd", f"elilesecrets.{UNWATCHED}", f"rotations.{UNWATCHED}")


@pytest.fixture
def shop(unwatched: Path) -> Iterator[dict[str, Any]]:
    """An object that is there, since a status belongs to one."""
    body = {
        "apiVersion": f"{UNWATCHED}/v1alpha1",
        "kind": "ElileSecret",
        "metadata": {"name": "status-of-manifests", "namespace": "default"},
    }
    spec = {"spec": {"sources": [{"name": "db", "kv": {"path": "db"}}]}}
    made = kubectl(unwatched, "apply", "--server-side", "--filename=-", body=body | spec)
    assert made.returncode == 0, made.stderr
    yield body
    kubectl(unwatched, "delete", "--filename=-", body=body)


def test_a_status_is_accepted_as_it_is_written_and_fills_the_columns(served: Path, shop: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    ready = Condition(
        type="Ready", status=ConditionStatus.TRUE, reason="Synced", message="All is well.", last_transition_time=now
    )
    status = ElileSecretStatus(
        observed_generation=1,
        revision=7,
        keys=("password",),
        secret_name="files",
        server="main",
        handled_refresh="1",
        sources=(SourceStatus(name="db", path="secret/db", version=3),),
        conditions=(ready,),
        last_change_time=now,
        consumers=ConsumersStatus(summary="1+2?/3", total=3, current=1, assumed=2, stale=("a",), need_restart=("b",)),
        rotation="Idle",
        next_rotation_time="2096-01-01T00:00:00Z",
    )
    manager = f"--field-manager={FieldManager.ELILESECRET_STATUS}"
    written = kubectl(
        served, "apply", "--server-side", "--subresource=status", manager, "--filename=-",
        body=shop | {"status": status.dump()},
    )  # fmt: skip
    assert written.returncode == 0, written.stderr
    name = shop["metadata"]["name"]
    read = json.loads(kubectl(served, "get", KIND, name, "--output=json").stdout)
    assert read["status"] == status.dump()
    header, row = kubectl(served, "get", KIND, name, "--output=wide").stdout.splitlines()
    assert " ".join(header.split()) == (
        "NAME READY REASON REVISION CONSUMERS ROTATION NEXT-ROTATION LAST-CHANGE AGE TYPE SECRET SERVER MESSAGE"
    )
    assert row.split()[:7] == [name, "True", "Synced", "7", "1+2?/3", "Idle", "2096-01-01T00:00:00Z"]
    assert row.split()[-5:] == ["files", "main", "All", "is", "well."]


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        pytest.param({"type": "Opaque"}, {"type": "TLS"}, True, id="another"),
        pytest.param({}, {"type": "TLS"}, True, id="another than the default"),
        pytest.param({"type": "TLS"}, {}, True, id="back to the default"),
        pytest.param({}, {"type": "Opaque"}, False, id="the default, written"),
    ],
)
def test_the_type_stays(unwatched: Path, first: dict[str, Any], second: dict[str, Any], refused: bool) -> None:
    def apply(spec: dict[str, Any]) -> Result:
        body = {
            "apiVersion": f"{UNWATCHED}/v1alpha1",
            "kind": "ElileSecret",
            "metadata": {"name": "shop", "namespace": "default"},
            "spec": {"sources": [{"name": "db", "kv": {"path": "db"}}]} | spec,
        }
        return kubectl(unwatched, "apply", "--server-side", "--filename=-", body=body)

    kubectl(unwatched, "delete", KIND, "shop", "--ignore-not-found")
    made = apply(first)
    assert (made.returncode, made.stderr) == (0, "")
    message = "spec.type cannot be changed, since the type of a Secret cannot; make a new ElileSecret"
    assert (message in apply(second).stderr) is refused


def test_a_rotation_stays_what_it_is(unwatched: Path) -> None:
    def apply(spec: dict[str, Any]) -> Result:
        body = {
            "apiVersion": f"{UNWATCHED}/v1alpha1",
            "kind": "Rotation",
            "metadata": {"name": "shop", "namespace": "default"},
            "spec": {"scheduleRef": {"name": "shop"}} | spec,
        }
        return kubectl(unwatched, "apply", "--server-side", "--filename=-", body=body)

    kubectl(unwatched, "delete", f"rotations.{UNWATCHED}", "shop", "--ignore-not-found")
    first = apply({"reason": "leaked"})
    assert (first.returncode, first.stderr) == (0, "")
    message = "spec cannot be changed: a Rotation is one run; make a new one"
    assert apply({"reason": "leaked"}).returncode == 0
    for spec in ({"reason": "asked for"}, {}, {"reason": "leaked", "compromised": True}):
        assert message in apply(spec).stderr
