"""Whatever the engine gives as a reason is said in words of ours, for Rotations and for their schedules."""

import pytest

from elile.secrets import errors
from elile.secrets.errors import SecretDeletedError, SecretsError, SecretValidationError
from elile.secrets.rotation.journal import Phase
from elile.secrets.rotation.journal import Reason as Cause
from elile_operator.api.reasons import SCHEDULE_EFFECTS, Reason
from elile_operator.decide.causes import CAUSES, explain_cause, explain_undoing
from elile_operator.decide.place import Place, explain_rotator

PLACE = Place(
    server="default",
    vault_namespace=None,
    mount="secret",
    path="shop/db",
    prefix="elile-journal",
    role="rotator",
    namespace="shop",
    service_account="rotator",
)
ERRORS = sorted(
    {found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, SecretsError)},
    key=lambda found: found.__name__,
)


def test_no_cause_is_forgotten() -> None:
    assert set(CAUSES) == set(Cause) - {Cause.NONE}


@pytest.mark.parametrize("cause", CAUSES)
def test_a_cause_says_what_to_do_or_to_expect(cause: Cause) -> None:
    reason, text = CAUSES[cause]
    assert explain_cause(cause) == (reason, text)
    assert explain_cause(cause, "hook: 28P01") == (reason, f"{text}: hook: 28P01")
    assert not text.endswith(".")


def test_what_the_engine_gives_no_reason_for_is_told_by_its_detail() -> None:
    assert explain_cause(Cause.NONE) == (Reason.NEEDS_INTERVENTION, Reason.NEEDS_INTERVENTION.sentence)
    assert explain_cause(Cause.NONE, "why") == (Reason.NEEDS_INTERVENTION, "why")


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_as_the_rotator_has_a_reason_that_schedules_know(kind: type[SecretsError]) -> None:
    error: SecretsError
    if kind is SecretDeletedError:
        error = SecretDeletedError("gone", path="p", version=4, deleted_at=None, destroyed=False)
    elif kind is SecretValidationError:
        error = SecretValidationError({"password": "is missing"})
    else:
        error = kind("what is wrong")
    assert explain_rotator(error, PLACE, "https://vault.example").reason in SCHEDULE_EFFECTS


@pytest.mark.parametrize(
    ("cause", "phase", "reason"),
    [
        (Cause.BY_PERSON, Phase.ABORTING, Reason.ABORTED),
        (Cause.BY_PERSON, Phase.ABORTED, Reason.ABORTED),
        (Cause.BY_PERSON, Phase.REVERTING, Reason.ROLLED_BACK),
        (Cause.BY_PERSON, Phase.ROLLED_BACK, Reason.ROLLED_BACK),
        (Cause.PROOF_TIMEOUT, Phase.ROLLED_BACK, Reason.PROOF_TIMEOUT),
        (Cause.SUPERSEDED, Phase.DONE, Reason.SUPERSEDED),
    ],
)
def test_what_a_person_asked_for_is_told_by_how_it_ended(cause: Cause, phase: Phase, reason: Reason) -> None:
    assert explain_undoing(cause, phase)[0] is reason
