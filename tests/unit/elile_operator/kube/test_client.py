"""What goes over the wire is exact, and whatever comes back is an answer or an error of the closed set."""

import asyncio
import dataclasses
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from elile.secrets.redact import SecretStr
from elile_operator.kube.client import KubeClient
from elile_operator.kube.credentials import Credentials, CredentialsError
from elile_operator.kube.errors import (
    KubeConflictError,
    KubeError,
    KubeExistsError,
    KubeForbiddenError,
    KubeGoneError,
    KubeInvalidError,
    KubeNotFoundError,
    KubeThrottledError,
    KubeUnavailableError,
)
from elile_operator.kube.resources import ELILE_SECRETS, JOBS, LEASES, PODS, SECRETS, VAULT_SERVERS
from tests.fakes.api import Answer, HttpApi, Request, status_body

DB = "/api/v1/namespaces/shop/secrets/db"
SECRET = {"kind": "Secret", "metadata": {"name": "db", "resourceVersion": "7"}}
LATER = dt.datetime(2999, 1, 1, tzinfo=dt.UTC)
PAST = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


class Source:
    """Credentials that tests turn: each load takes the next token, the last one stays."""

    def __init__(self) -> None:
        self.now = Credentials(server="", expires=LATER)
        self.tokens: list[str] = []
        self.failing = False
        self.loads = 0

    async def load(self) -> Credentials:
        self.loads += 1
        if self.failing:
            raise CredentialsError("the token cannot be read")
        if self.tokens:
            token = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
            self.now = dataclasses.replace(self.now, token=SecretStr(token))
        return self.now


class Seen:
    """A KubeObserver that remembers."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str]] = []

    def kube_request(self, *, verb: str, resource: str, outcome: str, seconds: float) -> None:
        assert 0 <= seconds < 5
        self.requests.append((verb, resource, outcome))


@pytest.fixture
async def api() -> AsyncIterator[HttpApi]:
    api = HttpApi()
    await api.start()
    yield api
    await api.stop()
    assert api.unexpected == []


@pytest.fixture
def source(api: HttpApi) -> Source:
    source = Source()
    source.now = dataclasses.replace(source.now, server=api.url)
    return source


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def kube(source: Source, seen: Seen) -> AsyncIterator[KubeClient]:
    client = KubeClient(source, timeout=5.0, observer=seen)
    yield client
    await client.close()


def only(api: HttpApi) -> Request:
    (request,) = api.requests
    return request


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────────────────

Call = Callable[[KubeClient], Coroutine[Any, Any, Any]]
BODY = {"metadata": {"name": "db"}, "data": {"a": "b"}}


@dataclasses.dataclass(frozen=True)
class Sent:
    """The request that a call makes."""

    method: str
    path: str
    query: dict[str, str]
    content_type: str
    body: Any


@pytest.mark.parametrize(
    ("call", "sent", "observed"),
    [
        pytest.param(
            lambda kube: kube.get(SECRETS, "shop", "db"),
            Sent("GET", DB, {}, "application/json", None),
            ("get", "secrets"),
            id="get",
        ),
        pytest.param(
            lambda kube: kube.get(VAULT_SERVERS, None, "default"),
            Sent("GET", "/apis/elile.io/v1alpha1/vaultservers/default", {}, "application/json", None),
            ("get", "vaultservers"),
            id="get without namespace",
        ),
        pytest.param(
            lambda kube: kube.create(SECRETS, "shop", BODY, manager="elile"),
            Sent("POST", "/api/v1/namespaces/shop/secrets", {"fieldManager": "elile"}, "application/json", BODY),
            ("create", "secrets"),
            id="create",
        ),
        pytest.param(
            lambda kube: kube.replace(LEASES, "elile-system", "elile-operator", body=BODY, manager="elile"),
            Sent(
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/elile-system/leases/elile-operator",
                {"fieldManager": "elile"},
                "application/json",
                BODY,
            ),
            ("update", "leases"),
            id="replace",
        ),
        pytest.param(
            lambda kube: kube.apply(SECRETS, "shop", "db", body=BODY, manager="elile"),
            Sent("PATCH", DB, {"fieldManager": "elile", "force": "true"}, "application/apply-patch+yaml", BODY),
            ("apply", "secrets"),
            id="apply",
        ),
        pytest.param(
            lambda kube: kube.apply(ELILE_SECRETS, "shop", "db", body=BODY, manager="elile-secret", status=True),
            Sent(
                "PATCH",
                "/apis/elile.io/v1alpha1/namespaces/shop/elilesecrets/db/status",
                {"fieldManager": "elile-secret", "force": "true"},
                "application/apply-patch+yaml",
                BODY,
            ),
            ("apply", "elilesecrets"),
            id="apply of a status",
        ),
        pytest.param(
            lambda kube: kube.json_patch(
                SECRETS, "shop", "db", operations=[{"op": "remove", "path": "/data/x"}], manager="elile"
            ),
            Sent(
                "PATCH",
                DB,
                {"fieldManager": "elile"},
                "application/json-patch+json",
                [{"op": "remove", "path": "/data/x"}],
            ),
            ("patch", "secrets"),
            id="JSON patch",
        ),
        pytest.param(
            lambda kube: kube.merge_patch(PODS, "shop", "app-1", body=BODY, manager="elile", subresource="status"),
            Sent(
                "PATCH",
                "/api/v1/namespaces/shop/pods/app-1/status",
                {"fieldManager": "elile"},
                "application/merge-patch+json",
                BODY,
            ),
            ("patch", "pods"),
            id="merge patch",
        ),
        pytest.param(
            lambda kube: kube.delete(SECRETS, "shop", "db", preconditions={"uid": "u", "resourceVersion": "7"}),
            Sent(
                "DELETE",
                DB,
                {},
                "application/json",
                {
                    "apiVersion": "v1",
                    "kind": "DeleteOptions",
                    "preconditions": {"uid": "u", "resourceVersion": "7"},
                },
            ),
            ("delete", "secrets"),
            id="delete",
        ),
        pytest.param(
            lambda kube: kube.delete(JOBS, "shop", "db", preconditions={"uid": "u"}, propagation="Background"),
            Sent(
                "DELETE",
                "/apis/batch/v1/namespaces/shop/jobs/db",
                {},
                "application/json",
                {
                    "apiVersion": "v1",
                    "kind": "DeleteOptions",
                    "preconditions": {"uid": "u"},
                    "propagationPolicy": "Background",
                },
            ),
            ("delete", "jobs"),
            id="delete with what it owns",
        ),
    ],
)
async def test_what_a_call_sends(
    api: HttpApi, kube: KubeClient, seen: Seen, call: Call, sent: Sent, observed: tuple[str, str]
) -> None:
    api.answer(sent.method, sent.path, Answer(body=SECRET))
    assert await call(kube) in (SECRET, None)
    request = only(api)
    assert (
        Sent(request.method, request.path, dict(request.query), request.headers["Content-Type"], request.body) == sent
    )
    assert request.headers["Accept"] == "application/json"
    assert request.headers["User-Agent"] == "elile-operator"
    assert "Authorization" not in request.headers
    assert seen.requests == [(*observed, "ok")]


async def test_a_token_is_asked_for_with_one_audience(api: HttpApi, kube: KubeClient, seen: Seen) -> None:
    path = "/api/v1/namespaces/shop/serviceaccounts/app/token"
    answer = {"status": {"token": "a.b.c", "expirationTimestamp": "2030-01-01T00:10:00Z"}}
    api.answer("POST", path, Answer(201, answer))
    token, expires = await kube.request_token("shop", "app", audience="vault", seconds=600)
    assert (token.reveal(), expires) == ("a.b.c", dt.datetime(2030, 1, 1, 0, 10, tzinfo=dt.UTC))
    assert only(api).body == {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": ["vault"], "expirationSeconds": 600},
    }
    assert only(api).headers["Content-Type"] == "application/json"
    assert seen.requests == [("token", "serviceaccounts", "ok")]


@pytest.mark.parametrize(
    ("arguments", "path", "query"),
    [
        pytest.param({}, "/api/v1/secrets", {"limit": "500"}, id="everything"),
        pytest.param(
            {
                "namespace": "shop",
                "token": "a+b/c=",
                "label_selector": "app.kubernetes.io/managed-by=elile",
                "limit": 2,
            },
            "/api/v1/namespaces/shop/secrets",
            {"limit": "2", "continue": "a+b/c=", "labelSelector": "app.kubernetes.io/managed-by=elile"},
            id="the next page of some",
        ),
    ],
)
async def test_a_page(
    api: HttpApi, kube: KubeClient, arguments: dict[str, Any], path: str, query: dict[str, str]
) -> None:
    api.answer("GET", path, Answer(body={"metadata": {"continue": "t2", "resourceVersion": "9"}, "items": [SECRET]}))
    assert await kube.list_page(SECRETS, **arguments) == ([SECRET], "t2", "9")
    assert only(api).query == query


async def test_the_last_page_of_nothing(api: HttpApi, kube: KubeClient) -> None:
    api.answer("GET", "/api/v1/secrets", Answer(body={"metadata": {}, "items": None}))
    assert await kube.list_page(SECRETS) == ([], "", "")


async def test_a_path_of_the_server_itself(api: HttpApi, kube: KubeClient, seen: Seen) -> None:
    api.answer("GET", "/version", Answer(body={"gitVersion": "v1.37.2"}))
    assert await kube.raw("/version") == {"gitVersion": "v1.37.2"}
    assert seen.requests == []


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "reason", "error"),
    [
        (400, "BadRequest", KubeInvalidError),
        (401, "Unauthorized", KubeUnavailableError),
        (403, "Forbidden", KubeForbiddenError),
        (404, "NotFound", KubeNotFoundError),
        (409, "Conflict", KubeConflictError),
        (409, "AlreadyExists", KubeExistsError),
        (410, "Expired", KubeGoneError),
        (413, "RequestEntityTooLarge", KubeInvalidError),
        (415, "UnsupportedMediaType", KubeInvalidError),
        (422, "Invalid", KubeInvalidError),
        (429, "TooManyRequests", KubeThrottledError),
        (500, "InternalError", KubeUnavailableError),
        (502, "", KubeUnavailableError),
        (503, "ServiceUnavailable", KubeUnavailableError),
        (504, "Timeout", KubeUnavailableError),
        (418, "", KubeUnavailableError),
    ],
)
async def test_each_status_is_an_error_without_the_servers_text(
    api: HttpApi, kube: KubeClient, seen: Seen, status: int, reason: str, error: type[KubeError]
) -> None:
    api.answer("GET", DB, Answer(status, status_body(status, reason)))
    with pytest.raises(KubeError) as raised:
        await kube.get(SECRETS, "shop", "db")
    assert type(raised.value) is error
    assert raised.value.safe_text == str(raised.value) == f"GET {DB}: {status} {reason}".rstrip()
    assert (raised.value.status, raised.value.reason, raised.value.retry_after) == (status, reason, None)
    assert seen.requests == [("get", "secrets", str(status))]


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2030 07:28:00 GMT", None), ("", None)])
async def test_when_to_come_back(api: HttpApi, kube: KubeClient, header: str, seconds: float | None) -> None:
    api.answer("GET", DB, Answer(429, status_body(429, "TooManyRequests"), {"Retry-After": header}))
    with pytest.raises(KubeThrottledError) as raised:
        await kube.get(SECRETS, "shop", "db")
    assert raised.value.retry_after == seconds


@pytest.mark.parametrize(
    "body",
    ["", "<html>hunter2</html>", '{"kind": ', "[]", '"text"', "null"],
    ids=["nothing", "a proxy's page", "cut off", "a list", "a text", "null"],
)
async def test_an_answer_that_is_no_object_is_no_answer(api: HttpApi, kube: KubeClient, seen: Seen, body: str) -> None:
    api.answer("GET", DB, Answer(200, body))
    with pytest.raises(KubeUnavailableError) as raised:
        await kube.get(SECRETS, "shop", "db")
    assert (str(raised.value), raised.value.__cause__) == (f"GET {DB}: 200 Malformed", None)
    assert seen.requests == [("get", "secrets", "200")]


async def test_a_refusal_that_is_no_object_is_told_by_its_status(api: HttpApi, kube: KubeClient) -> None:
    api.answer("GET", DB, Answer(503, "<html>hunter2</html>"))
    with pytest.raises(KubeUnavailableError) as raised:
        await kube.get(SECRETS, "shop", "db")
    assert str(raised.value) == f"GET {DB}: 503"


async def test_an_answer_that_comes_too_late_is_none(api: HttpApi, source: Source, seen: Seen) -> None:
    api.answer("GET", DB, Answer(delay=0.3))
    kube = KubeClient(source, timeout=0.03, observer=seen)
    with pytest.raises(KubeUnavailableError) as raised:
        await kube.get(SECRETS, "shop", "db")
    assert (str(raised.value), raised.value.status) == (f"GET {DB}: no answer", 0)
    assert seen.requests == [("get", "secrets", "no_answer")]
    await kube.close()


async def test_waiting_for_a_connection_counts(api: HttpApi, source: Source, seen: Seen) -> None:
    api.answer("GET", DB, Answer(delay=0.3))
    kube = KubeClient(source, timeout=0.03, connections=1, observer=seen)
    calls = (kube.get(SECRETS, "shop", "db") for _ in range(3))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(a) for a in answers} == {KubeUnavailableError}
    await kube.close()


async def test_a_connection_that_is_refused_is_no_answer(api: HttpApi, kube: KubeClient, seen: Seen) -> None:
    await api.stop()
    with pytest.raises(KubeUnavailableError) as raised:
        await kube.get(SECRETS, "shop", "db")
    assert (str(raised.value), raised.value.__cause__) == (f"GET {DB}: no answer", None)
    assert seen.requests == [("get", "secrets", "no_answer")]


# ── watches ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def follow(kube: KubeClient, **arguments: Any) -> list[tuple[str, Any]]:
    given: dict[str, Any] = {"namespace": "shop", "version": "7", "label_selector": None, "seconds": 300, **arguments}
    return [event async for event in kube.watch(SECRETS, **given)]


def event(kind: str, version: int) -> dict[str, Any]:
    return {"type": kind, "object": {"metadata": {"name": "db", "resourceVersion": str(version)}}}


async def test_a_watch_yields_until_the_server_ends_it(api: HttpApi, kube: KubeClient) -> None:
    lines = [event("ADDED", 8), event("BOOKMARK", 9), event("DELETED", 10)]
    api.answer("GET", "/api/v1/namespaces/shop/secrets", Answer(lines=lines))
    assert await follow(kube) == [(line["type"], line["object"]) for line in lines]
    assert only(api).query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "7",
        "timeoutSeconds": "300",
    }


async def test_a_watch_of_everything_with_our_label(api: HttpApi, kube: KubeClient) -> None:
    api.answer("GET", "/api/v1/secrets", Answer(lines=[]))
    assert await follow(kube, namespace=None, label_selector="a=b") == []
    assert only(api).query["labelSelector"] == "a=b"


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        pytest.param(Answer(403, status_body(403, "Forbidden")), KubeForbiddenError, "403 Forbidden", id="forbidden"),
        pytest.param(Answer(410, status_body(410, "Expired")), KubeGoneError, "410 Expired", id="too old"),
        pytest.param(
            Answer(lines=[event("ADDED", 8), {"type": "ERROR", "object": status_body(410, "Expired")}]),
            KubeGoneError,
            "410 Expired",
            id="too old, told later",
        ),
        pytest.param(Answer(lines=[{"type": "ERROR"}]), KubeUnavailableError, "500", id="an error that says nothing"),
        pytest.param(Answer(lines=["<html>"]), KubeUnavailableError, "no answer", id="no JSON"),
        pytest.param(Answer(lines=["{}"]), KubeUnavailableError, "no answer", id="no event"),
        pytest.param(Answer(lines=[event("ADDED", 8)], cut=True), KubeUnavailableError, "no answer", id="cut off"),
    ],
)
async def test_a_watch_that_fails(
    api: HttpApi, kube: KubeClient, answer: Answer, error: type[KubeError], text: str
) -> None:
    api.answer("GET", "/api/v1/namespaces/shop/secrets", answer)
    with pytest.raises(error) as raised:
        await follow(kube)
    assert str(raised.value) == f"WATCH /api/v1/namespaces/shop/secrets: {text}"


async def test_a_watch_without_a_server(api: HttpApi, kube: KubeClient) -> None:
    await api.stop()
    with pytest.raises(KubeUnavailableError):
        await follow(kube)


async def test_a_watch_that_is_left_closes_its_connection(api: HttpApi, kube: KubeClient) -> None:
    api.answer("GET", "/api/v1/namespaces/shop/secrets", Answer(lines=[event("ADDED", n) for n in range(100)]))
    stream = kube.watch(SECRETS, namespace="shop", version="7", label_selector=None, seconds=300)
    assert (await anext(stream))[0] == "ADDED"
    await stream.aclose()  # type: ignore[attr-defined] # an async generator has it


# ── the fence ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_nothing_is_changed_past_the_fence(api: HttpApi, source: Source, seen: Seen) -> None:
    class ShutError(Exception):
        pass

    def shut() -> None:
        raise ShutError

    kube = KubeClient(source, observer=seen, fence=shut)
    api.answer("GET", DB, Answer(body=SECRET))
    for call in (
        kube.create(SECRETS, "shop", BODY, manager="elile"),
        kube.replace(SECRETS, "shop", "db", body=BODY, manager="elile"),
        kube.apply(SECRETS, "shop", "db", body=BODY, manager="elile"),
        kube.json_patch(SECRETS, "shop", "db", operations=[], manager="elile"),
        kube.delete(SECRETS, "shop", "db", preconditions={}),
    ):
        with pytest.raises(ShutError):
            await call
    assert await kube.get(SECRETS, "shop", "db") == SECRET
    assert [request.method for request in api.requests] == ["GET"]
    await kube.close()


# ── credentials ──────────────────────────────────────────────────────────────────────────────────────────────────────


def bearers(api: HttpApi) -> list[str]:
    return [request.headers.get("Authorization", "") for request in api.requests]


async def test_credentials_are_kept_until_they_expire(api: HttpApi, kube: KubeClient, source: Source) -> None:
    api.answer("GET", DB, Answer(body=SECRET))
    source.tokens = ["one", "two"]
    for _ in range(3):
        await kube.get(SECRETS, "shop", "db")
    assert (bearers(api), source.loads) == (["Bearer one"] * 3, 1)


async def test_expired_credentials_are_loaded_again_and_the_connection_stays(
    api: HttpApi, kube: KubeClient, source: Source
) -> None:
    api.answer("GET", DB, Answer(body=SECRET))
    source.tokens = ["one", "two", "three"]
    source.now = dataclasses.replace(source.now, expires=PAST)
    for _ in range(3):
        await kube.get(SECRETS, "shop", "db")
    assert (bearers(api), len(api.connections)) == (["Bearer one", "Bearer two", "Bearer three"], 1)


async def test_after_a_401_the_next_call_has_the_next_token_on_the_same_connection(
    api: HttpApi, kube: KubeClient, source: Source
) -> None:
    api.answer("GET", DB, Answer(401, status_body(401, "Unauthorized")), Answer(body=SECRET))
    source.tokens = ["old", "new"]
    with pytest.raises(KubeUnavailableError):
        await kube.get(SECRETS, "shop", "db")
    for _ in range(2):
        assert await kube.get(SECRETS, "shop", "db") == SECRET
    assert bearers(api) == ["Bearer old", "Bearer new", "Bearer new"]
    assert (source.loads, len(api.connections)) == (2, 1)


async def test_a_401_of_one_call_does_not_break_the_others(api: HttpApi, kube: KubeClient, source: Source) -> None:
    slow = "/api/v1/namespaces/shop/secrets/slow"
    api.answer("GET", slow, Answer(body=SECRET, delay=0.04))
    api.answer("GET", DB, Answer(401, status_body(401, "Unauthorized")), Answer(body=SECRET))
    running = asyncio.create_task(kube.get(SECRETS, "shop", "slow"), name="slow")
    with pytest.raises(KubeUnavailableError):
        await kube.get(SECRETS, "shop", "db")
    assert await kube.get(SECRETS, "shop", "db") == SECRET
    assert await running == SECRET


async def test_while_the_file_is_being_replaced_the_old_token_serves(
    api: HttpApi, kube: KubeClient, source: Source
) -> None:
    api.answer("GET", DB, Answer(body=SECRET))
    source.tokens = ["one"]
    source.now = dataclasses.replace(source.now, expires=PAST)
    await kube.get(SECRETS, "shop", "db")
    source.failing = True
    await kube.get(SECRETS, "shop", "db")
    assert (bearers(api), source.loads) == (["Bearer one", "Bearer one"], 2)


async def test_without_any_credentials_nothing_is_sent(api: HttpApi, kube: KubeClient, source: Source) -> None:
    source.failing = True
    with pytest.raises(CredentialsError, match="the token cannot be read"):
        await kube.get(SECRETS, "shop", "db")
    assert api.requests == []


async def test_another_server_is_another_connection(api: HttpApi, kube: KubeClient, source: Source) -> None:
    other = HttpApi()
    await other.start()
    for server in (api, other):
        server.answer("GET", DB, Answer(body=SECRET))
    source.now = dataclasses.replace(source.now, expires=PAST)
    await kube.get(SECRETS, "shop", "db")
    source.now = dataclasses.replace(source.now, server=other.url)
    await kube.get(SECRETS, "shop", "db")
    assert (len(api.requests), len(other.requests)) == (1, 1)
    await kube.close()
    await other.stop()


async def test_a_closed_client_opens_again(api: HttpApi, kube: KubeClient, source: Source) -> None:
    api.answer("GET", DB, Answer(body=SECRET))
    await kube.get(SECRETS, "shop", "db")
    await kube.close()
    await kube.close()
    assert await kube.get(SECRETS, "shop", "db") == SECRET
    assert source.loads == 2


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "unreadable"])
async def test_certificates_that_cannot_be_used_are_named(
    kube: KubeClient, source: Source, tmp_path: Path, content: str | None
) -> None:
    ca = tmp_path / "ca.crt"
    if content is not None:
        ca.write_text(content)
    source.now = dataclasses.replace(source.now, ca_file=str(ca))
    with pytest.raises(CredentialsError) as raised:
        await kube.get(SECRETS, "shop", "db")
    why = "FileNotFoundError" if content is None else ssl.SSLError.__name__
    assert str(raised.value) == f"the certificates in {ca} cannot be used ({why})"


async def test_the_environments_proxy_is_not_used(
    api: HttpApi, kube: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    api.answer("GET", DB, Answer(body=SECRET))
    assert await kube.get(SECRETS, "shop", "db") == SECRET
