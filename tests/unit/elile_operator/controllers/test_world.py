"""What is kept of the cluster's objects, and what becomes of those that cannot be read."""

import pytest

from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.model import ObjectMeta
from elile_operator.api.vaultserver import VaultServer
from elile_operator.controllers.world import Namespace, SupersededError, Unreadable
from elile_operator.decide.pods import Workload
from elile_operator.engine import ObjectKey
from elile_operator.kube.resources import ELILE_SECRETS, NAMESPACES, PODS, SECRETS, VAULT_SERVERS
from tests.fakes.api import elile_secret, pod, secret, vault_server
from tests.unit.elile_operator.controllers.stage import DB, SERVER, Stage


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_objects_are_read_as_their_kinds(stage: Stage) -> None:
    stage.serve()
    stage.want()
    server, object_ = stage.world.servers.get(SERVER), stage.world.secret(DB)
    assert isinstance(server, VaultServer)
    assert isinstance(object_, ElileSecret)
    assert (server.spec.address, object_.secret_name) == ("https://vault.test:8200", "db")


def test_an_object_of_another_version_is_kept_by_name_with_what_is_wrong(stage: Stage) -> None:
    stage.put(ELILE_SECRETS, elile_secret(generation=4, sources=[], colour="blue"))
    assert stage.world.secret(DB) == Unreadable(
        ObjectMeta(name="db", namespace="shop", uid="uid-db", generation=4),
        "spec.sources must hold at least 1; spec.colour is not known to this version of Elile; correct its name or "
        "remove it",
    )
    assert stage.world.secrets.by("namespace", "shop") == {DB}
    assert stage.world.secrets.by("server", "default") == set()
    stage.put(ELILE_SECRETS, elile_secret(generation=5))
    assert isinstance(stage.world.secret(DB), ElileSecret), "until it can be read"


def test_an_unreadable_object_without_most_of_its_metadata(stage: Stage) -> None:
    stage.world.servers.observe({"metadata": {"name": "default", "generation": None}, "spec": {}})
    found = stage.world.servers.get(SERVER)
    assert isinstance(found, Unreadable)
    assert found.metadata == ObjectMeta(name="default", namespace=None, uid="", generation=0)


def test_the_server_of_an_object(stage: Stage) -> None:
    assert stage.world.server_of(DB) == "", "not there yet"
    stage.want("db", vault={"server": "second"})
    assert stage.world.server_of(DB) == "second"
    stage.put(ELILE_SECRETS, elile_secret(generation=4, colour="blue"))
    assert stage.world.server_of(DB) == "", "what cannot be read names none"


def test_objects_are_found_by_what_they_name(stage: Stage) -> None:
    stage.want("db", vault={"server": "second"}, delivery={"secret": {"name": "credentials"}})
    stage.edit(ELILE_SECRETS, "shop", "db", lambda body: body.update(status={"secretName": "former"}))
    secrets = stage.world.secrets
    assert secrets.by("server", "second") == {DB}
    assert secrets.by("namespace", "shop") == {DB}
    assert [secrets.by("target", ("shop", name)) for name in ("credentials", "former", "db")] == [{DB}, {DB}, set()]
    assert secrets.by("target", ("other", "credentials")) == set()


def test_pods_are_found_by_the_secrets_they_use(stage: Stage) -> None:
    stage.put(PODS, pod("a"))
    stage.put(PODS, pod("b", mounts="mail"))
    stage.put(PODS, pod("a", "other"))
    assert [p.name for p in stage.world.users("shop", "db")] == ["a"]
    assert stage.world.users("shop", "nobodys") == []
    assert len(stage.world.pods) == 3


def test_pods_are_found_by_what_made_them(stage: Stage) -> None:
    made = pod("a-0")
    made["metadata"]["ownerReferences"] = [
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a", "controller": True}
    ]
    stage.put(PODS, made)
    stage.put(PODS, pod("alone"))
    assert [p.name for p in stage.world.pods_of("shop", Workload("StatefulSet", "a"))] == ["a-0"]
    assert stage.world.pods_of("other", Workload("StatefulSet", "a")) == []
    assert stage.world.pods_of("shop", Workload("DaemonSet", "a")) == []


def test_the_labels_of_a_namespace(stage: Stage) -> None:
    assert stage.world.labels("shop") == {}
    stage.put(NAMESPACES, {"metadata": {"name": "shop", "labels": {"team": "a"}}})
    assert stage.world.labels("shop") == {"team": "a"}
    assert stage.world.namespaces.get(ObjectKey("", "shop")) == Namespace({"team": "a"})
    stage.put(NAMESPACES, {"metadata": {"name": "shop"}})
    assert stage.world.labels("shop") == {}


def test_a_namespace_that_is_on_its_way_out(stage: Stage) -> None:
    assert not stage.world.terminating("shop")
    stage.put(NAMESPACES, {"metadata": {"name": "shop"}})
    assert not stage.world.terminating("shop")
    stage.put(NAMESPACES, {"metadata": {"name": "shop", "deletionTimestamp": "2030-01-01T00:00:00Z"}})
    assert stage.world.terminating("shop")


def test_an_object_is_current_until_it_is_edited_replaced_or_deleted(stage: Stage) -> None:
    stage.want()
    began = stage.world.secret(DB)
    assert isinstance(began, ElileSecret)
    stage.world.check_current(began)
    stage.edit(ELILE_SECRETS, "shop", "db", lambda body: body["metadata"]["annotations"].update(x="y"))
    stage.world.check_current(began)  # a touch is no edit
    stage.change(refresh={"interval": "1h"})
    with pytest.raises(SupersededError):
        stage.world.check_current(began)
    stage.put(ELILE_SECRETS, elile_secret(uid="uid-2"))
    with pytest.raises(SupersededError):
        stage.world.check_current(began)
    stage.remove(ELILE_SECRETS, "shop", "db")
    with pytest.raises(SupersededError):
        stage.world.check_current(began)


def test_an_own_write_is_known_at_once_and_marked_only_while_it_is_told(stage: Stage) -> None:
    marks: list[ObjectKey | None] = []
    stage.live.connect(on_change=lambda _: marks.append(stage.world.writer), on_turn=lambda _: None)
    stage.world.observe_own_write(stage.kube.put(SECRETS, secret()), DB)
    assert stage.live.get(DB) is not None
    assert (marks, stage.world.writer) == ([DB], None)
    stage.put(SECRETS, secret())
    assert marks == [DB, None]


def test_two_servers(stage: Stage) -> None:
    stage.serve()
    stage.put(VAULT_SERVERS, vault_server("second"))
    assert set(stage.world.servers) == {SERVER, ObjectKey("", "second")}
