"""A job hook is run once for each key, with the Secret beside it, and nothing of it is left."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from elile.secrets.redact import Redacted
from elile.secrets.rotation.verify.outcome import Outcome, Verification
from elile_operator.decide.jobs import Files, HookJob, job_manifest, job_name, render_files, secret_manifest
from elile_operator.delivery.jobs import JobRunner
from elile_operator.kube.resources import JOBS, PODS, SECRETS
from tests.fakes.api import MemoryKube
from tests.fakes.clock import FakeClock

CANARY = "canary-77e0"
JOB = HookJob(
    namespace="shop",
    rotation="db-29712345",
    rotation_uid="uid-1",
    hook="login",
    stage="Pending",
    attempt_key="r1 Applied 1",
    service_account="elile-rotator",
    image="registry.example.com/check:1.2",
    timeout=timedelta(seconds=10),
)
NAME = job_name(JOB)
VALUE: Redacted[Mapping[str, Any]] = Redacted({"password": CANARY})
ACCOUNT = "elile-system:elile-operator"


class Bench:
    """A runner on a small API server, and what kubelet and the controller of Jobs would do."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.kube = MemoryKube(self.clock)
        self.runner = JobRunner(self.kube, clock=self.clock, account=ACCOUNT)  # type: ignore[arg-type]

    def start(self, job: HookJob = JOB, value: Redacted[Mapping[str, Any]] = VALUE) -> asyncio.Task[Verification]:
        return asyncio.create_task(self.runner.run(job, value))

    def job(self) -> Any:
        return self.kube.find(JOBS, "shop", NAME)

    def secret(self) -> Any:
        return self.kube.find(SECRETS, "shop", NAME)

    def pod(self, state: dict[str, Any], **meta: Any) -> None:
        owners = [{"uid": self.job()["metadata"]["uid"]}]
        metadata = {"namespace": "shop", "name": f"{NAME}-x", "ownerReferences": owners, **meta}
        status = {"containerStatuses": [{"name": "hook", "state": state}]}
        self.kube.put(PODS, {"metadata": metadata, "status": status})

    def ends(self, code: int) -> None:
        self.pod({"terminated": {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}})

    def says(self, kind: str, reason: str = "") -> None:
        conditions = [{"type": kind, "status": "True", "reason": reason}]
        self.kube.put(JOBS, {**self.job(), "status": {"conditions": conditions}})

    def left(self) -> list[str]:
        return [kind for kind, found in (("Job", self.job()), ("Secret", self.secret())) if found is not None]

    def calls(self, verb: str) -> list[str]:
        return [write.resource for write in self.kube.writes if write.verb == verb]

    async def until(self, seen: Callable[[], Any]) -> None:
        for _ in range(200):
            if seen():
                return
            await self.clock.advance(0.5)
        raise AssertionError("it did not come to this")

    async def result(self, task: asyncio.Task[Verification]) -> Verification:
        await self.until(task.done)
        return task.result()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def files() -> Files:
    found = render_files(JOB, VALUE)
    assert not isinstance(found, Verification)
    return found


@pytest.mark.parametrize(
    ("code", "outcome", "message"),
    [
        (0, Outcome.PASSED, "the container of the job hook 'login' ended with 0"),
        (7, Outcome.FAILED, "the container of the job hook 'login' ended with 7"),
    ],
)
async def test_the_exit_code_decides_and_nothing_is_left(
    bench: Bench, code: int, outcome: Outcome, message: str
) -> None:
    task = bench.start()
    await bench.until(bench.secret)
    job, secret = bench.job(), bench.secret()
    assert {k: v for k, v in job.items() if k != "metadata"} == {
        k: v for k, v in job_manifest(JOB).items() if k != "metadata"
    }
    assert secret["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    await bench.clock.advance(3)
    assert not task.done()
    bench.ends(code)
    found = await bench.result(task)
    assert (found.outcome, found.detail) == (outcome, message)
    assert bench.left() == []
    assert (bench.calls("create"), bench.calls("delete")) == (["jobs", "secrets"], ["secrets", "jobs"])
    assert CANARY not in str([write for write in bench.kube.writes if write.resource != "secrets"])


async def test_what_is_looked_at_are_the_pods_of_the_job(bench: Bench) -> None:
    task = bench.start()
    await bench.until(bench.secret)
    bench.ends(0)
    await bench.result(task)
    assert f"list pods shop batch.kubernetes.io/job-name={NAME}" in bench.kube.reads


# ── a process that died ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_job_of_a_process_that_died_is_gone_on_with(bench: Bench) -> None:
    made = bench.kube.put(JOBS, job_manifest(JOB))
    bench.kube.put(SECRETS, secret_manifest(JOB, made["metadata"]["uid"], files()))
    task = bench.start()
    await bench.clock.advance(2)
    bench.ends(0)
    assert (await bench.result(task)).outcome is Outcome.PASSED
    assert (bench.calls("create"), bench.left()) == ([], [])


async def test_a_process_that_died_before_the_secret_was_made(bench: Bench) -> None:
    bench.kube.put(JOBS, job_manifest(JOB))
    task = bench.start()
    await bench.until(bench.secret)
    bench.ends(0)
    assert (await bench.result(task)).outcome is Outcome.PASSED
    assert (bench.calls("create"), bench.left()) == (["secrets"], [])


@pytest.mark.parametrize(("kind", "outcome"), [("Complete", Outcome.PASSED), ("Failed", Outcome.INCONCLUSIVE)])
async def test_what_ended_meanwhile_counts_and_is_given_nothing(bench: Bench, kind: str, outcome: Outcome) -> None:
    bench.kube.put(JOBS, job_manifest(JOB))
    bench.says(kind, "DeadlineExceeded")
    assert (await bench.result(bench.start())).outcome is outcome
    assert (bench.calls("create"), bench.left()) == ([], [])


async def test_the_answer_about_another_value_does_not_count(bench: Bench) -> None:
    made = bench.kube.put(JOBS, job_manifest(JOB))
    other = {**secret_manifest(JOB, made["metadata"]["uid"], files()), "data": {"password": "b2xk"}}
    bench.kube.put(SECRETS, other)
    task = bench.start()
    await bench.until(lambda: len(bench.calls("create")) == 2)
    assert bench.job()["metadata"]["uid"] != made["metadata"]["uid"]
    bench.ends(0)
    assert (await bench.result(task)).outcome is Outcome.PASSED
    assert bench.left() == []


async def test_the_secret_of_a_job_that_is_gone_does_not_count(bench: Bench) -> None:
    bench.kube.put(SECRETS, secret_manifest(JOB, "uid-of-before", files()))
    task = bench.start()
    await bench.until(lambda: bench.calls("create").count("secrets") == 1)
    assert bench.secret()["metadata"]["ownerReferences"][0]["uid"] == bench.job()["metadata"]["uid"]
    bench.ends(0)
    assert (await bench.result(task)).outcome is Outcome.PASSED


async def test_a_job_on_its_way_out_is_waited_for(bench: Bench) -> None:
    going = job_manifest(JOB)
    going["metadata"] = {**going["metadata"], "deletionTimestamp": "2030-01-01T00:00:00Z"}
    bench.kube.put(JOBS, going)
    task = bench.start()
    await bench.clock.advance(2)
    assert bench.calls("create") == []
    bench.kube.remove(JOBS, "shop", NAME)
    await bench.until(bench.secret)
    bench.ends(0)
    assert (await bench.result(task)).outcome is Outcome.PASSED


async def test_one_that_stays_on_its_way_out_is_named(bench: Bench) -> None:
    going = job_manifest(JOB)
    going["metadata"] = {**going["metadata"], "deletionTimestamp": "2030-01-01T00:00:00Z"}
    bench.kube.put(JOBS, going)
    found = await bench.result(bench.start())
    assert found == Verification.inconclusive(
        f"what is left of an earlier Job of the hook 'login', shop/{NAME}, does not go: delete it"
    )


@pytest.mark.parametrize(("resource", "kind"), [(JOBS, "Job"), (SECRETS, "Secret")])
async def test_what_is_somebody_elses_is_left_alone(bench: Bench, resource: Any, kind: str) -> None:
    bench.kube.put(resource, {"metadata": {"namespace": "shop", "name": NAME}})
    found = await bench.result(bench.start())
    assert found == Verification.inconclusive(
        f"the {kind} shop/{NAME} is not the operator's, which needs the name for the hook 'login': delete it"
    )
    assert bench.left() == [kind]


# ── ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_cancelled_task_cleans_up(bench: Bench) -> None:
    task = bench.start()
    await bench.until(bench.secret)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (bench.left(), bench.calls("delete")) == ([], ["secrets", "jobs"])


async def test_a_task_cancelled_between_job_and_secret_cleans_up(bench: Bench) -> None:
    task = bench.start()
    for _ in range(20):
        if bench.job():
            break
        await asyncio.sleep(0)
    assert bench.left() == ["Job"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.left() == []


async def test_a_job_whose_answer_was_lost_is_removed(bench: Bench) -> None:
    bench.kube.fail("create", SECRETS, 0)
    found = await bench.result(bench.start())
    assert found == Verification.inconclusive(
        "the API server did not let the job hook 'login' be run (create secrets: no answer Scripted): it is tried again"
    )
    assert bench.left() == []


async def test_a_job_that_is_deleted_has_no_answer(bench: Bench) -> None:
    task = bench.start()
    await bench.until(bench.secret)
    bench.kube.remove(JOBS, "shop", NAME)
    found = await bench.result(task)
    assert found == Verification.inconclusive(f"the Job of the hook 'login', shop/{NAME}, was deleted before it ended")
    assert bench.left() == []


async def test_an_outage_is_waited_for_as_long_as_the_hook_has(bench: Bench) -> None:
    task = bench.start()
    await bench.until(bench.secret)
    bench.kube.fail("list", PODS, *[0] * 10)
    await bench.clock.advance(5)
    assert not task.done()
    bench.ends(0)
    assert (await bench.result(task)).outcome is Outcome.PASSED


async def test_a_job_that_nobody_ends_is_given_up(bench: Bench) -> None:
    task = bench.start()
    await bench.until(bench.secret)
    bench.pod({"running": {}})
    await bench.clock.advance(24)
    assert not task.done()
    await bench.clock.advance(2)
    assert task.result() == Verification.inconclusive(
        "the Job of the hook 'login' has not ended after 10 s: it had not ended: give it more time in "
        "spec.verify[].timeout"
    )
    assert bench.left() == []


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("verb", "resource", "status", "message"),
    [
        pytest.param(
            "get",
            JOBS,
            403,
            "the operator may not run Jobs in namespace 'shop'; allow it: kubectl -n shop create rolebinding "
            "elile-jobs --clusterrole=elile-jobs --serviceaccount=elile-system:elile-operator",
            id="no right to Jobs",
        ),
        pytest.param(
            "get",
            SECRETS,
            403,
            "the operator has no rights to the Secrets and ServiceAccounts of namespace 'shop'; give them: kubectl -n "
            "shop create rolebinding elile-deliver --clusterrole=elile-deliver "
            "--serviceaccount=elile-system:elile-operator",
            id="no right to Secrets",
        ),
        *(
            pytest.param(
                "create",
                JOBS,
                status,
                "the Job of the hook 'login' is refused in namespace 'shop': an admission policy, a webhook or a quota "
                f"has to let Jobs shop/{NAME} of the operator pass",
                id=f"refused with {status}",
            )
            for status in (403, 422)
        ),
        pytest.param(
            "create",
            JOBS,
            404,
            "the API server did not let the job hook 'login' be run (create jobs: 404 Scripted): it is tried again",
            id="no namespace",
        ),
    ],
)
async def test_what_is_refused_says_nothing_of_the_value(
    bench: Bench, verb: str, resource: Any, status: int, message: str
) -> None:
    bench.kube.fail(verb, resource, *[status] * 3)
    assert await bench.result(bench.start()) == Verification.inconclusive(message)


async def test_what_can_be_no_file_begins_nothing(bench: Bench) -> None:
    found = await bench.result(bench.start(value=Redacted({"a": None})))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert bench.kube.writes == []


async def test_what_cannot_be_removed_is_logged_without_the_value(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.kube.fail("delete", SECRETS, 0)
    with caplog.at_level(logging.DEBUG):
        task = bench.start()
        await bench.until(bench.secret)
        bench.ends(0)
        assert (await bench.result(task)).outcome is Outcome.PASSED
    assert [record.getMessage() for record in caplog.records] == ["left behind for a while"]
    assert bench.left() == ["Secret"]
    assert CANARY not in str([vars(record) for record in caplog.records])


async def test_two_tries_are_two_jobs(bench: Bench) -> None:
    second = replace(JOB, attempt_key="r1 Applied 2")
    tasks = [bench.start(), bench.start(second)]
    await bench.until(lambda: len(bench.calls("create")) == 4)
    for job in (JOB, second):
        found = bench.kube.find(JOBS, "shop", job_name(job))
        assert found is not None
        bench.kube.put(JOBS, {**found, "status": {"conditions": [{"type": "Complete", "status": "True"}]}})
    assert [(await bench.result(task)).outcome for task in tasks] == [Outcome.PASSED] * 2
