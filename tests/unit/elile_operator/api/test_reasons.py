import pickle
import re

import pytest

from elile_operator.api.reasons import SCHEDULE_EFFECTS, SERVER_EFFECTS, Effect, Mark, Reason


def having(**marks: Mark) -> set[Reason]:
    return {r for r in Reason if all(getattr(r.effect, name) is mark for name, mark in marks.items())}


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_a_word_with_one_sentence(reason: Reason) -> None:
    assert re.fullmatch(r"([A-Z]+[a-z]*)+", reason.value)
    assert re.fullmatch(r"[A-Z][^\n.]*\.", reason.sentence)
    assert reason.name == re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", reason.value).upper()


def test_a_reason_is_its_text() -> None:
    assert f"{Reason.VAULT_SEALED}" == "VaultSealed"
    assert Reason("VaultSealed") is Reason.VAULT_SEALED
    assert pickle.loads(pickle.dumps(Reason.VAULT_SEALED)) is Reason.VAULT_SEALED  # noqa: S301


def test_no_sentence_stands_twice() -> None:
    assert len({reason.sentence for reason in Reason}) == len(Reason)


def test_what_is_delivered_stays_ready_while_vault_gives_no_answer() -> None:
    assert having(ready=Mark.KEEP, stalled=Mark.FALSE) == {
        Reason.SERVER_NOT_READY,
        Reason.VAULT_UNREACHABLE,
        Reason.VAULT_SEALED,
        Reason.VAULT_THROTTLED,
        Reason.TLS_UNTRUSTED,
        Reason.CA_BUNDLE_UNUSABLE,
        Reason.MALFORMED_RESPONSE,
        Reason.READ_STALE,
    }


def test_only_a_change_of_an_object_that_exists_ends_a_stall() -> None:
    assert having(stalled=Mark.TRUE) == {
        Reason.SPEC_INVALID,
        Reason.NAMESPACE_NOT_ALLOWED,
        Reason.AUDIENCE_NOT_ALLOWED,
        Reason.RESERVED_METADATA,
        Reason.PLAIN_HTTP_REFUSED,
        Reason.KEY_CONFLICT,
        Reason.TEMPLATE_INVALID,
        Reason.TOO_LARGE,
        Reason.SECRET_NOT_OWNED,
    }
    assert having(stalled=Mark.TRUE) <= having(ready=Mark.FALSE, synced=Mark.FALSE)


def test_only_what_is_delivered_and_compared_is_good() -> None:
    assert having(ready=Mark.TRUE) == having(synced=Mark.TRUE) == {Reason.SYNCED, Reason.UNCHANGED}


def test_the_third_missed_interval_ends_synced_and_not_ready() -> None:
    assert Reason.READ_STALE.effect == Effect(ready=Mark.KEEP, stalled=Mark.FALSE, synced=Mark.FALSE)


def test_a_server_is_ready_for_one_reason_only() -> None:
    assert {r for r, effect in SERVER_EFFECTS.items() if effect.ready is Mark.TRUE} == {Reason.SERVER_READY}


def test_a_sealed_server_is_reachable() -> None:
    effect = SERVER_EFFECTS[Reason.VAULT_SEALED]
    assert (effect.ready, effect.reachable, effect.unsealed) == (Mark.FALSE, Mark.TRUE, Mark.FALSE)


def test_a_schedule_is_ready_while_it_runs_or_rests() -> None:
    ready = {r for r, effect in SCHEDULE_EFFECTS.items() if effect.ready is Mark.TRUE}
    assert ready == {Reason.ROTATION_SCHEDULED, Reason.SUSPENDED}


def test_a_schedule_hears_nothing_while_vault_gives_no_answer() -> None:
    away = having(ready=Mark.KEEP, stalled=Mark.FALSE)
    assert {r for r, effect in SCHEDULE_EFFECTS.items() if effect.ready is Mark.KEEP} == away


def test_only_a_person_ends_the_stall_of_a_schedule() -> None:
    assert {r for r, effect in SCHEDULE_EFFECTS.items() if effect.stalled is Mark.TRUE} == {
        Reason.SPEC_INVALID,
        Reason.NEVER_FIRES,
        Reason.TIME_ZONE_UNKNOWN,
        Reason.SOURCE_NOT_ROTATABLE,
        Reason.NAMESPACE_NOT_ALLOWED,
        Reason.AUDIENCE_NOT_ALLOWED,
        Reason.CONSUMERS_CANNOT_FOLLOW,
        Reason.PROOF_UNDECLARED,
        Reason.PLAIN_HTTP_REFUSED,
        Reason.MANAGED_ELSEWHERE,
        Reason.NEEDS_INTERVENTION,
    }


def test_what_both_kinds_can_have_means_the_same_to_both() -> None:
    """What an ElileSecret makes of a reason, its schedule makes of it too."""
    both = [r for r in SCHEDULE_EFFECTS if (r.effect.ready, r.effect.stalled) != (Mark.KEEP, Mark.KEEP)]
    assert len(both) > 15
    for reason in both:
        effect = SCHEDULE_EFFECTS[reason]
        assert (effect.ready, effect.stalled) == (reason.effect.ready, reason.effect.stalled), reason
