"""The old value from the other side: works, refused and no answer are three things."""

import pytest

from elile.secrets.redact import Redacted
from elile.secrets.rotation.steps import Login
from elile.secrets.rotation.verify.negative import refused_after
from elile.secrets.rotation.verify.outcome import Outcome

OLD = Redacted({"password": "canary-old"})


@pytest.mark.parametrize(
    ("login", "outcome"),
    [
        (Login.WORKS, Outcome.FAILED),
        (Login.REFUSED, Outcome.PASSED),
        (Login.UNREACHABLE, Outcome.INCONCLUSIVE),
    ],
)
def test_an_old_value_must_not_work_once_it_is_retired(login: Login, outcome: Outcome) -> None:
    asked = []

    def probe(value: Redacted[dict[str, str]]) -> Login:
        asked.append(value)
        return login

    found = refused_after(probe, OLD)
    assert found.outcome is outcome
    assert asked == [OLD]
    assert "canary" not in str(found)
