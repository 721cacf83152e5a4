"""The life cycle as a table: policy × event → result; `python -m tests.golden.lifecycle` writes the page.

The whole table is run in memory, and what needs neither minutes nor a Vault that is away on a real cluster.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "lifecycle.md"
HEAD = Path(__file__).with_name("lifecycle.head.md")


class Scene(Protocol):
    """A cluster and a Vault, in which somebody does something. `cell` is the name of an ElileSecret and its entry."""

    def want(self, cell: str, **spec: Any) -> None: ...
    def delete(self, cell: str) -> None: ...
    def write(self, entry: str, **values: str) -> None: ...
    def remove_path(self, entry: str) -> None: ...
    def delete_version(self, entry: str) -> None: ...
    def make_secret(self, name: str, *, annotations: Mapping[str, str], controlled: bool, **data: str) -> None: ...
    def patch_secret(self, name: str, body: dict[str, Any]) -> None: ...
    def delete_secret(self, name: str) -> None: ...
    def lose_vault(self) -> None: ...
    def delete_namespace(self) -> None: ...


def target(cell: str) -> str:
    return f"{cell}-app"


@dataclass(frozen=True)
class Policy:
    """What the spec says, and whose the Secret was before."""

    title: str
    spec: Mapping[str, Any] = field(default_factory=dict)
    mode: str = "Own"
    before: Callable[[Scene, str], None] = lambda _scene, _cell: None

    def want(self, scene: Scene, cell: str, *, name: str | None = None, mode: str | None = None, **more: Any) -> None:
        delivery = {"secret": {"name": name or target(cell), "mode": mode or self.mode}}
        spec = {"delivery": delivery, "sources": [{"name": "main", "kv": {"path": cell}}], **self.spec, **more}
        scene.want(cell, **spec)

    def prepare(self, scene: Scene, cell: str) -> None:
        """Have it delivered."""
        scene.write(cell, password="p1")
        self.before(scene, cell)
        self.want(scene, cell)


def _theirs(scene: Scene, cell: str) -> None:
    scene.make_secret(target(cell), annotations={}, controlled=False, theirs="t")


def _consenting(scene: Scene, cell: str, *, controlled: bool = False) -> None:
    scene.make_secret(target(cell), annotations={"elile.io/adopt": cell}, controlled=controlled, password="p1")


POLICIES = {
    "own": Policy("Own"),
    "retained": Policy("Own, deletionPolicy Retain", {"deletionPolicy": "Retain"}),
    "adopted": Policy("Own, adopted", before=_consenting),
    "controlled": Policy(
        "Own, adopted, another operator still owns it",
        before=lambda scene, cell: _consenting(scene, cell, controlled=True),
    ),
    "merged": Policy("Merge", mode="Merge", before=_theirs),
    "left": Policy("Merge, deletionPolicy Retain", {"deletionPolicy": "Retain"}, mode="Merge", before=_theirs),
}


@dataclass(frozen=True)
class Event:
    """What happens to a Secret that was delivered. `quick`: shown on the real cluster too."""

    title: str
    happens: Callable[[Scene, str, Policy], None]
    quick: bool = True


def _other(scene: Scene, cell: str, mode: str) -> None:
    """Another ElileSecret of the same entry and the same target."""
    delivery = {"secret": {"name": target(cell), "mode": mode}}
    scene.want(f"{cell}-other", delivery=delivery, sources=[{"name": "main", "kv": {"path": cell}}])


def _consent(scene: Scene, cell: str, _: Policy) -> None:
    scene.patch_secret(target(cell), {"metadata": {"annotations": {"elile.io/adopt": f"{cell}-other"}}})
    _other(scene, cell, "Own")


def _gone(scene: Scene, cell: str, policy: Policy) -> None:
    policy.want(scene, cell, onMissing="Delete")
    scene.remove_path(cell)


def _version_gone(scene: Scene, cell: str, policy: Policy) -> None:
    policy.want(scene, cell, onMissing="Delete")
    scene.delete_version(cell)


def _deleted_while_away(scene: Scene, cell: str, _: Policy) -> None:
    scene.lose_vault()
    scene.delete(cell)


EVENTS = {
    "value": Event("the value changes", lambda s, c, _: s.write(c, password="p2")),
    "edited": Event(
        "somebody changes our key", lambda s, c, _: s.patch_secret(target(c), {"data": {"password": "eA=="}})
    ),
    "added": Event("somebody adds a key", lambda s, c, _: s.patch_secret(target(c), {"data": {"more": "bQ=="}})),
    "removed": Event("somebody deletes the Secret", lambda s, c, _: s.delete_secret(target(c))),
    "missing": Event("the path goes, onMissing Keep", lambda s, c, _: s.remove_path(c)),
    "gone": Event("the path goes, onMissing Delete", _gone, quick=False),
    "version": Event("the version is deleted, onMissing Delete", _version_gone),
    "away": Event("Vault is away", lambda s, _c, _p: s.lose_vault(), quick=False),
    "renamed": Event("the spec names another Secret", lambda s, c, p: p.want(s, c, name=f"{c}-new")),
    "delete": Event("deletionPolicy becomes Delete", lambda s, c, p: p.want(s, c, deletionPolicy="Delete")),
    "retain": Event("deletionPolicy becomes Retain", lambda s, c, p: p.want(s, c, deletionPolicy="Retain")),
    "mode": Event(
        "the mode becomes the other one",
        lambda s, c, p: p.want(s, c, mode="Merge" if p.mode == "Own" else "Own"),
    ),
    "rival": Event("another ElileSecret wants to own it", lambda s, c, _: _other(s, c, "Own")),
    "sharer": Event("another ElileSecret merges the same key", lambda s, c, _: _other(s, c, "Merge")),
    "consent": Event("it consents to another ElileSecret that owns", _consent),
    "deleted": Event("the ElileSecret is deleted", lambda s, c, _: s.delete(c)),
    "deleted away": Event("it is deleted while Vault is away", _deleted_while_away, quick=False),
    "namespace": Event("the namespace is deleted", lambda s, _c, _p: s.delete_namespace(), quick=False),
}


@dataclass(frozen=True)
class Outcome:
    """What is there afterwards: keys and values of the Secret, who owns it, and Ready of the ElileSecret."""

    secret: str
    owner: str
    ready: str

    @classmethod
    def parse(cls, text: str) -> "Outcome":
        return cls(*(part.strip() for part in text.split("|")))


def outcome(secret: Mapping[str, Any] | None, data: Mapping[str, str], elile: Mapping[str, Any] | None) -> Outcome:
    """Describe what is there; `data` is decoded."""
    owners = {owner["kind"] for owner in (secret or {"metadata": {}})["metadata"].get("ownerReferences") or []}
    names = {frozenset(): "nobody", frozenset({"ElileSecret"}): "ours", frozenset({"Legacy"}): "another's"}
    conditions = (elile or {}).get("status", {}).get("conditions", [])
    ready = next((c["reason"] for c in conditions if c["type"] == "Ready"), "not judged")
    return Outcome(
        secret=" ".join(f"{key}={value}" for key, value in sorted(data.items())) if secret else "gone",
        owner=names.get(frozenset(owners), "both") if secret else "",
        ready=ready if elile else "gone",
    )


# Policy → event → the Secret, its owner, Ready of the ElileSecret.
TABLE: dict[str, dict[str, str]] = {
    "own": {
        "value": "password=p2 | ours | Synced",
        "edited": "password=p1 | ours | Synced",
        "added": "password=p1 | ours | Synced",
        "removed": "password=p1 | ours | Synced",
        "missing": "password=p1 | ours | PathNotFound",
        "gone": "gone |  | SourceGone",
        "version": "password=p1 | ours | VersionDeleted",
        "away": "password=p1 | ours | Synced",
        "renamed": "gone |  | Synced",
        "delete": "password=p1 | ours | Synced",
        "retain": "password=p1 | nobody | Synced",
        "mode": "password=p1 | nobody | Synced",
        "rival": "password=p1 | ours | Synced",
        "sharer": "password=p1 | ours | Synced",
        "consent": "password=p1 | nobody | SecretNotOwned",
        "deleted": "gone |  | gone",
        "deleted away": "gone |  | gone",
        "namespace": "gone |  | gone",
    },
    "retained": {
        "value": "password=p2 | nobody | Synced",
        "edited": "password=p1 | nobody | Synced",
        "added": "password=p1 | nobody | Synced",
        "removed": "password=p1 | nobody | Synced",
        "missing": "password=p1 | nobody | PathNotFound",
        "gone": "gone |  | SourceGone",
        "version": "password=p1 | nobody | VersionDeleted",
        "away": "password=p1 | nobody | Synced",
        "renamed": "password=p1 | nobody | Synced",
        "delete": "password=p1 | ours | Synced",
        "retain": "password=p1 | nobody | Synced",
        "mode": "password=p1 | nobody | Synced",
        "rival": "password=p1 | nobody | Synced",
        "sharer": "password=p1 | nobody | Synced",
        "consent": "password=p1 | nobody | SecretNotOwned",
        "deleted": "password=p1 | nobody | gone",
        "deleted away": "password=p1 | nobody | gone",
        "namespace": "gone |  | gone",
    },
    "adopted": {
        "value": "password=p2 | nobody | Synced",
        "edited": "password=p1 | nobody | Synced",
        "added": "password=p1 | nobody | Synced",
        "removed": "password=p1 | nobody | Synced",
        "missing": "password=p1 | nobody | PathNotFound",
        "gone": "gone |  | SourceGone",
        "version": "password=p1 | nobody | VersionDeleted",
        "away": "password=p1 | nobody | Synced",
        "renamed": "password=p1 | nobody | Synced",
        "delete": "password=p1 | ours | Synced",
        "retain": "password=p1 | nobody | Synced",
        "mode": "password=p1 | nobody | Synced",
        "rival": "password=p1 | nobody | Synced",
        "sharer": "password=p1 | nobody | Synced",
        "consent": "password=p1 | nobody | SecretNotOwned",
        "deleted": "password=p1 | nobody | gone",
        "deleted away": "password=p1 | nobody | gone",
        "namespace": "gone |  | gone",
    },
    "controlled": {
        "value": "password=p2 | both | Synced",
        "edited": "password=p1 | both | Synced",
        "added": "password=p1 | both | Synced",
        "removed": "password=p1 | nobody | Synced",
        "missing": "password=p1 | both | PathNotFound",
        "gone": "gone |  | SourceGone",
        "version": "password=p1 | both | VersionDeleted",
        "away": "password=p1 | both | Synced",
        "renamed": "password=p1 | another's | Synced",
        "delete": "password=p1 | both | Synced",
        "retain": "password=p1 | both | Synced",
        "mode": "password=p1 | another's | Synced",
        "rival": "password=p1 | both | Synced",
        "sharer": "password=p1 | both | Synced",
        "consent": "password=p1 | both | SecretNotOwned",
        "deleted": "password=p1 | another's | gone",
        "deleted away": "password=p1 | another's | gone",
        "namespace": "gone |  | gone",
    },
    "merged": {
        "value": "password=p2 theirs=t | nobody | Synced",
        "edited": "password=p1 theirs=t | nobody | Synced",
        "added": "more=m password=p1 theirs=t | nobody | Synced",
        "removed": "password=p1 | nobody | Synced",
        "missing": "password=p1 theirs=t | nobody | PathNotFound",
        "gone": "theirs=t | nobody | SourceGone",
        "version": "password=p1 theirs=t | nobody | VersionDeleted",
        "away": "password=p1 theirs=t | nobody | Synced",
        "renamed": "theirs=t | nobody | Synced",
        "delete": "password=p1 theirs=t | nobody | Synced",
        "retain": "password=p1 theirs=t | nobody | Synced",
        "mode": "password=p1 theirs=t | nobody | SecretNotOwned",
        "rival": "password=p1 theirs=t | nobody | Synced",
        "sharer": "password=p1 theirs=t | nobody | Synced",
        "consent": "password=p1 | nobody | SecretNotOwned",
        "deleted": "theirs=t | nobody | gone",
        "deleted away": "theirs=t | nobody | gone",
        "namespace": "gone |  | gone",
    },
    "left": {
        "value": "password=p2 theirs=t | nobody | Synced",
        "edited": "password=p1 theirs=t | nobody | Synced",
        "added": "more=m password=p1 theirs=t | nobody | Synced",
        "removed": "password=p1 | nobody | Synced",
        "missing": "password=p1 theirs=t | nobody | PathNotFound",
        "gone": "theirs=t | nobody | SourceGone",
        "version": "password=p1 theirs=t | nobody | VersionDeleted",
        "away": "password=p1 theirs=t | nobody | Synced",
        "renamed": "password=p1 theirs=t | nobody | Synced",
        "delete": "password=p1 theirs=t | nobody | Synced",
        "retain": "password=p1 theirs=t | nobody | Synced",
        "mode": "password=p1 theirs=t | nobody | SecretNotOwned",
        "rival": "password=p1 theirs=t | nobody | Synced",
        "sharer": "password=p1 theirs=t | nobody | Synced",
        "consent": "password=p1 | nobody | SecretNotOwned",
        "deleted": "password=p1 theirs=t | nobody | gone",
        "deleted away": "password=p1 theirs=t | nobody | gone",
        "namespace": "gone |  | gone",
    },
}


def page() -> str:
    """Return the page: what the rules are, and the whole table."""
    lines = [
        "<!-- Generated by `make reference` from tests/golden/lifecycle.py; the head is lifecycle.head.md. -->",
        "",
    ]
    lines += [HEAD.read_text().strip(), ""]
    for name, policy in POLICIES.items():
        lines += [
            f"### {policy.title}",
            "",
            "| event | the Secret afterwards | its owner | Ready says |",
            "|---|---|---|---|",
        ]
        for event, text in TABLE[name].items():
            found = Outcome.parse(text)
            lines.append(f"| {EVENTS[event].title} | `{found.secret}` | {found.owner} | {found.ready} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
