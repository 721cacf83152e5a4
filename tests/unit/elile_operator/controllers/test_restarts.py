"""Restarts against a cluster in memory: what is asked, what is written, what is told, and what another process does."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from elile_operator.controllers.restarts import LOOK, LOOK_AGAIN, Restarts
from elile_operator.engine import ObjectKey, Result
from elile_operator.kube.client import Json
from elile_operator.kube.errors import KubeUnavailableError
from elile_operator.kube.resources import DEPLOYMENTS, ELILE_SECRETS, PODS, SECRETS, Resource
from tests.fakes.api import elile_secret, pod
from tests.unit.elile_operator.controllers.secret_stage import SecretStage
from tests.unit.elile_operator.controllers.stage import ACCOUNT, DB

CANNOT_SEE = {"restart": {"when": "CannotSeeFile"}}
NOT_ALLOWED = (
    "the operator may not restart workloads of namespace 'shop'; allow it: kubectl -n shop create rolebinding "
    "elile-restart --clusterrole=elile-restart --serviceaccount=elile-system:elile-operator"
)


class Stage(SecretStage):
    """The parts, with a controller of ElileSecrets and Deployments of one pod each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.serve()

    def another_process(self) -> None:
        """All that the first one remembered is gone."""
        self.restarts = Restarts(
            self.kube,  # type: ignore[arg-type]
            world=self.world,
            queue=self.rollouts,
            events=self.events,
            account=ACCOUNT,
            clock=self.clock,
            on_news=self.wakeups.consumers_changed,
        )
        self.consumers._restarts = self.restarts
        while self.rollouts.get_nowait() is not None:
            pass

    def deploy(self, name: str, **spec: Any) -> None:
        """A Deployment that is complete, and its pod, which reads the Secret as environment."""
        status = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
        body = {
            "metadata": {"namespace": "shop", "name": name, "generation": 1},
            "spec": {"replicas": 1, "template": {"metadata": {"labels": {"app": name}}}, **spec},
            "status": status,
        }
        self.kube.put(DEPLOYMENTS, body)
        self.put(PODS, env_pod(name, 1, "2029-01-01T00:00:00Z"))

    def deployment(self, name: str) -> Json:
        body = self.kube.find(DEPLOYMENTS, "shop", name)
        assert body is not None
        return body

    def rolled_out(self, name: str) -> None:
        """Its controller has done what the template says: another pod."""
        body = self.deployment(name)
        generation = body["metadata"]["generation"]
        body["status"]["observedGeneration"] = generation
        self.kube.put(DEPLOYMENTS, body)
        for number in range(1, generation):
            if self.kube.find(PODS, "shop", f"{name}-{number}"):
                self.remove(PODS, "shop", f"{name}-{number}")
        self.put(PODS, env_pod(name, generation, f"{self.clock.now():%Y-%m-%dT%H:%M:%SZ}"))

    async def look(self) -> None:
        await self.controller.reconcile(DB)

    async def turn(self) -> Result:
        return await self.restarts.reconcile("shop")

    async def changed(self, value: str) -> None:
        """Another value was delivered, and the debounce is over."""
        self.vault.write("db", password=value)
        await self.clock.advance(61.0)
        await self.look()
        await self.clock.advance(2.0)

    def restarted(self) -> list[str]:
        """Names of the workloads that were patched since the last time this was asked."""
        found = [w.name for w in self.kube.written("apply", DEPLOYMENTS)]
        self.kube.writes.clear()
        return found

    def told(self) -> dict[str, str]:
        return {each["name"]: each["reason"] for each in self.status()["consumers"].get("restarts", [])}


def env_pod(name: str, number: int, created: str) -> Json:
    body = pod(f"{name}-{number}", created=created)
    body["metadata"]["labels"] = {"pod-template-hash": str(number)}
    body["metadata"]["ownerReferences"] = [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{name}-{number}", "controller": True}
    ]
    del body["spec"]["volumes"]
    body["spec"]["containers"] = [{"name": "app", "envFrom": [{"secretRef": {"name": "db"}}]}]
    return body


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """An object that is delivered, and has just been changed."""
    stage = Stage(monkeypatch)
    stage.vault.write("db", password="p1")
    stage.want(consumers=CANNOT_SEE)
    await stage.look()
    stage.deploy("a")
    stage.deploy("b")
    await stage.changed("p2")
    stage.events.told.clear()
    return stage


async def to_the_end(stage: Stage, name: str) -> None:
    """Have a restarted workload roll out, and be calm for long enough."""
    stage.rolled_out(name)
    for _ in range(4):
        await stage.turn()
        await stage.look()
        await stage.clock.advance(2.0)


async def test_one_goes_first_and_the_other_when_that_is_done(stage: Stage) -> None:
    assert await stage.turn() == Result.after(LOOK)
    assert stage.restarted() == ["a"]
    await stage.look()
    assert stage.told() == {"a": "Restarting", "b": "NeedsRestart"}
    assert await stage.turn() == Result.after(LOOK)
    assert stage.restarted() == []
    await to_the_end(stage, "a")
    assert stage.restarted() == ["b"]
    await to_the_end(stage, "b")
    assert (stage.restarted(), stage.told()) == ([], {"a": "Restarted", "b": "Restarted"})
    assert await stage.turn() == Result.absent()
    stamp = stage.secret()["metadata"]["annotations"]["elile.io/fingerprint"]
    for name in ("a", "b"):
        annotations = stage.deployment(name)["spec"]["template"]["metadata"]["annotations"]
        assert annotations == {"restart.elile.io/db": stamp}
    assert stage.events.told == [
        ("ElileSecret db", "Restarting", "revision 2: Deployment a: A workload is being restarted.", False),
        (
            "ElileSecret db",
            "Restarted",
            "revision 2: Deployment a: A workload was restarted, and its rollout is complete.",
            False,
        ),
        ("ElileSecret db", "Restarting", "revision 2: Deployment b: A workload is being restarted.", False),
        (
            "ElileSecret db",
            "Restarted",
            "revision 2: Deployment b: A workload was restarted, and its rollout is complete.",
            False,
        ),
    ]


async def test_the_patch_is_an_apply_of_the_annotation_to_that_very_object(stage: Stage) -> None:
    await stage.turn()
    (write,) = stage.kube.written("apply", DEPLOYMENTS)
    stamp = stage.secret()["metadata"]["annotations"]["elile.io/fingerprint"]
    assert write.manager == "elile-restart"
    assert write.body == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a", "uid": stage.deployment("a")["metadata"]["uid"]},
        "spec": {"template": {"metadata": {"annotations": {"restart.elile.io/db": stamp}}}},
    }


async def test_nothing_is_asked_before_the_debounce_is_over_nor_when_all_is_done(stage: Stage) -> None:
    assert stage.due(stage.rollouts) == ["shop"]
    await stage.turn()
    stage.kube.reads.clear()
    await to_the_end(stage, "a")
    await to_the_end(stage, "b")
    stage.kube.reads.clear()
    await stage.look()
    await stage.turn()
    assert stage.kube.reads == []


async def test_an_available_pod_is_no_proof_before_it_was_calm_for_a_while(stage: Stage) -> None:
    await stage.turn()
    stage.rolled_out("a")
    await stage.turn()
    await stage.clock.advance(4.0)
    await stage.turn()
    assert stage.restarted() == ["a"]

    def crash(body: Json) -> None:
        body["status"]["containerStatuses"] = [{"restartCount": 1}]

    stage.edit(PODS, "shop", "a-2", crash)
    await stage.turn()
    await stage.clock.advance(4.0)
    await stage.turn()
    assert stage.restarted() == [], "it was started again: counted anew"
    await stage.clock.advance(2.0)
    await stage.turn()
    assert stage.restarted() == ["b"]


async def test_a_rollout_that_is_faster_than_the_watch_of_pods_has_to_be_calm_as_well(stage: Stage) -> None:
    stage.restarts._rolling["other"] = 10
    for _ in range(3):
        await stage.turn()
        await stage.clock.advance(2.0)
    del stage.restarts._rolling["other"]
    await stage.turn()
    assert stage.restarted() == ["a"]
    body = stage.deployment("a")
    body["status"]["observedGeneration"] = 2
    stage.kube.put(DEPLOYMENTS, body)
    await stage.turn()
    await stage.look()
    assert stage.told()["a"] == "Restarting"


async def test_pods_that_crash_again_and_again_stop_the_rest(stage: Stage) -> None:
    await stage.turn()
    stage.rolled_out("a")

    def crash(body: Json) -> None:
        body["status"]["containerStatuses"] = [{"restartCount": 2}]

    stage.edit(PODS, "shop", "a-2", crash)
    for _ in range(3):
        await stage.turn()
        await stage.look()
        await stage.clock.advance(1.0)
    assert stage.told() == {"a": "RestartFailed", "b": "NeedsRestart"}
    (told,) = [(reason, note) for _, reason, note, warning in stage.events.told if warning]
    why = "its pod a-2 crashes again and again; mend it, or take the value back"
    assert told == ("RestartFailed", f"revision 2: Deployment a: {why}")
    assert stage.restarted() == ["a"]


async def test_pods_that_crashed_before_are_what_the_restart_may_mend(stage: Stage) -> None:
    def crash(body: Json) -> None:
        body["status"]["containerStatuses"] = [{"restartCount": 9}]

    stage.edit(PODS, "shop", "a-1", crash)
    await stage.look()
    await stage.turn()
    await stage.turn()
    await stage.look()
    assert stage.told()["a"] == "Restarting"


@pytest.mark.parametrize("lost", [False, True], ids=["told", "died before it told"])
async def test_another_process_goes_on_where_the_first_one_was(stage: Stage, lost: bool) -> None:
    await stage.turn()
    if not lost:
        await stage.look()
    stage.restarted()
    stage.another_process()
    await stage.look()
    await stage.clock.advance(2.0)
    await stage.turn()
    assert stage.restarted() == []
    await stage.look()
    assert stage.told() == {"a": "Restarting", "b": "NeedsRestart"}
    await to_the_end(stage, "a")
    assert stage.restarted() == ["b"]


async def test_another_process_does_not_restart_what_was_taken_back(stage: Stage) -> None:
    """Somebody's undo of a rollout that breaks: the pods of before are there yet."""
    await stage.turn()
    await stage.look()
    body = stage.deployment("a")
    body["spec"]["template"]["metadata"].pop("annotations")
    stage.kube.put(DEPLOYMENTS, body)
    stage.another_process()
    stage.restarted()
    for _ in range(3):
        await stage.look()
        await stage.clock.advance(2.0)
        await stage.turn()
    assert stage.restarted() == []
    assert stage.told() == {"a": "RestartFailed", "b": "NeedsRestart"}


async def test_another_process_restarts_nothing_that_was_restarted(stage: Stage) -> None:
    for name in ("a", "b"):
        await stage.turn()
        await to_the_end(stage, name)
    stage.restarted()
    stage.another_process()
    # Somebody's undo: the template of before, and pods as young as that.
    body = stage.deployment("a")
    body["spec"]["template"]["metadata"].pop("annotations")
    body["metadata"]["generation"] += 1
    stage.kube.put(DEPLOYMENTS, body)
    stage.rolled_out("a")
    await stage.look()
    await stage.clock.advance(2.0)
    assert (await stage.turn(), stage.restarted()) == (Result.absent(), [])


@pytest.mark.parametrize("verb", ["get", "apply"])
async def test_without_the_right_it_says_so_and_tries_again(stage: Stage, verb: str) -> None:
    stage.kube.fail(verb, DEPLOYMENTS, 403, 403)
    assert await stage.turn() == Result.after(LOOK_AGAIN)
    await stage.look()
    refused = stage.status()["consumers"]["restarts"][0]
    assert (refused["reason"], refused["message"]) == ("RestartNotAllowed", NOT_ALLOWED)
    assert ("ElileSecret db", "RestartNotAllowed", f"revision 2: Deployment a: {NOT_ALLOWED}", True) in (
        stage.events.told
    )
    stage.kube.fail(verb, DEPLOYMENTS)
    stage.due(stage.rollouts)
    stage.restarts.rights_changed("other")
    assert stage.due(stage.rollouts) == []
    stage.restarts.rights_changed("shop")
    assert stage.due(stage.rollouts) == ["shop"]
    stage.restarted()
    await stage.turn()
    assert stage.restarted() == ["a"]


async def test_a_policy_that_forbids_it_is_told(stage: Stage) -> None:
    stage.kube.fail("apply", DEPLOYMENTS, 422)
    assert await stage.turn() == Result.after(LOOK_AGAIN)
    await stage.look()
    refused = stage.status()["consumers"]["restarts"][0]
    assert (refused["reason"], refused["message"]) == (
        "RestartNotAllowed",
        "the API server refuses the annotation restart.elile.io/*; allow it in the admission policy at fault",
    )


@pytest.mark.parametrize("verb", ["get", "apply"])
async def test_an_api_server_that_is_away_is_a_failed_pass(stage: Stage, verb: str) -> None:
    stage.kube.fail(verb, DEPLOYMENTS, 0)
    with pytest.raises(KubeUnavailableError):
        await stage.turn()
    await stage.turn()
    assert stage.restarted()[-1:] == ["a"]


@pytest.mark.parametrize("status", [404, 409])
async def test_a_workload_that_changes_under_our_hands_is_looked_at_again(stage: Stage, status: int) -> None:
    stage.kube.fail("apply", DEPLOYMENTS, status)
    assert await stage.turn() == Result.after(LOOK)
    await stage.turn()
    assert stage.restarted() == ["a", "a"]


async def test_an_object_that_goes_is_forgotten_and_what_rolls_rolls_on(stage: Stage) -> None:
    await stage.turn()
    stage.restarted()
    stage.remove(ELILE_SECRETS, "shop", "db")
    await stage.look()
    assert (await stage.turn(), stage.restarted()) == (Result.absent(), [])


async def test_a_value_that_comes_while_the_first_one_rolls_begins_anew(stage: Stage) -> None:
    await stage.turn()
    await stage.changed("p3")
    stage.restarted()
    await stage.turn()
    assert stage.restarted() == ["a"]
    await stage.look()
    assert {each["revision"] for each in stage.status()["consumers"]["restarts"]} == {3}


async def test_a_value_that_comes_while_workloads_are_looked_at_has_its_own_results(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, changes = stage.kube.get, ["p3"]

    async def get(resource: Resource, namespace: str | None, name: str) -> Json:
        if resource is DEPLOYMENTS and changes:
            await stage.changed(changes.pop())
        return await read(resource, namespace, name)

    monkeypatch.setattr(stage.kube, "get", get)
    await stage.turn()
    wish, _ = stage.restarts._wishes[DB]
    assert (wish.revision, wish.told) == (3, ())


async def test_an_object_that_cannot_be_read_restarts_and_asks_nobody(stage: Stage) -> None:
    stage.put(ELILE_SECRETS, elile_secret(generation=3, colour="blue"))
    await stage.look()
    assert (await stage.turn(), stage.restarted()) == (Result.absent(), [])


async def test_only_so_many_roll_in_all_namespaces(stage: Stage) -> None:
    stage.restarts._rolling["other"] = 10
    await stage.turn()
    assert stage.restarted() == []
    stage.restarts._rolling["other"] = 9
    await stage.turn()
    assert stage.restarted() == ["a"]


async def test_who_restarts_never_asks_for_nothing(stage: Stage) -> None:
    stage.change(consumers={})
    await stage.look()
    stage.kube.reads.clear()
    await stage.turn()
    assert (stage.restarted(), [r for r in stage.kube.reads if "deployments" in r]) == ([], [])


# ── proofs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def ready(body: Json) -> None:
    body["status"] |= {"podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}]}


def http_pod(change: Callable[[Json], None] = ready) -> Json:
    body = pod()
    change(body)
    return body


async def test_what_a_pod_answers_proves_and_then_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    stage.vault.write("db", password="p1")
    stage.put(PODS, http_pod())
    stage.want(consumers={"proof": {"http": {"port": 8080}}})
    await stage.look()
    assert stage.says("ConsumersCurrent") == "False AwaitingConsumers"
    assert stage.due(stage.proofs) == [DB]
    stage.pods.answers["http://10.0.0.7:8080/.well-known/elile"] = b'{"secrets": {"db": 1}}'
    stage.due()
    await stage.prober.reconcile(DB)
    assert stage.due() == [DB], "the answer wakes the object"
    await stage.look()
    assert stage.says("ConsumersCurrent") == "True ConsumersCurrent"
    assert stage.status()["consumers"]["provedRevision"] == 1
    assert dict(stage.prober.answers(DB)) == {}, "the status remembers it"
    asked = len(stage.pods.asked)
    await stage.look()
    await stage.prober.reconcile(DB)
    assert (len(stage.pods.asked), stage.due(stage.proofs)) == (asked, [])

    stage.vault.write("db", password="p2")
    await stage.clock.advance(61.0)
    await stage.look()
    assert stage.says("ConsumersCurrent") == "False AwaitingConsumers"
    assert ".elile.json" in stage.secret()["data"]


async def test_time_brings_the_object_back(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    stage.vault.write("db", password="p1")
    stage.put(PODS, pod())
    stage.want(consumers={"proof": {"elapsed": "30m"}})
    assert await stage.controller.reconcile(DB) == Result.after(timedelta(minutes=30, seconds=1))
    assert stage.says("ConsumersCurrent") == "False AwaitingConsumers"
    await stage.clock.advance(1801.0)
    assert await stage.controller.reconcile(DB) == Result.done()
    assert stage.says("ConsumersCurrent") == "True ConsumersCurrent"


async def test_while_its_source_fails_the_proof_is_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    stage.vault.write("db", password="p1")
    stage.want(consumers={"proof": {"rollout": {}}})
    await stage.look()
    assert stage.says("ConsumersCurrent") == "True ConsumersCurrent"
    stage.vault.delete("db", 1)
    await stage.clock.advance(61.0)
    await stage.look()
    assert (stage.says(), stage.says("ConsumersCurrent")) == ("False VersionDeleted", "True ConsumersCurrent")
    stage.change(refresh={"interval": "2m"})
    await stage.look()
    assert stage.says("ConsumersCurrent") == "Unknown VersionDeleted", "another generation was never proved"


async def test_pods_are_poked_for_the_metadata_file_but_the_change_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    stage.vault.write("db", password="p1")
    stage.want()
    await stage.look()
    stage.put(PODS, pod())
    before = stage.status()
    await stage.clock.advance(61.0)
    stage.kube.writes.clear()
    stage.change(delivery={"metadataFile": True})
    await stage.look()
    assert [w.name for w in stage.kube.written("merge", PODS)] == ["app-1"]
    assert stage.data()[".elile.json"] == (
        '{"schema":1,"name":"db","revision":1,"sources":[{"name":"db","path":"secret/db","version":1}]}'
    )
    after = stage.status()
    assert (after["revision"], after["lastChangeTime"]) == (before["revision"], before["lastChangeTime"])
    assert after["keys"] == ["password"]

    stage.kube.writes.clear()
    stage.vault.write("db", password="p1")
    await stage.clock.advance(61.0)
    await stage.look()
    assert stage.kube.written("apply", SECRETS) == [], "another version of the same values"
    assert stage.status()["sources"][0]["version"] == 2


async def test_an_object_named_like_another_has_its_own_wishes(stage: Stage) -> None:
    """Made anew under the same name and revision: what was told of the old one is nothing of its own."""
    await stage.turn()
    known = stage.restarts._wishes[ObjectKey("shop", "db")][0]
    secret = stage.world.secret(DB)
    assert secret is not None
    meta = secret.metadata.model_copy(update={"uid": "another"})
    again = secret.model_copy(update={"metadata": meta})
    assert stage.restarts._known(DB, again, known.revision) is None  # type: ignore[arg-type]
