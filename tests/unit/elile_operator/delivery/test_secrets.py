"""A Secret is created only where there is none, updated only while it is the same one, and holds our keys alone."""

import base64
from typing import Any

import pytest

from elile.secrets.redact import SecretBytes
from elile_operator.decide.fingerprint import FingerprintKey
from elile_operator.decide.live import LiveSecret, read_secret
from elile_operator.delivery.secrets import SecretWriter
from elile_operator.kube.errors import KubeConflictError, KubeError, KubeForbiddenError, KubeInvalidError
from elile_operator.kube.resources import SECRETS
from tests.fakes.api import MemoryKube, secret
from tests.fakes.clock import FakeClock

KEY = FingerprintKey("k1", SecretBytes(b"k" * 32))


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def wanted(**data: str) -> dict[str, Any]:
    """The body that is to be written."""
    body = secret(**{key: encoded(value) for key, value in data.items()})
    return {**body, "metadata": {**body["metadata"], "labels": {"app.kubernetes.io/managed-by": "elile"}}}


@pytest.fixture
def kube() -> MemoryKube:
    return MemoryKube(FakeClock())


@pytest.fixture
def writer(kube: MemoryKube) -> SecretWriter:
    return SecretWriter(kube)  # type: ignore[arg-type]


def found(kube: MemoryKube) -> dict[str, Any]:
    body = kube.find(SECRETS, "shop", "db")
    assert body is not None
    return body


def live(kube: MemoryKube) -> LiveSecret:
    return read_secret(found(kube), KEY)


# ── creating ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_new_secret_is_applied_with_a_version_that_none_can_have(
    kube: MemoryKube, writer: SecretWriter
) -> None:
    written = await writer.write(wanted(password="p1"), None)
    (apply,) = kube.writes
    assert (apply.verb, apply.namespace, apply.name, apply.manager) == ("apply", "shop", "db", "elile")
    expected = wanted(password="p1")
    expected["metadata"]["resourceVersion"] = "1"
    assert apply.body == expected
    assert written == found(kube)
    assert written["data"] == {"password": encoded("p1")}


async def test_the_body_that_was_given_is_left_as_it_is(writer: SecretWriter) -> None:
    body = wanted(password="p1")
    await writer.write(body, None)
    assert body == wanted(password="p1")


async def test_a_secret_that_is_there_is_not_taken_for_a_new_one(kube: MemoryKube, writer: SecretWriter) -> None:
    before = kube.put(SECRETS, secret(password=encoded("theirs")))
    with pytest.raises(KubeConflictError):
        await writer.write(wanted(password="ours"), None)
    assert found(kube) == before


# ── updating ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_update_names_the_object_it_is_for(kube: MemoryKube, writer: SecretWriter) -> None:
    await writer.write(wanted(password="p1"), None)
    known = live(kube)
    await writer.write(wanted(password="p2"), known)
    asked = kube.writes[-1].body["metadata"]
    assert (asked["uid"], asked["resourceVersion"]) == (known.uid, known.resource_version)
    assert found(kube)["data"] == {"password": encoded("p2")}


async def test_a_write_that_comes_late_does_not_land_on_a_later_one(kube: MemoryKube, writer: SecretWriter) -> None:
    """As one that was given up while the API server was frozen, and is carried out when it thaws."""
    await writer.write(wanted(password="p1"), None)
    known = live(kube)
    await writer.write(wanted(password="p3"), known)
    with pytest.raises(KubeConflictError):
        await writer.write(wanted(password="p2"), known)
    assert found(kube)["data"] == {"password": encoded("p3")}


@pytest.mark.parametrize("again", [True, False], ids=["made anew", "gone"])
async def test_a_secret_that_is_another_one_by_now_is_a_conflict(
    kube: MemoryKube, writer: SecretWriter, again: bool
) -> None:
    await writer.write(wanted(password="p1"), None)
    known = live(kube)
    kube.remove(SECRETS, "shop", "db")
    if again:
        kube.put(SECRETS, secret(password=encoded("theirs")))
    before = kube.find(SECRETS, "shop", "db")
    with pytest.raises(KubeConflictError):
        await writer.write(wanted(password="p2"), known)
    assert kube.find(SECRETS, "shop", "db") == before


async def test_what_is_refused_of_the_same_secret_is_no_conflict(kube: MemoryKube, writer: SecretWriter) -> None:
    await writer.write(wanted(password="p1"), None)
    kube.fail("apply", SECRETS, 422)  # immutable, or an admission policy
    with pytest.raises(KubeInvalidError):
        await writer.write(wanted(password="p2"), live(kube))


async def test_what_is_refused_of_a_new_secret_costs_no_look(kube: MemoryKube, writer: SecretWriter) -> None:
    kube.fail("apply", SECRETS, 422)
    with pytest.raises(KubeInvalidError):
        await writer.write(wanted(password="p1"), None)
    assert kube.reads == []


@pytest.mark.parametrize(("status", "error"), [(403, KubeForbiddenError), (409, KubeConflictError), (0, KubeError)])
async def test_other_errors_come_out_as_they_are(
    kube: MemoryKube, writer: SecretWriter, status: int, error: type[KubeError]
) -> None:
    kube.fail("apply", SECRETS, status)
    with pytest.raises(error):
        await writer.write(wanted(password="p1"), None)


# ── keys of others ───────────────────────────────────────────────────────────────────────────────────────────────────


async def deliver_with(kube: MemoryKube, writer: SecretWriter, *foreign: str) -> LiveSecret:
    """Write a Secret, and have somebody add keys to it."""
    body = await writer.write(wanted(password="p1"), None)
    body["data"] |= {key: encoded("theirs") for key in foreign}
    kube.put(SECRETS, body)
    kube.writes.clear()
    return live(kube)


async def test_keys_of_others_are_removed_while_nothing_else_changed(
    kube: MemoryKube, writer: SecretWriter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    known = await deliver_with(kube, writer, "extra", "a~b")
    written = await writer.write(wanted(password="p2"), known)
    apply, patch = kube.writes
    applied = int(written["metadata"]["resourceVersion"]) - 1
    assert (apply.verb, patch.verb, patch.manager) == ("apply", "patch", "elile")
    assert patch.body == [
        {"op": "test", "path": "/metadata/resourceVersion", "value": str(applied)},
        {"op": "remove", "path": "/data/a~0b"},
        {"op": "remove", "path": "/data/extra"},
    ]
    assert written == found(kube)
    assert written["data"] == {"password": encoded("p2")}
    (record,) = caplog.records
    assert record.__dict__["fields"] == {
        "kind": "Secret",
        "namespace": "shop",
        "name": "db",
        "keys": ["a~b", "extra"],
    }


async def test_a_change_between_the_two_writes_is_a_conflict(kube: MemoryKube, writer: SecretWriter) -> None:
    known = await deliver_with(kube, writer, "extra")
    kube.fail("patch", SECRETS, 422)  # how a failed test is answered
    with pytest.raises(KubeConflictError):
        await writer.write(wanted(password="p2"), known)
    assert found(kube)["data"] == {"extra": encoded("theirs"), "password": encoded("p2")}


async def test_keys_that_are_wanted_no_more_go_with_the_apply(kube: MemoryKube, writer: SecretWriter) -> None:
    await writer.write(wanted(old="a", password="p1"), None)
    await writer.write(wanted(password="p1"), live(kube))
    assert [write.verb for write in kube.writes] == ["apply", "apply"]
    assert found(kube)["data"] == {"password": encoded("p1")}


# ── merging ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def merge(kube: MemoryKube, writer: SecretWriter, name: str, **data: str) -> LiveSecret:
    """Merge keys for an ElileSecret."""
    before = kube.find(SECRETS, "shop", "db")
    known = read_secret(before, KEY) if before else None
    body = {**wanted(**data), "metadata": {"namespace": "shop", "name": "db", "labels": {"elile.io/secret": ""}}}
    await writer.write(body, known, manager=f"elile.{name}", exact=False)
    return live(kube)


async def test_keys_of_others_stay_where_keys_are_merged(kube: MemoryKube, writer: SecretWriter) -> None:
    kube.put(SECRETS, secret(theirs=encoded("t")))
    await merge(kube, writer, "a", a="1")
    known = await merge(kube, writer, "b", b="1")
    assert [(write.verb, write.manager) for write in kube.writes] == [("apply", "elile.a"), ("apply", "elile.b")]
    assert found(kube)["data"] == {"theirs": encoded("t"), "a": encoded("1"), "b": encoded("1")}
    assert {name: share.keys for name, share in known.shares.items()} == {"a": {"a"}, "b": {"b"}}


async def test_what_was_merged_is_released_exactly(kube: MemoryKube, writer: SecretWriter) -> None:
    kube.put(SECRETS, secret(theirs=encoded("t")))
    await merge(kube, writer, "a", a="1", both="1")
    known = await merge(kube, writer, "b", both="1")
    await writer.release(known, "elile.a")
    (apply,) = kube.writes[2:]
    about = {"namespace": "shop", "name": "db", "uid": known.uid, "resourceVersion": known.resource_version}
    assert (apply.manager, apply.body) == ("elile.a", {"apiVersion": "v1", "kind": "Secret", "metadata": about})
    assert found(kube)["data"] == {"theirs": encoded("t"), "both": encoded("1")}
    await writer.release(live(kube), "elile.b")
    assert (found(kube)["data"], found(kube)["metadata"]["labels"]) == ({"theirs": encoded("t")}, {})


async def test_a_secret_of_which_nothing_is_left_goes(kube: MemoryKube, writer: SecretWriter) -> None:
    await writer.release(await merge(kube, writer, "a", a="1"), "elile.a")
    assert kube.find(SECRETS, "shop", "db") is None


async def test_an_empty_secret_of_somebody_else_stays(kube: MemoryKube, writer: SecretWriter) -> None:
    theirs = secret()
    theirs["metadata"]["managedFields"] = [{"manager": "kubectl", "operation": "Update"}]
    kube.put(SECRETS, theirs)
    await writer.release(await merge(kube, writer, "a", a="1"), "elile.a")
    assert found(kube)["data"] == {}


async def test_data_of_nobody_in_particular_stay(kube: MemoryKube, writer: SecretWriter) -> None:
    """People can clear `managedFields`."""
    kube.put(SECRETS, secret(theirs=encoded("t")))
    await writer.release(await merge(kube, writer, "a", a="1"), "elile.a")
    assert found(kube)["data"] == {"theirs": encoded("t")}


async def test_what_changed_meanwhile_is_not_released(kube: MemoryKube, writer: SecretWriter) -> None:
    known = await merge(kube, writer, "a", a="1")
    await merge(kube, writer, "b", b="1")
    with pytest.raises(KubeConflictError):
        await writer.release(known, "elile.a")
    assert found(kube)["data"] == {"a": encoded("1"), "b": encoded("1")}


async def test_the_former_mode_is_given_up_after_the_new_one_is_in(kube: MemoryKube, writer: SecretWriter) -> None:
    known = await merge(kube, writer, "a", password="p1", old="x")
    written = await writer.write(wanted(password="p1"), known, former="elile.a")
    assert [(write.verb, write.manager) for write in kube.writes[1:]] == [
        ("apply", "elile"),
        ("patch", "elile"),
        ("apply", "elile.a"),
    ]
    assert all("password" in write.body["data"] for write in kube.writes[:2]), "no key is away in between"
    assert written == found(kube)
    assert (written["data"], live(kube).shares) == ({"password": encoded("p1")}, {})


OWNERS = [{"kind": "Legacy", "name": "x", "uid": "s"}, {"kind": "ElileSecret", "name": "db", "uid": "u"}]


@pytest.mark.parametrize(
    ("owners", "left"), [(OWNERS, OWNERS[:1]), (OWNERS[1:], []), (OWNERS[:1], OWNERS[:1])], ids=["two", "one", "none"]
)
async def test_a_secret_is_let_go(
    kube: MemoryKube, writer: SecretWriter, owners: list[dict[str, str]], left: list[dict[str, str]]
) -> None:
    body = secret(password=encoded("p1"))
    body["metadata"]["ownerReferences"] = owners
    kube.put(SECRETS, body)
    await writer.disown(live(kube), "u")
    assert found(kube)["metadata"]["ownerReferences"] == left
    assert len(kube.writes) == (owners != left)
    assert found(kube)["data"] == {"password": encoded("p1")}


async def test_a_secret_that_is_gone_needs_no_letting_go(kube: MemoryKube, writer: SecretWriter) -> None:
    kube.put(SECRETS, secret())
    known = live(kube)
    kube.remove(SECRETS, "shop", "db")
    await writer.disown(known, "u")
    assert kube.writes == []


# ── reading and deleting ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_read(kube: MemoryKube, writer: SecretWriter) -> None:
    assert await writer.read("shop", "db") is None
    body = kube.put(SECRETS, secret(password=encoded("p1")))
    assert await writer.read("shop", "db") == body


async def test_delete_names_the_object_and_its_version(kube: MemoryKube, writer: SecretWriter) -> None:
    kube.put(SECRETS, secret())
    known = live(kube)
    await writer.delete(known)
    assert kube.writes[-1].body == {"uid": known.uid, "resourceVersion": known.resource_version}
    assert kube.find(SECRETS, "shop", "db") is None


async def test_deleting_what_is_gone(kube: MemoryKube, writer: SecretWriter) -> None:
    kube.put(SECRETS, secret())
    known = live(kube)
    kube.remove(SECRETS, "shop", "db")
    await writer.delete(known)
    assert kube.writes[-1].verb == "delete"


async def test_what_somebody_changed_meanwhile_is_not_deleted(kube: MemoryKube, writer: SecretWriter) -> None:
    kube.put(SECRETS, secret())
    known = live(kube)
    changed = kube.put(SECRETS, {**found(kube), "data": {"theirs": encoded("x")}})
    with pytest.raises(KubeConflictError):
        await writer.delete(known)
    assert found(kube) == changed
