"""What must be there in the end: a second, much simpler reading of a spec than the operator's own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.chaos.support.clients import Api, Bao, Body, KvEntry, decoded, elilesecrets, secrets, text

OWNER = "elile.io/secret"


@dataclass(frozen=True, slots=True)
class Expected:
    """How an object must end: `data` None where nothing may be written, and what was delivered before stays."""

    reason: str
    data: dict[str, str] | None
    versions: tuple[int, ...] = ()


def secret_name(body: Body) -> str:
    """Name of the Secret that an ElileSecret wants."""
    named: str | None = body["spec"].get("delivery", {}).get("secret", {}).get("name")
    return named or body["metadata"]["name"]


def expected(body: Body, entries: Mapping[str, KvEntry | None]) -> Expected:
    """Return what a spec and the entries of its paths must lead to."""
    data: dict[str, str] = {}
    versions = []
    for source in body["spec"]["sources"]:
        entry = entries[source["kv"]["path"]]
        if entry is None:
            return Expected("PathNotFound", None)
        if entry.values is None:
            return Expected("VersionDeleted", None)
        versions.append(entry.version)
        keys = {m["from"]: m.get("to", m["from"]) for m in source.get("keys", [])} or {k: k for k in entry.values}
        for given, key in keys.items():
            name = source.get("prefix", "") + key
            if name in data:
                return Expected("KeyConflict", None)
            data[name] = entry.values[given]
    return Expected("Synced", data, tuple(versions))


def differences(
    api: Api, bao: Bao, namespaces: Iterable[str], *, refused: Mapping[tuple[str, str], str] | None = None
) -> list[str]:
    """Compare each ElileSecret, and every Secret with our label, with what must be; `refused`: reasons known before."""
    found: list[str] = []
    for namespace in namespaces:
        found += _of_namespace(api, bao, namespace, refused or {})
    return found


def _of_namespace(api: Api, bao: Bao, namespace: str, refused: Mapping[tuple[str, str], str]) -> list[str]:
    objects = api.list(elilesecrets(namespace))
    paths = {source["kv"]["path"] for body in objects for source in body["spec"]["sources"]}
    entries = {path: bao.get(path) for path in sorted(paths)}
    live = {body["metadata"]["name"]: body for body in api.list(secrets(namespace))}
    found, wanted = [], set()
    for body in objects:
        name = body["metadata"]["name"]
        if reason := refused.get((namespace, name)):
            found += wrong_status(body, Expected(reason, None))
            continue
        want = expected(body, entries)
        wanted.add(secret_name(body))
        found += wrong_status(body, want)
        if want.data is not None:
            found += wrong_secret(body, live.get(secret_name(body)), want)
    owners = {name: body["metadata"].get("labels", {}).get(OWNER) for name, body in live.items()}
    found += [f"Secret {namespace}/{n} was left behind by {o}" for n, o in owners.items() if o and n not in wanted]
    return found


def wrong_secret(body: Body, live: Body | None, want: Expected) -> list[str]:
    """Say what is wrong with a Secret."""
    where = f"Secret {body['metadata']['namespace']}/{secret_name(body)}"
    if live is None:
        return [f"{where} is missing"]
    found = []
    if decoded(live) != want.data:
        found.append(f"{where} holds {text(decoded(live))}, not {text(want.data)}")
    if live["metadata"].get("labels", {}).get(OWNER) != body["metadata"]["name"]:
        found.append(f"{where} has not its label")
    owned = body["metadata"]["uid"] in {o["uid"] for o in live["metadata"].get("ownerReferences", [])}
    if owned != (body["spec"].get("deletionPolicy", "Delete") == "Delete"):
        found.append(f"{where} has an owner: {owned}")
    return found


def wrong_status(body: Body, want: Expected) -> list[str]:
    """Say what is wrong with a status: reason, generation, versions, name of the Secret."""
    where = f"ElileSecret {body['metadata']['namespace']}/{body['metadata']['name']}"
    status = body.get("status", {})
    ready = next((c for c in status.get("conditions", []) if c["type"] == "Ready"), {})
    marks = {c["type"]: c["status"] for c in status.get("conditions", [])}
    found = []
    if ready.get("reason") != want.reason:
        found.append(f"{where} is {ready.get('reason')}, not {want.reason}: {ready.get('message')}")
    generation = body["metadata"]["generation"]
    if {status.get("observedGeneration"), ready.get("observedGeneration")} != {generation}:
        found.append(f"{where}: the status is not about generation {generation}")
    if want.reason == "Synced":
        shown = tuple(s.get("version") for s in status.get("sources", []))
        if shown != want.versions:
            found.append(f"{where} shows versions {shown}, not {want.versions}")
        if status.get("secretName") != secret_name(body):
            found.append(f"{where} shows Secret {status.get('secretName')}")
        if (marks.get("Ready"), marks.get("Synced"), marks.get("SecretCurrent")) != ("True", "True", "True"):
            found.append(f"{where} has conditions {marks}")
    elif marks.get("Ready") != "False":
        found.append(f"{where} has conditions {marks}")
    return found
