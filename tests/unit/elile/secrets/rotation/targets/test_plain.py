"""The target that tells nobody: one key of the entry is made anew."""

import pytest

from elile.secrets.errors import SecretsConfigurationError
from elile.secrets.redact import Redacted
from elile.secrets.rotation.generators import api_key, hex
from elile.secrets.rotation.journal import Strategy
from elile.secrets.rotation.ports import AccountTarget
from elile.secrets.rotation.targets.plain import ReplaceTarget
from elile.secrets.rotation.verify.outcome import Outcome

CURRENT = Redacted({"api_key": "canary-old", "url": "https://api.example"})


def test_one_key_is_made_anew_and_the_others_are_copied() -> None:
    target = ReplaceTarget(api_key("ek_"), field="api_key")
    made = target.generate(CURRENT, 0)
    assert made.pending is not None
    value = made.pending.reveal()
    assert (value.keys(), value["url"]) == (CURRENT.reveal().keys(), "https://api.example")
    assert value["api_key"].startswith("ek_")
    assert (made.distributed, made.inbox_version, CURRENT.reveal()["api_key"]) == (None, 0, "canary-old")
    assert made.pending != target.generate(CURRENT, 0).pending


def test_the_one_key_of_an_entry_needs_no_name() -> None:
    target = ReplaceTarget(hex())
    assert target.preflight(Redacted({"token": "canary-old"})) == ""
    made = target.generate(Redacted({"token": "canary-old"}), 0).pending
    assert made is not None
    assert list(made.reveal()) == ["token"]


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("apikey", "the live entry has no key 'apikey': correct field, or write the key once by hand"),
        (None, "the live entry has 2 keys: name the one to replace in field"),
    ],
)
def test_a_key_that_is_not_there_is_told_beforehand(field: str | None, said: str) -> None:
    target = ReplaceTarget(hex(), field)
    assert target.preflight(CURRENT) == said
    with pytest.raises(SecretsConfigurationError) as caught:
        target.generate(CURRENT, 0)
    assert str(caught.value) == said


def test_broken_randomness_ends_it_with_an_error_of_ours() -> None:
    target = ReplaceTarget(hex(), "api_key", randbytes=lambda _count: b"")
    with pytest.raises(SecretsConfigurationError, match="mend the source") as caught:
        target.generate(CURRENT, 0)
    assert caught.value.__cause__ is None


def test_it_has_no_account_and_leaves_the_judgement_to_hooks() -> None:
    target = ReplaceTarget(hex(), "api_key")
    assert target.strategy is Strategy.REPLACE
    assert not isinstance(target, AccountTarget)
    assert target.verify(CURRENT, timeout=1).outcome is Outcome.PASSED
