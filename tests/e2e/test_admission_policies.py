"""Who may break the glass, and who may lend what: the policies on a real API server, with users that have roles."""

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.support.cluster import ROOT, Cluster, CommandError, eventually

pytestmark = pytest.mark.lab

FOLDER = ROOT / "policies" / "admission"
POLICIES = ("break-glass", "lend-only-what-you-have")
NAMESPACE = "admission"
OPERATOR = "system:serviceaccount:elile-system:elile-operator"
# Who there is, and the ClusterRoles that he has in the namespace.
PEOPLE = {
    "rita": ["elile-rotate"],
    "bea": ["elile-rotate", "elile-break-glass"],
    "ed": ["edit"],  # whose ServiceAccounts are all of the namespace's, as Kubernetes has it
    "ole": ["elile-view", "elile-edit"],
    "ida": ["elile-view", "elile-edit", "admission-token"],
    "jo": ["elile-view", "elile-edit", "admission-token", "admission-jobs"],
    "jill": ["elile-view", "elile-edit", "admission-token", "admission-jobs", "admission-secrets"],
}
ROLES = {
    "admission-token": {"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["app", "rotator"]},
    "admission-jobs": {"apiGroups": ["batch"], "resources": ["jobs"]},
    "admission-secrets": {"apiGroups": [""], "resources": ["secrets"]},
}
JOB = {"name": "try", "timeout": "1m", "job": {"image": "lab/busybox:1", "command": ["true"]}}
OTHER_JOB = {**JOB, "job": {"image": "lab/busybox:1", "command": ["cat", "/run/elile/value/password"]}}
CRYPTO = {"name": "keys", "crypto": {}}


@dataclass(frozen=True)
class Site:
    """The namespace of the test; all is tried, and nothing is changed."""

    cluster: Cluster

    def create(self, who: str, body: dict[str, Any]) -> str:
        """Return the message of the refusal, nothing when it was let in."""
        return self._try(f"--as={who}", "create", "--dry-run=server", "-f", "-", given=json.dumps(body))

    def patch(self, who: str, kind: str, name: str, body: dict[str, Any]) -> str:
        arguments = ("--type=merge", "--dry-run=server", f"-p={json.dumps(body)}")
        return self._try(f"--as={who}", "-n", NAMESPACE, "patch", kind, name, *arguments)

    def _try(self, *arguments: str, given: str | None = None) -> str:
        try:
            self.cluster.kubectl(*arguments, given=given)
        except CommandError as e:
            found = re.search(r"denied request: (.*)", str(e))
            if found is None:
                raise
            return found[1]
        return ""


@pytest.fixture(scope="module")
def site(cluster: Cluster, installed: None) -> Iterator[Site]:
    """The policies in force, users with their roles, and an object of each kind that an administrator made."""
    site = Site(cluster)
    cluster.kubectl("apply", "-f", str(ROOT / "policies" / "rbac" / "people.yaml"))
    cluster.kubectl("create", "namespace", NAMESPACE)
    for name, rule in ROLES.items():
        cluster.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": name},
                "rules": [{**rule, "verbs": ["create"]}],
            }
        )
    for person, roles in PEOPLE.items():
        for role in roles:
            arguments = ("create", "rolebinding", f"{person}-{role}", f"--clusterrole={role}", f"--user={person}")
            cluster.kubectl("-n", NAMESPACE, *arguments)
    cluster.apply(secret("named", account="app"), secret("unnamed"), schedule("plain"), schedule("job", JOB))
    for policy in POLICIES:
        cluster.kubectl("apply", "-f", str(FOLDER / f"{policy}.yaml"))
    try:
        # A policy is seen by the API server a moment after it was made.
        eventually("the glass is there", lambda: site.create("rita", rotation(retire="Now")))
        eventually("so is the other", lambda: site.create("ole", secret("probe", account="app")))
        yield site
    finally:
        for policy in POLICIES:
            cluster.kubectl("delete", "-f", str(FOLDER / f"{policy}.yaml"))
        cluster.kubectl("delete", "clusterrole", *ROLES)
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def meta(name: str) -> dict[str, Any]:
    return {"name": name, "namespace": NAMESPACE, "labels": {"team": "shop"}}


def rotation(name: str = "now", **spec: Any) -> dict[str, Any]:
    given = {"scheduleRef": {"name": "plain"}, **spec}
    return {"apiVersion": "elile.io/v1alpha1", "kind": "Rotation", "metadata": meta(name), "spec": given}


def secret(name: str = "wanted", account: str | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = {"sources": [{"name": "db", "kv": {"path": "db"}}]}
    if account:
        spec["vault"] = {"serviceAccountName": account}
    return {"apiVersion": "elile.io/v1alpha1", "kind": "ElileSecret", "metadata": meta(name), "spec": spec}


def schedule(name: str = "wanted", *hooks: dict[str, Any], account: str = "rotator") -> dict[str, Any]:
    return {
        "apiVersion": "elile.io/v1alpha1",
        "kind": "RotationSchedule",
        "metadata": meta(name),
        "spec": {
            "secretRef": {"name": "named", "source": "db"},
            "vault": {"role": "elile-rotator", "serviceAccountName": account},
            "value": {"keyset": {"algorithm": "AES256GCM"}},
            "verify": list(hooks) or [CRYPTO],
        },
    }


# ── break glass ──────────────────────────────────────────────────────────────────────────────────────────────────────


def broken(what: str, remedy: str, who: str = "rita") -> str:
    return (
        f"{what} needs the verb breakglass on rotations.elile.io, which {who} does not have in namespace admission; "
        "have it given (kubectl -n admission create rolebinding NAME --clusterrole=elile-break-glass "
        f"--user={who}) or {remedy}"
    )


NOW = broken("spec.retire Now", "leave spec.retire out")


@pytest.mark.parametrize(
    ("who", "spec", "message"),
    [
        ("rita", {}, ""),
        ("rita", {"action": "Rotate"}, ""),
        ("rita", {"retire": "AfterProof"}, ""),
        ("rita", {"compromised": False}, ""),
        ("rita", {"action": "RollBack"}, ""),
        ("rita", {"action": "Abort"}, ""),
        ("rita", {"action": "DryRun"}, ""),
        ("rita", {"retire": "Now"}, NOW),
        ("rita", {"retire": "SkipGrace"}, broken("spec.retire SkipGrace", "leave spec.retire out")),
        (
            "rita",
            {"action": "Retire"},
            broken("spec.action Retire", "wait for the proof, or take the run back with RollBack"),
        ),
        ("rita", {"compromised": True}, broken("spec.compromised", "leave spec.compromised out")),
        ("rita", {"retire": "Now", "compromised": True}, NOW),
        ("bea", {"retire": "Now"}, ""),
        ("bea", {"retire": "SkipGrace"}, ""),
        ("bea", {"action": "Retire"}, ""),
        ("bea", {"compromised": True, "retire": "Now"}, ""),
        ("ed", {}, ""),
        ("ed", {"retire": "Now"}, broken("spec.retire Now", "leave spec.retire out", "ed")),
        (OPERATOR, {}, ""),
        (OPERATOR, {"retire": "Now"}, broken("spec.retire Now", "leave spec.retire out", OPERATOR)),
        (OPERATOR, {"compromised": True}, broken("spec.compromised", "leave spec.compromised out", OPERATOR)),
    ],
)
def test_who_may_break_the_glass(site: Site, who: str, spec: dict[str, Any], message: str) -> None:
    assert site.create(who, rotation(**spec)) == message


def test_what_was_let_in_is_not_judged_again(site: Site) -> None:
    site.cluster.kubectl("--as=bea", "create", "-f", "-", given=json.dumps(rotation("emergency", retire="Now")))
    label = {"metadata": {"labels": {"seen": "yes"}}}
    assert site.patch("ed", "rotation", "emergency", label) == ""
    finalizer = {"metadata": {"finalizers": ["elile.io/finalizer"]}}
    assert site.patch(OPERATOR, "rotation", "emergency", finalizer) == ""


def test_the_command_of_the_message_gives_the_right(site: Site) -> None:
    asked = rotation(compromised=True)
    cluster = site.cluster
    cluster.kubectl("-n", NAMESPACE, "create", "rolebinding", "gil", "--clusterrole=elile-rotate", "--user=gil")
    said = site.create("gil", asked)
    command = said.partition("(kubectl ")[2].partition(")")[0].replace("NAME", "gil-breaks")
    cluster.kubectl(*command.split())
    eventually("gil may", lambda: site.create("gil", asked) == "")


# ── lend only what you have ──────────────────────────────────────────────────────────────────────────────────────────


def lent(who: str, account: str) -> str:
    return (
        f"spec.vault.serviceAccountName {account} would be lent to {who}, who may not act as it: that needs create on "
        "serviceaccounts/token of that name; have it given (kubectl -n admission create role NAME --verb=create "
        f"--resource=serviceaccounts/token --resource-name={account}, and a rolebinding) or name a ServiceAccount of "
        "your own"
    )


def runs(who: str) -> str:
    return (
        f"a job hook in spec.verify runs a container for {who}, who may run none: that needs create on jobs; have it "
        "given (kubectl -n admission create role NAME --verb=create --resource=jobs.batch, and a rolebinding) or "
        "verify by another hook"
    )


def makes(who: str) -> str:
    return (
        f"a job hook in spec.verify makes a Secret for {who}, who may make none: that needs create on secrets; have it "
        "given (kubectl -n admission create role NAME --verb=create --resource=secrets, and a rolebinding) or "
        "verify by another hook"
    )


@pytest.mark.parametrize(
    ("who", "body", "message"),
    [
        # An ElileSecret lends the ServiceAccount that it names.
        pytest.param("ole", secret(), "", id="none is named"),
        pytest.param("ole", secret(account="app"), lent("ole", "app"), id="another's"),
        pytest.param("ole", secret(account="default"), lent("ole", "default"), id="that of every pod"),
        pytest.param("ida", secret(account="app"), "", id="one's own"),
        pytest.param("ida", secret(account="admin"), lent("ida", "admin"), id="another beside one's own"),
        pytest.param("ed", secret(account="admin"), "", id="an editor's, who has them all"),
        # So does a RotationSchedule, which always names one.
        pytest.param("ole", schedule(), lent("ole", "rotator"), id="another's rotator"),
        pytest.param("ida", schedule(), "", id="one's own rotator"),
        pytest.param("ida", schedule(account="admin"), lent("ida", "admin"), id="another's beside one's own rotator"),
        pytest.param("ed", schedule(), "", id="an editor's rotator"),
        # A job hook runs a container, and makes a Secret.
        pytest.param("ole", schedule("x", JOB), lent("ole", "rotator"), id="a job as another"),
        pytest.param("ida", schedule("x", JOB), runs("ida"), id="a job without the right to one"),
        pytest.param("ida", schedule("x", CRYPTO, JOB), runs("ida"), id="a job as the second hook"),
        pytest.param("jo", schedule("x", JOB), makes("jo"), id="a job without the right to its Secret"),
        pytest.param("jo", schedule("x", CRYPTO), "", id="no job"),
        pytest.param("jill", schedule("x", JOB), "", id="a job with both"),
        pytest.param("jill", schedule("x", JOB, account="admin"), lent("jill", "admin"), id="a job as somebody else"),
        pytest.param("ed", schedule("x", JOB), "", id="an editor's job"),
    ],
)
def test_who_may_lend_what(site: Site, who: str, body: dict[str, Any], message: str) -> None:
    assert site.create(who, body) == message


def hooks(*hooks: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"verify": list(hooks)}}


def account(name: str | None) -> dict[str, Any]:
    return {"spec": {"vault": {"serviceAccountName": name}}}


INTERVAL = {"spec": {"refresh": {"interval": "1h"}}}
LABEL = {"metadata": {"labels": {"managed": "by-git"}}}
OWNERS = {"metadata": {"finalizers": ["elile.io/finalizer"]}}


@pytest.mark.parametrize(
    ("who", "kind", "name", "body", "message"),
    [
        # What is left as it is is not lent anew.
        pytest.param("ole", "elilesecret", "named", INTERVAL, "", id="another field"),
        pytest.param("ole", "elilesecret", "named", LABEL, "", id="a label"),
        pytest.param(OPERATOR, "elilesecret", "named", OWNERS, "", id="the finalizer of the operator"),
        pytest.param("ole", "elilesecret", "named", account(None), "", id="named no more"),
        pytest.param("ole", "rotationschedule", "plain", {"spec": {"suspend": True}}, "", id="suspended"),
        pytest.param("ole", "rotationschedule", "job", {"spec": {"suspend": True}}, "", id="suspended with a job"),
        pytest.param(OPERATOR, "rotationschedule", "job", OWNERS, "", id="the finalizer on a schedule"),
        pytest.param("ole", "rotationschedule", "job", hooks(CRYPTO, JOB), "", id="a hook beside the job"),
        pytest.param("ole", "rotationschedule", "job", hooks(CRYPTO), "", id="the job taken out"),
        pytest.param(
            "ole", "rotationschedule", "job", hooks({**JOB, "timeout": "2m"}), "", id="more time for the same job"
        ),
        # What is changed is.
        pytest.param("ole", "elilesecret", "named", account("admin"), lent("ole", "admin"), id="another one"),
        pytest.param("ole", "elilesecret", "unnamed", account("app"), lent("ole", "app"), id="the first"),
        pytest.param("ida", "elilesecret", "unnamed", account("app"), "", id="the first, one's own"),
        pytest.param("ole", "rotationschedule", "plain", account("app"), lent("ole", "app"), id="another rotator"),
        pytest.param("ida", "rotationschedule", "plain", account("app"), "", id="another rotator, one's own"),
        pytest.param("ole", "rotationschedule", "plain", hooks(JOB), runs("ole"), id="a job put in"),
        pytest.param("ole", "rotationschedule", "job", hooks(OTHER_JOB), runs("ole"), id="another command"),
        pytest.param(
            "jo", "rotationschedule", "job", hooks(OTHER_JOB), makes("jo"), id="another command, half a right"
        ),
        pytest.param("jill", "rotationschedule", "job", hooks(OTHER_JOB), "", id="another command with the rights"),
        pytest.param("ole", "rotationschedule", "job", hooks(JOB, {**OTHER_JOB, "name": "b"}), runs("ole"), id="a 2nd"),
        pytest.param("ida", "rotationschedule", "job", account("app"), runs("ida"), id="the job as another"),
        pytest.param("jill", "rotationschedule", "job", account("app"), "", id="the job as another, with the rights"),
    ],
)
def test_only_what_changes_is_lent(
    site: Site, who: str, kind: str, name: str, body: dict[str, Any], message: str
) -> None:
    assert site.patch(who, kind, name, body) == message


def test_the_garbage_collector_is_not_in_the_way(site: Site) -> None:
    body = copy.deepcopy(schedule("owned", JOB))
    owner = site.cluster.get("elilesecret", "unnamed", NAMESPACE)["metadata"]
    body["metadata"]["ownerReferences"] = [
        {"apiVersion": "elile.io/v1alpha1", "kind": "ElileSecret", "name": "unnamed", "uid": owner["uid"]}
    ]
    site.cluster.apply(body)
    site.cluster.kubectl("-n", NAMESPACE, "delete", "elilesecret", "unnamed", "--cascade=orphan")

    def let_go() -> bool:
        found = site.cluster.get("rotationschedule", "owned", NAMESPACE)
        return not found["metadata"].get("ownerReferences")

    eventually("the owner is taken off", let_go)
    eventually("the owner is gone", lambda: site.cluster.find("elilesecret", "unnamed", NAMESPACE) is None)
