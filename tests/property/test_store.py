"""In whatever order watch, relist, resync and answers to our writes arrive, the store ends up as the server is.

A small API server, with a watch that lags and may lose events, feeds a store. Two things must hold:

* once all that was under way has arrived, store and server agree, if no event was lost since the last list began;
* after one more list they agree whatever happened before.
"""

from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from elile_operator.engine import Change, Listing, ObjectKey, ObjectStore, object_key

Json = dict[str, Any]
NAMES = "abcd"
PAGE = 2
FOREIGN = 0  # a value that the projection drops

names = st.sampled_from(NAMES)
values = st.integers(FOREIGN, 3)


def project(body: Any) -> int | None:
    return body["spec"]["value"] or None


class StoreMachine(RuleBasedStateMachine):
    """Versions compare, as on a real API server."""

    comparable = True

    def __init__(self) -> None:
        super().__init__()
        self.server: dict[str, Json] = {}
        self.version = 8  # so that the versions soon differ in length, and text order is wrong
        self.watch: list[tuple[Json, bool]] = []  # on their way, in order; True for a deletion
        self.answers: list[Json] = []  # to our own writes, on their way, in any order
        self.lost = False  # since the last complete list began
        self.listing: Listing[ObjectKey, int] | None = None
        self.lost_in_listing = False
        self.pages: list[list[Json]] | None = None
        self.snapshot = ""
        self.store: ObjectStore[ObjectKey, int] = ObjectStore(
            kind="Thing", key_of=object_key, project=project, indexes={"value": lambda value: [value]}
        )
        self.mirror: dict[ObjectKey, int] = {}
        self.store.subscribe(self.follow)

    def follow(self, change: Change[ObjectKey, int]) -> None:
        """A subscriber that is told of every change, in order, knows what the store knows."""
        assert self.mirror.get(change.key) == (change.old.value if change.old else None)
        if change.new is None:
            del self.mirror[change.key]
        else:
            self.mirror[change.key] = change.new.value

    def next_version(self) -> str:
        self.version += 1
        return self.named(self.version)

    def named(self, version: int) -> str:
        return str(version) if self.comparable else f"v{version * 7919 % 10007}"

    # ── the server ───────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(name=names, value=values)
    def write(self, name: str, value: int) -> None:
        """Somebody creates or changes an object."""
        old = self.server.get(name)
        version = self.next_version()
        uid = old["metadata"]["uid"] if old else f"uid-{version}"
        self.server[name] = {
            "metadata": {"namespace": "shop", "name": name, "uid": uid, "resourceVersion": version, "generation": 1},
            "spec": {"value": value},
        }
        self.watch.append((self.server[name], False))

    @rule(name=names)
    def delete(self, name: str) -> None:
        if body := self.server.pop(name, None):
            self.watch.append((body | {"metadata": body["metadata"] | {"resourceVersion": self.next_version()}}, True))

    @precondition(lambda self: self.comparable)
    @rule(name=names, value=values)
    def write_ourselves(self, name: str, value: int) -> None:
        """As `write`, but the answer is observed too, sooner or later than the event."""
        self.write(name, value)
        self.answers.append(self.server[name])

    # ── what arrives ─────────────────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.watch)
    @rule(count=st.integers(1, 4))
    def events_arrive(self, count: int) -> None:
        for body, deleted in self.watch[:count]:
            self.store.observe(body, deleted=deleted)
        del self.watch[:count]

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def an_answer_arrives(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.answers) - 1))
        self.store.observe(self.answers.pop(at))

    @rule()
    def the_watch_breaks(self) -> None:
        """What was on its way is lost. Kopf lists again, which tells of no deletion, and watches from there on."""
        self.watch = [(body, False) for body in self.server.values()]
        self.lost = self.lost_in_listing = True

    # ── resync ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule()
    def a_list_begins(self) -> None:
        """Also in place of one that is under way, which then has failed."""
        # An answer that is on its way for a whole resync period is not a race any more.
        for body in self.answers:
            self.store.observe(body)
        self.answers.clear()
        self.listing = self.store.begin_listing()
        self.pages = None
        self.lost_in_listing = False

    @precondition(lambda self: self.listing is not None)
    @rule()
    def a_page_arrives(self) -> None:
        assert self.listing is not None
        if self.pages is None:  # the server takes its snapshot when it is asked for the first page
            bodies = list(self.server.values())
            self.pages = [bodies[i : i + PAGE] for i in range(0, len(bodies), PAGE)] or [[]]
            self.snapshot = self.named(self.version)
        for body in self.pages.pop(0):
            self.listing.observe(body)
        if not self.pages:
            self.listing.complete(self.snapshot)
            self.listing = self.pages = None
            self.lost = self.lost_in_listing

    # ── the truths ───────────────────────────────────────────────────────────────────────────────────────────────────

    @rule()
    def all_arrives(self) -> None:
        while self.watch:
            self.events_arrive(len(self.watch))
        for body in self.answers:
            self.store.observe(body)
        self.answers.clear()
        if not self.lost:
            self.agree()

    def agree(self) -> None:
        truth = {ObjectKey("shop", n): value for n, body in self.server.items() if (value := project(body)) is not None}
        assert {key: self.store.get(key) for key in self.store} == truth
        for key in truth:
            entry = self.store.entry(key)
            assert entry is not None
            assert entry.meta.resource_version == self.server[key.name]["metadata"]["resourceVersion"]

    @invariant()
    def indexes_and_subscribers_follow(self) -> None:
        known = {key: self.store.get(key) for key in self.store}
        assert known == self.mirror
        for value in range(FOREIGN, 4):
            assert self.store.by("value", value) == {key for key, known_value in known.items() if known_value == value}

    def teardown(self) -> None:
        self.all_arrives()
        self.a_list_begins()
        while self.listing is not None:
            self.a_page_arrives()
        self.agree()
        for _ in range(2):
            self.store.begin_listing()
        assert not self.store._tombstones


class OpaqueStoreMachine(StoreMachine):
    """Versions that cannot be compared: order of arrival has to do."""

    comparable = False


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
TestOpaqueStore = OpaqueStoreMachine.TestCase
TestOpaqueStore.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
