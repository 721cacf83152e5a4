"""The faults that a test can order from the fake API server, seen by a client."""

import contextlib
import json
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.fakes.kube import FakeKube, StatusError

SECRETS = "/api/v1/namespaces/n/secrets"
NOTHING: dict[str, Any] = {}


@pytest.fixture
def fake() -> Iterator[FakeKube]:
    with FakeKube() as fake:
        fake.create({"kind": "Namespace", "metadata": {"name": "n"}})
        for name in ("a", "b", "c"):
            fake.apply(secret(name))
        yield fake


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def secret(name: str, value: str = "dg==") -> dict[str, Any]:
    meta = {"name": name, "namespace": "n"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"k": value}}


class Watch:
    """A watch that is read by a thread; `next` gives the events, None the end of the stream."""

    def __init__(self, fake: FakeKube, **query: str) -> None:
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._session = requests.Session()
        self._session.trust_env = False
        params = {"watch": "true", "allowWatchBookmarks": "true", **query}
        self._answer = self._session.get(fake.url + SECRETS, params=params, stream=True, timeout=30)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(requests.RequestException, OSError, AttributeError):
            for line in self._answer.iter_lines(chunk_size=1):
                self._events.put(json.loads(line))
        self._events.put(None)

    def next(self, within: float = 5.0) -> dict[str, Any] | None:
        return self._events.get(timeout=within)

    def next_but_bookmarks(self, within: float = 5.0) -> dict[str, Any] | None:
        """The next event that tells of an object; NOTHING if there is none."""
        deadline = time.monotonic() + within
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                event = self._events.get(timeout=left)
                if event is None or event["type"] != "BOOKMARK":
                    return event
        return NOTHING

    def drain(self) -> None:
        while not self.says_nothing(0.1):
            pass

    def says_nothing(self, seconds: float = 0.3) -> bool:
        try:
            self._events.get(timeout=seconds)
            return False
        except queue.Empty:
            return True


@pytest.fixture
def watch(fake: FakeKube) -> Watch:
    version = requests_version(fake)
    opened = Watch(fake, resourceVersion=version)
    deadline = time.monotonic() + 5
    while fake.streams("secrets") == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return opened


def requests_version(fake: FakeKube) -> str:
    return max((s["metadata"]["resourceVersion"] for s in fake.list("secrets")), key=int)


def test_an_answer_is_ordered_for_a_number_of_requests(fake: FakeKube, session: requests.Session) -> None:
    fake.chaos.answer(503, verbs={"list"}, resources={"secrets"}, times=2)
    assert [session.get(fake.url + SECRETS).status_code for _ in range(3)] == [503, 503, 200]
    assert session.get(f"{fake.url}{SECRETS}/a").status_code == 200
    assert len(fake.requests.where(verb="list", fault=True)) == 2


def test_an_answer_is_ordered_for_a_time(fake: FakeKube, session: requests.Session) -> None:
    fake.chaos.answer(403, seconds=0.2, names={"a"})
    assert session.get(f"{fake.url}{SECRETS}/a").json()["reason"] == "Forbidden"
    assert session.get(f"{fake.url}{SECRETS}/b").status_code == 200
    time.sleep(0.25)
    assert session.get(f"{fake.url}{SECRETS}/a").status_code == 200


def test_an_order_can_be_called_off(fake: FakeKube, session: requests.Session) -> None:
    rule = fake.chaos.answer(429, retry_after=7)
    throttled = session.get(fake.url + SECRETS)
    assert (throttled.status_code, throttled.headers["Retry-After"]) == (429, "7")
    assert throttled.json()["reason"] == "TooManyRequests"
    fake.chaos.stop(rule)
    assert session.get(fake.url + SECRETS).status_code == 200


def test_a_403_is_also_what_an_access_review_says(fake: FakeKube, session: requests.Session) -> None:
    fake.chaos.answer(403, resources={"secrets"}, namespaces={"n"})
    path = fake.url + "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

    def allowed(namespace: str) -> bool:
        attributes = {"verb": "list", "resource": "secrets", "namespace": namespace}
        said = session.post(path, json={"spec": {"resourceAttributes": attributes}}).json()
        return bool(said["status"]["allowed"])

    assert not allowed("n")
    assert allowed("other")


def test_only_later_pages_can_be_refused(fake: FakeKube, session: requests.Session) -> None:
    fake.chaos.answer(410, continued=True, times=1)
    first = session.get(fake.url + SECRETS, params={"limit": 2}).json()
    more = {"limit": 2, "continue": first["metadata"]["continue"]}
    assert session.get(fake.url + SECRETS, params=more).status_code == 410
    assert session.get(fake.url + SECRETS, params=more).status_code == 200


def test_continue_tokens_expire(fake: FakeKube, session: requests.Session) -> None:
    first = session.get(fake.url + SECRETS, params={"limit": 2}).json()
    fake.expire_pages()
    again = session.get(fake.url + SECRETS, params={"limit": 2, "continue": first["metadata"]["continue"]})
    assert (again.status_code, again.json()["reason"]) == (410, "Expired")


def test_tokens_are_refused_when_only_some_are_accepted(fake: FakeKube, session: requests.Session) -> None:
    fake.chaos.tokens = frozenset({"good"})
    codes = [session.get(fake.url + "/api", headers={"Authorization": f"Bearer {t}"}) for t in ("good", "bad")]
    assert [answer.status_code for answer in codes] == [200, 401]


def test_requests_are_logged_with_their_effect(fake: FakeKube, session: requests.Session) -> None:
    headers = {"Content-Type": "application/apply-patch+yaml", "User-Agent": "me/1"}
    for name, value in (("new", "dg=="), ("a", "eA=="), ("b", "dg==")):
        body = json.dumps(secret(name, value))
        session.patch(
            f"{fake.url}{SECRETS}/{name}", data=body, headers=headers, params={"fieldManager": "kubectl", "force": "1"}
        )
    session.delete(f"{fake.url}{SECRETS}/c", headers={"User-Agent": "other"})
    mine = fake.requests.writes().where(agent="me", resource="secrets")
    assert [(r.verb, r.name, r.effect) for r in mine] == [
        ("apply", "new", "created"),
        ("apply", "a", "changed"),
        ("apply", "b", "unchanged"),
    ]
    assert len(fake.requests.where(effect="deleted")) == 1


def test_an_error_event_ends_the_stream(fake: FakeKube, watch: Watch) -> None:
    assert fake.stream_error(500, "etcdserver: leader changed") == 1
    event = watch.next()
    assert event is not None
    assert (event["type"], event["object"]["code"]) == ("ERROR", 500)
    assert watch.next() is None


def test_an_expired_stream_is_told_410_and_so_is_who_resumes_it(fake: FakeKube, watch: Watch) -> None:
    old = requests_version(fake)
    fake.expire_streams()
    for told in (watch, Watch(fake, resourceVersion=old)):
        event = told.next()
        assert event is not None
        assert event["object"]["code"] == 410
        assert told.next() is None


def test_a_silent_stream_stays_silent_and_open(fake: FakeKube) -> None:
    fake.bookmarks_every(0.05)
    watch = Watch(fake, resourceVersion=requests_version(fake))
    assert watch.next_but_bookmarks(0.3) is NOTHING
    fake.silence_streams()
    fake.silence_streams(False)
    watch.drain()
    fake.apply(secret("a", "eA=="))
    assert watch.says_nothing()
    assert fake.streams("secrets") == 0, "a dead one does not count"

    again = Watch(fake, resourceVersion=requests_version(fake))
    fake.apply(secret("b", "eA=="))
    event = again.next_but_bookmarks()
    assert event is not None
    assert event["object"]["metadata"]["name"] == "b"
    fake.kick_streams()


def test_objects_vanish_without_an_event(fake: FakeKube, watch: Watch) -> None:
    fake.vanish("secrets", ["a"], "n")
    assert watch.says_nothing()
    assert fake.find("secret", "a", "n") is None
    fake.kick_streams()
    assert watch.next() is None
    with pytest.raises(StatusError, match="not found"):
        fake.get("secret", "a", "n")


def test_every_request_waits_as_long_as_ordered(fake: FakeKube, session: requests.Session) -> None:
    fake.chaos.latency = 0.2
    began = time.monotonic()
    session.get(fake.url + "/api")
    assert time.monotonic() - began >= 0.2
