"""Rules of an API server that the fake must keep: each runs on the fake and, in the lab, on a real one.

A rule is a function that talks HTTP to a namespace of its own and asserts what comes back. All were first seen on
kube-apiserver 1.37.2; what a rule is there for, or where it is written, stands in its docstring.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import requests

__all__ = ["RULES", "Api", "Rule"]

APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
NOBODY = "11111111-1111-1111-1111-111111111111"


@dataclass(frozen=True)
class Answer:
    """Status and parsed body."""

    code: int
    body: dict[str, Any]

    @property
    def reason(self) -> str:
        return f"{self.code} {self.body.get('reason', '')}".strip()

    @property
    def meta(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["metadata"]
        return found

    def owned_by(self, manager: str) -> dict[str, Any]:
        """The fields of a manager, without the dots that mark owned parents."""
        for entry in self.meta.get("managedFields", []):
            if entry["manager"] == manager:
                return _undotted(entry["fieldsV1"])
        return {}


def _undotted(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: _undotted(v) for k, v in fields.items() if k != "."}


@dataclass(frozen=True)
class Api:
    """A server and a namespace on it, which exists and is empty."""

    session: requests.Session
    url: str
    namespace: str
    watch_seconds: float = 1  # a real server takes whole ones

    def call(self, method: str, path: str, body: Any = None, content: str = "application/json", **query: str) -> Answer:
        headers = {"Content-Type": content, "User-Agent": "contract/1"}
        data = None if body is None else json.dumps(body)
        got = self.session.request(method, self.url + path, params=query, data=data, headers=headers, timeout=30)
        try:
            return Answer(got.status_code, got.json())
        except ValueError:  # paths that nobody serves are answered in plain text
            return Answer(got.status_code, {})

    def secrets(self, name: str = "") -> str:
        return f"/api/v1/namespaces/{self.namespace}/secrets{'/' + name if name else ''}"

    def eliles(self, name: str = "") -> str:
        return f"/apis/elile.io/v1alpha1/namespaces/{self.namespace}/elilesecrets{'/' + name if name else ''}"

    def leases(self, name: str) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/{name}"

    def apply(self, path: str, body: Any, manager: str = "m", *, force: bool = True) -> Answer:
        query = {"fieldManager": manager, **({"force": "true"} if force else {})}
        return self.call("PATCH", path, body, APPLY, **query)

    def merge(self, path: str, body: Any) -> Answer:
        return self.call("PATCH", path, body, MERGE_PATCH)

    def watch(self, path: str, **query: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield type and object of what is told within `watch_seconds`."""
        params = {"watch": "true", "timeoutSeconds": str(self.watch_seconds), **query}
        got = self.session.get(self.url + path, params=params, timeout=30)
        assert got.status_code == 200
        for line in got.text.splitlines():
            event = json.loads(line)
            yield event["type"], event["object"]

    def make_secret(self, name: str = "a", **meta: Any) -> Answer:
        made = self.apply(self.secrets(name), secret(name, **meta))
        assert made.code == 201, made
        return made

    def make_elile(self, name: str = "e", **meta: Any) -> Answer:
        made = self.call("POST", self.eliles(), elile(name, **meta))
        assert made.code == 201, made
        return made


def secret(name: str, data: dict[str, str] | None = None, **meta: Any) -> dict[str, Any]:
    data = {"k": "dg=="} if data is None else data
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, **meta}, "data": data}


def elile(name: str, **meta: Any) -> dict[str, Any]:
    spec = {"sources": [{"name": "main", "kv": {"path": "p/x"}}]}
    return {"apiVersion": "elile.io/v1alpha1", "kind": "ElileSecret", "metadata": {"name": name, **meta}, "spec": spec}


def status(name: str, said: dict[str, Any], **meta: Any) -> dict[str, Any]:
    head = {"apiVersion": "elile.io/v1alpha1", "kind": "ElileSecret", "metadata": {"name": name, **meta}}
    return {**head, "status": said}


def condition(type_: str) -> dict[str, Any]:
    at = "2026-01-01T00:00:00Z"
    return {"type": type_, "status": "True", "reason": "R", "message": "m", "lastTransitionTime": at}


Rule = Callable[[Api], None]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    RULES.append(function)
    return function


# ── names, versions, preconditions ───────────────────────────────────────────────────────────────────────────────────


@rule
def a_create_sets_what_belongs_to_the_server(api: Api) -> None:
    """rest.FillObjectMetaSystemFields: uid and creationTimestamp of the body are overwritten."""
    asked = secret("a", uid=NOBODY, creationTimestamp="2001-01-01T00:00:00Z")
    made = api.call("POST", api.secrets(), asked)
    assert made.code == 201
    assert made.meta["uid"] != NOBODY
    assert made.meta["creationTimestamp"] > "2026"
    assert made.meta["namespace"] == api.namespace
    assert made.body["type"] == "Opaque"
    assert int(made.meta["resourceVersion"]) > 0


@rule
def a_name_is_taken_once(api: Api) -> None:
    """Two 409s differ by their reason: AlreadyExists here, Conflict everywhere else."""
    api.make_secret()
    assert api.call("POST", api.secrets(), secret("a")).reason == "409 AlreadyExists"


@rule
def a_body_with_a_version_is_not_created(api: Api) -> None:
    """A bare 500, registry/generic/registry/store.go."""
    assert api.call("POST", api.secrets(), secret("a", resourceVersion="5")).reason == "500"


@rule
def nothing_is_made_in_a_namespace_that_does_not_exist(api: Api) -> None:
    """Admission plugin NamespaceLifecycle: the 404 names the namespace, not the object."""
    for answer in (
        api.call("POST", "/api/v1/namespaces/nowhere/secrets", secret("a")),
        api.apply("/api/v1/namespaces/nowhere/secrets/a", secret("a")),
    ):
        assert answer.reason == "404 NotFound"
        assert answer.body["details"]["kind"] == "namespaces"


@rule
def an_apply_with_a_version_creates_what_is_absent(api: Api) -> None:
    """ADR 0004 rests on it: a version is only compared where something exists."""
    made = api.apply(api.secrets("a"), secret("a", resourceVersion="1"))
    assert made.code == 201
    assert made.meta["resourceVersion"] != "1"


@rule
def an_apply_with_another_version_conflicts_with_what_is_present(api: Api) -> None:
    """The other half of ADR 0004: create or fail."""
    api.make_secret()
    assert api.apply(api.secrets("a"), secret("a", resourceVersion="1")).reason == "409 Conflict"


@rule
def an_apply_with_a_uid_creates_nothing(api: Api) -> None:
    """409 since 1.25: the object that was meant is gone."""
    answer = api.apply(api.secrets("a"), secret("a", uid=NOBODY))
    assert answer.reason == "409 Conflict"
    assert "uid mismatch" in answer.body["message"]


@rule
def an_apply_with_another_uid_is_invalid(api: Api) -> None:
    """1.37: 422 and not 409, because a patch is merged first and metadata.uid is found changed then."""
    api.make_secret()
    answer = api.apply(api.secrets("a"), secret("a", uid=NOBODY))
    assert answer.reason == "422 Invalid"
    assert answer.body["details"]["causes"][0]["field"] == "metadata.uid"


@rule
def a_put_with_another_uid_conflicts(api: Api) -> None:
    """Unlike a patch: storage checks the uid of the body as a precondition."""
    api.make_secret()
    assert api.call("PUT", api.secrets("a"), secret("a", uid=NOBODY)).reason == "409 Conflict"


@rule
def a_put_with_an_old_version_conflicts(api: Api) -> None:
    """Optimistic concurrency."""
    old = api.make_secret().body
    api.merge(api.secrets("a"), {"metadata": {"labels": {"x": "y"}}})
    assert api.call("PUT", api.secrets("a"), old).reason == "409 Conflict"
    old["metadata"].pop("resourceVersion")
    assert api.call("PUT", api.secrets("a"), old).code == 200, "secrets allow unconditional updates"


@rule
def a_put_on_a_custom_resource_needs_a_version(api: Api) -> None:
    """AllowUnconditionalUpdate is false for custom resources."""
    api.make_elile()
    assert api.call("PUT", api.eliles("e"), elile("e")).reason == "422 Invalid"


@rule
def a_put_makes_a_lease_but_no_secret(api: Api) -> None:
    """AllowCreateOnUpdate is true for leases, which need a version afterwards."""
    body = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "x"}}
    assert api.call("PUT", api.leases("l"), body).code == 201
    assert api.call("PUT", api.leases("l"), body).reason == "422 Invalid"
    assert api.call("PUT", api.secrets("a"), secret("a")).reason == "404 NotFound"


@rule
def a_merge_patch_with_an_old_version_conflicts(api: Api) -> None:
    """A resourceVersion in the patch is a precondition."""
    api.make_secret()
    assert api.merge(api.secrets("a"), {"metadata": {"resourceVersion": "1"}}).reason == "409 Conflict"


@rule
def a_failed_test_of_a_json_patch_is_invalid(api: Api) -> None:
    """422 without causes; a path that is not there is answered alike."""
    api.make_secret()
    test = [{"op": "test", "path": "/data/k", "value": "other"}]
    assert api.call("PATCH", api.secrets("a"), test, JSON_PATCH).reason == "422 Invalid"
    gone = [{"op": "remove", "path": "/data/nothing"}]
    assert api.call("PATCH", api.secrets("a"), gone, JSON_PATCH).reason == "422 Invalid"


@rule
def a_write_that_changes_nothing_keeps_the_version(api: Api) -> None:
    """Also for watches: there is no event."""
    version = api.make_secret().meta["resourceVersion"]
    assert api.apply(api.secrets("a"), secret("a")).meta["resourceVersion"] == version
    assert api.merge(api.secrets("a"), {"data": {"k": "dg=="}}).meta["resourceVersion"] == version


@rule
def the_path_and_the_body_agree(api: Api) -> None:
    """400, before anything else is looked at."""
    assert api.apply(api.secrets("a"), secret("b")).reason == "400 BadRequest"
    assert api.apply(api.secrets("a"), {"metadata": {"name": "a"}}).reason == "400 BadRequest"


@rule
def an_apply_names_its_manager(api: Api) -> None:
    """PatchOptions are validated: 422."""
    assert api.call("PATCH", api.secrets("a"), secret("a"), APPLY).reason == "422 Invalid"
    assert api.apply(api.secrets("a"), secret("a", managedFields=[{"manager": "x"}])).reason == "400 BadRequest"


@rule
def a_patch_says_which_kind_it_is(api: Api) -> None:
    """415."""
    api.make_secret()
    assert api.call("PATCH", api.secrets("a"), {}).code == 415


@rule
def what_is_not_there_is_not_found(api: Api) -> None:
    """404 for the object, and for a kind nobody serves."""
    assert api.call("GET", api.secrets("a")).reason == "404 NotFound"
    assert api.call("DELETE", api.secrets("a")).reason == "404 NotFound"
    assert api.call("GET", f"/api/v1/namespaces/{api.namespace}/nothings").reason == "404 NotFound"


# ── fields and their managers ────────────────────────────────────────────────────────────────────────────────────────


@rule
def a_field_of_another_manager_conflicts_unless_forced(api: Api) -> None:
    """KEP-555. By force the other loses it."""
    api.make_secret()
    other = secret("a", {"k": "eA=="})
    refused = api.apply(api.secrets("a"), other, "other", force=False)
    assert refused.reason == "409 Conflict"
    assert refused.body["details"]["causes"][0]["reason"] == "FieldManagerConflict"
    assert refused.body["details"]["causes"][0]["field"] == ".data.k"
    forced = api.apply(api.secrets("a"), other, "other")
    assert forced.body["data"] == {"k": "eA=="}
    assert forced.owned_by("m") == {}
    assert forced.owned_by("other") == {"f:data": {"f:k": {}}}


@rule
def a_field_with_the_same_value_is_shared(api: Api) -> None:
    """And outlives that one of the two gives it up."""
    api.make_secret()
    shared = api.apply(api.secrets("a"), secret("a"), "other", force=False)
    assert shared.code == 200
    assert shared.owned_by("m") == shared.owned_by("other") == {"f:data": {"f:k": {}}}
    left = api.apply(api.secrets("a"), secret("a", {"z": "eg=="}))
    assert left.body["data"] == {"k": "dg==", "z": "eg=="}


@rule
def a_field_given_up_goes_when_nobody_else_has_it(api: Api) -> None:
    """Also labels, of which none is left."""
    api.apply(api.secrets("a"), secret("a", {"k": "dg==", "z": "eg=="}, labels={"l": "1"}))
    api.merge(api.secrets("a"), {"data": {"foreign": "eg=="}})
    left = api.apply(api.secrets("a"), secret("a"))
    assert left.body["data"] == {"k": "dg==", "foreign": "eg=="}
    assert "labels" not in left.meta


@rule
def a_merge_patch_takes_the_fields_that_it_changes(api: Api) -> None:
    """Under the agent's name, as operation Update."""
    api.apply(api.secrets("a"), secret("a", {"k": "dg==", "z": "eg=="}))
    changed = api.merge(api.secrets("a"), {"data": {"k": "eA=="}})
    assert changed.owned_by("m") == {"f:data": {"f:z": {}}}
    assert changed.owned_by("contract") == {"f:data": {"f:k": {}}}


@rule
def conditions_are_merged_by_their_type(api: Api) -> None:
    """x-kubernetes-list-map-keys: two writers, two entries; giving up one leaves the other's."""
    api.make_elile()
    path = api.eliles("e") + "/status"
    api.apply(path, status("e", {"revision": 1, "conditions": [condition("Ready")]}), "first")
    both = api.apply(path, status("e", {"conditions": [condition("Other")]}), "second")
    assert {c["type"] for c in both.body["status"]["conditions"]} == {"Ready", "Other"}
    left = api.apply(path, status("e", {"revision": 1}), "first")
    assert [c["type"] for c in left.body["status"]["conditions"]] == ["Other"]
    assert left.owned_by("first") == {"f:status": {"f:revision": {}}}


@rule
def owners_are_merged_by_their_uid(api: Api) -> None:
    """ownerReferences of two managers stand beside each other; one reference is owned as a whole."""
    owners = [api.make_elile(name).meta["uid"] for name in ("e", "f")]
    for name, uid, manager in (("e", owners[0], "m"), ("f", owners[1], "other")):
        reference = {"apiVersion": "elile.io/v1alpha1", "kind": "ElileSecret", "name": name, "uid": uid}
        made = api.apply(api.secrets("a"), secret("a", ownerReferences=[reference]), manager)
    assert [r["uid"] for r in made.meta["ownerReferences"]] == owners


# ── spec and status ──────────────────────────────────────────────────────────────────────────────────────────────────


@rule
def a_custom_resource_is_born_without_its_status(api: Api) -> None:
    """customresource/strategy.go, PrepareForCreate."""
    made = api.call("POST", api.eliles(), {**elile("e"), "status": {"revision": 3}})
    assert "status" not in made.body
    assert made.meta["generation"] == 1


@rule
def the_generation_counts_the_spec_alone(api: Api) -> None:
    """Not labels, not the status; Secrets have none."""
    api.make_elile()
    assert api.merge(api.eliles("e"), {"metadata": {"labels": {"x": "y"}}}).meta["generation"] == 1
    assert api.apply(api.eliles("e") + "/status", status("e", {"revision": 1})).meta["generation"] == 1
    assert api.merge(api.eliles("e"), {"spec": {"deletionPolicy": "Retain"}}).meta["generation"] == 2
    assert "generation" not in api.make_secret().meta


@rule
def status_and_spec_are_written_by_ways_of_their_own(api: Api) -> None:
    """Each ignores the other's half; the status of a custom resource takes no metadata either."""
    before = api.make_elile().body["spec"]
    path = api.eliles("e")
    through = api.merge(path + "/status", {"metadata": {"labels": {"x": "y"}}, "spec": {}, "status": {"revision": 2}})
    assert through.body["status"] == {"revision": 2}
    assert through.body["spec"] == before
    assert "labels" not in through.meta
    assert api.merge(path, {"status": {"revision": 9}}).body["status"] == {"revision": 2}


@rule
def a_status_is_applied_whatever_uid_it_names(api: Api) -> None:
    """1.37: metadata is taken from the stored object before uids are compared. Only a resourceVersion protects."""
    api.make_elile()
    path = api.eliles("e") + "/status"
    assert api.apply(path, status("e", {"revision": 1}, uid=NOBODY)).code == 200
    assert api.apply(path, status("e", {"revision": 2}, resourceVersion="1")).reason == "409 Conflict"
    test = [{"op": "test", "path": "/metadata/uid", "value": NOBODY}, {"op": "remove", "path": "/status/revision"}]
    assert api.call("PATCH", path, test, JSON_PATCH).reason == "422 Invalid"


@rule
def a_status_is_not_created(api: Api) -> None:
    """404, with a uid and without."""
    for meta in ({}, {"uid": NOBODY}):
        assert api.apply(api.eliles("e") + "/status", status("e", {"revision": 1}, **meta)).reason == "404 NotFound"


@rule
def the_status_of_a_pod_takes_annotations(api: Api) -> None:
    """pod/strategy.go, podStatusStrategy: the poke goes this way, without any right to the pod's spec."""
    pod = {"metadata": {"name": "p"}, "spec": {"nodeName": "none", "containers": [{"name": "c", "image": "i"}]}}
    assert api.call("POST", f"/api/v1/namespaces/{api.namespace}/pods", pod).code == 201
    path = f"/api/v1/namespaces/{api.namespace}/pods/p/status"
    poked = api.merge(path, {"metadata": {"annotations": {"x": "y"}}, "spec": {"nodeName": "other"}})
    assert poked.meta["annotations"] == {"x": "y"}
    assert poked.body["spec"]["nodeName"] == "none"


@rule
def unknown_fields_are_pruned_but_not_applied(api: Api) -> None:
    """Structural schemas prune; server-side apply needs every field typed and answers 500."""
    api.make_elile()
    assert "nope" not in api.merge(api.eliles("e"), {"spec": {"nope": 1}}).body["spec"]
    asked = elile("e")
    asked["spec"]["nope"] = 1
    assert api.apply(api.eliles("e"), asked).reason == "500"


@rule
def a_secret_keeps_its_type(api: Api) -> None:
    """secret/strategy.go, ValidateSecretUpdate."""
    api.make_secret()
    assert api.merge(api.secrets("a"), {"type": "other"}).reason == "422 Invalid"


@rule
def an_immutable_secret_keeps_its_data(api: Api) -> None:
    """Until it is deleted."""
    api.make_secret()
    api.merge(api.secrets("a"), {"immutable": True})
    assert api.merge(api.secrets("a"), {"data": {"k": "eA=="}}).reason == "422 Invalid"


# ── deleting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@rule
def a_delete_minds_its_preconditions(api: Api) -> None:
    """409, both for uid and resourceVersion."""
    meta = api.make_secret().meta
    for wrong in ({"uid": NOBODY}, {"resourceVersion": "1"}):
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": wrong}
        assert api.call("DELETE", api.secrets("a"), options).reason == "409 Conflict"
    right = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
    done = api.call("DELETE", api.secrets("a"), {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": right})
    assert done.body["status"] == "Success"
    assert api.call("GET", api.secrets("a")).code == 404


@rule
def a_finalizer_holds_a_deleted_object(api: Api) -> None:
    """Being deleted is a new generation, no finalizer may join, and with the last one it goes."""
    api.make_elile(finalizers=["example.com/hold"])
    deleting = api.call("DELETE", api.eliles("e"))
    assert "deletionTimestamp" in deleting.meta
    assert deleting.meta["generation"] == 2
    more = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    assert api.merge(api.eliles("e"), more).reason == "422 Invalid"
    assert api.merge(api.eliles("e"), {"metadata": {"finalizers": None}}).code == 200
    assert api.call("GET", api.eliles("e")).code == 404


@rule
def the_garbage_collector_follows_owners(api: Api) -> None:
    """Dependents go with their last owner, and at once when they name one that never was."""
    owner = api.make_elile().meta["uid"]
    for name, uid in (("kept", owner), ("orphan", NOBODY)):
        reference = {"apiVersion": "elile.io/v1alpha1", "kind": "ElileSecret", "name": "e", "uid": uid}
        api.make_secret(name, ownerReferences=[reference])
    _gone(api, "orphan")
    assert api.call("GET", api.secrets("kept")).code == 200
    api.call("DELETE", api.eliles("e"))
    _gone(api, "kept")


def _gone(api: Api, name: str) -> None:
    deadline = time.monotonic() + 30
    while api.call("GET", api.secrets(name)).code != 404:
        assert time.monotonic() < deadline, f"{name} is not collected"
        time.sleep(0.05)


# ── lists and watches ────────────────────────────────────────────────────────────────────────────────────────────────


@rule
def pages_of_one_list_show_one_moment(api: Api) -> None:
    """The version is the same on all of them, and what is made meanwhile is on none."""
    for name in ("b", "d", "f"):
        api.make_secret(name)
    first = api.call("GET", api.secrets(), limit="2")
    assert first.meta["remainingItemCount"] == 1
    api.make_secret("e")
    second = api.call("GET", api.secrets(), limit="2", **{"continue": first.meta["continue"]})
    assert [i["metadata"]["name"] for i in (*first.body["items"], *second.body["items"])] == ["b", "d", "f"]
    assert second.meta == {"resourceVersion": first.meta["resourceVersion"]}


@rule
def a_broken_continue_token_is_a_bad_request(api: Api) -> None:
    """400; 410 is for a token that has expired."""
    assert api.call("GET", api.secrets(), limit="1", **{"continue": "abc"}).reason == "400 BadRequest"


@rule
def items_of_lists_say_what_they_are_only_for_custom_resources(api: Api) -> None:
    """Typed lists leave out kind and apiVersion of their items."""
    api.make_secret()
    api.make_elile()
    assert "kind" not in api.call("GET", api.secrets()).body["items"][0]
    assert api.call("GET", api.eliles()).body["items"][0]["kind"] == "ElileSecret"


@rule
def selectors_choose_by_labels(api: Api) -> None:
    """Equality, sets, existence; nonsense is 400."""
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "2", "y": "1"}), ("c", {})):
        api.make_secret(name, labels=labels)
    for selector, wanted in (
        ("x=1", "a"),
        ("x!=1", "bc"),
        ("x in (1,2)", "ab"),
        ("x notin (1)", "bc"),
        ("y", "b"),
        ("!x", "c"),
        ("x=2,y=1", "b"),
    ):
        found = api.call("GET", api.secrets(), labelSelector=selector).body["items"]
        assert "".join(i["metadata"]["name"] for i in found) == wanted, selector
    assert api.call("GET", api.secrets(), labelSelector="a=b=c").reason == "400 BadRequest"
    found = api.call("GET", api.secrets(), fieldSelector="metadata.name=b").body["items"]
    assert [i["metadata"]["name"] for i in found] == ["b"]


@rule
def a_watch_goes_on_from_a_version(api: Api) -> None:
    """What happened since is replayed, and nothing before."""
    api.make_secret()
    version = api.call("GET", api.secrets()).meta["resourceVersion"]
    api.merge(api.secrets("a"), {"data": {"k": "eA=="}})
    api.call("DELETE", api.secrets("a"))
    api.make_secret("b")
    seen = [(t, o["metadata"]["name"]) for t, o in api.watch(api.secrets(), resourceVersion=version)]
    assert seen == [("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]


@rule
def a_deletion_has_a_version_of_its_own(api: Api) -> None:
    """Newer than the object's last one: that is what tells a late echo from a new object."""
    version = api.make_secret().meta["resourceVersion"]
    api.call("DELETE", api.secrets("a"))
    ((kind, gone),) = api.watch(api.secrets(), resourceVersion=version)
    assert kind == "DELETED"
    assert int(gone["metadata"]["resourceVersion"]) > int(version)
    assert gone["data"] == {"k": "dg=="}


@rule
def an_object_leaves_a_selection_as_deleted(api: Api) -> None:
    """With the labels it had, and the version at which it left."""
    version = api.call("GET", api.secrets()).meta["resourceVersion"]
    api.make_secret(labels={"l": "1"})
    left = api.merge(api.secrets("a"), {"metadata": {"labels": {"l": "2"}}}).meta["resourceVersion"]
    seen = list(api.watch(api.secrets(), resourceVersion=version, labelSelector="l=1"))
    assert [kind for kind, _ in seen] == ["ADDED", "DELETED"]
    assert seen[1][1]["metadata"]["labels"] == {"l": "1"}
    assert seen[1][1]["metadata"]["resourceVersion"] == left


@rule
def a_watch_without_a_version_begins_with_what_there_is(api: Api) -> None:
    """Synthetic ADDED events."""
    api.make_secret()
    assert [(t, o["metadata"]["name"]) for t, o in api.watch(api.secrets())] == [("ADDED", "a")]


@rule
def a_watch_that_asks_for_bookmarks_ends_with_one(api: Api) -> None:
    """Shortly before its time is over; it tells a version and nothing else."""
    api.make_secret()
    version = api.call("GET", api.secrets()).meta["resourceVersion"]
    # A real server sends it two seconds before the end, when a clock that ticks every second or so passes that moment.
    query = {"resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": str(10 * api.watch_seconds)}
    told = list(api.watch(api.secrets(), **query))
    assert {kind for kind, _ in told} == {"BOOKMARK"}, "a busy server sends more than one"
    assert all(int(body["metadata"]["resourceVersion"]) >= int(version) for _, body in told)


# ── discovery, tokens, access ────────────────────────────────────────────────────────────────────────────────────────


@rule
def discovery_tells_of_the_status(api: Api) -> None:
    """Kopf writes a status to where discovery says it is."""
    found = api.call("GET", "/apis/elile.io/v1alpha1").body["resources"]
    assert {"elilesecrets", "elilesecrets/status", "vaultservers"} <= {r["name"] for r in found}
    assert api.call("GET", "/apis/nothing.example/v1").code == 404


@rule
def tokens_live_ten_minutes_at_the_least(api: Api) -> None:
    """TokenRequest; every namespace has the ServiceAccount `default`."""
    path = f"/api/v1/namespaces/{api.namespace}/serviceaccounts"
    made = api.call("POST", f"{path}/default/token", {"spec": {"audiences": ["elile"], "expirationSeconds": 600}})
    assert made.code == 201
    assert made.body["status"]["token"].count(".") == 2
    short = api.call("POST", f"{path}/default/token", {"spec": {"audiences": ["elile"], "expirationSeconds": 60}})
    assert short.reason == "422 Invalid"
    assert api.call("POST", f"{path}/nobody/token", {"spec": {}}).reason == "404 NotFound"


@rule
def a_token_is_good_for_its_audience(api: Api) -> None:
    """TokenReview, by which OpenBao judges a login."""
    path = f"/api/v1/namespaces/{api.namespace}/serviceaccounts/default/token"
    made = api.call("POST", path, {"spec": {"audiences": ["elile"], "expirationSeconds": 600}})
    token = made.body["status"]["token"]
    reviews = "/apis/authentication.k8s.io/v1/tokenreviews"
    for audiences, authenticated in ((["elile"], True), (["other"], False)):
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
        found = api.call("POST", reviews, {**body, "spec": {"token": token, "audiences": audiences}}).body["status"]
        assert found.get("authenticated", False) is authenticated
        if authenticated:
            assert found["user"]["username"] == f"system:serviceaccount:{api.namespace}:default"


@rule
def one_may_ask_what_one_may(api: Api) -> None:
    """SelfSubjectAccessReview."""
    asked = {"resourceAttributes": {"verb": "list", "resource": "secrets", "namespace": api.namespace}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": asked}
    found = api.call("POST", path, body)
    assert found.code == 201
    assert found.body["status"]["allowed"] is True
