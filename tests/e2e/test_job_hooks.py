"""Job hooks on a real node, as the operator's ServiceAccount: what they come to, and that nothing of them is left."""

import asyncio
import base64
import copy
import hashlib
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from elile.secrets.redact import Redacted
from elile.secrets.rotation.verify.outcome import Outcome, Verification
from elile_operator.decide.jobs import HookJob, job_manifest, job_name
from tests.e2e.support.cluster import ROOT, Cluster, CommandError, eventually
from tests.e2e.support.fixtures import SYSTEM
from tests.e2e.support.jobs import ACCOUNT, mount, runner
from tests.e2e.support.tenant import IMAGE

pytestmark = pytest.mark.lab

POLICY = ROOT / "policies" / "admission" / "operator-jobs.yaml"
OPERATOR = "system:serviceaccount:elile-system:elile-operator"
CANARY = f"canary/{uuid.uuid4().hex}=jobs"
VALUE = {"password": CANARY, "username": "shop_b"}
DIGEST = hashlib.sha256(CANARY.encode()).hexdigest()
SHORT = timedelta(seconds=6)


@dataclass(frozen=True)
class Site:
    """A namespace that runs restricted pods only, and the operator's own credentials."""

    cluster: Cluster
    namespace: str
    folder: Path
    environ: dict[str, str]
    owner: str = ""  # uid of a Rotation
    tries: Iterator[int] = field(default_factory=lambda: iter(range(1000)))

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments, given=given)

    def job(self, script: str, **changes: Any) -> HookJob:
        """Return a try of its own that runs a script of the shell."""
        job = HookJob(
            namespace=self.namespace,
            rotation="run",
            rotation_uid=self.owner,
            hook="check",
            stage="Pending",
            attempt_key=str(next(self.tries)),
            service_account="elile-rotator",
            image=IMAGE,
            command=("sh", "-ec", script),
            run_as_user=1000,
            timeout=timedelta(seconds=60),
        )
        return replace(job, **changes)

    async def run(self, job: HookJob, value: Mapping[str, Any] = VALUE) -> Verification:
        async with runner(self.folder, self.environ) as jobs:
            return await jobs.run(job, Redacted(value))

    def left(self) -> str:
        return self.kubectl("get", "jobs,pods,secrets", "-l", "app.kubernetes.io/managed-by=elile", "-o", "name")

    def gone(self) -> None:
        eventually("nothing is left", lambda: not self.left())


def bind(cluster: Cluster, namespace: str, *roles: str) -> None:
    for role in roles:
        arguments = ("create", "rolebinding", role, f"--clusterrole={role}", f"--serviceaccount={ACCOUNT}")
        cluster.kubectl("-n", namespace, *arguments)


@pytest.fixture(scope="module")
def new_site(
    cluster: Cluster, installed: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Site]]:
    """Namespaces with the right to run Jobs, or without it, and the fence in force."""
    folder = tmp_path_factory.mktemp("serviceaccount")
    environ = mount(cluster, folder)
    cluster.kubectl("apply", "-f", str(POLICY))
    made: list[str] = []

    def make(*roles: str) -> Site:
        namespace = f"jobs-{uuid.uuid4().hex[:8]}"
        made.append(namespace)
        cluster.kubectl("create", "namespace", namespace)
        cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
        cluster.kubectl("-n", namespace, "create", "serviceaccount", "elile-rotator")
        bind(cluster, namespace, *roles)
        rotation = {
            "apiVersion": "elile.io/v1alpha1",
            "kind": "Rotation",
            "metadata": {"name": "run", "namespace": namespace},
            "spec": {"scheduleRef": {"name": "nowhere"}},
        }
        cluster.apply(rotation)
        uid = cluster.get("rotation", "run", namespace)["metadata"]["uid"]
        return Site(cluster, namespace, folder, environ, uid)

    yield make
    for namespace in made:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    cluster.kubectl("delete", "-f", str(POLICY))


@pytest.fixture(scope="module")
def site(new_site: Callable[..., Site]) -> Site:
    return new_site("elile-deliver", "elile-jobs")


async def test_it_passes_with_the_files_and_nothing_else(site: Site) -> None:
    checks = [
        f'[ "$(sha256sum < /run/elile/value/password | cut -c1-64)" = {DIGEST} ]',
        "[ \"$(cat /run/elile/value/username)\" = shop_b ]",
        "[ \"$(stat -L -c %a /run/elile/value/password)\" = 440 ]",
        "[ \"$(id -u)\" = 1000 ]",
        "! echo x > /run/elile/value/password",
        "! echo x > /here",
        "echo x > /tmp/here",
        "[ ! -e /var/run/secrets/kubernetes.io ]",
        "[ \"$TARGET\" = db.shop.svc ]",
    ]  # fmt: skip
    job = site.job("; ".join(f"{check} || exit {10 + n}" for n, check in enumerate(checks)))
    found = await site.run(replace(job, env=(("TARGET", "db.shop.svc"),)))
    assert found == Verification.passed("the container of the job hook 'check' ended with 0")
    site.gone()


async def test_a_container_of_its_own_in_python(site: Site) -> None:
    assert site.cluster.lab is not None
    image = site.cluster.lab.client_image(echo=lambda _: None)
    program = (
        "import asyncio, hashlib, sys\n"
        "from elile.secrets import MountedSecretsManager\n"
        "async def main():\n"
        "    async with MountedSecretsManager('/run/elile') as manager:\n"
        "        found = await manager.get_secret('value')\n"
        "    password = found.raw.reveal()['password']\n"
        f"    sys.exit(hashlib.sha256(password.encode()).hexdigest() != '{DIGEST}')\n"
        "asyncio.run(main())\n"
    )
    found = await site.run(site.job("", image=image, command=("python", "-c", program)))
    assert found.outcome is Outcome.PASSED, found


async def test_another_exit_code_fails(site: Site) -> None:
    found = await site.run(site.job("exit 3"))
    assert found == Verification.failed("the container of the job hook 'check' ended with 3")
    site.gone()


LATE = "the Job of the hook 'check' has not ended after 6 s: "


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"image": "127.0.0.1:1/none:1"}, "its image 127.0.0.1:1/none:1 cannot be pulled", id="no image"),
        pytest.param({"run_as_user": None}, "its container cannot be made, most often because", id="root"),
        pytest.param({"script": "sleep 1000"}, "it had not ended: give it more time", id="hangs"),
        pytest.param(
            {"script": "trap 'exit 0' TERM; sleep 1000 & wait"}, "it had not ended: give it more time", id="says yes"
        ),
    ],
)
async def test_what_could_not_say_is_inconclusive(site: Site, changes: dict[str, Any], message: str) -> None:
    job = site.job(changes.pop("script", "true"), timeout=SHORT, **changes)
    found = await site.run(job)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.detail.startswith(LATE + message), found
    site.gone()


async def test_a_command_that_is_not_there(site: Site) -> None:
    found = await site.run(site.job("", command=("/no/such",)))
    assert found == Verification.inconclusive(
        "the container of the job hook 'check' cannot be started: correct spec.verify[].job.command"
    )


async def test_no_node_takes_the_pod(site: Site) -> None:
    nodes = json.loads(site.cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    names = [node["metadata"]["name"] for node in nodes]
    site.cluster.kubectl("cordon", *names)
    try:
        found = await site.run(site.job("true", timeout=SHORT))
    finally:
        site.cluster.kubectl("uncordon", *names)
    assert found == Verification.inconclusive(
        LATE + f"no node takes its pod (kubectl -n {site.namespace} get events): make room"
    )


async def test_a_quota_refuses_the_pod_or_the_job(new_site: Callable[..., Site]) -> None:
    site = new_site("elile-deliver", "elile-jobs")
    site.kubectl("create", "quota", "none", "--hard=pods=0")
    eventually("it counts", lambda: "used" in site.cluster.get("quota", "none", site.namespace).get("status", {}))
    found = await site.run(site.job("true", timeout=SHORT))
    assert found.detail.startswith(LATE + "no pod was made, for which an admission policy, Pod Security or a quota")
    site.kubectl("create", "quota", "jobs", "--hard=count/jobs.batch=0")
    eventually("it counts", lambda: "used" in site.cluster.get("quota", "jobs", site.namespace).get("status", {}))
    job = site.job("true", timeout=SHORT)
    assert await site.run(job) == Verification.inconclusive(
        f"the Job of the hook 'check' is refused in namespace '{site.namespace}': an admission policy, a webhook or a "
        f"quota has to let Jobs {site.namespace}/{job_name(job)} of the operator pass"
    )
    site.gone()


def kill_in_the_middle(site: Site, job: HookJob) -> None:
    """Run a hook in a process of its own, and kill that while the container runs."""
    told = {
        "folder": str(site.folder),
        "environ": site.environ,
        "value": VALUE,
        "job": {slot: getattr(job, slot) for slot in job.__slots__} | {"timeout": job.timeout.total_seconds()},
    }
    program = [sys.executable, "-m", "tests.e2e.support.jobs"]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, cwd=ROOT, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps(told))
    process.stdin.close()
    try:
        eventually("the pod runs", lambda: '"running"' in site.kubectl("get", "pods", "-o", "json"))
    finally:
        process.kill()
        process.wait(10)


async def test_a_process_that_is_killed_leaves_its_job_to_the_next(site: Site) -> None:
    job = site.job("sleep 8; exit 0")
    kill_in_the_middle(site, job)
    before = site.cluster.get("job", job_name(job), site.namespace)["metadata"]["uid"]
    assert site.cluster.find("secret", job_name(job), site.namespace) is not None, "nobody cleaned up"
    running = asyncio.create_task(site.run(job))
    seen: set[str] = set()
    while not running.done():
        for item in json.loads(await asyncio.to_thread(site.kubectl, "get", "jobs,pods", "-o", "json"))["items"]:
            if job_name(job) in item["metadata"]["name"]:
                seen.add(f"{item['kind']} {item['metadata']['uid']}")
    assert running.result().outcome is Outcome.PASSED
    assert f"Job {before}" in seen
    assert len(seen) == 2, "one Job and one pod, the same as before"
    site.gone()


async def test_what_is_cancelled_is_removed(site: Site) -> None:
    task = asyncio.create_task(site.run(site.job("sleep 1000")))
    await asyncio.to_thread(eventually, "it runs", lambda: "pod/" in site.left())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    site.gone()


async def test_what_is_left_behind_goes_with_its_rotation(new_site: Callable[..., Site]) -> None:
    site = new_site("elile-deliver", "elile-jobs")
    job = site.job("sleep 1000")
    task = asyncio.create_task(site.run(job))
    await asyncio.to_thread(eventually, "it runs", lambda: "pod/" in site.left())
    await asyncio.to_thread(site.kubectl, "delete", "rotation", "run")
    assert (await task).detail.endswith("was deleted before it ended")
    site.gone()


async def test_without_the_right_the_command_is_named_and_gives_it(new_site: Callable[..., Site]) -> None:
    site = new_site("elile-deliver")
    found = await site.run(site.job("true"))
    assert found == Verification.inconclusive(
        f"the operator may not run Jobs in namespace '{site.namespace}'; allow it: kubectl -n {site.namespace} create "
        f"rolebinding elile-jobs --clusterrole=elile-jobs --serviceaccount={SYSTEM}:elile-operator"
    )
    # As an admin of the namespace, who has no rights outside it.
    site.kubectl("create", "rolebinding", "lead", "--clusterrole=admin", "--user=lead")
    site.cluster.kubectl("--as=lead", *found.detail.partition("kubectl ")[2].split())
    assert (await site.run(site.job("true"))).outcome is Outcome.PASSED


async def test_the_value_is_in_the_secret_and_nowhere_else(site: Site) -> None:
    job = site.job("cat /run/elile/value/password > /tmp/seen; sleep 3; exit 1")
    task = asyncio.create_task(site.run(job))
    await asyncio.to_thread(eventually, "it runs", lambda: '"running"' in site.kubectl("get", "pods", "-o", "json"))
    secret = await asyncio.to_thread(site.cluster.get, "secret", job_name(job), site.namespace)
    assert base64.b64decode(secret["data"]["password"]).decode() == CANARY
    told = await asyncio.to_thread(site.kubectl, "get", "jobs,pods,events", "-o", "json")
    found = await task
    told += await asyncio.to_thread(site.kubectl, "get", "jobs,pods,events,rotations", "-o", "json")
    assert job_name(job) in told
    for form in (CANARY, base64.b64encode(CANARY.encode()).decode(), DIGEST):
        assert form not in told
        assert form not in found.detail
    site.gone()


# ── the fence ────────────────────────────────────────────────────────────────────────────────────────────────────────


def changed(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a body with a value at a path of keys and indexes; None takes it out."""
    found = copy.deepcopy(body)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    inner: Any = found
    for part in parents:
        inner = inner[part]
    if value is None:
        del inner[last]
    elif isinstance(inner, list) and last == len(inner):
        inner.append(value)
    else:
        inner[last] = value
    return found


POD = "spec/template/spec"
BOX = f"{POD}/containers/0"
PODS = "has a pod with no more than a container and its files"
CONTAINER = "has one container, of the restricted kind"
VOLUMES = "has the Secret of its own name, to read, and no other volume"
RESTRICTED = "is of the restricted kind"
ONCE = "runs one pod once, with a deadline, and goes when it has ended"
HOOKS = "has nothing to do with Jobs but those of the hooks of a Rotation or a RotationSchedule"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("metadata/name", "mine", HOOKS),
        ("metadata/labels", {"app.kubernetes.io/managed-by": "me"}, HOOKS),
        ("metadata/ownerReferences/0/kind", "ElileSecret", HOOKS),
        ("metadata/ownerReferences", None, HOOKS),
        ("spec/backoffLimit", 3, ONCE),
        ("spec/parallelism", 2, ONCE),
        ("spec/activeDeadlineSeconds", None, ONCE),
        ("spec/ttlSecondsAfterFinished", None, ONCE),
        ("spec/suspend", True, ONCE),
        ("spec/managedBy", "example.com/else", ONCE),
        ("spec/template/metadata/annotations", {"a": "b"}, PODS),
        (f"{POD}/hostNetwork", True, PODS),
        (f"{POD}/hostPID", True, PODS),
        (f"{POD}/nodeName", "somewhere", PODS),
        (f"{POD}/priorityClassName", "system-node-critical", PODS),
        (f"{POD}/initContainers", [{"name": "a", "image": "b"}], PODS),
        (f"{POD}/imagePullSecrets", [{"name": "others"}], PODS),
        (f"{POD}/tolerations", [{"operator": "Exists"}], PODS),
        (f"{POD}/enableServiceLinks", True, PODS),
        (f"{POD}/automountServiceAccountToken", True, "has no token of a ServiceAccount"),
        (f"{POD}/automountServiceAccountToken", None, "has no token of a ServiceAccount"),
        (f"{POD}/securityContext/runAsNonRoot", False, RESTRICTED),
        (f"{POD}/securityContext/runAsUser", 0, RESTRICTED),
        (f"{POD}/securityContext/seccompProfile/type", "Unconfined", RESTRICTED),
        (f"{POD}/securityContext/supplementalGroups", [0], RESTRICTED),
        (f"{POD}/containers/1", {"name": "second", "image": "evil"}, CONTAINER),
        (f"{BOX}/securityContext", {"privileged": True}, CONTAINER),
        (f"{BOX}/securityContext/readOnlyRootFilesystem", False, CONTAINER),
        (f"{BOX}/securityContext/capabilities/add", ["NET_ADMIN"], CONTAINER),
        (f"{BOX}/securityContext/runAsUser", 0, CONTAINER),
        (f"{BOX}/envFrom", [{"secretRef": {"name": "others"}}], CONTAINER),
        (f"{BOX}/lifecycle", {"postStart": {"exec": {"command": ["a"]}}}, CONTAINER),
        (
            f"{BOX}/env",
            [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "others", "key": "a"}}}],
            "has plain texts in its environment, and nothing of a Secret",
        ),
        (f"{POD}/volumes/0/secret/secretName", "others", VOLUMES),
        (f"{POD}/volumes/0", {"name": "value", "hostPath": {"path": "/"}}, VOLUMES),
        (f"{POD}/volumes/1", {"name": "tmp", "configMap": {"name": "others"}}, VOLUMES),
        (f"{POD}/volumes/2", {"name": "more", "secret": {"secretName": "others"}}, VOLUMES),
        (f"{BOX}/volumeMounts/0/readOnly", False, VOLUMES),
        (f"{BOX}/volumeMounts/0/mountPath", "/etc", VOLUMES),
    ],
)
def test_the_operator_makes_no_other_job(site: Site, path: str, value: Any, message: str) -> None:
    good = job_manifest(site.job("true", env=(("A", "b"),)))
    create = (f"--as={OPERATOR}", "create", "--dry-run=server", "-f", "-")
    site.kubectl(*create, given=json.dumps(good))
    with pytest.raises(CommandError) as refused:
        site.kubectl(*create, given=json.dumps(changed(good, path, value)))
    assert "elile-operator-jobs" in str(refused.value)
    assert str(refused.value).endswith(message)


@pytest.fixture
def everything(site: Site) -> Iterator[Site]:
    """The operator with all rights, so that the policy alone decides."""
    site.cluster.kubectl("create", "clusterrolebinding", "fence-jobs", "--clusterrole=admin", f"--user={OPERATOR}")
    yield site
    site.cluster.kubectl("delete", "clusterrolebinding", "fence-jobs")


def test_the_operator_has_nothing_to_do_with_the_jobs_of_others(everything: Site) -> None:
    site = everything
    site.kubectl("create", "job", "theirs", f"--image={IMAGE}", "--", "true")
    with pytest.raises(CommandError, match="has nothing to do with Jobs but those of the hooks"):
        site.kubectl(f"--as={OPERATOR}", "delete", "job", "theirs", "--dry-run=server")
    with pytest.raises(CommandError, match="it changes none"):
        site.kubectl(f"--as={OPERATOR}", "label", "job", "theirs", "a=b", "--dry-run=server")
    site.kubectl("delete", "job", "theirs")
