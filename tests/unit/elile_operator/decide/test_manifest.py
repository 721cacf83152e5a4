"""What surrounds the values is written whole, and compared in exactly the parts that are ours."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from elile.secrets.redact import SecretBytes
from elile_operator.api.elilesecret import ElileSecret, SourceStatus
from elile_operator.api.reasons import Reason
from elile_operator.decide.fingerprint import Stamp
from elile_operator.decide.manifest import METADATA_ROOM, Frame, check_metadata, frame, is_framed, manifest
from elile_operator.decide.violation import Violation
from tests.fakes.objects import OUR_LABELS, UID, elile_secret, live_secret

OWNER = {
    "apiVersion": "elile.io/v1alpha1",
    "kind": "ElileSecret",
    "name": "db",
    "uid": UID,
    "controller": True,
    "blockOwnerDeletion": False,
}
FRAME = Frame(namespace="shop", name="db", type="Opaque", labels=OUR_LABELS, annotations={}, owner=OWNER, owned=True)


def unchecked(field: str, name: str) -> ElileSecret:
    """An object as one stored under an older CRD would be, before the model refused the name."""
    secret = elile_secret()
    target = secret.spec.delivery.secret.model_copy(update={field: {"team": "a", name: "v"}})
    delivery = secret.spec.delivery.model_copy(update={"secret": target})
    return secret.model_copy(update={"spec": secret.spec.model_copy(update={"delivery": delivery})})


@pytest.mark.parametrize("field", ["labels", "annotations"])
@pytest.mark.parametrize(
    "name",
    [
        "kubernetes.io/service-account.name",
        "elile.io/secret",
        "example.k8s.io/x",
        "app.kubernetes.io/managed-by",
        "APP.kubernetes.io/Managed-By",
    ],
)
def test_reserved_names_are_refused_before_the_write(field: str, name: str) -> None:
    assert check_metadata(unchecked(field, name)) == Violation(
        Reason.RESERVED_METADATA,
        f"spec.delivery.secret.{field} holds {name!r}, which is reserved for Kubernetes or Elile; remove it",
    )


@pytest.mark.parametrize("name", ["example.com/team", "app.kubernetes.io/part-of", "team"])
def test_free_names_are_not_refused(name: str) -> None:
    assert check_metadata(unchecked("labels", name)) is None
    assert check_metadata(unchecked("annotations", name)) is None


def test_no_metadata_is_no_fault() -> None:
    assert check_metadata(elile_secret()) is None


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        pytest.param({}, {}, id="minimal"),
        pytest.param({"delivery": {"secret": {"name": "files"}}}, {"name": "files"}, id="another name"),
        pytest.param(
            {"delivery": {"secret": {"labels": {"team": "a"}, "annotations": {"note": "n"}}}},
            {"labels": {"team": "a", **OUR_LABELS}, "annotations": {"note": "n"}},
            id="labels and annotations",
        ),
        pytest.param({"deletionPolicy": "Retain"}, {"owned": False}, id="retained"),
        pytest.param({"delivery": {"metadataFile": True}}, {"tells": True}, id="metadata file"),
        pytest.param(
            {"consumers": {"proof": {"http": {"port": 80}}}}, {"tells": True}, id="metadata file for the proof by HTTP"
        ),
        pytest.param({"consumers": {"proof": {"rollout": {}}}}, {}, id="another proof needs none"),
    ],
)
def test_the_frame_is_what_the_spec_wants_around_the_values(spec: dict[str, Any], want: dict[str, Any]) -> None:
    assert frame(elile_secret(**spec)) == replace(FRAME, **want)


MERGE = {"delivery": {"secret": {"mode": "Merge"}}}
MERGED = replace(FRAME, labels={"elile.io/secret": ""}, owned=False, merged=True)
STRANGER = {"owner_uids": frozenset({"s"}), "strangers": frozenset({"s"})}


@pytest.mark.parametrize(
    ("spec", "live", "want"),
    [
        pytest.param(MERGE, {}, MERGED, id="merged"),
        pytest.param(MERGE, STRANGER, MERGED, id="merged into what another owns"),
        pytest.param(
            {}, {"annotations": {"elile.io/adopt": "db"}}, replace(FRAME, owned=False), id="taken over: retained"
        ),
        pytest.param(
            {"deletionPolicy": "Delete"}, {"annotations": {"elile.io/adopt": "db"}}, FRAME, id="taken over, and deleted"
        ),
        pytest.param(
            {"deletionPolicy": "Retain"}, STRANGER, FRAME, id="retained, and held while an owner of it may go"
        ),
        pytest.param(
            {},
            STRANGER | {"controller": "Legacy x", "controller_uid": "s"},
            replace(FRAME, owner={**OWNER, "controller": False}),
            id="controlled by another",
        ),
        pytest.param(
            {},
            {"owner_uids": frozenset({"e"}), "controller": "ElileSecret old", "controller_uid": "e"},
            FRAME,
            id="controlled by an ElileSecret, whose reference goes with our write",
        ),
    ],
)
def test_the_frame_depends_on_what_is_there(spec: dict[str, Any], live: dict[str, Any], want: Frame) -> None:
    assert frame(elile_secret(**spec), live_secret(**live)) == want


def test_each_mode_has_a_manager() -> None:
    assert (FRAME.manager, MERGED.manager) == ("elile", "elile.db")


def test_our_labels_win_over_those_of_the_spec() -> None:
    secret = unchecked("labels", "elile.io/secret")
    assert frame(secret).labels == {"team": "a", **OUR_LABELS}


@pytest.mark.parametrize(
    ("wanted", "live", "framed"),
    [
        pytest.param({}, {}, True, id="as written"),
        pytest.param(
            {}, {"labels": {**OUR_LABELS, "more": "x"}, "annotations": {"more": "x"}}, True, id="others added"
        ),
        pytest.param({}, {"owner_uids": frozenset({UID, "another"})}, True, id="another owner beside us"),
        pytest.param({}, {"type": "kubernetes.io/tls"}, False, id="another type"),
        pytest.param({}, {"labels": {}}, False, id="labels gone"),
        pytest.param({}, {"labels": {**OUR_LABELS, "elile.io/secret": "x"}}, False, id="label changed"),
        pytest.param({"annotations": {"note": "n"}}, {}, False, id="annotation missing"),
        pytest.param({"annotations": {"note": "n"}}, {"annotations": {"note": "m"}}, False, id="annotation changed"),
        pytest.param({"annotations": {"note": "n"}}, {"annotations": {"note": "n"}}, True, id="annotation there"),
        pytest.param({}, {"owner_uids": frozenset()}, False, id="owner gone"),
        pytest.param({"owned": False}, {"owner_uids": frozenset()}, True, id="retained, and not owned"),
        pytest.param({"owned": False}, {}, False, id="retained, and still owned"),
        pytest.param({"owned": False}, {"owner_uids": frozenset({"another"})}, True, id="retained, another's"),
        pytest.param({}, {"controller_uid": None}, False, id="owner, and no controller"),
        pytest.param({"owner": {**OWNER, "controller": False}}, {"controller_uid": "x"}, True, id="another controls"),
        pytest.param({"owner": {**OWNER, "controller": False}}, {}, False, id="controller, and should not be"),
        pytest.param({}, {"annotations": {"elile.io/merged.db": "1 k:x"}}, False, id="still merged"),
        pytest.param({}, {"annotations": {"elile.io/merged.web": "1 k:x"}}, True, id="merged by another"),
        pytest.param({"owned": False, "merged": True}, {"owner_uids": frozenset()}, False, id="merged, still owned"),
        pytest.param(
            {"owned": False, "merged": True, "labels": {}},
            {"owner_uids": frozenset(), "annotations": {"elile.io/merged.db": "1 k:x"}},
            True,
            id="merged",
        ),
        pytest.param({"tells": True}, {"told": 5}, True, id="metadata file there"),
        pytest.param({"tells": True}, {}, False, id="metadata file missing"),
        pytest.param({"tells": True}, {"told": 4}, False, id="metadata file of an earlier revision"),
        pytest.param({"tells": True}, {"told": 0}, False, id="metadata file spoilt"),
        pytest.param({}, {"told": 5}, False, id="metadata file that is not wanted"),
    ],
)
def test_a_secret_is_framed_when_all_that_is_ours_is_there(
    wanted: dict[str, Any], live: dict[str, Any], framed: bool
) -> None:
    assert is_framed(replace(FRAME, **wanted), live_secret(**live)) is framed


def test_the_manifest_is_the_frame_with_values_fingerprint_and_revision() -> None:
    wanted = replace(FRAME, labels={"a": "b"}, annotations={"note": "n"})
    data = {"password": SecretBytes(b"p\x00\xff"), "empty": SecretBytes(b"")}
    assert manifest(wanted, data, Stamp("k1", "abc"), 7) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "namespace": "shop",
            "name": "db",
            "labels": {"a": "b"},
            "annotations": {"note": "n", "elile.io/fingerprint": "k1:abc", "elile.io/revision": "7"},
            "ownerReferences": [OWNER],
        },
        "type": "Opaque",
        "data": {"password": base64.b64encode(b"p\x00\xff").decode(), "empty": ""},
    }


def test_what_is_merged_is_marked_by_an_annotation_for_each_object() -> None:
    metadata = manifest(MERGED, {}, Stamp("k1", "abc"), 7)["metadata"]
    assert metadata == {
        "namespace": "shop",
        "name": "db",
        "labels": {"elile.io/secret": ""},
        "annotations": {"elile.io/merged.db": "7 k1:abc"},
    }


def test_a_retained_secret_names_no_owner() -> None:
    assert "ownerReferences" not in manifest(replace(FRAME, owned=False), {}, Stamp("k1", "abc"), 1)["metadata"]


def test_the_metadata_file_tells_name_revision_and_sources() -> None:
    sources = (
        SourceStatus(name="main", path="secret/shop/db", version=7),
        SourceStatus(name="absent", path="secret/shop/x"),
    )
    found = manifest(replace(FRAME, tells=True), {"a": SecretBytes(b"b")}, Stamp("k1", "abc"), 7, sources)["data"]
    assert found.keys() == {"a", ".elile.json"}
    assert json.loads(base64.b64decode(found[".elile.json"])) == {
        "schema": 1,
        "name": "db",
        "revision": 7,
        "sources": [
            {"name": "main", "path": "secret/shop/db", "version": 7},
            {"name": "absent", "path": "secret/shop/x"},
        ],
    }


def test_there_is_room_for_the_metadata_file_of_the_largest_spec() -> None:
    sources = [SourceStatus(name="n" * 63, path="p" * (256 + 1 + 512), version=2**31) for _ in range(64)]
    found = manifest(replace(FRAME, tells=True), {}, Stamp("k1", "abc"), 10**9, sources)["data"]
    assert len(base64.b64decode(found[".elile.json"])) < METADATA_ROOM
