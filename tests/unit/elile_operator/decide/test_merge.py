"""Each object that merges sees its own keys, touches no other, and leaves nothing behind."""

from typing import Any

import pytest

from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.reasons import Reason
from elile_operator.decide.live import LiveSecret, Share
from elile_operator.decide.merge import as_seen, check_keys, former_manager, takes_out, undoes
from elile_operator.decide.violation import Violation
from tests.fakes.objects import EARLIER, KEY, OUR_LABELS, elile_secret, live_secret

MINE = {"mine": b"m"}
STAMP = KEY.stamp(MINE)


def share(*keys: str, revision: int = 2) -> Share:
    content = KEY.stamp(dict.fromkeys(keys, b"m"))
    return Share(keys=frozenset(keys), content=content, stamp=STAMP, revision=revision, applied=EARLIER)


def shared(**changes: Any) -> LiveSecret:
    """A Secret `app` with a key of somebody else, one of ours, and one of the ElileSecret `other`."""
    about: dict[str, Any] = {
        "name": "app",
        "keys": frozenset({"theirs", "mine", "others"}),
        "labels": {"elile.io/secret": ""},
        "annotations": {"elile.io/merged.db": f"2 {STAMP}"},
        "stamp": None,
        "revision": 0,
        "owner_uids": frozenset(),
        "controller": None,
        "controller_uid": None,
        "applied": None,
        "shares": {"db": share("mine"), "other": share("others")},
    }
    return live_secret(**(about | changes))


def merging(**more: Any) -> ElileSecret:
    return elile_secret(delivery={"secret": {"name": "app", "mode": "Merge"}}, **more)


def test_a_secret_that_is_not_there_is_seen_by_nobody() -> None:
    assert as_seen(merging(), None) is None
    assert as_seen(elile_secret(), None) is None
    assert former_manager(merging(), None) is None
    assert check_keys(merging(), None, {"a"}) is None


def test_of_a_shared_secret_only_the_own_part_is_seen() -> None:
    seen = as_seen(merging(), shared())
    assert seen is not None
    assert (seen.keys, seen.content, seen.stamp, seen.revision) == (frozenset({"mine"}), STAMP, STAMP, 2)
    assert (seen.applied, seen.uid, seen.resource_version) == (EARLIER, shared().uid, shared().resource_version)


def test_before_the_first_merge_nothing_is_there() -> None:
    seen = as_seen(merging(), shared(shares={}, revision=7, stamp=STAMP))
    assert seen is not None
    assert (seen.keys, seen.stamp, seen.revision) == (frozenset(), None, 0)


def test_what_was_owned_is_content_that_is_not_merged_yet() -> None:
    """The same content is written, and by the missing mark: no revision, no poke."""
    seen = as_seen(merging(), live_secret(name="app"))
    assert seen is not None
    assert (seen.content, seen.stamp, seen.revision) == (live_secret().content, None, 5)


@pytest.mark.parametrize(
    ("live", "stamp", "revision"),
    [
        pytest.param(live_secret(), KEY.stamp({"password": b"p", "username": b"u"}), 5, id="ours"),
        pytest.param(
            live_secret(owner_uids=frozenset(), labels={**OUR_LABELS, "elile.io/secret": "old"}),
            None,
            0,
            id="another's",
        ),
    ],
)
def test_the_marks_of_whoever_had_it_count_for_nothing(live: LiveSecret, stamp: object, revision: int) -> None:
    seen = as_seen(elile_secret(), live)
    assert seen is not None
    assert (seen.content, seen.stamp, seen.revision) == (live.content, stamp, revision)


@pytest.mark.parametrize(
    ("secret", "live", "manager"),
    [
        pytest.param(elile_secret(), live_secret(), None, id="owned all the time"),
        pytest.param(elile_secret(), live_secret(shares={"db": share("mine")}), "elile.db", id="merged before"),
        pytest.param(elile_secret(), live_secret(shares={"other": share("x")}), None, id="merged by another"),
        pytest.param(merging(), shared(), None, id="merged all the time"),
        pytest.param(merging(), live_secret(name="app"), "elile", id="owned before"),
        pytest.param(
            merging(),
            shared(annotations={"elile.io/merged.db": f"2 {STAMP}", "elile.io/fingerprint": str(STAMP)}),
            "elile",
            id="owned before, by a pass that died halfway",
        ),
        pytest.param(
            merging(),
            shared(annotations={"elile.io/fingerprint": str(STAMP)}, shares={}),
            None,
            id="owned by somebody before, and never merged",
        ),
        pytest.param(
            merging(),
            live_secret(name="app", owner_uids=frozenset(), labels={**OUR_LABELS, "elile.io/secret": "old"}),
            None,
            id="owned by another before",
        ),
    ],
)
def test_the_other_mode_is_given_up(secret: ElileSecret, live: LiveSecret, manager: str | None) -> None:
    assert former_manager(secret, live) == manager


@pytest.mark.parametrize(
    ("secret", "live", "keys"),
    [
        pytest.param(merging(), shared(), {"mine", "new"}, id="our own, and a free one"),
        pytest.param(merging(), shared(annotations={"elile.io/adopt": "db"}), {"theirs"}, id="by consent"),
        pytest.param(merging(), live_secret(name="app"), {"password"}, id="owned until now"),
        pytest.param(elile_secret(), shared(), {"theirs"}, id="not merging"),
        pytest.param(
            merging(status={"secretName": "app", "keys": ["mine", "edited"]}),
            shared(keys=frozenset({"theirs", "mine", "edited"})),
            {"edited"},
            id="edited by hand since",
        ),
    ],
)
def test_keys_that_may_be_merged(secret: ElileSecret, live: LiveSecret, keys: set[str]) -> None:
    assert check_keys(secret, live, keys) is None


def test_a_key_of_another_object_is_refused_naming_both() -> None:
    assert check_keys(merging(), shared(), {"others", "mine"}) == Violation(
        Reason.SECRET_CONFLICT,
        "ElileSecret 'db' and ElileSecret 'other' both deliver others into Secret shop/app; rename them with "
        "spec.sources[].keys[].to or spec.sources[].prefix in one of the two",
    )


@pytest.mark.parametrize(
    ("secret", "live"),
    [
        pytest.param(merging(), shared(), id="never ours"),
        pytest.param(merging(), shared(annotations={"elile.io/adopt": "web"}), id="consent to another"),
        pytest.param(
            merging(status={"secretName": "app", "keys": ["theirs"]}),
            shared(annotations={}, shares={}),
            id="a Secret made anew by somebody",
        ),
        pytest.param(
            merging(status={"secretName": "before", "keys": ["theirs"]}), shared(), id="delivered into another one"
        ),
    ],
)
def test_a_key_of_somebody_else_is_refused(secret: ElileSecret, live: LiveSecret) -> None:
    assert check_keys(secret, live, {"theirs"}) == Violation(
        Reason.SECRET_CONFLICT,
        "Secret shop/app holds theirs of somebody else; rename them with spec.sources[].keys[].to or "
        "spec.sources[].prefix, or have them taken over with the Secret's annotation elile.io/adopt: db",
    )


@pytest.mark.parametrize(
    ("secret", "out", "undo"),
    [
        (elile_secret(), True, False),
        (elile_secret(deletionPolicy="Retain"), False, False),
        (merging(), True, True),
        (merging(deletionPolicy="Delete"), True, True),
        (merging(deletionPolicy="Retain"), False, False),
    ],
)
def test_what_is_to_be_undone(secret: ElileSecret, out: bool, undo: bool) -> None:
    assert (takes_out(secret), undoes(secret)) == (out, undo)
