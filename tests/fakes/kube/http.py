"""HTTP in front of the storage: paths and verbs, lists in pages, patches by content type, and the log of it all."""

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jsonpatch
from aiohttp import web

from tests.fakes.kube.chaos import Chaos, Request
from tests.fakes.kube.errors import StatusError, bad_request, expired, unauthorized, unknown_path
from tests.fakes.kube.kinds import KINDS, SERVICE_ACCOUNTS, Kind
from tests.fakes.kube.selectors import Selector, parse_fields, parse_labels
from tests.fakes.kube.storage import Key, Record, Storage, Written
from tests.fakes.kube.tokens import Tokens
from tests.fakes.kube.watch import Stream, Streams

__all__ = ["Api"]

APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
LARGEST_BODY = 3 * 1024 * 1024
SUBRESOURCES = ("status", "token")
REVIEWS = {
    "/apis/authentication.k8s.io/v1/tokenreviews": "tokenreviews",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews": "selfsubjectaccessreviews",
}


@dataclass(frozen=True, slots=True)
class _Target:
    kind: Kind
    namespace: str | None  # None: all of them
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> Key:
        return Key(self.namespace or "", self.name)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What the pages of one list show, however long that takes."""

    records: list[Record]
    version: int


class Api:
    """The request handler of one API server."""

    def __init__(self) -> None:
        self.storage = Storage()
        self.streams = Streams(self.storage)
        self.chaos = Chaos()
        self.tokens = Tokens()
        self._snapshots: dict[str, _Snapshot] = {}
        self._kinds = {(k.group, k.version, k.plural): k for k in KINDS}

    def application(self) -> web.Application:
        app = web.Application(client_max_size=LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    def expire_pages(self) -> None:
        """Every continue token that is out there is too old now."""
        self._snapshots.clear()

    async def handle(self, http: web.Request) -> web.StreamResponse:
        """Answer one request: log it, refuse it where that is ordered, do what it asks."""
        logged = Request("discovery", "", "", "", "", http.headers.get("User-Agent", ""), False, time.monotonic())
        self.chaos.log.append(logged)
        try:
            target = self._target(http.path)
            if target is not None:
                logged.verb, logged.resource, logged.subresource = (
                    _verb(http, target),
                    target.kind.plural,
                    target.subresource,
                )
                logged.namespace, logged.name = target.namespace or "", target.name
                logged.continued = "continue" in http.query
            elif http.path in REVIEWS:
                logged.verb, logged.resource = "review", REVIEWS[http.path]
            if self.chaos.latency:
                await asyncio.sleep(self.chaos.latency)
            self._authenticate(http)
            if refusal := await self.chaos.refuse(logged):
                raise refusal
            answer = await self._answer(http, logged, target)
        except StatusError as refused:
            answer = web.json_response(refused.body(), status=refused.code, headers=refused.headers)
        logged.status = answer.status
        return answer

    def _authenticate(self, http: web.Request) -> None:
        if self.chaos.tokens is None or http.path in REVIEWS:
            return
        if http.headers.get("Authorization", "").removeprefix("Bearer ") not in self.chaos.tokens:
            raise unauthorized()

    def _target(self, path: str) -> _Target | None:
        """Read `/api/v1/…` and `/apis/GROUP/VERSION/…`; None for paths that name no resource."""
        parts = path.strip("/").split("/")
        if parts[0] == "api" and len(parts) > 2:
            group, version, rest = "", parts[1], parts[2:]
        elif parts[0] == "apis" and len(parts) > 3:
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            return None
        namespace = None
        if rest[0] == "namespaces" and len(rest) > 2 and (group, version, rest[2]) in self._kinds:
            namespace, rest = rest[1], rest[2:]
        kind = self._kinds.get((group, version, rest[0]))
        if kind is None or len(rest) > 3 or (len(rest) == 3 and rest[2] not in SUBRESOURCES):
            return None
        return _Target(kind, namespace, *rest[1:])

    async def _answer(self, http: web.Request, logged: Request, target: _Target | None) -> web.StreamResponse:
        if http.path in REVIEWS and http.method == "POST":
            return web.json_response(self._review(http.path, await _json(http)), status=201)
        if target is None:
            return self._discover(http.path)
        match logged.verb:
            case "list":
                return self._list(target, http.query)
            case "watch":
                return await self._watch(http, target, logged)
            case "get":
                return _one(self.storage.get(target.kind, target.key))
            case "token":
                account = self.storage.get(SERVICE_ACCOUNTS, target.key)
                return web.json_response(self.tokens.request(account, await _json(http)), status=201)
            case "delete":
                return await self._delete(http, target, logged)
        written = await self._write(http, target)
        logged.effect = written.effect
        return _one(written.record, 201 if written.effect == "created" else 200)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _list(self, target: _Target, query: Mapping[str, str]) -> web.Response:
        selects = _selector(query)
        limit, token = int(query.get("limit") or 0), query.get("continue")
        start = 0
        if token:
            snapshot, start = self._resume(token)
        else:
            records = self.storage.records(target.kind, target.namespace)
            snapshot = _Snapshot([r for r in records if selects(r.body)], self.storage.version)
        page = snapshot.records[start : start + limit] if limit else snapshot.records[start:]
        # The same version on all pages: whoever watches from it misses nothing that happened between them.
        meta: dict[str, Any] = {"resourceVersion": str(snapshot.version)}
        left = len(snapshot.records) - start - len(page)
        if left:
            meta["continue"] = self._token(snapshot, start + len(page))
            meta["remainingItemCount"] = left
        head = {"kind": f"{target.kind.kind}List", "apiVersion": target.kind.api_version, "metadata": meta}
        items = b",".join(r.raw if target.kind.custom else _bare(r) for r in page)
        return web.Response(
            body=json.dumps(head).encode()[:-1] + b',"items":[' + items + b"]}", content_type="application/json"
        )

    def _token(self, snapshot: _Snapshot, start: int) -> str:
        name = uuid.uuid4().hex
        self._snapshots[name] = snapshot
        return base64.urlsafe_b64encode(json.dumps({"snapshot": name, "start": start}).encode()).decode()

    def _resume(self, token: str) -> tuple[_Snapshot, int]:
        try:
            parsed = json.loads(base64.urlsafe_b64decode(token))
            name, start = parsed["snapshot"], parsed["start"]
        except (ValueError, KeyError, TypeError):
            raise bad_request("invalid continue token: continue key is not valid") from None
        if name not in self._snapshots:
            raise expired("The provided continue parameter is too old to display a consistent list result.")
        return self._snapshots[name], start

    async def _watch(self, http: web.Request, target: _Target, logged: Request) -> web.StreamResponse:
        query = http.query
        stream = Stream(target.kind, target.namespace, _selector(query))
        answer = web.StreamResponse()
        answer.content_type = "application/json"
        await answer.prepare(http)
        logged.status = 200
        lines = self.streams.follow(
            stream,
            query.get("resourceVersion", ""),
            bookmarks=query.get("allowWatchBookmarks") in ("true", "1"),
            seconds=float(query["timeoutSeconds"]) if "timeoutSeconds" in query else None,
        )
        try:
            async for text in lines:
                await answer.write(text)
            await answer.write_eof()
        except ConnectionError:
            pass  # the client has left
        finally:
            await lines.aclose()  # type: ignore[attr-defined] # it is a generator
        return answer

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _write(self, http: web.Request, target: _Target) -> Written:
        if target.subresource not in ("", "status") or (target.subresource and not target.kind.status):
            raise unknown_path()
        body, query = await _json(http), http.query
        kind, key, subresource = target.kind, target.key, target.subresource
        manager = query.get("fieldManager") or http.headers.get("User-Agent", "unknown").split("/")[0]
        if http.method == "POST":
            return self.storage.create(kind, target.namespace or "", body, manager)
        if http.method == "PUT":
            return self.storage.replace(kind, key, body, manager, subresource)
        if http.content_type == APPLY:
            if "fieldManager" not in query:
                why = "fieldManager: Required value: is required for apply patch"
                raise StatusError(422, "Invalid", f'PatchOptions.meta.k8s.io "" is invalid: {why}')
            force = query.get("force") in ("true", "1")
            return self.storage.apply(kind, key, body, manager, force=force, subresource=subresource)
        change = {MERGE_PATCH: _merge, JSON_PATCH: _json_patch}.get(http.content_type)
        if change is None:
            raise StatusError(415, "UnsupportedMediaType", "415: Unsupported Media Type")
        return self.storage.patch(kind, key, lambda live: change(live, body), manager, subresource)

    async def _delete(self, http: web.Request, target: _Target, logged: Request) -> web.Response:
        options = await _json(http) if http.can_read_body else {}
        live = self.storage.get(target.kind, target.key)
        left = self.storage.delete(target.kind, target.key, options.get("preconditions"))
        logged.effect = "deleted"
        if left is not None:
            return _one(left)
        details = {"name": target.name, "kind": target.kind.plural, "uid": live.body["metadata"]["uid"]}
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return web.json_response(status)

    # ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _review(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if REVIEWS[path] == "tokenreviews":
            return self.tokens.review(body)
        asked = (body.get("spec") or {}).get("resourceAttributes") or {}
        names = ("verb", "resource", "namespace", "name", "subresource")
        allowed = not self.chaos.forbids(*(asked.get(name, "") for name in names))
        head = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {}}
        return {**head, "spec": body.get("spec"), "status": {"allowed": allowed}}

    def _discover(self, path: str) -> web.Response:
        parts = path.strip("/").split("/")
        groups = sorted({(k.group, k.version) for k in KINDS if k.group})
        match parts:
            case ["version"]:
                return web.json_response({"major": "1", "minor": "37", "gitVersion": "v1.37.0-fake"})
            case ["healthz" | "livez" | "readyz"]:
                return web.Response(text="ok")
            case ["api"]:
                return web.json_response({"kind": "APIVersions", "versions": ["v1"]})
            case ["apis"]:
                return web.json_response({"kind": "APIGroupList", "groups": [_group(*g) for g in groups]})
            case ["apis", group] if found := [g for g in groups if g[0] == group]:
                return web.json_response({"kind": "APIGroup", "apiVersion": "v1", **_group(*found[0])})
            case ["api", "v1"]:
                return self._resources("", "v1")
            case ["apis", group, version] if (group, version) in groups:
                return self._resources(group, version)
        raise unknown_path()

    def _resources(self, group: str, version: str) -> web.Response:
        found = []
        for kind in (k for k in KINDS if (k.group, k.version) == (group, version)):
            base = {"kind": kind.kind, "namespaced": kind.namespaced}
            verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
            found.append({"name": kind.plural, "singularName": kind.kind.lower(), **base, "verbs": verbs})
            if kind.status:
                status = {"name": f"{kind.plural}/status", "singularName": "", **base}
                found.append({**status, "verbs": ["get", "patch", "update"]})
        name = f"{group}/{version}" if group else version
        return web.json_response({"kind": "APIResourceList", "groupVersion": name, "resources": found})


def _group(group: str, version: str) -> dict[str, Any]:
    served = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [served], "preferredVersion": served}


def _verb(http: web.Request, target: _Target) -> str:
    if http.method == "GET":
        return "get" if target.name else "watch" if http.query.get("watch") in ("true", "1") else "list"
    if http.method == "PATCH":
        return "apply" if http.content_type == APPLY else "patch"
    if target.subresource == "token":
        return "token"
    found = {"POST": "create", "PUT": "update", "DELETE": "delete"}.get(http.method)
    if found is None or (http.method == "POST") == bool(target.name):
        raise StatusError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    return found


def _selector(query: Mapping[str, str]) -> Selector:
    labels, fields = parse_labels(query.get("labelSelector", "")), parse_fields(query.get("fieldSelector", ""))
    return lambda body: labels(body) and fields(body)


async def _json(http: web.Request) -> Any:
    try:
        return json.loads(await http.read() or b"{}")
    except ValueError:
        raise bad_request("the body is not JSON") from None


def _one(record: Record, status: int = 200) -> web.Response:
    return web.Response(body=record.raw, status=status, content_type="application/json")


def _bare(record: Record) -> bytes:
    """Items of lists of built-in kinds do not say what they are."""
    return json.dumps({k: v for k, v in record.body.items() if k not in ("apiVersion", "kind")}).encode()


def _merge(live: dict[str, Any], patch: Any) -> dict[str, Any]:
    """RFC 7386."""
    for key, value in patch.items():
        if value is None:
            live.pop(key, None)
        elif isinstance(value, dict):
            inner = live.get(key)
            live[key] = _merge(inner if isinstance(inner, dict) else {}, value)
        else:
            live[key] = value
    return live


def _json_patch(live: dict[str, Any], operations: Any) -> Any:
    try:
        return jsonpatch.apply_patch(live, operations)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
        # A failed test, a path that is not there: the same answer.
        raise StatusError(422, "Invalid", "the server rejected our request due to an error in our request") from None
