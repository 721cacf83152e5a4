"""The old value from the other side: works, refused and no answer are three things, before and after."""

import pytest

from elile.secrets.redact import Redacted
from elile.secrets.rotation.steps import Login
from elile.secrets.rotation.verify.negative import refused_after, works_before
from elile.secrets.rotation.verify.outcome import Outcome

OLD = Redacted({"password": "canary-old"})


@pytest.mark.parametrize(
    ("login", "before", "after"),
    [
        (Login.WORKS, Outcome.PASSED, Outcome.FAILED),
        (Login.REFUSED, Outcome.FAILED, Outcome.PASSED),
        (Login.UNREACHABLE, Outcome.INCONCLUSIVE, Outcome.INCONCLUSIVE),
    ],
)
def test_an_old_value_has_to_work_until_it_is_retired(login: Login, before: Outcome, after: Outcome) -> None:
    asked = []

    def probe(value: Redacted[dict[str, str]]) -> Login:
        asked.append(value)
        return login

    found = [works_before(probe, OLD), refused_after(probe, OLD)]
    assert [one.outcome for one in found] == [before, after]
    assert asked == [OLD, OLD]
    assert "canary" not in str(found)
