"""The API server twice, both small: over HTTP with scripted answers, and as a KubeClient that keeps what is written.

`tests.fakes.kube` is the strict one; these are for tests of single parts, in their own event loop.
"""

import asyncio
import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from elile_operator.engine import Clock
from elile_operator.kube.client import Json
from elile_operator.kube.errors import (
    KubeConflictError,
    KubeError,
    KubeExistsError,
    KubeForbiddenError,
    KubeInvalidError,
    KubeNotFoundError,
    KubeUnavailableError,
)
from elile_operator.kube.resources import ELILE_SECRETS, PODS, SECRETS, VAULT_SERVERS, Resource

# ── over HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Request:
    """What arrived: the path as it was sent (quoted), the query parsed, the body parsed if it was JSON."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back: `body` as it is if it is text, as JSON if not. `delay` in seconds comes first.

    With `lines`, these are sent one by one, each as JSON if it is no text; then the stream ends, or is `cut` off.
    """

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    lines: Sequence[Any] | None = None
    cut: bool = False


def status_body(code: int, reason: str) -> Json:
    """A metav1.Status, whose message must not get any further."""
    return {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "canary hunter2"}


class HttpApi:
    """Answers what it was told to, in turn; the last answer for a call stays. Anything else is a 500 it remembers."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.unexpected: list[str] = []
        self.url = ""
        self.connections: set[object] = set()
        self._answers: dict[tuple[str, str], list[Answer]] = {}
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.01)

    def answer(self, method: str, path: str, *answers: Answer) -> None:
        self._answers[method, path] = list(answers)

    async def start(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        text = await request.text()
        path = request.rel_url.raw_path
        self.connections.add(request.transport)
        self.requests.append(
            Request(
                request.method,
                path,
                dict(request.query),
                dict(request.headers),
                json.loads(text) if text else None,
            )
        )
        answers = self._answers.get((request.method, path))
        if not answers:
            self.unexpected.append(f"{request.method} {path}")
            return web.Response(status=500)
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        await asyncio.sleep(answer.delay)
        if answer.lines is not None:
            return await self._stream(request, answer)
        return web.Response(status=answer.status, text=_text(answer.body), headers=answer.headers)

    async def _stream(self, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        stream = web.StreamResponse(status=answer.status)
        await stream.prepare(request)
        for line in answer.lines or ():
            await stream.write(_text(line).encode() + b"\n")
        if answer.cut and request.transport is not None:
            request.transport.abort()
        return stream


def _text(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(body)


# ── as a KubeClient ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Write:
    """One write that was asked for, whatever became of it."""

    verb: str  # create, update, apply, status, patch, merge or delete
    resource: str
    namespace: str
    name: str
    body: Any
    manager: str = ""


_ERRORS: dict[int, type[KubeError]] = {
    0: KubeUnavailableError,
    403: KubeForbiddenError,
    404: KubeNotFoundError,
    409: KubeConflictError,
    422: KubeInvalidError,
    500: KubeUnavailableError,
}


class MemoryKube:
    """Objects by kind and name: uids, resourceVersions, preconditions, server-side apply of Secrets and of restarts.

    `fail` scripts the next answers of one verb of one kind. `writes` and `reads` note what was asked for.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._objects: dict[tuple[str, str, str], Json] = {}
        self._applied: dict[tuple[str, str, str, str], Json] = {}
        self._statuses: dict[tuple[str, str, str], dict[str, Json]] = {}  # as applied, by manager
        self._failing: dict[tuple[str, str], list[int | None]] = {}
        self._count = 100
        self.writes: list[Write] = []
        self.reads: list[str] = []
        self.closed = False

    # ── what tests do and ask ────────────────────────────────────────────────────────────────────────────────────────

    def put(self, resource: Resource, body: Json) -> Json:
        """Have an object there as it is, with a uid and a new resourceVersion; answers a copy."""
        kept = copy.deepcopy(body)
        meta = kept["metadata"]
        if "uid" not in meta:
            meta["uid"] = f"uid-{self._next()}"
        meta["resourceVersion"] = self._next()
        self._objects[resource.plural, meta.get("namespace") or "", meta["name"]] = kept
        return copy.deepcopy(kept)

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        del self._objects[resource.plural, namespace, name]

    def find(self, resource: Resource, namespace: str, name: str) -> Json | None:
        return copy.deepcopy(self._objects.get((resource.plural, namespace, name)))

    def fail(self, verb: str, resource: Resource, *statuses: int | None) -> None:
        """Answer the next calls with these statuses; 0 is no answer at all, None is the usual answer."""
        self._failing[verb, resource.plural] = list(statuses)

    def written(self, verb: str, resource: Resource) -> list[Write]:
        return [w for w in self.writes if (w.verb, w.resource) == (verb, resource.plural)]

    # ── what a KubeClient does ───────────────────────────────────────────────────────────────────────────────────────

    async def close(self) -> None:
        self.closed = True

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Json:
        self.reads.append(f"get {resource.plural} {namespace or ''}/{name}")
        await self._turn("get", resource)
        return self._existing(resource, namespace, name)

    async def list_page(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        token: str = "",
        label_selector: str | None = None,
        limit: int = 500,
    ) -> tuple[list[Json], str, str]:
        """All there is, in one page; the selector is only noted."""
        assert (token, limit) == ("", 500)
        self.reads.append(f"list {resource.plural} {namespace or ''} {label_selector or ''}".rstrip())
        await self._turn("list", resource)
        found = [
            copy.deepcopy(body)
            for (plural, where, _), body in self._objects.items()
            if plural == resource.plural and namespace in (None, where)
        ]
        return found, "", str(self._count)

    async def replace(self, resource: Resource, namespace: str | None, name: str, *, body: Json, manager: str) -> Json:
        await self._write(Write("update", resource.plural, namespace or "", name, body, manager), resource)
        known = self._existing(resource, namespace, name)
        if body["metadata"]["resourceVersion"] != known["metadata"]["resourceVersion"]:
            raise KubeConflictError(f"PUT {resource.path(namespace, name)}", status=409, reason="Conflict")
        return self.put(resource, body)

    async def create(self, resource: Resource, namespace: str | None, body: Json, *, manager: str) -> Json:
        name = body["metadata"]["name"]
        await self._write(Write("create", resource.plural, namespace or "", name, body, manager), resource)
        if (resource.plural, namespace or "", name) in self._objects:
            raise KubeExistsError(f"POST {resource.path(namespace)}", status=409, reason="AlreadyExists")
        return self.put(resource, body)

    async def apply(
        self, resource: Resource, namespace: str | None, name: str, *, body: Json, manager: str, status: bool = False
    ) -> Json:
        verb = "status" if status else "apply"
        await self._write(Write(verb, resource.plural, namespace or "", name, body, manager), resource)
        key = (resource.plural, namespace or "", name)
        call = f"PATCH {resource.path(namespace, name, 'status' if status else None)}"
        known, asked = self._objects.get(key), body["metadata"]
        if known is None and status:
            raise KubeNotFoundError(call, status=404, reason="NotFound")
        if known is None and "uid" in asked:
            raise KubeConflictError(call, status=409, reason="Conflict")
        if known is not None:
            meta = known["metadata"]
            # As kube-apiserver 1.37 does it, see tests.fakes.kube.contract: a status ignores the uid.
            if not status and asked.get("uid", meta["uid"]) != meta["uid"]:
                raise KubeInvalidError(call, status=422, reason="Invalid")
            if asked.get("resourceVersion", meta["resourceVersion"]) != meta["resourceVersion"]:
                raise KubeConflictError(call, status=409, reason="Conflict")
        if status:
            assert known is not None
            before = self._statuses.setdefault(key, {}).get(manager, {})
            others = [each for name_, each in self._statuses[key].items() if name_ != manager]
            self._statuses[key][manager] = copy.deepcopy(body["status"])
            merged = _merged_status(known.get("status", {}), before, body["status"], others)
            return self._keep(resource, known, {**known, "status": merged})
        if known is None:
            self._applied = {held: each for held, each in self._applied.items() if held[:3] != key}
        before = self._applied.get((*key, manager), {"metadata": {}})
        self._applied[*key, manager] = copy.deepcopy(body)
        if resource.group == "apps":
            assert known is not None
            return self._keep(resource, known, _annotated(known, before, body))
        others = [each for held, each in self._applied.items() if held[:3] == key and held[3] != manager]
        merged = copy.deepcopy(known) if known else {"metadata": {"namespace": namespace}}
        meta = merged["metadata"]
        meta["name"] = name
        meta.setdefault("creationTimestamp", self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"))
        for part in ("labels", "annotations"):
            kept = [each["metadata"].get(part, {}) for each in others]
            meta[part] = _merge(meta.get(part), before["metadata"].get(part), asked.get(part), kept)
        known_owners, had, wanted = (_by_uid(each) for each in (meta, before["metadata"], asked))
        meta["ownerReferences"] = list(_merge(known_owners, had, wanted, []).values())
        merged["data"] = _merge(
            merged.get("data"), before.get("data"), body.get("data"), [each.get("data", {}) for each in others]
        )
        if not body.get("data") and not asked.keys() - {"namespace", "name", "uid", "resourceVersion"}:
            del self._applied[*key, manager]  # who has no fields is no manager
        meta["managedFields"] = self._managed(key, manager, meta.get("managedFields", []))
        merged |= {part: body[part] for part in ("apiVersion", "kind", "type") if part in body}
        return self._keep(resource, known, merged)

    async def json_patch(
        self, resource: Resource, namespace: str | None, name: str, *, operations: list[Json], manager: str
    ) -> Json:
        await self._write(Write("patch", resource.plural, namespace or "", name, operations, manager), resource)
        body = self._existing(resource, namespace, name)
        for operation in operations:
            *parents, last = [p.replace("~1", "/").replace("~0", "~") for p in operation["path"][1:].split("/")]
            inner: Any = body
            for part in parents:
                inner = inner[part]
            if isinstance(inner, list) and last == "-":
                inner.append(operation["value"])
            elif operation["op"] == "remove":
                del inner[int(last) if isinstance(inner, list) else last]
            elif operation["op"] in ("add", "replace"):
                inner[last] = operation["value"]
            elif operation["op"] != "test" or inner[last] != operation["value"]:
                raise KubeInvalidError(f"PATCH {resource.path(namespace, name)}", status=422, reason="Invalid")
        if "deletionTimestamp" in body["metadata"] and not body["metadata"].get("finalizers"):
            self.remove(resource, namespace or "", name)
            return body
        return self.put(resource, body)

    async def merge_patch(
        self, resource: Resource, namespace: str | None, name: str, *, body: Json, manager: str, subresource: str
    ) -> Json:
        assert subresource == "status"
        await self._write(Write("merge", resource.plural, namespace or "", name, body, manager), resource)
        found = self._existing(resource, namespace, name)
        annotations = {**found["metadata"].get("annotations", {}), **body["metadata"]["annotations"]}
        return self.put(resource, {**found, "metadata": {**found["metadata"], "annotations": annotations}})

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        preconditions: Json,
        propagation: str | None = None,
    ) -> None:
        await self._write(Write("delete", resource.plural, namespace or "", name, preconditions), resource)
        found = self._existing(resource, namespace, name)["metadata"]
        if any(found[part] != value for part, value in preconditions.items()):
            raise KubeConflictError(f"DELETE {resource.path(namespace, name)}", status=409, reason="Conflict")
        self.remove(resource, namespace or "", name)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _next(self) -> str:
        self._count += 1
        return str(self._count)

    def _keep(self, resource: Resource, known: Json | None, body: Json) -> Json:
        """Store an object, unless that changes nothing."""
        if known is not None and _comparable(known) == _comparable(body):
            return copy.deepcopy(known)
        return self.put(resource, body)

    def _managed(self, key: tuple[str, str, str], manager: str, before: list[Json]) -> list[Json]:
        """Who applied which keys, and when; whoever wrote otherwise stays as it is."""
        moment = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        times = {entry["manager"]: entry["time"] for entry in before if entry["operation"] == "Apply"}
        applied = [
            {
                "manager": str(held[3]),
                "operation": "Apply",
                "time": moment if held[3] == manager else times.get(str(held[3]), moment),
                "fieldsV1": {"f:data": {f"f:{name}": {} for name in body.get("data", {})}},
            }
            for held, body in self._applied.items()
            if held[:3] == key
        ]
        return [*(entry for entry in before if entry["operation"] != "Apply"), *applied]

    def _existing(self, resource: Resource, namespace: str | None, name: str) -> Json:
        found = self.find(resource, namespace or "", name)
        if found is None:
            raise KubeNotFoundError(f"GET {resource.path(namespace, name)}", status=404, reason="NotFound")
        return found

    async def _write(self, write: Write, resource: Resource) -> None:
        self.writes.append(copy.deepcopy(write))  # the caller may go on with its own
        await self._turn(write.verb, resource)

    async def _turn(self, verb: str, resource: Resource) -> None:
        await asyncio.sleep(0)
        answers = self._failing.get((verb, resource.plural))
        if answers and (code := answers.pop(0)) is not None:
            raise _ERRORS[code](f"{verb} {resource.plural}", status=code, reason="Scripted")


def _annotated(known: Json, before: Json, body: Json) -> Json:
    """A workload after an apply that names annotations of its template, and nothing else."""

    def of(found: Json) -> Json:
        annotations: Json = found.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
        return annotations

    merged = copy.deepcopy(known)
    merged["spec"]["template"].setdefault("metadata", {})["annotations"] = _merge(of(known), of(before), of(body), [])
    merged["metadata"]["generation"] += of(merged) != of(known)
    return merged


def _comparable(body: Json) -> Json:
    """An object without what a server sets itself at each write."""
    passing = ("resourceVersion", "managedFields")
    return {**body, "metadata": {k: v for k, v in body["metadata"].items() if k not in passing}}


def _merge(
    known: Mapping[str, Any] | None,
    before: Mapping[str, Any] | None,
    asked: Mapping[str, Any] | None,
    others: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """What an apply makes of one map: what it asked for before and asks for no more goes, unless others do."""
    held = {key for other in others for key in other}
    kept = {k: v for k, v in (known or {}).items() if k not in (before or {}) or k in held}
    return {**kept, **(asked or {})}


def _merged_status(known: Json, before: Json, asked: Json, others: Sequence[Json]) -> Json:
    """What an apply makes of a status that several managers share: a map, with conditions as a map by their type."""
    if not others:
        return asked
    merged = _merge(known, before, asked, others)
    of = [{c["type"]: c for c in each.get("conditions", [])} for each in (known, before, asked, *others)]
    conditions = _merge(of[0], of[1], of[2], of[3:])
    return {**merged, "conditions": list(conditions.values())} if conditions else merged


def _by_uid(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {owner["uid"]: owner for owner in meta.get("ownerReferences") or []}


# ── objects ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def vault_server(name: str = "default", *, uid: str = "uid-server", generation: int = 1, **spec: Any) -> Json:
    """A VaultServer as the API server has it."""
    return {
        "apiVersion": VAULT_SERVERS.api_version,
        "kind": VAULT_SERVERS.kind,
        "metadata": {"name": name, "uid": uid, "generation": generation, "resourceVersion": "1"},
        "spec": {"address": "https://vault.test:8200", "auth": {"kubernetes": {}}, **spec},
    }


def elile_secret(
    name: str = "db",
    namespace: str = "shop",
    *,
    uid: str = "uid-db",
    generation: int = 1,
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> Json:
    """An ElileSecret as the API server has it; it reads the entry `db` unless `sources` says otherwise."""
    return {
        "apiVersion": ELILE_SECRETS.api_version,
        "kind": ELILE_SECRETS.kind,
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": uid,
            "generation": generation,
            "resourceVersion": "1",
            "annotations": dict(annotations or {}),
        },
        "spec": {"sources": [{"name": "db", "kv": {"path": "db"}}], **spec},
    }


def secret(name: str = "db", namespace: str = "shop", **data: str) -> Json:
    """A Secret that somebody made; values are as in `data`, base64."""
    return {
        "apiVersion": "v1",
        "kind": SECRETS.kind,
        "metadata": {"namespace": namespace, "name": name},
        "type": "Opaque",
        "data": data,
    }


def pod(
    name: str = "app-1",
    namespace: str = "shop",
    *,
    mounts: str = "db",
    node: str = "node-1",
    created: str = "2029-01-01T00:00:00Z",
) -> Json:
    """A running pod that mounts a Secret."""
    return {
        "apiVersion": "v1",
        "kind": PODS.kind,
        "metadata": {"namespace": namespace, "name": name, "uid": f"uid-{name}", "creationTimestamp": created},
        "spec": {
            "nodeName": node,
            "volumes": [{"name": "s", "secret": {"secretName": mounts}}],
            "containers": [{"name": "app", "volumeMounts": [{"name": "s", "mountPath": "/s"}]}],
        },
        "status": {"phase": "Running"},
    }
