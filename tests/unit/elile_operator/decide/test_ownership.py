"""A Secret is ours by owner reference or by labels; any other is somebody else's, who is named, and may consent."""

from typing import Any

import pytest

from elile.secrets.redact import SecretBytes
from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.reasons import Reason
from elile_operator.decide.live import LiveSecret, Share
from elile_operator.decide.ownership import Comparison, check_ownership, compare, goes_with, is_adopted, is_ours
from elile_operator.decide.violation import Violation
from tests.fakes.objects import KEY, OUR_LABELS, UID, elile_secret, live_secret

NOBODY: dict[str, Any] = {"labels": {}, "owner_uids": frozenset(), "controller": None}


def of_another(name: str) -> dict[str, str]:
    return {**OUR_LABELS, "elile.io/secret": name}


@pytest.mark.parametrize(
    "live",
    [
        pytest.param({}, id="reference and labels"),
        pytest.param({"labels": {}}, id="labels removed by hand"),
        pytest.param({"labels": of_another("other")}, id="labels changed by hand"),
        pytest.param({"owner_uids": frozenset(), "controller": None}, id="retained"),
        pytest.param({"owner_uids": frozenset({"earlier"})}, id="a predecessor of the same name"),
        pytest.param({"owner_uids": frozenset({UID, "other"}), "labels": {}}, id="one owner of several"),
    ],
)
def test_ours_is_ours(live: dict[str, Any]) -> None:
    assert is_ours(elile_secret(), live_secret(**live))
    assert check_ownership(elile_secret(), live_secret(**live)) is None


@pytest.mark.parametrize(
    ("live", "belongs"),
    [
        pytest.param({}, "somebody else", id="nobody known"),
        pytest.param({"labels": of_another("web")}, "ElileSecret 'web'", id="another ElileSecret"),
        pytest.param(
            {"controller": "SealedSecret db", "owner_uids": frozenset({"s"})}, "SealedSecret db", id="a controller"
        ),
        pytest.param(
            {"labels": of_another("web"), "controller": "ElileSecret web"}, "ElileSecret 'web'", id="labels come first"
        ),
        pytest.param(
            {"labels": {"elile.io/secret": "db", "app.kubernetes.io/managed-by": "Helm"}},
            "somebody else",
            id="half of our labels",
        ),
    ],
)
def test_a_foreign_secret_is_never_taken_over(live: dict[str, Any], belongs: str) -> None:
    foreign = live_secret(**(NOBODY | live))
    assert not is_ours(elile_secret(), foreign)
    assert check_ownership(elile_secret(), foreign) == Violation(
        Reason.SECRET_NOT_OWNED,
        f"Secret shop/db exists and belongs to {belongs}; have it taken over with its annotation elile.io/adopt: db, "
        "delete it, or choose another name with spec.delivery.secret.name",
    )


def test_a_secret_that_is_not_there_may_be_made() -> None:
    assert check_ownership(elile_secret(), None) is None


# ── consent ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def foreign(**changes: Any) -> LiveSecret:
    return live_secret(**(NOBODY | changes))


def test_with_consent_it_may_be_taken_over() -> None:
    assert check_ownership(elile_secret(), foreign(annotations={"elile.io/adopt": "db"})) is None
    assert check_ownership(elile_secret(), foreign(annotations={"elile.io/adopt": "web"})) is not None


def share(*keys: str) -> Share:
    return Share(keys=frozenset(keys), content=KEY.stamp({}), stamp=None, revision=1, applied=None)


@pytest.mark.parametrize(
    ("changes", "ours"),
    [
        pytest.param({"shares": {"db": share("password", "username")}}, True, id="all of it"),
        pytest.param({"shares": {"db": share("password")}}, False, id="not all of it"),
        pytest.param({"shares": {"web": share("password", "username")}}, False, id="by another"),
        pytest.param({"shares": {"db": share()}, "keys": frozenset()}, False, id="nothing at all"),
        pytest.param(
            {"shares": {"db": share("password", "username")}, "controller": "SealedSecret db"}, False, id="controlled"
        ),
        pytest.param(
            {"shares": {"db": share("password", "username")}, "labels": of_another("web")}, False, id="labelled"
        ),
    ],
)
def test_what_we_filled_alone_by_merging_is_ours(changes: dict[str, Any], ours: bool) -> None:
    assert is_ours(elile_secret(), foreign(**changes)) is ours


MERGE = {"delivery": {"secret": {"mode": "Merge"}}}


@pytest.mark.parametrize(
    "live",
    [
        pytest.param(foreign(), id="nobody's"),
        pytest.param(
            foreign(
                controller="SealedSecret db",
                controller_uid="s",
                owner_uids=frozenset({"s"}),
                strangers=frozenset({"s"}),
            ),
            id="a controller's",
        ),
        pytest.param(live_secret(), id="owned by us until now"),
        pytest.param(None, id="not there"),
    ],
)
def test_keys_are_merged_into_anybodys_secret(live: LiveSecret | None) -> None:
    assert check_ownership(elile_secret(**MERGE), live) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"labels": of_another("web"), "annotations": {"elile.io/adopt": "db"}},
            "Secret shop/db belongs as a whole to ElileSecret 'web'; set spec.delivery.secret.mode: Merge there as "
            "well, or choose another name with spec.delivery.secret.name",
            id="owned by another, whose keys ours would only be removed from",
        ),
        pytest.param(
            {"labels": {}, "owner_uids": frozenset({"w"}), "controller": "ElileSecret web", "controller_uid": "w"},
            "Secret shop/db belongs as a whole to ElileSecret 'web'; set spec.delivery.secret.mode: Merge there as "
            "well, or choose another name with spec.delivery.secret.name",
            id="owned by another, whose labels were removed by hand",
        ),
        pytest.param(
            {"type": "kubernetes.io/service-account-token"},
            "Secret shop/db is of type kubernetes.io/service-account-token, and keys are merged into Opaque ones only; "
            "choose another name with spec.delivery.secret.name",
            id="of another type",
        ),
    ],
)
def test_secrets_that_nothing_is_merged_into(changes: dict[str, Any], message: str) -> None:
    assert check_ownership(elile_secret(**MERGE), foreign(**changes)) == Violation(Reason.SECRET_NOT_OWNED, message)


# ── what was taken over stays ────────────────────────────────────────────────────────────────────────────────────────

CONSENT = foreign(annotations={"elile.io/adopt": "db"})
NOTED = {"status": {"adopted": True, "secretName": "db"}}


@pytest.mark.parametrize(
    ("secret", "live", "adopted"),
    [
        pytest.param(elile_secret(), CONSENT, True, id="by consent"),
        pytest.param(elile_secret(**NOTED), live_secret(), True, id="by an earlier pass"),
        pytest.param(elile_secret(**NOTED), None, True, id="and made again since"),
        pytest.param(elile_secret(), live_secret(), False, id="made by us"),
        pytest.param(elile_secret(), None, False, id="to be made by us"),
        pytest.param(elile_secret(**MERGE), CONSENT, False, id="merged"),
        pytest.param(
            elile_secret(status={"adopted": True, "secretName": "old"}), live_secret(), False, id="another name since"
        ),
    ],
)
def test_whether_a_secret_was_taken_over(secret: ElileSecret, live: LiveSecret | None, adopted: bool) -> None:
    assert is_adopted(secret, live) is adopted


@pytest.mark.parametrize(
    ("policy", "live", "goes"),
    [
        (None, live_secret(), True),
        (None, None, True),
        (None, CONSENT, False),
        ("Delete", live_secret(), True),
        ("Delete", CONSENT, True),
        ("Retain", live_secret(), False),
        ("Retain", CONSENT, False),
    ],
)
def test_what_goes_with_its_object(policy: str | None, live: LiveSecret | None, goes: bool) -> None:
    assert goes_with(elile_secret(**({"deletionPolicy": policy} if policy else {})), live) is goes


# ── comparing ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_keys_are_compared_by_value_and_told_by_name() -> None:
    data = {"same": SecretBytes(b"1"), "other": SecretBytes(b"2"), "new": SecretBytes(b"canary")}
    found = compare(data, {"same": b"1", "other": b"canary", "old": b"canary"})
    assert found == Comparison(equal=("same",), different=("other",), missing=("new",), more=("old",))
    text = str(found)
    assert text == "keys equal: same; different: other; only in the sources: new; only in the Secret: old"
    assert "canary" not in repr(found)


def test_a_long_list_of_keys_is_cut() -> None:
    keys = [f"k{n:02}" for n in range(12)]
    text = str(compare({key: SecretBytes(b"") for key in keys}, dict.fromkeys(keys, b"")))
    assert text == f"keys equal: {', '.join(keys[:10])} and 2 more"
