"""What an object needs next, and what its status says: nothing to do and nothing to write is the common case."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from elile_operator.api.consumers import ConsumersStatus
from elile_operator.api.elilesecret import ElileSecret, ElileSecretStatus, SecretRotation, SourceStatus
from elile_operator.api.reasons import Reason
from elile_operator.decide.fingerprint import Stamp
from elile_operator.decide.manifest import frame
from elile_operator.decide.secret import (
    Delivered,
    Freshness,
    Standing,
    Write,
    as_observed,
    interrupted,
    is_away,
    needs_values,
    own_part,
    plan_write,
    secret_status,
    standing,
    wants_refresh,
)
from elile_operator.decide.violation import Violation
from tests.fakes.objects import (
    DATA,
    EARLIER,
    KEY,
    LIVE,
    NOW,
    OTHER_KEY,
    condition,
    elile_secret,
    live_secret,
)

MINUTE = timedelta(minutes=1)
SOURCES = (SourceStatus(name="main", path="secret/shop/db", version=7),)
NEWER = (SourceStatus(name="main", path="secret/shop/db", version=8),)
CONSUMERS = ConsumersStatus(summary="1/1", total=1, current=1, assumed=0)
FRESH = Freshness(EARLIER, timedelta(days=1))

SEALED = Violation(Reason.VAULT_SEALED, "sealed")
UNREACHABLE = Violation(Reason.VAULT_UNREACHABLE, "no answer")
MISSING = Violation(Reason.PATH_NOT_FOUND, "nothing there")
NOT_OWNED = Violation(Reason.SECRET_NOT_OWNED, "somebody else's")

GOOD = Delivered(
    violation=None,
    live=LIVE,
    sources=SOURCES,
    consumers=CONSUMERS,
    changed=EARLIER,
    poked=True,
    server="default",
    freshness=FRESH,
)


def stopped(violation: Violation, freshness: Freshness = FRESH) -> Delivered:
    """A pass that ended early, as the controller tells it: no more than what was known before."""
    return Delivered(
        violation=violation,
        live=LIVE,
        sources=SOURCES,
        consumers=None,
        changed=None,
        poked=None,
        server="default",
        freshness=freshness,
    )


def after(secret: ElileSecret, *passes: Delivered) -> ElileSecret:
    """The object with the status it has after some passes, an hour ago."""
    for done in passes:
        secret = secret.model_copy(update={"status": secret_status(secret, done, EARLIER)})
    return secret


def edited(secret: ElileSecret) -> ElileSecret:
    """The object after somebody changed its spec."""
    meta = secret.metadata.model_copy(update={"generation": secret.metadata.generation + 1})
    return secret.model_copy(update={"metadata": meta})


def annotated(secret: ElileSecret, wish: str) -> ElileSecret:
    meta = secret.metadata.model_copy(update={"annotations": {"elile.io/refresh": wish}})
    return secret.model_copy(update={"metadata": meta})


def having(secret: ElileSecret, **status: Any) -> ElileSecret:
    return secret.model_copy(update={"status": secret.status.model_copy(update=status)})


NEW = elile_secret()
SETTLED = after(NEW, GOOD)
TELLING = after(elile_secret(delivery={"metadataFile": True}), GOOD)


def brief(status: ElileSecretStatus) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status.value, c.reason) for c in status.conditions}


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("annotations", "handled", "wants"),
    [
        ({}, None, False),
        ({}, "1", False),
        ({"elile.io/refresh": "1"}, None, True),
        ({"elile.io/refresh": "1"}, "1", False),
        ({"elile.io/refresh": "2"}, "1", True),
        ({"elile.io/refresh": ""}, None, True),
    ],
)
def test_a_wish_is_answered_once_for_each_value(annotations: dict[str, str], handled: str | None, wants: bool) -> None:
    status = {} if handled is None else {"handledRefresh": handled}
    assert wants_refresh(elile_secret(metadata={"annotations": annotations}, status=status)) is wants


def test_versions_alone_prove_a_secret_right() -> None:
    assert not needs_values(SETTLED, LIVE, frame(SETTLED), SOURCES)


OTHER_CONTENT = KEY.stamp({"password": b"tampered"})


LONG_AWAY = after(SETTLED, stopped(SEALED, Freshness(EARLIER - timedelta(hours=3), timedelta(minutes=1))))


@pytest.mark.parametrize(
    ("secret", "live", "found"),
    [
        pytest.param(SETTLED, LIVE, Standing.CURRENT, id="right"),
        pytest.param(after(SETTLED, stopped(SEALED)), LIVE, Standing.CURRENT, id="right, after a short outage"),
        pytest.param(LONG_AWAY, LIVE, Standing.STALE, id="right, after a long one"),
        pytest.param(LONG_AWAY, None, Standing.OPEN, id="its Secret was deleted meanwhile"),
        pytest.param(SETTLED, live_secret(content=KEY.stamp({"a": b"b"})), Standing.OPEN, id="edited by hand"),
        pytest.param(SETTLED, live_secret(labels={}), Standing.OPEN, id="its labels were taken"),
        pytest.param(edited(SETTLED), LIVE, Standing.OPEN, id="another spec"),
        pytest.param(after(edited(SETTLED), stopped(SEALED)), LIVE, Standing.OPEN, id="another spec, while away"),
        pytest.param(annotated(SETTLED, "now"), LIVE, Standing.OPEN, id="a wish to be refreshed"),
        pytest.param(after(SETTLED, stopped(MISSING)), LIVE, Standing.OPEN, id="it was wrong before"),
        pytest.param(NEW, None, Standing.OPEN, id="never delivered"),
    ],
)
def test_how_an_object_stands_when_its_server_is_back(secret: ElileSecret, live: Any, found: Standing) -> None:
    assert standing(secret, live) is found


@pytest.mark.parametrize(
    ("secret", "live", "sources"),
    [
        pytest.param(NEW, LIVE, SOURCES, id="never delivered"),
        pytest.param(SETTLED, None, SOURCES, id="Secret gone"),
        pytest.param(SETTLED, LIVE, NEWER, id="another version"),
        pytest.param(SETTLED, LIVE, (), id="another source"),
        pytest.param(edited(SETTLED), LIVE, SOURCES, id="another spec"),
        pytest.param(after(SETTLED, stopped(MISSING)), LIVE, SOURCES, id="not ready"),
        pytest.param(after(edited(SETTLED), stopped(SEALED)), LIVE, SOURCES, id="not known to be ready"),
        pytest.param(SETTLED, live_secret(content=OTHER_CONTENT), SOURCES, id="data changed"),
        pytest.param(SETTLED, live_secret(stamp=None), SOURCES, id="stamp gone"),
        pytest.param(SETTLED, live_secret(stamp=OTHER_KEY.stamp(DATA)), SOURCES, id="stamp under another key"),
        pytest.param(SETTLED, live_secret(stamp=OTHER_CONTENT), SOURCES, id="stamp of other data"),
        pytest.param(SETTLED, live_secret(labels={}), SOURCES, id="labels gone"),
        pytest.param(SETTLED, live_secret(revision=0), SOURCES, id="revision gone"),
        pytest.param(SETTLED, live_secret(revision=6), SOURCES, id="revision that the status does not know"),
    ],
)
def test_values_are_read_when_anything_is_not_proved(
    secret: ElileSecret, live: Any, sources: tuple[SourceStatus, ...]
) -> None:
    assert needs_values(secret, live, frame(secret), sources)


@pytest.mark.parametrize(
    ("known", "found", "moved"),
    [
        pytest.param("c-1", "c-1", False, id="the same"),
        pytest.param("c-1", "c-2", True, id="another"),
        pytest.param("c-1", None, False, id="not known now"),
        pytest.param(None, "c-2", False, id="not known then"),
    ],
)
def test_the_same_versions_in_another_vault_prove_nothing(known: str | None, found: str | None, moved: bool) -> None:
    secret = after(NEW, replace(GOOD, cluster=known))
    assert secret.status.cluster_id == known
    assert needs_values(secret, LIVE, frame(secret), SOURCES, found) is moved
    assert standing(secret, LIVE, found) is (Standing.OPEN if moved else Standing.CURRENT)


@pytest.mark.parametrize(
    ("secret", "sources", "observed"),
    [
        pytest.param(SETTLED, SOURCES, True, id="delivered"),
        pytest.param(after(SETTLED, stopped(MISSING)), SOURCES, True, id="failed since, in the same generation"),
        pytest.param(after(SETTLED, stopped(SEALED)), SOURCES, True, id="no answer since"),
        pytest.param(SETTLED, NEWER, False, id="another version"),
        pytest.param(edited(SETTLED), SOURCES, False, id="another spec"),
        pytest.param(after(edited(SETTLED), stopped(MISSING)), SOURCES, False, id="another spec, which failed"),
        pytest.param(after(edited(SETTLED), stopped(SEALED)), SOURCES, False, id="another spec, without an answer"),
        pytest.param(NEW, (), False, id="never delivered"),
        pytest.param(after(NEW, stopped(SEALED)), (), False, id="never an answer"),
    ],
)
def test_only_what_was_delivered_counts_as_observed(
    secret: ElileSecret, sources: tuple[SourceStatus, ...], observed: bool
) -> None:
    assert as_observed(secret, sources) is observed


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────

STAMP = KEY.stamp(DATA)
CHANGED = KEY.stamp({"password": b"new"})


@pytest.mark.parametrize(
    ("secret", "live", "stamp", "sources", "write"),
    [
        pytest.param(SETTLED, LIVE, STAMP, SOURCES, None, id="nothing changed"),
        pytest.param(SETTLED, LIVE, STAMP, NEWER, None, id="a new version with the same values"),
        pytest.param(edited(SETTLED), LIVE, STAMP, SOURCES, None, id="a new spec that asks for the same"),
        pytest.param(NEW, None, STAMP, SOURCES, Write(1, True), id="first"),
        pytest.param(SETTLED, LIVE, CHANGED, NEWER, Write(6, True), id="new values"),
        pytest.param(edited(SETTLED), LIVE, CHANGED, SOURCES, Write(6, True), id="a new spec that asks for others"),
        pytest.param(
            SETTLED, live_secret(content=OTHER_CONTENT), STAMP, SOURCES, Write(5, True), id="repaired: data was changed"
        ),
        pytest.param(
            SETTLED,
            live_secret(content=OTHER_CONTENT),
            STAMP,
            NEWER,
            Write(5, True),
            id="repaired to what the stamp says, with a new version of the same values",
        ),
        pytest.param(
            SETTLED, live_secret(content=OTHER_CONTENT), CHANGED, NEWER, Write(6, True), id="changed there and here"
        ),
        pytest.param(SETTLED, None, STAMP, SOURCES, Write(5, True), id="repaired: Secret was deleted"),
        pytest.param(TELLING, LIVE, STAMP, SOURCES, Write(5, False, told=True), id="the metadata file is new"),
        pytest.param(
            TELLING, live_secret(told=5, labels={}), STAMP, SOURCES, Write(5, False), id="repaired, the file is right"
        ),
        pytest.param(TELLING, live_secret(told=5), STAMP, NEWER, None, id="another version of the same values"),
        pytest.param(
            SETTLED, live_secret(told=5), STAMP, SOURCES, Write(5, False), id="the file is not wanted any more"
        ),
        pytest.param(
            after(SETTLED, stopped(NOT_OWNED)), None, STAMP, SOURCES, Write(5, True), id="repaired, after a failure"
        ),
        pytest.param(SETTLED, None, CHANGED, NEWER, Write(6, True), id="deleted, and new values"),
        pytest.param(
            after(edited(SETTLED), stopped(SEALED)),
            LIVE,
            CHANGED,
            SOURCES,
            Write(6, True),
            id="spec changed during an outage: other values of the same version",
        ),
        pytest.param(
            after(edited(SETTLED), stopped(MISSING)),
            LIVE,
            CHANGED,
            SOURCES,
            Write(6, True),
            id="spec changed to a wrong one first: other values of the same version",
        ),
        pytest.param(SETTLED, live_secret(labels={}), STAMP, SOURCES, Write(5, False), id="labels gone"),
        pytest.param(SETTLED, live_secret(owner_uids=frozenset()), STAMP, SOURCES, Write(5, False), id="owner gone"),
        pytest.param(SETTLED, live_secret(labels={}), CHANGED, NEWER, Write(6, True), id="labels gone, and new values"),
        pytest.param(SETTLED, live_secret(stamp=None), STAMP, SOURCES, Write(5, False), id="stamp gone"),
        pytest.param(SETTLED, live_secret(revision=0), STAMP, SOURCES, Write(5, False), id="revision gone"),
        pytest.param(
            SETTLED,
            live_secret(labels={}, stamp=None, revision=0),
            STAMP,
            SOURCES,
            Write(5, False),
            id="all of ours gone but the data",
        ),
        pytest.param(SETTLED, live_secret(revision=2), STAMP, SOURCES, Write(5, False), id="revision set back by hand"),
        pytest.param(
            SETTLED,
            live_secret(revision=0, content=OTHER_CONTENT),
            STAMP,
            SOURCES,
            Write(5, True),
            id="revision gone and data changed",
        ),
        pytest.param(
            SETTLED, live_secret(stamp=OTHER_KEY.stamp(DATA)), STAMP, SOURCES, None, id="stamp under another key stays"
        ),
        pytest.param(
            SETTLED,
            live_secret(stamp=Stamp("k0", STAMP.digest)),
            STAMP,
            SOURCES,
            None,
            id="stamp under another name stays",
        ),
        pytest.param(
            SETTLED,
            live_secret(stamp=OTHER_KEY.stamp(DATA), content=OTHER_CONTENT),
            CHANGED,
            NEWER,
            Write(6, True),
            id="a stamp under another key vouches for nothing",
        ),
        pytest.param(NEW, LIVE, STAMP, SOURCES, None, id="interrupted before the first status"),
        pytest.param(having(SETTLED, revision=4), LIVE, STAMP, NEWER, None, id="interrupted between Secret and status"),
        pytest.param(
            having(SETTLED, revision=4), LIVE, CHANGED, NEWER, Write(6, True), id="interrupted, and new values since"
        ),
        pytest.param(
            having(SETTLED, revision=4),
            live_secret(labels={}),
            STAMP,
            NEWER,
            Write(5, True),
            id="interrupted, and a label gone since: pods are still to be told",
        ),
        pytest.param(
            NEW,
            live_secret(revision=0, stamp=None, labels={}, owner_uids=frozenset()),
            STAMP,
            SOURCES,
            Write(1, False),
            id="a Secret without our marks that holds it already",
        ),
    ],
)
def test_what_is_written(
    secret: ElileSecret, live: Any, stamp: Stamp, sources: tuple[SourceStatus, ...], write: Write | None
) -> None:
    wanted = replace(write, made=live is None) if write is not None else None
    assert plan_write(secret, live, frame(secret), stamp, sources) == wanted


@pytest.mark.parametrize(
    ("secret", "live", "was"),
    [
        pytest.param(SETTLED, LIVE, False, id="told"),
        pytest.param(SETTLED, live_secret(revision=6), True, id="written and not told"),
        pytest.param(NEW, live_secret(revision=1), True, id="the first one written and not told"),
        pytest.param(SETTLED, live_secret(revision=0), False, id="revision gone"),
        pytest.param(SETTLED, None, False, id="no Secret"),
    ],
)
def test_an_earlier_pass_was_interrupted_when_the_secret_is_ahead(secret: ElileSecret, live: Any, was: bool) -> None:
    assert interrupted(secret, live) is was


# ── telling ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_first_delivery_is_told_in_full() -> None:
    text = "Secret db holds 2 keys of 1 source"
    assert secret_status(NEW, GOOD, NOW) == ElileSecretStatus(
        observed_generation=3,
        revision=5,
        keys=("password", "username"),
        secret_name="db",
        server="default",
        sources=SOURCES,
        conditions=(
            condition("Ready", "True", "Synced", text, since=NOW),
            condition("Stalled", "False", "Synced", text, since=NOW),
            condition("Synced", "True", "Synced", text, since=NOW),
            condition("SecretCurrent", "True", "SecretCurrent", Reason.SECRET_CURRENT.sentence, since=NOW),
            condition("ConsumersCurrent", "Unknown", "ProofUndeclared", Reason.PROOF_UNDECLARED.sentence, since=NOW),
        ),
        last_change_time=EARLIER,
        consumers=CONSUMERS,
    )


@pytest.mark.parametrize(
    ("keys", "sources", "name", "text"),
    [
        (0, 2, "db", "Secret db holds 0 keys of 2 sources"),
        (1, 1, "db", "Secret db holds 1 key of 1 source"),
        (3, 1, "files", "Secret files holds 3 keys of 1 source"),
    ],
)
def test_success_says_what_the_secret_holds(keys: int, sources: int, name: str, text: str) -> None:
    secret = elile_secret(
        sources=[{"name": f"s{i}", "kv": {"path": "p"}} for i in range(sources)], delivery={"secret": {"name": name}}
    )
    live = live_secret(keys=frozenset(f"k{i}" for i in range(keys)))
    status = secret_status(secret, replace(GOOD, live=live), NOW)
    assert status.conditions[0].message == text
    assert status.secret_name == name


@pytest.mark.parametrize(
    "done",
    [
        pytest.param(GOOD, id="delivered"),
        pytest.param(replace(GOOD, changed=None), id="delivered, unchanged"),
        pytest.param(stopped(SEALED), id="no answer"),
        pytest.param(stopped(UNREACHABLE, Freshness(None, MINUTE)), id="no answer, after a restart of the operator"),
    ],
)
def test_nothing_happened_is_nothing_to_write(done: Delivered) -> None:
    assert secret_status(SETTLED, done, NOW) == SETTLED.status


@pytest.mark.parametrize("done", [GOOD, stopped(SEALED), stopped(MISSING)], ids=["delivered", "no answer", "missing"])
def test_what_the_rotation_tells_is_neither_written_nor_taken_away_here(done: Delivered) -> None:
    healthy = condition("RotationHealthy", "True", "RotationScheduled", "as the schedule says")
    told = {
        "conditions": (*SETTLED.status.conditions, healthy),
        "rotations": (SecretRotation(schedule="weekly", phase="Idle"),),
        "rotation": "Idle",
        "next_rotation_time": "2030-01-06T03:00:00Z",
    }
    rotated = SETTLED.model_copy(update={"status": SETTLED.status.model_copy(update=told)})
    assert own_part(rotated.status) == SETTLED.status
    assert secret_status(rotated, done, NOW) == secret_status(SETTLED, done, NOW)


@pytest.mark.parametrize("violation", [MISSING, NOT_OWNED, SEALED])
def test_the_same_trouble_again_is_nothing_to_write(violation: Violation) -> None:
    for secret in (after(NEW, stopped(violation)), after(SETTLED, stopped(violation))):
        assert secret_status(secret, stopped(violation), NOW) == secret.status


@pytest.mark.parametrize(
    ("violation", "stalled"), [(MISSING, "False"), (NOT_OWNED, "True")], ids=["may pass", "needs a person"]
)
def test_a_refusal_is_told_and_what_was_delivered_stays(violation: Violation, stalled: str) -> None:
    status = secret_status(SETTLED, stopped(violation), NOW)
    reason = violation.reason.value
    assert brief(status) == {
        "Ready": ("False", reason),
        "Stalled": (stalled, reason),
        "Synced": ("False", reason),
        "SecretCurrent": ("True", "SecretCurrent"),
        "ConsumersCurrent": ("Unknown", "ProofUndeclared"),
    }
    assert {c.message for c in status.conditions[:3]} == {violation.message}
    assert status == SETTLED.status.model_copy(update={"conditions": status.conditions})


def test_what_went_with_its_source_is_told_as_gone() -> None:
    gone = Violation(Reason.SOURCE_GONE, "the Secret was deleted")
    status = secret_status(SETTLED, stopped(gone), NOW)
    assert brief(status) == {
        "Ready": ("False", "SourceGone"),
        "Stalled": ("False", "SourceGone"),
        "Synced": ("False", "SourceGone"),
        "SecretCurrent": ("False", "SourceGone"),
        "ConsumersCurrent": ("Unknown", "ProofUndeclared"),
    }
    assert (status.keys, status.sources, status.revision) == ((), (), 5)
    removed = SETTLED.model_copy(update={"status": status})
    assert plan_write(removed, None, frame(removed), STAMP, SOURCES) == Write(6, True, made=True), (
        "it comes back as a new one"
    )


@pytest.mark.parametrize(
    ("annotations", "adopted"), [({}, False), ({"elile.io/adopt": "db"}, True), ({"elile.io/adopt": "web"}, False)]
)
def test_it_is_told_that_a_secret_was_taken_over(annotations: dict[str, str], adopted: bool) -> None:
    done = replace(GOOD, live=live_secret(annotations=annotations))
    status = secret_status(SETTLED, done, NOW)
    assert status.adopted is adopted
    later = SETTLED.model_copy(update={"status": status})
    assert secret_status(later, GOOD, NOW).adopted is adopted, "also when the annotation is gone"
    assert secret_status(later, stopped(MISSING), NOW).adopted is adopted


def test_a_refusal_of_a_new_spec_says_nothing_about_what_the_old_one_delivered() -> None:
    status = secret_status(edited(SETTLED), replace(stopped(MISSING), server="other"), NOW)
    assert brief(status)["SecretCurrent"] == ("Unknown", "PathNotFound")
    assert (status.observed_generation, status.server) == (4, "other")
    assert (status.revision, status.keys, status.sources) == (5, ("password", "username"), SOURCES)
    assert {c.observed_generation for c in status.conditions} == {4}


def test_a_refusal_of_another_name_keeps_the_name_of_the_secret_that_exists() -> None:
    renamed = elile_secret(delivery={"secret": {"name": "files"}}).model_copy(update={"status": SETTLED.status})
    assert secret_status(renamed, stopped(NOT_OWNED), NOW).secret_name == "db"
    assert secret_status(renamed, GOOD, NOW).secret_name == "files"


@pytest.mark.parametrize(
    ("poked", "current"),
    [
        (True, ("True", "SecretCurrent")),
        (False, ("False", "PokePending")),
        (None, ("Unknown", "Synced")),
    ],
)
def test_the_secret_is_current_when_its_pods_were_poked(poked: bool | None, current: tuple[str, str]) -> None:
    assert brief(secret_status(NEW, replace(GOOD, poked=poked), NOW))["SecretCurrent"] == current


def test_a_change_moves_its_time_and_no_condition() -> None:
    live = live_secret(revision=6, keys=frozenset({"password", "username"}))
    done = replace(GOOD, live=live, sources=NEWER, changed=NOW)
    assert secret_status(SETTLED, done, NOW) == SETTLED.status.model_copy(
        update={"revision": 6, "sources": NEWER, "last_change_time": NOW}
    )


def test_consumers_are_kept_while_they_were_not_counted() -> None:
    assert secret_status(SETTLED, stopped(MISSING), NOW).consumers == CONSUMERS


def test_a_good_pass_without_a_secret_counts_nothing() -> None:
    status = secret_status(SETTLED, replace(GOOD, live=None), NOW)
    assert status.conditions[0].message == "Secret db holds 0 keys of 1 source"
    assert (status.revision, status.keys) == (5, ("password", "username"))


# ── without an answer ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_away_when_it_says_nothing_of_what_is_delivered(reason: Reason) -> None:
    assert is_away(reason.effect) is (reason.effect.ready.value == "Keep")


def test_no_answer_before_the_first_one_is_unknown_and_says_why() -> None:
    status = secret_status(NEW, replace(stopped(SEALED), live=None, sources=()), NOW)
    assert brief(status) == {
        "Ready": ("Unknown", "VaultSealed"),
        "Stalled": ("False", "VaultSealed"),
        "Synced": ("Unknown", "VaultSealed"),
        "SecretCurrent": ("Unknown", "VaultSealed"),
        "ConsumersCurrent": ("Unknown", "ProofUndeclared"),
    }
    assert {c.message for c in status.conditions[:4]} == {"sealed"}
    assert (status.observed_generation, status.server, status.revision, status.keys) == (3, "default", None, ())


def test_another_cause_is_told_while_there_never_was_an_answer() -> None:
    status = secret_status(after(NEW, stopped(UNREACHABLE)), stopped(SEALED), NOW)
    assert [(c.reason, c.message, c.last_transition_time) for c in status.conditions[:4]] == [
        ("VaultSealed", "sealed", EARLIER)
    ] * 4


def test_no_answer_about_a_new_spec_is_unknown() -> None:
    status = secret_status(edited(SETTLED), stopped(SEALED), NOW)
    assert brief(status) == {
        "Ready": ("Unknown", "VaultSealed"),
        "Stalled": ("False", "VaultSealed"),
        "Synced": ("Unknown", "VaultSealed"),
        "SecretCurrent": ("Unknown", "VaultSealed"),
        "ConsumersCurrent": ("Unknown", "ProofUndeclared"),
    }
    assert status == SETTLED.status.model_copy(update={"observed_generation": 4, "conditions": status.conditions})


def test_a_refusal_stays_while_there_is_no_answer() -> None:
    refused = after(NEW, stopped(MISSING))
    assert secret_status(refused, stopped(SEALED), NOW) == refused.status


COMPARED = NOW - 3 * MINUTE


@pytest.mark.parametrize(
    ("freshness", "stale_at"),
    [
        (Freshness(COMPARED, MINUTE), NOW),
        (Freshness(COMPARED, timedelta(hours=1)), COMPARED + timedelta(hours=3)),
        (Freshness(None, MINUTE), None),
    ],
)
def test_three_missed_intervals_are_stale(freshness: Freshness, stale_at: Any) -> None:
    assert freshness.stale_at == stale_at


@pytest.mark.parametrize(
    ("compared", "stale"),
    [
        pytest.param(COMPARED + timedelta(seconds=1), False, id="a second before"),
        pytest.param(COMPARED, True, id="at the third interval"),
        pytest.param(COMPARED - timedelta(days=1), True, id="long after"),
        pytest.param(None, False, id="not known"),
    ],
)
def test_an_outage_is_told_when_the_third_interval_is_over(compared: Any, stale: bool) -> None:
    status = secret_status(SETTLED, stopped(SEALED, Freshness(compared, MINUTE)), NOW)
    assert (brief(status)["Synced"] == ("False", "ReadStale")) is stale
    assert (status == SETTLED.status) is not stale


def test_a_stale_object_says_since_when_and_why_and_stays_ready() -> None:
    status = secret_status(SETTLED, stopped(SEALED, Freshness(COMPARED, MINUTE)), NOW)
    text = "not compared with the server since 2030-01-01T11:57:00Z: sealed"
    before = {c.type: c for c in SETTLED.status.conditions}
    assert status.conditions == (
        before["Ready"],
        condition("Stalled", "False", "ReadStale", text),
        condition("Synced", "False", "ReadStale", text, since=NOW),
        before["SecretCurrent"],
        before["ConsumersCurrent"],
    )
    assert status == SETTLED.status.model_copy(update={"conditions": status.conditions})


STALE = after(SETTLED, stopped(UNREACHABLE, Freshness(EARLIER - 3 * MINUTE, MINUTE)))


@pytest.mark.parametrize("violation", [UNREACHABLE, SEALED], ids=["the same cause", "another cause"])
@pytest.mark.parametrize("compared", [EARLIER - 3 * MINUTE, NOW, None], ids=["as before", "just now", "not known"])
def test_it_is_told_once_in_an_outage(violation: Violation, compared: Any) -> None:
    assert brief(STALE.status)["Synced"] == ("False", "ReadStale")
    assert secret_status(STALE, stopped(violation, Freshness(compared, MINUTE)), NOW) == STALE.status


def test_an_object_that_never_had_an_answer_does_not_become_stale() -> None:
    unknown = after(NEW, stopped(SEALED))
    assert secret_status(unknown, stopped(SEALED, Freshness(COMPARED, MINUTE)), NOW) == unknown.status


def test_a_new_spec_during_a_long_outage_is_unknown_and_not_stale() -> None:
    status = secret_status(edited(STALE), stopped(SEALED, Freshness(COMPARED, MINUTE)), NOW)
    assert (brief(status)["Ready"], brief(status)["Synced"]) == (("Unknown", "VaultSealed"), ("Unknown", "VaultSealed"))


def test_an_answer_ends_the_outage() -> None:
    status = secret_status(STALE, GOOD, NOW)
    assert brief(status) == brief(SETTLED.status)
    times = {c.type: c.last_transition_time for c in status.conditions}
    assert (times["Ready"], times["Synced"]) == (EARLIER, NOW)


# ── a wish to refresh ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("done", [GOOD, stopped(MISSING)], ids=["delivered", "refused"])
def test_a_wish_is_answered_by_any_answer(done: Delivered) -> None:
    asked = annotated(SETTLED, "now")
    answered = asked.model_copy(update={"status": secret_status(asked, done, NOW)})
    assert answered.status.handled_refresh == "now"
    assert not wants_refresh(answered)


def test_a_wish_waits_while_there_is_no_answer() -> None:
    asked = annotated(SETTLED, "now")
    assert secret_status(asked, stopped(SEALED), NOW) == SETTLED.status
    stale = asked.model_copy(update={"status": secret_status(asked, stopped(SEALED, Freshness(COMPARED, MINUTE)), NOW)})
    assert stale.status != SETTLED.status
    assert wants_refresh(stale)


def test_an_answered_wish_is_remembered_after_it_was_taken_away() -> None:
    answered = after(annotated(SETTLED, "now"), GOOD)
    silent = answered.model_copy(update={"metadata": SETTLED.metadata})
    assert secret_status(silent, GOOD, NOW) == answered.status
    assert not wants_refresh(annotated(silent, "now"))
