"""A Secret is ours by owner reference or by labels; any other is somebody else's, who is named."""

from typing import Any

import pytest

from elile_operator.api.reasons import Reason
from elile_operator.decide.ownership import check_ownership, is_ours
from elile_operator.decide.violation import Violation
from tests.fakes.objects import OUR_LABELS, UID, elile_secret, live_secret

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
        f"Secret shop/db exists and belongs to {belongs}; delete it, or choose another name with "
        "spec.delivery.secret.name",
    )


def test_a_secret_that_is_not_there_may_be_made() -> None:
    assert check_ownership(elile_secret(), None) is None
