"""The store believes the newest, whoever brings it and in whatever order."""

import logging
from typing import Any

import pytest

from elile_operator.engine import Change, ObjectKey, ObjectStore, object_key

A, B = ObjectKey("shop", "a"), ObjectKey("shop", "b")
Json = dict[str, Any]
Store = ObjectStore[ObjectKey, Json]


def body(
    name: str = "a",
    *,
    version: object = 1,
    generation: int | None = 1,
    uid: str = "u1",
    server: str = "one",
    **more: Any,
) -> Json:
    metadata = {"namespace": "shop", "name": name, "uid": uid, "resourceVersion": str(version), **more}
    if generation is not None:
        metadata["generation"] = generation
    return {"metadata": metadata, "spec": {"server": server}, "data": {"password": "hunter2"}}


def project(b: Any) -> Json | None:
    """Keeps the spec; objects of server "foreign" are none of our business."""
    spec: Json = b["spec"]
    return None if spec["server"] == "foreign" else spec


@pytest.fixture
def store() -> Store:
    return ObjectStore(
        kind="ElileSecret", key_of=object_key, project=project, indexes={"server": lambda spec: [spec["server"]]}
    )


@pytest.fixture
def changes(store: Store) -> list[Change[ObjectKey, Json]]:
    seen: list[Change[ObjectKey, Json]] = []
    store.subscribe(seen.append)
    return seen


def version_of(store: Store, key: ObjectKey = A) -> str | None:
    entry = store.entry(key)
    return entry.meta.resource_version if entry else None


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_object_comes_changes_and_goes(store: Store, changes: list[Change[ObjectKey, Json]]) -> None:
    store.observe(body(version=1))
    store.observe(body(version=2, server="two"))
    assert store.get(A) == {"server": "two"}
    assert store.by("server", "one") == frozenset()
    assert store.by("server", "two") == {A}
    store.observe(body(version=3), deleted=True)
    assert [(c.old is not None, c.new is not None) for c in changes] == [(False, True), (True, True), (True, False)]
    assert (len(store), A in store, store.get(A), store.entry(A)) == (0, False, None, None)
    assert store.by("server", "two") == frozenset()


def test_only_the_projection_is_kept(store: Store) -> None:
    store.observe(body())
    assert "hunter2" not in repr([vars(store) if hasattr(store, "__dict__") else None, store.entry(A)])


def test_what_is_projected_away_is_not_there(store: Store) -> None:
    store.observe(body("a", server="foreign"))
    store.observe(body("b", version=1))
    assert store.keys() == (B,)
    change = store.observe(body("b", version=2, server="foreign"))
    assert change is not None
    assert change.new is None
    assert list(store) == []


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        pytest.param(body(version=10), body(version=9), "10", id="older loses, as numbers and not as text"),
        pytest.param(body(version=9), body(version=10), "10", id="newer wins"),
        pytest.param(body(version=9), body(version=9, server="two"), "9", id="the same tells nothing"),
        pytest.param(body(version=9, uid="new"), body(version=8, uid="old"), "9", id="a predecessor loses"),
        pytest.param(body(version="x"), body(version="w"), "w", id="without numbers the last to arrive wins"),
        pytest.param(body(version=9), body(version="w"), "w", id="half comparable is not comparable"),
    ],
)
def test_which_of_two_events_is_believed(store: Store, first: Json, second: Json, kept: str) -> None:
    store.observe(first)
    store.observe(second)
    assert version_of(store) == kept


@pytest.mark.parametrize(
    ("known", "deletion", "remains"),
    [
        pytest.param(body(version=5), body(version=6), False, id="newer"),
        pytest.param(body(version=5), body(version=5), False, id="carries the version that was deleted"),
        pytest.param(
            body(version=5), body(version=4), True, id="older than what is known: left a selector and came back"
        ),
        pytest.param(body(version=5, uid="new"), body(version=4, uid="old"), True, id="of a predecessor"),
        pytest.param(body(version=4, uid="old"), body(version=5, uid="new"), False, id="of a successor we missed"),
        pytest.param(body(version="x", uid="new"), body(version="y", uid="old"), True, id="other uid, no numbers"),
        pytest.param(body(version="x"), body(version="y"), False, id="same uid, no numbers"),
    ],
)
def test_which_deletions_are_believed(store: Store, known: Json, deletion: Json, remains: bool) -> None:
    store.observe(known)
    store.observe(deletion, deleted=True)
    assert (A in store) is remains


@pytest.mark.parametrize(
    ("late", "back"),
    [
        pytest.param(body(version=4), False, id="older than the deletion"),
        pytest.param(body(version=6), False, id="the deletion itself"),
        pytest.param(body(version=7, uid="u2"), True, id="recreated"),
        pytest.param(body(version=7), True, id="the same one, which entered the selector again"),
        pytest.param(body(version="x"), True, id="not comparable: order of arrival"),
    ],
)
def test_what_brings_a_deleted_object_back(store: Store, late: Json, back: bool) -> None:
    store.observe(body(version=5))
    store.observe(body(version=6), deleted=True)
    store.observe(late)
    assert (A in store) is back


def test_a_recreated_object_is_as_hard_to_outdate_as_any(store: Store) -> None:
    store.observe(body(version=6), deleted=True)
    store.observe(body(version=9))
    store.observe(body(version=8))
    assert version_of(store) == "9"


def test_without_numbers_the_same_version_tells_nothing(store: Store, changes: list[Change[ObjectKey, Json]]) -> None:
    for _ in range(2):
        store.observe(body(version="x"))
    assert len(changes) == 1


@pytest.mark.parametrize("known", [True, False])
def test_what_was_projected_away_does_not_come_back_in_an_older_form(store: Store, known: bool) -> None:
    if known:
        store.observe(body(version=3))
    listing = store.begin_listing()
    if known:
        listing.observe(body(version=5, server="foreign"))
        store.observe(body(version=4))
    else:
        store.observe(body(version=5, server="foreign"))
        listing.observe(body(version=4))
    assert A not in store


def test_forget_after_a_404_holds_against_what_was_known(store: Store) -> None:
    store.observe(body(version=5))
    assert store.forget(A) is not None
    assert store.forget(A) is None
    store.observe(body(version=5))
    assert A not in store
    store.observe(body(version=6))
    assert A in store


@pytest.mark.parametrize(
    ("new", "spec_changed"),
    [
        pytest.param(body(version=2, generation=1), False, id="status or labels"),
        pytest.param(body(version=2, generation=2), True, id="spec"),
        pytest.param(body(version=2, uid="u2"), True, id="recreated"),
        pytest.param(body(version=2, deletionTimestamp="2030-01-01T00:00:00Z"), True, id="being deleted"),
        pytest.param(body(version=2, generation=None), True, id="a kind without generations"),
    ],
)
def test_spec_changed(store: Store, new: Json, spec_changed: bool) -> None:
    store.observe(body(version=1))
    change = store.observe(new)
    assert change is not None
    assert change.spec_changed is spec_changed


def test_coming_and_going_change_the_spec(store: Store) -> None:
    for change in (store.observe(body(version=1)), store.observe(body(version=2), deleted=True)):
        assert change is not None
        assert change.spec_changed


# ── what must not happen ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"metadata": {}},
        {"metadata": None},
        {"metadata": {"name": "a", "namespace": "shop", "resourceVersion": "9"}},
        {"metadata": {"name": "a", "namespace": "shop", "resourceVersion": "9"}, "spec": {"server": ["unhashable"]}},
        {"metadata": {"name": "a", "namespace": "shop", "resourceVersion": "9"}, "spec": "hunter2"},
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_an_odd_body_is_logged_without_its_text_and_changes_nothing(
    store: Store, caplog: pytest.LogCaptureFixture, odd: Json, listed: bool
) -> None:
    store.observe(body(version=1))
    assert (store.begin_listing().observe(odd) if listed else store.observe(odd)) is None
    assert version_of(store) == "1"
    [record] = caplog.records
    assert record.__dict__["fields"]["kind"] == "ElileSecret"
    assert "hunter2" not in repr(record.__dict__)


def test_a_subscriber_that_raises_stops_neither_the_store_nor_the_others(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Change[ObjectKey, Json]) -> None:
        raise ValueError("hunter2")

    seen: list[ObjectKey] = []
    store.subscribe(broken)
    store.subscribe(lambda change: seen.append(change.key))
    store.observe(body())
    assert seen == [A]
    assert caplog.records[0].levelno == logging.ERROR
    assert "hunter2" not in caplog.text


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_list_repairs_what_was_missed(store: Store, changes: list[Change[ObjectKey, Json]]) -> None:
    store.observe(body("a", version=1))
    store.observe(body("b", version=2))
    listing = store.begin_listing()
    assert listing.observe(body("a", version=3, server="two")) is changes[-1]
    listing.observe(body("c", version=4))
    assert listing.complete("5") == (B,)
    assert listing.repaired == 3
    assert [str(key) for key in store] == ["shop/a", "shop/c"]
    assert store.by("server", "two") == {A}
    assert changes[-1].key == B
    assert changes[-1].new is None


def test_a_list_that_finds_all_as_known_repairs_nothing(store: Store, changes: list[Change[ObjectKey, Json]]) -> None:
    store.observe(body(version=1))
    del changes[:]
    listing = store.begin_listing()
    listing.observe(body(version=1))
    assert listing.complete("5") == ()
    assert (listing.repaired, changes) == (0, [])


@pytest.mark.parametrize("versions", [("5", "7", "6"), ("x", "z", "y")])
def test_a_page_does_not_undo_an_event(store: Store, versions: tuple[str, str, str]) -> None:
    before, event, page = versions
    store.observe(body(version=before))
    listing = store.begin_listing()
    store.observe(body(version=event, server="two"))
    listing.observe(body(version=page))
    listing.complete(page)
    assert version_of(store) == event


@pytest.mark.parametrize("versions", [("5", "7", "6"), ("x", "z", "y")])
@pytest.mark.parametrize("known", [True, False])
def test_a_page_does_not_bring_back_what_was_deleted_meanwhile(
    store: Store, versions: tuple[str, str, str], known: bool
) -> None:
    before, event, page = versions
    if known:
        store.observe(body(version=before))
    listing = store.begin_listing()
    store.observe(body(version=event), deleted=True)
    listing.observe(body(version=before))
    listing.complete(page)
    assert A not in store


def test_a_list_from_a_replica_that_lags_does_not_bring_back_what_was_deleted_before(store: Store) -> None:
    store.observe(body(version=6), deleted=True)
    store.begin_listing().observe(body(version=5))
    assert A not in store


@pytest.mark.parametrize("version", ["7", "z"])
def test_what_was_created_while_the_list_ran_does_not_vanish(store: Store, version: str) -> None:
    listing = store.begin_listing()
    store.observe(body(version=version))
    assert listing.complete("6") == ()
    assert A in store


def test_a_list_older_than_what_is_known_removes_nothing(store: Store) -> None:
    store.observe(body(version=9))
    assert store.begin_listing().complete("8") == ()
    assert store.begin_listing().complete("9") == (A,)


def test_a_list_without_a_version_is_believed(store: Store) -> None:
    store.observe(body(version=9))
    assert store.begin_listing().complete() == (A,)


def test_a_list_that_lied_is_corrected_by_the_next(store: Store) -> None:
    store.observe(body(version=1))
    store.begin_listing().complete("5")
    assert A not in store
    listing = store.begin_listing()
    listing.observe(body(version=1))
    listing.complete("6")
    assert A in store


def test_a_list_that_failed_removes_nothing(store: Store) -> None:
    store.observe(body("a", version=1))
    store.begin_listing().observe(body("b", version=2))  # and never completes
    assert len(store) == 2


def test_an_object_that_cannot_be_read_does_not_vanish(store: Store) -> None:
    store.observe(body(version=1))
    listing = store.begin_listing()
    listing.observe(body(version=2) | {"spec": None})
    assert listing.complete("5") == ()
    assert version_of(store) == "1"


def test_tombstones_are_cleared_away(store: Store) -> None:
    for i in range(100):
        store.observe(body(str(i), version=i + 1), deleted=True)
    for _ in range(2):
        store.begin_listing().complete("1000")
    assert not store._tombstones
