"""Secrets are followed namespace by namespace, as far as the rights go, and everywhere only where that is said."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from elile_operator.controllers.managed import ManagedSecrets, SecretWatcher
from elile_operator.engine import DeniedError, Following, ListExpiredError, ObjectKey, Page
from elile_operator.kube.client import Json
from elile_operator.kube.errors import KubeError, KubeForbiddenError, KubeGoneError, KubeUnavailableError
from elile_operator.kube.resources import SECRETS, Resource
from tests.fakes.api import secret
from tests.fakes.clock import FakeClock
from tests.unit.elile_operator.controllers.stage import DB, KEY


class Cluster:
    """The part of a KubeClient that lists and watches Secrets: streams stay open, and yield what is sent."""

    def __init__(self) -> None:
        self.items: list[Json] = []
        self.version = 10
        self.failure: KubeError | None = None
        self.broken: KubeError | None = None
        self.lists: list[tuple[str | None, str, str | None]] = []
        self.watches: list[dict[str, Any]] = []
        self.streams: list[asyncio.Queue[tuple[str, Json] | None]] = []

    async def list_page(
        self, resource: Resource, *, namespace: str | None, token: str, label_selector: str | None
    ) -> tuple[list[Json], str, str]:
        assert resource is SECRETS
        self.lists.append((namespace, token, label_selector))
        if self.failure:
            raise self.failure
        found = [i for i in self.items if namespace in (None, i["metadata"]["namespace"])]
        return found, "", str(self.version)

    async def watch(self, resource: Resource, **arguments: Any) -> AsyncIterator[tuple[str, Json]]:
        assert resource is SECRETS
        self.watches.append(arguments)
        if self.broken:
            raise self.broken
        stream: asyncio.Queue[tuple[str, Json] | None] = asyncio.Queue()
        self.streams.append(stream)
        while (event := await stream.get()) is not None:
            yield event

    def body(self, name: str, namespace: str = "shop", owner: str = "") -> Json:
        self.version += 1
        found = secret(name, namespace)
        found["metadata"] |= {"uid": f"uid-{name}", "resourceVersion": str(self.version)}
        if owner:
            found["metadata"]["ownerReferences"] = [{"kind": "ElileSecret", "name": "db", "uid": owner}]
        return found


class Stage:
    def __init__(self, *, everywhere: bool = False) -> None:
        self.clock = FakeClock(monotonic=0.0)
        self.cluster = Cluster()
        self.changed: list[ObjectKey] = []
        self.turned: list[str] = []
        self.live = ManagedSecrets(
            key=KEY,
            watcher=lambda namespace: SecretWatcher(self.cluster, namespace, selector="a=b"),  # type: ignore[arg-type]
            clock=self.clock,
            rand=lambda: 0.5,
            period=600.0,
            everywhere=everywhere,
        )
        self.live.connect(on_change=lambda change: self.changed.append(change.key), on_turn=self.turned.append)

    async def follow(self, *namespaces: str) -> None:
        for namespace in namespaces:
            self.live.manage(namespace)
        await self.clock.settle()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await stage.live.stop()
    assert stage.live.tasks() == []


async def test_a_namespace_is_listed_then_watched(stage: Stage) -> None:
    stage.cluster.items = [stage.cluster.body("db"), stage.cluster.body("db", "other")]
    assert stage.live.following("shop") is Following.STARTING
    await stage.follow("shop")
    assert stage.live.following("shop") is Following.CURRENT
    assert (stage.changed, stage.turned) == ([DB], ["shop"])
    assert stage.cluster.lists == [("shop", "", "a=b")]
    assert stage.cluster.watches == [{"namespace": "shop", "version": "12", "label_selector": "a=b", "seconds": 300}]
    found = stage.live.get(DB)
    assert found is not None
    assert (found.uid, stage.live.get(ObjectKey("other", "db"))) == ("uid-db", None)


async def test_a_watch_tells_of_changes(stage: Stage) -> None:
    await stage.follow("shop")
    (stream,) = stage.cluster.streams
    stream.put_nowait(("ADDED", stage.cluster.body("db")))
    await stage.clock.settle()
    assert stage.live.get(DB) is not None
    stream.put_nowait(("DELETED", stage.cluster.body("db")))
    await stage.clock.settle()
    assert (stage.live.get(DB), stage.changed) == (None, [DB, DB])


async def test_what_a_write_answered_is_known_at_once(stage: Stage) -> None:
    stage.live.observe(stage.cluster.body("early"))
    assert stage.live.get(ObjectKey("shop", "early")) is None, "nobody follows that namespace"
    await stage.follow("shop")
    stage.live.observe(stage.cluster.body("db"))
    assert stage.live.get(DB) is not None


async def test_secrets_are_found_by_their_owner(stage: Stage) -> None:
    stage.cluster.items = [
        stage.cluster.body("db", owner="uid-1"),
        stage.cluster.body("former", owner="uid-1"),
        stage.cluster.body("mail", owner="uid-2"),
        stage.cluster.body("free"),
    ]
    assert stage.live.owned("shop", "uid-1") == []
    await stage.follow("shop")
    assert sorted(live.name for live in stage.live.owned("shop", "uid-1")) == ["db", "former"]
    assert stage.live.owned("shop", "uid-3") == []
    assert stage.live.owned("other", "uid-1") == []


async def test_each_namespace_is_followed_once_and_left_alone(stage: Stage) -> None:
    await stage.follow("shop", "shop", "other")
    assert sorted(task.get_name() for task in stage.live.tasks()) == ["elile-secrets-other", "elile-secrets-shop"]
    tasks = {task.get_name(): task for task in stage.live.tasks()}
    stage.live.leave("shop")
    stage.live.leave("nobodys")
    await stage.clock.settle()
    assert tasks["elile-secrets-shop"].cancelled()
    assert not tasks["elile-secrets-other"].done()
    assert stage.live.following("shop") is Following.STARTING
    await stage.follow("shop")
    assert stage.live.following("shop") is Following.CURRENT


# ── rights ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_namespace_that_is_not_given_to_us_is_denied(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.cluster.failure = KubeForbiddenError("GET x", status=403)
    await stage.follow("shop")
    assert (stage.live.following("shop"), stage.turned) == (Following.DENIED, ["shop"])
    assert [(r.message, r.__dict__["fields"]) for r in caplog.records] == [
        ("no rights to Secrets", {"namespace": "shop"})
    ]


async def test_rights_that_are_given_take_effect_with_a_nudge(stage: Stage) -> None:
    stage.cluster.failure = KubeForbiddenError("GET x", status=403)
    await stage.follow("shop")
    stage.cluster.failure = None
    await stage.clock.advance(1.0)
    assert stage.live.following("shop") is Following.DENIED
    stage.live.nudge("shop")
    stage.live.nudge("nobodys")
    await stage.clock.settle()
    assert (stage.live.following("shop"), stage.turned) == (Following.CURRENT, ["shop", "shop"])


async def test_rights_that_are_given_take_effect_within_a_minute_without_one(stage: Stage) -> None:
    stage.cluster.failure = KubeForbiddenError("GET x", status=403)
    await stage.follow("shop")
    stage.cluster.failure = None
    await stage.clock.advance(60.0)
    assert stage.live.following("shop") is Following.CURRENT


async def test_rights_that_are_taken_away(stage: Stage) -> None:
    await stage.follow("shop")
    stage.cluster.failure = KubeForbiddenError("GET x", status=403)
    stage.cluster.broken = KubeForbiddenError("WATCH x", status=403)
    stage.cluster.streams[0].put_nowait(None)
    await stage.clock.advance(0.2)
    assert stage.live.following("shop") is Following.DENIED


# ── health ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_age_is_that_of_the_oldest_list_we_have_a_right_to(stage: Stage) -> None:
    assert stage.live.age() == 0.0
    await stage.follow("shop")
    await stage.clock.advance(100.0)
    await stage.follow("other")
    assert stage.live.age() == 100.0
    stage.cluster.failure = KubeForbiddenError("GET x", status=403)
    await stage.follow("denied")
    stage.live.leave("shop")
    await stage.clock.advance(50.0)
    assert stage.live.age() == 50.0


# ── everywhere ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_with_the_right_to_all_secrets_one_watch_is_enough(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(everywhere=True)
    stage.cluster.items = [stage.cluster.body("db"), stage.cluster.body("db", "other")]
    await stage.follow("shop", "other")
    assert stage.cluster.lists == [(None, "", "a=b")]
    assert [stage.live.following(ns) for ns in ("shop", "other", "third")] == [Following.CURRENT] * 3
    assert stage.live.get(ObjectKey("other", "db")) is not None
    assert stage.turned == [""]
    stage.live.leave("shop")
    assert len(stage.live.tasks()) == 1, "the others still need it"
    stage.cluster.failure = stage.cluster.broken = KubeForbiddenError("GET x", status=403)
    stage.cluster.streams[0].put_nowait(None)
    await stage.clock.advance(0.2)
    assert caplog.records[-1].__dict__["fields"] == {"namespace": "all"}
    await stage.live.stop()


# ── the watcher ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("longest", "seconds"), [(600.0, 300), (300.0, 300), (90.5, 90)])
async def test_a_stream_is_no_longer_than_it_may_be(longest: float, seconds: int) -> None:
    cluster = Cluster()
    cluster.broken = KubeUnavailableError("WATCH x")
    watcher = SecretWatcher(cluster, "shop", selector="a=b", longest=longest)  # type: ignore[arg-type]
    with pytest.raises(KubeUnavailableError):
        await anext(watcher.watch("7"))
    assert cluster.watches == [{"namespace": "shop", "version": "7", "label_selector": "a=b", "seconds": seconds}]


async def test_a_page_of_the_whole_cluster() -> None:
    cluster = Cluster()
    assert await SecretWatcher(cluster, "", selector="a=b").list_page("t") == Page([], "", "10")  # type: ignore[arg-type]
    assert cluster.lists == [(None, "t", "a=b")]


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (KubeForbiddenError("GET x", status=403), DeniedError),
        (KubeGoneError("GET x", status=410), ListExpiredError),
        (KubeUnavailableError("GET x"), KubeUnavailableError),
    ],
    ids=["denied", "too old", "away"],
)
async def test_what_the_engine_tells_apart(failure: KubeError, error: type[Exception]) -> None:
    cluster = Cluster()
    cluster.failure = cluster.broken = failure
    watcher = SecretWatcher(cluster, "shop", selector="a=b")  # type: ignore[arg-type]
    with pytest.raises(error):
        await watcher.list_page("")
    with pytest.raises(error):
        await anext(watcher.watch("7"))


async def test_stopping_what_follows_nothing(stage: Stage) -> None:
    await stage.live.stop()
    assert stage.live.tasks() == []
