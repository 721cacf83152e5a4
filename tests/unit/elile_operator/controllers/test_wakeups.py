"""Which change wakes whom, and what wakes nobody."""

from collections.abc import Callable
from typing import Any

import pytest

from elile_operator.api.reasons import Reason
from elile_operator.controllers import wakeups
from elile_operator.decide.secret import Standing
from elile_operator.engine import ObjectKey, Priority
from elile_operator.kube.client import Json
from elile_operator.kube.resources import ELILE_SECRETS, NAMESPACES, PODS, SECRETS, VAULT_SERVERS
from tests.fakes.api import elile_secret, pod, secret, vault_server
from tests.unit.elile_operator.controllers.stage import DB, SERVER, Stage

MAIL = ObjectKey("shop", "mail")
ELSEWHERE = ObjectKey("other", "db")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Two objects of `default` in one namespace, one of another server in another; nothing is due."""
    stage = Stage(monkeypatch)
    stage.wakeups.connect()
    stage.serve()
    stage.put(VAULT_SERVERS, vault_server("second"))
    stage.want("db")
    stage.want("mail")
    stage.put(ELILE_SECRETS, elile_secret("db", "other", uid="uid-other", vault={"server": "second"}))
    quiet(stage)
    return stage


def quiet(stage: Stage) -> None:
    stage.due()
    stage.due(stage.checks)


def woken(stage: Stage) -> tuple[set[ObjectKey], set[ObjectKey]]:
    """Which ElileSecrets and which VaultServers are due."""
    return set(stage.due()), set(stage.due(stage.checks))


NOBODY: tuple[set[ObjectKey], set[ObjectKey]] = (set(), set())


# ── ElileSecrets ─────────────────────────────────────────────────────────────────────────────────────────────────────


def touch(**metadata: Any) -> Callable[[Json], None]:
    return lambda body: body["metadata"].update(metadata)


def annotate(**annotations: str) -> Callable[[Json], None]:
    names = {name.replace("_", "/"): value for name, value in annotations.items()}
    return lambda body: body["metadata"].update(annotations=names)


@pytest.mark.parametrize(
    ("change", "wakes"),
    [
        pytest.param(touch(generation=2), True, id="its spec"),
        pytest.param(touch(uid="uid-2"), True, id="made anew"),
        pytest.param(touch(deletionTimestamp="2030-01-01T00:00:00Z"), True, id="is being deleted"),
        pytest.param(annotate(**{"elile.io_refresh": "1"}), True, id="a wish to be refreshed"),
        pytest.param(annotate(**{"example.com_note": "1"}), False, id="another annotation"),
        pytest.param(touch(labels={"a": "b"}), False, id="a label"),
        pytest.param(lambda body: body.update(status={"revision": 7}), False, id="its status"),
        pytest.param(lambda _body: None, False, id="nothing"),
    ],
)
def test_a_change_of_an_object(stage: Stage, change: Callable[[Json], None], wakes: bool) -> None:
    stage.edit(ELILE_SECRETS, "shop", "db", change)
    assert woken(stage) == ({DB} if wakes else set(), set())


def test_an_object_that_comes_or_goes(stage: Stage) -> None:
    stage.want("new")
    assert woken(stage) == ({ObjectKey("shop", "new")}, set())
    stage.remove(ELILE_SECRETS, "shop", "new")
    assert woken(stage) == ({ObjectKey("shop", "new")}, set())


def test_people_who_edit_do_not_wait_for_others(stage: Stage) -> None:
    for name in ("a", "b", "c"):
        stage.secrets.add(ObjectKey("shop", name))
    stage.change("db")
    assert stage.secrets.get_nowait() == DB
    stage.secrets.done(DB)


def test_an_answered_wish_wakes_nobody(stage: Stage) -> None:
    stage.edit(ELILE_SECRETS, "shop", "db", annotate(**{"elile.io_refresh": "1"}))
    quiet(stage)
    stage.edit(ELILE_SECRETS, "shop", "db", lambda body: body.update(status={"handledRefresh": "1"}))
    assert woken(stage) == NOBODY


def test_the_namespaces_of_objects_are_followed(stage: Stage) -> None:
    assert set(stage.live.managed) == {"shop", "other"}
    stage.remove(ELILE_SECRETS, "shop", "db")
    assert stage.live.left == []
    stage.remove(ELILE_SECRETS, "shop", "mail")
    assert stage.live.left == ["shop"]


# ── VaultServers ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_server_whose_spec_changed_wakes_itself_and_its_objects(stage: Stage) -> None:
    stage.serve(address="https://other.test:8200")
    assert woken(stage) == ({DB, MAIL}, {SERVER})


def test_the_status_of_a_server_wakes_nobody(stage: Stage) -> None:
    stage.edit(VAULT_SERVERS, "", "default", lambda body: body.update(status={"serverVersion": "1"}))
    assert woken(stage) == NOBODY


def test_a_server_that_goes_wakes_its_objects(stage: Stage) -> None:
    stage.remove(VAULT_SERVERS, "", "second")
    assert woken(stage) == ({ELSEWHERE}, {ObjectKey("", "second")})


async def test_a_server_that_is_back_wakes_its_objects_one_after_the_other(stage: Stage) -> None:
    for name in ("a", "b", "c"):
        stage.want(name)
    quiet(stage)
    await fail(stage, DB)
    stage.wakeups.server_usable("default", followed=lambda _key: False)
    found = []
    for _ in range(5):
        found.append(len(stage.due()))
        await stage.clock.advance(0.2)
    assert found == [1, 1, 1, 1, 1]
    assert stage.secrets.failures(DB) == 0, "and nobody waits out a backoff"


@pytest.mark.parametrize(
    ("standing", "followed", "after"),
    [
        pytest.param(Standing.OPEN, True, 0.0, id="open"),
        pytest.param(Standing.STALE, True, 0.5, id="stale"),
        pytest.param(Standing.CURRENT, True, None, id="current"),
        pytest.param(Standing.CURRENT, False, 0.0, id="current, as far as another process knew"),
    ],
)
async def test_when_an_object_of_a_server_that_is_back_has_its_turn(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, standing: Standing, followed: bool, after: float | None
) -> None:
    stage.remove(ELILE_SECRETS, "shop", "mail")
    quiet(stage)
    monkeypatch.setattr(wakeups, "standing", lambda _secret, _live, _cluster: standing)
    stage.wakeups.server_usable("default", followed=lambda _key: followed)
    waited = 0.0
    while DB not in stage.due() and waited < 10:
        await stage.clock.advance(0.5)
        waited += 0.5
    assert waited == (10 if after is None else after)


async def test_an_object_whose_last_pass_failed_does_not_wait(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeups, "standing", lambda _secret, _live, _cluster: Standing.CURRENT)
    await fail(stage, DB)
    stage.wakeups.server_usable("default", followed=lambda _key: True)
    assert stage.secrets.failures(DB) == 0
    await stage.clock.advance(1.0)
    assert stage.due() == [DB]


async def fail(stage: Stage, key: ObjectKey) -> None:
    stage.secrets.add(key)
    assert stage.secrets.get_nowait() == key
    stage.secrets.backoff(key)
    stage.secrets.done(key)


def test_a_server_that_is_lost_wakes_its_objects(stage: Stage) -> None:
    stage.wakeups.server_lost("default")
    assert woken(stage) == ({DB, MAIL}, set())


def test_a_server_that_did_not_answer_is_looked_at(stage: Stage) -> None:
    stage.checks.add(ObjectKey("", "second"))
    stage.wakeups.server_suspected("default")
    assert stage.checks.get_nowait() == SERVER, "before others"
    stage.checks.done(SERVER)
    assert woken(stage) == (set(), {ObjectKey("", "second")})


# ── Secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def ours(name: str, owner: str = "") -> Json:
    body = secret(name)
    labels = {"app.kubernetes.io/managed-by": "elile", "elile.io/secret": owner or name}
    return {**body, "metadata": {**body["metadata"], "labels": labels}}


def test_a_secret_that_comes_changes_or_goes_wakes_who_wants_it(stage: Stage) -> None:
    stage.put(SECRETS, ours("db"))
    assert woken(stage) == ({DB}, set())
    stage.edit(SECRETS, "shop", "db", lambda body: body.update(data={"a": "YQ=="}))
    assert woken(stage) == ({DB}, set())
    stage.remove(SECRETS, "shop", "db")
    assert woken(stage) == ({DB}, set())


def test_our_own_write_wakes_nobody_and_neither_does_its_echo(stage: Stage) -> None:
    written = stage.kube.put(SECRETS, ours("db"))
    stage.world.observe_own_write(written, DB)
    assert woken(stage) == NOBODY
    stage.observe(SECRETS, written)
    assert woken(stage) == NOBODY
    assert stage.world.writer is None


def test_who_loses_a_secret_to_another_is_woken_by_our_own_write(stage: Stage) -> None:
    stage.put(SECRETS, ours("db", "mail"))
    quiet(stage)
    stage.world.observe_own_write(stage.kube.put(SECRETS, ours("db", "db")), DB)
    assert woken(stage) == ({MAIL}, set()), "whose it was, and not whose it is"


def merged(*names: str, key: str = "k") -> Json:
    """The Secret `app` with a key of each; a key has one manager."""
    body = secret("app", **{f"{key}-{name}": "" for name in names})
    fields = [
        {"manager": f"elile.{name}", "operation": "Apply", "fieldsV1": {"f:data": {f"f:{key}-{name}": {}}}}
        for name in names
    ]
    return {**body, "metadata": {**body["metadata"], "managedFields": fields, "labels": {"elile.io/secret": ""}}}


def test_who_loses_a_key_to_another_is_woken_by_our_own_write(stage: Stage) -> None:
    stage.put(SECRETS, merged("db", "mail"))
    quiet(stage)
    stage.world.observe_own_write(stage.kube.put(SECRETS, merged("db", "mail")), DB)
    assert woken(stage) == (set(), set()), "nothing is lost"
    stage.world.observe_own_write(stage.kube.put(SECRETS, merged("db")), DB)
    assert woken(stage) == ({MAIL}, set())


def test_a_secret_nobody_wants_wakes_nobody(stage: Stage) -> None:
    stage.put(SECRETS, ours("nobodys"))
    assert woken(stage) == NOBODY


def test_a_secret_of_another_name_wakes_who_wants_it(stage: Stage) -> None:
    stage.change("db", delivery={"secret": {"name": "credentials"}})
    quiet(stage)
    stage.put(SECRETS, ours("credentials", "db"))
    assert woken(stage) == ({DB}, set())


def test_a_secret_of_a_former_name_wakes_who_made_it(stage: Stage) -> None:
    stage.put(SECRETS, ours("former", "mail"))
    assert woken(stage) == ({MAIL}, set())


def test_a_secret_that_two_name_wakes_both(stage: Stage) -> None:
    stage.put(SECRETS, ours("db", "mail"))
    assert woken(stage) == ({DB, MAIL}, set())


def test_the_secret_that_the_status_names_counts_as_well(stage: Stage) -> None:
    stage.edit(ELILE_SECRETS, "shop", "db", lambda body: body.update(status={"secretName": "former"}))
    stage.put(SECRETS, {**secret("former")})
    assert woken(stage) == ({DB}, set())


def test_a_namespace_whose_secrets_turned_wakes_its_objects(stage: Stage) -> None:
    stage.live.turned("shop")
    assert woken(stage) == ({DB, MAIL}, set())
    stage.live.turned("")
    assert woken(stage) == ({DB, MAIL, ELSEWHERE}, set())


# ── rights ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rights_that_changed_wake_those_who_lacked_them(stage: Stage) -> None:
    def lacking(body: Json) -> None:
        condition = {
            "type": "Ready",
            "status": "False",
            "reason": Reason.NAMESPACE_NOT_BOUND.value,
            "message": "m",
            "lastTransitionTime": "2030-01-01T00:00:00Z",
        }
        body["status"] = {"conditions": [condition]}

    stage.edit(ELILE_SECRETS, "shop", "db", lacking)
    stage.edit(ELILE_SECRETS, "other", "db", lacking)
    stage.wakeups.rights_changed("shop")
    assert woken(stage) == ({DB}, set())
    assert stage.live.nudged == ["shop"]


# ── pods ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_pods_that_come_and_go_are_counted_when_they_have_settled(stage: Stage) -> None:
    for n in range(5):
        stage.put(PODS, pod(f"app-{n}"))
        await stage.clock.advance(0.1)
    assert woken(stage) == NOBODY
    await stage.clock.advance(0.4)
    assert woken(stage) == NOBODY
    await stage.clock.advance(0.1)
    assert woken(stage) == ({DB}, set()), "one second after the first"
    await stage.clock.advance(5.0)
    assert woken(stage) == NOBODY


async def test_a_pod_that_changes_wakes_who_it_concerns(stage: Stage) -> None:
    stage.put(PODS, pod("app-1"))
    await stage.clock.advance(1.0)
    quiet(stage)
    stage.put(PODS, pod("app-1", mounts="mail"))
    await stage.clock.advance(1.0)
    assert woken(stage) == ({DB, MAIL}, set()), "whose Secret it used, and whose it uses"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda body: body["metadata"].update(annotations={"elile.io/delivered.db": "7-1"}), id="our poke"),
        pytest.param(lambda body: body["status"].update(conditions=[{"type": "Ready"}]), id="its status"),
        pytest.param(lambda body: body["metadata"].update(labels={"a": "b"}), id="its labels"),
    ],
)
async def test_what_does_not_concern_secrets_wakes_nobody(stage: Stage, change: Callable[[Json], None]) -> None:
    stage.put(PODS, pod("app-1"))
    await stage.clock.advance(1.0)
    quiet(stage)
    stage.edit(PODS, "shop", "app-1", change)
    await stage.clock.advance(5.0)
    assert woken(stage) == NOBODY


async def test_a_pod_that_ends_is_not_counted_any_more(stage: Stage) -> None:
    stage.put(PODS, pod("app-1"))
    await stage.clock.advance(1.0)
    quiet(stage)
    stage.edit(PODS, "shop", "app-1", lambda body: body["status"].update(phase="Succeeded"))
    await stage.clock.advance(1.0)
    assert woken(stage) == ({DB}, set())
    assert stage.world.users("shop", "db") == []


async def test_a_pod_of_another_namespace_wakes_nobody_here(stage: Stage) -> None:
    stage.put(PODS, pod("app-1", "other"))
    await stage.clock.advance(1.0)
    assert woken(stage) == ({ELSEWHERE}, set())


# ── namespaces, polls, pokes ─────────────────────────────────────────────────────────────────────────────────────────


def namespace(**labels: str) -> Json:
    return {"kind": "Namespace", "metadata": {"name": "shop", "labels": labels}}


def test_the_labels_of_a_namespace_wake_its_objects(stage: Stage) -> None:
    stage.put(NAMESPACES, namespace(team="a"))
    assert woken(stage) == ({DB, MAIL}, set())
    stage.put(NAMESPACES, namespace(team="a"))
    assert woken(stage) == NOBODY
    stage.put(NAMESPACES, namespace(team="b"))
    assert woken(stage) == ({DB, MAIL}, set())
    stage.remove(NAMESPACES, "", "shop")
    assert woken(stage) == ({DB, MAIL}, set())


def test_a_poll_that_found_something_goes_first(stage: Stage) -> None:
    stage.secrets.add(MAIL, priority=Priority.ROUTINE)
    stage.wakeups.changed(DB)
    assert stage.due() == [DB, MAIL]


def test_a_settled_poke_wakes_its_object(stage: Stage) -> None:
    stage.wakeups.settled("shop", "mail")
    assert woken(stage) == ({MAIL}, set())
