"""A server is asked how it is; its status says so when that is news, and those who wait for it hear when it turns."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from elile.secrets.errors import (
    SecretsError,
    SecretsMalformedResponseError,
    SecretsRateLimitedError,
    SecretsTLSError,
    SecretsUnavailableError,
)
from elile_operator.api.reasons import Reason
from elile_operator.controllers.server import ServerController
from elile_operator.decide.polling import Pace
from elile_operator.decide.violation import Violation
from elile_operator.engine import ObjectKey, Result
from elile_operator.kube.errors import KubeConflictError, KubeUnavailableError
from elile_operator.kube.resources import CONFIG_MAPS, VAULT_SERVERS
from elile_operator.sources.hints import HintsFlow
from elile_operator.sources.trust import CaBundles
from tests.fakes.api import vault_server
from tests.fakes.http import Authority
from tests.fakes.vault import READY
from tests.unit.elile_operator.controllers.stage import ACCOUNT, SERVER
from tests.unit.elile_operator.controllers.stage import Stage as Parts

AT = "VaultServer 'default' at https://vault.test:8200"
SOON, LATER = Result.after(timedelta(seconds=0.25)), Result.after(timedelta(seconds=30))
CLOSER = Result.after(timedelta(seconds=10))


class Stage(Parts):
    """The parts, with a controller of VaultServers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.usable: list[str] = []
        self.lost: list[str] = []
        self.pace = Pace(0, 0, 0.0, 0.0, 0.0)
        self.flow = HintsFlow(expected=False, speaks=None)
        self.ready: list[tuple[str, bool | None]] = []
        self.controller = ServerController(
            world=self.world,
            servers=self.servers,
            bundles=CaBundles(self.kube, servers=self.servers, account=ACCOUNT, clock=self.clock),  # type: ignore[arg-type]
            kube=self.kube,  # type: ignore[arg-type]
            events=self.events,
            clock=self.clock,
            observer=self,
            pace=lambda _: self.pace,
            pollers=16,
            flow=lambda _: self.flow,
            on_usable=self.usable.append,
            on_trouble=self.lost.append,
        )

    def server_ready(self, server: str, ready: bool | None) -> None:
        """As a ServerObserver."""
        self.ready.append((server, ready))

    async def look(self) -> Result:
        return await self.controller.reconcile(SERVER)

    def conditions(self) -> dict[str, str]:
        return {
            type_: self.condition(type_, resource=VAULT_SERVERS, key=SERVER).status.value
            for type_ in ("Ready", "Reachable", "Unsealed")
        }

    def message(self) -> tuple[str, str]:
        found = self.condition("Ready", resource=VAULT_SERVERS, key=SERVER)
        return found.reason, found.message


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage(monkeypatch)
    stage.serve()
    return stage


# ── a server that is well ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_vault_that_was_set_up_anew_is_another_one(stage: Stage) -> None:
    await stage.look()
    assert stage.servers.cluster("default") == "c-1"
    stage.usable.clear()
    await stage.look()
    assert stage.usable == []
    stage.vault.answers = replace(stage.vault.answers, cluster_id="c-2")
    await stage.look()
    assert (stage.servers.cluster("default"), stage.usable) == ("c-2", ["default"])
    stage.vault.answers = replace(stage.vault.answers, cluster_id="", sealed=True)
    await stage.look()
    assert stage.servers.cluster("default") == "c-2", "a sealed one does not say it"


async def test_a_new_server_that_is_well(stage: Stage) -> None:
    assert await stage.look() == LATER
    found = stage.kube.find(VAULT_SERVERS, "", "default")
    assert found is not None
    assert {k: v for k, v in found["status"].items() if k != "conditions"} == {
        "observedGeneration": 1,
        "flavor": "OpenBao",
        "serverVersion": "2.7.2",
        "clusterID": "c-1",
    }
    assert stage.conditions() == {"Ready": "True", "Reachable": "True", "Unsealed": "True"}
    assert stage.message() == ("ServerReady", "the server answers and is unsealed")
    assert stage.events.told == [("VaultServer default", "ServerReady", "the server answers and is unsealed", False)]
    assert (stage.usable, stage.lost, stage.ready) == (["default"], [], [("default", True)])
    assert stage.servers.trouble("default") is None


async def test_a_server_that_is_still_well_is_only_asked(stage: Stage) -> None:
    await stage.look()
    stage.calls()
    for _ in range(3):
        await stage.clock.advance(30.0)
        assert await stage.look() == LATER
    assert stage.calls() == ["state "] * 3
    assert (stage.events.reasons, stage.usable) == (["ServerReady"], ["default"])


async def test_a_changed_server_that_is_well_is_told_to_those_who_use_it(stage: Stage) -> None:
    await stage.look()
    stage.serve(address="https://other.test:8200")
    await stage.look()
    assert stage.usable == ["default", "default"]
    assert stage.events.reasons == ["ServerReady"], "that is nothing new"


async def test_another_version_of_the_server_is_written_without_an_event(stage: Stage) -> None:
    await stage.look()
    stage.vault.answers = replace(READY, version="2.8.0")
    await stage.look()
    found = stage.kube.find(VAULT_SERVERS, "", "default")
    assert found is not None
    assert found["status"]["serverVersion"] == "2.8.0"
    assert stage.events.reasons == ["ServerReady"]


def delayed(stage: Stage) -> tuple[str, str]:
    found = stage.condition("PollDelayed", resource=VAULT_SERVERS, key=SERVER)
    return found.status.value, found.reason


async def test_polls_that_are_late_are_said_once_and_so_is_their_end(stage: Stage) -> None:
    stage.pace = Pace(10, 0, 0.0, 0.0, 1.0)
    await stage.look()
    assert delayed(stage) == ("False", "PollOnTime")
    assert stage.events.reasons == ["ServerReady"], "that is no news"
    stage.pace = Pace(10, 10, 30.0, 60.0, 900.0)
    assert await stage.look() == CLOSER
    assert delayed(stage) == ("False", "PollOnTime")
    assert await stage.look() == LATER
    assert delayed(stage) == ("True", "PollDelayed")
    kind, reason, note, warning = stage.events.told[-1]
    assert (kind, reason, warning) == ("VaultServer default", "PollDelayed", True)
    assert "raise spec.limits.requestsPerSecond from 500 to 1125" in note
    stage.calls()
    assert await stage.look() == LATER
    assert stage.calls() == ["state "], "nothing is written again"
    stage.pace = Pace(10, 0, 0.0, 0.0, 1.0)
    await stage.look()
    await stage.look()
    assert delayed(stage) == ("False", "PollOnTime")
    assert stage.events.told[-1][1:] == ("PollOnTime", Reason.POLL_ON_TIME.sentence, False)


async def test_a_server_that_is_away_says_of_its_polls_what_it_said(stage: Stage) -> None:
    stage.pace = Pace(10, 10, 30.0, 60.0, 900.0)
    await stage.look()
    await stage.look()
    stage.pace = Pace(0, 0, 0.0, 0.0, 900.0)
    stage.vault.down = SecretsUnavailableError("no answer in time")
    assert await stage.look() == SOON
    assert delayed(stage) == ("True", "PollDelayed")
    stage.remove(VAULT_SERVERS, "", "default")
    await stage.look()
    stage.serve()
    stage.vault.down = None
    await stage.look()
    found = stage.kube.find(VAULT_SERVERS, "", "default")
    assert found is not None
    assert delayed(stage) == ("False", "PollOnTime"), "it is another one"


# ── a server that is not ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "reason", "message", "conditions", "result"),
    [
        pytest.param(
            SecretsUnavailableError("connection failed: ECONNREFUSED"),
            "VaultUnreachable",
            f"{AT} does not answer: connection failed: ECONNREFUSED; start it, correct spec.address, or open the "
            "network",
            ("False", "False", "Unknown"),
            SOON,
            id="no answer",
        ),
        pytest.param(
            SecretsTLSError("the certificate has expired"),
            "TLSUntrusted",
            f"{AT}: the certificate has expired; put its CA into spec.tls.caBundle or into the ConfigMap of "
            "spec.tls.caBundleRef, or correct spec.tls.serverName",
            ("False", "False", "Unknown"),
            SOON,
            id="TLS",
        ),
        pytest.param(
            SecretsMalformedResponseError("answered 200 with a body that is not JSON"),
            "MalformedResponse",
            f"{AT} does not answer as Vault or OpenBao does: answered 200 with a body that is not JSON; correct "
            "spec.address",
            ("False", "False", "Unknown"),
            SOON,
            id="no Vault",
        ),
        pytest.param(
            SecretsRateLimitedError("the server throttles"),
            "VaultThrottled",
            f"{AT} throttles; raise its rate limit quota, or lower spec.limits.requestsPerSecond",
            ("False", "True", "True"),
            Result.after(timedelta(seconds=5)),
            id="throttled",
        ),
    ],
)
async def test_a_server_that_is_lost(
    stage: Stage,
    error: SecretsError,
    reason: str,
    message: str,
    conditions: tuple[str, str, str],
    result: Result,
) -> None:
    await stage.look()
    stage.vault.down = error
    assert await stage.look() == result
    assert stage.message() == (reason, message)
    assert tuple(stage.conditions().values()) == conditions
    assert stage.events.told[1:] == [("VaultServer default", reason, message, True)]
    assert (stage.lost, stage.ready[-1]) == (["default"], ("default", False))
    assert stage.servers.trouble("default") == Violation(Reason(reason), message)
    found = stage.kube.find(VAULT_SERVERS, "", "default")
    assert found is not None
    assert found["status"]["serverVersion"] == "2.7.2", "what it said last stays"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"sealed": True}, f"{AT} is sealed; unseal it"),
        ({"sealed": True, "initialized": False}, f"{AT} is not initialised; initialise and unseal it"),
    ],
    ids=["sealed", "not initialised"],
)
async def test_a_sealed_server(stage: Stage, answer: dict[str, bool], message: str) -> None:
    stage.vault.answers = replace(READY, **answer)
    assert await stage.look() == SOON
    assert stage.message() == ("VaultSealed", message)
    assert stage.conditions() == {"Ready": "False", "Reachable": "True", "Unsealed": "False"}
    assert (stage.usable, stage.lost) == ([], ["default"])


async def test_an_outage_is_one_write_one_event_and_one_word_to_those_who_wait(stage: Stage) -> None:
    await stage.look()
    stage.vault.down = SecretsUnavailableError("no answer in time")
    stage.calls()
    for _ in range(100):
        await stage.look()
        await stage.clock.advance(0.25)
    assert stage.calls() == ["status vaultservers default", *["state "] * 100]
    assert (stage.events.reasons, stage.lost) == (["ServerReady", "VaultUnreachable"], ["default"])
    stage.vault.down = None
    assert await stage.look() == LATER
    assert stage.events.reasons == ["ServerReady", "VaultUnreachable", "ServerReady"]
    assert stage.usable == ["default", "default"]


async def test_an_outage_with_two_causes_is_lost_once(stage: Stage) -> None:
    await stage.look()
    for error in (SecretsUnavailableError("no answer in time"), SecretsTLSError("the certificate has expired")):
        stage.vault.down = error
        await stage.look()
    assert stage.events.reasons == ["ServerReady", "VaultUnreachable", "TLSUntrusted"]
    assert stage.lost == ["default"]


async def test_a_server_waits_for_the_bundle_that_it_names_and_so_do_its_objects(stage: Stage) -> None:
    stage.serve(tls={"caBundleRef": {"namespace": "vault", "name": "ca", "key": "ca.crt"}})
    assert stage.servers.link(stage.world.servers.get(SERVER)) is None  # type: ignore[arg-type]
    assert await stage.look() == Result.after(timedelta(seconds=5))
    message = "ConfigMap vault/ca of spec.tls.caBundleRef does not exist; create it, or correct namespace and name"
    assert stage.message() == ("CABundleUnusable", message)
    assert stage.conditions() == {"Ready": "False", "Reachable": "Unknown", "Unsealed": "Unknown"}
    assert stage.servers.trouble("default") == Violation(Reason.CA_BUNDLE_UNUSABLE, message)
    assert stage.vault.calls == []
    meta = {"namespace": "vault", "name": "ca"}
    stage.kube.put(CONFIG_MAPS, {"metadata": meta, "data": {"ca.crt": Authority().pem}})
    assert await stage.look() == LATER
    assert stage.message()[0] == "ServerReady"
    assert stage.usable == ["default"]


async def test_a_rotated_ca_ends_the_distrust(stage: Stage) -> None:
    stage.serve(tls={"caBundleRef": {"namespace": "vault", "name": "ca", "key": "ca.crt"}})
    meta = {"namespace": "vault", "name": "ca"}
    stage.kube.put(CONFIG_MAPS, {"metadata": meta, "data": {"ca.crt": Authority().pem}})
    await stage.look()
    stage.vault.down = SecretsTLSError("the certificate is signed by an unknown authority")
    assert await stage.look() == SOON
    before = stage.servers.find("default")
    stage.kube.put(CONFIG_MAPS, {"metadata": meta, "data": {"ca.crt": Authority().pem}})
    stage.vault.down = None
    await stage.clock.advance(5.0)
    assert await stage.look() == LATER
    assert stage.servers.find("default") is not before
    assert stage.usable == ["default", "default"]


# ── objects that cannot be used ──────────────────────────────────────────────────────────────────────────────────────


async def test_plain_http_is_refused_before_anything_is_sent(stage: Stage) -> None:
    server = stage.world.servers.get(SERVER)
    assert server is not None
    spec = server.spec.model_copy(update={"address": "http://vault.test:8200"})  # type: ignore[union-attr]
    answer = await stage.controller._ask(server.model_copy(update={"spec": spec}))  # type: ignore[union-attr]
    assert answer.violation == Violation(
        Reason.PLAIN_HTTP_REFUSED, "spec.address uses http; use https or set spec.tls.allowPlainHTTP: true"
    )
    assert (stage.vault.calls, stage.servers.find("default")) == ([], None)


async def test_a_server_that_cannot_be_read_is_trouble_for_those_who_use_it(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.put(VAULT_SERVERS, vault_server(colour="blue"))
    assert await stage.look() == Result.done()
    why = "spec.colour is not known to this version of Elile; correct its name or remove it"
    assert stage.servers.trouble("default") == Violation(Reason.SPEC_INVALID, why)
    assert stage.ready == [("default", False)]
    assert [(r.message, r.__dict__["fields"]) for r in caplog.records] == [
        ("VaultServer cannot be read", {"name": "default", "why": why})
    ]
    assert stage.calls() == []


async def test_a_server_that_is_gone_is_forgotten(stage: Stage) -> None:
    await stage.look()
    link = stage.servers.find("default")
    stage.remove(VAULT_SERVERS, "", "default")
    assert await stage.look() == Result.absent()
    assert stage.servers.find("default") is None
    assert link is not None
    assert link.closed  # type: ignore[attr-defined]
    assert stage.ready[-1] == ("default", None)
    assert await stage.controller.reconcile(ObjectKey("", "never")) == Result.absent()


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def replaced(stage: Stage) -> None:
    stage.kube.put(VAULT_SERVERS, vault_server(uid="uid-2"))


@pytest.mark.parametrize(
    "meanwhile",
    [
        pytest.param(lambda stage: stage.kube.remove(VAULT_SERVERS, "", "default"), id="gone"),
        pytest.param(replaced, id="made anew"),
    ],
)
async def test_a_status_for_an_object_that_is_no_more_is_let_go(
    stage: Stage, meanwhile: Callable[[Stage], None]
) -> None:
    meanwhile(stage)
    before = stage.kube.find(VAULT_SERVERS, "", "default")
    assert await stage.look() == LATER
    assert (stage.kube.find(VAULT_SERVERS, "", "default"), stage.events.told) == (before, [])


@pytest.mark.parametrize(
    ("statuses", "error"), [((0,), KubeUnavailableError), ((409, 409), KubeConflictError)], ids=["away", "conflict"]
)
async def test_a_status_that_cannot_be_written_is_tried_again(
    stage: Stage, statuses: tuple[int, ...], error: type[Exception]
) -> None:
    stage.kube.fail("status", VAULT_SERVERS, *statuses)
    with pytest.raises(error):
        await stage.look()
    assert stage.events.told == []
    await stage.look()
    assert stage.events.reasons == ["ServerReady"]


async def test_the_written_status_is_known_at_once(stage: Stage) -> None:
    await stage.look()
    server = stage.world.servers.get(SERVER)
    assert server is not None
    assert server.status.server_version == "2.7.2"  # type: ignore[union-attr]


# ── hints ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def hints(stage: Stage) -> tuple[str, str] | None:
    said = (stage.kube.find(VAULT_SERVERS, "", "default") or {})["status"]["conditions"]
    return next(((c["status"], c["reason"]) for c in said if c["type"] == "HintsFlowing"), None)


async def test_nothing_is_said_of_hints_where_none_can_come(stage: Stage) -> None:
    stage.flow = HintsFlow(expected=False, speaks=False)
    await stage.look()
    assert hints(stage) is None


async def test_whether_hints_come_is_said_and_what_turns_is_told(stage: Stage) -> None:
    told = []
    for speaks, said in (
        (None, None),
        (True, ("True", "HintsFlowing")),
        (None, ("True", "HintsFlowing")),
        (False, ("False", "HintsSilent")),
        (None, ("False", "HintsSilent")),
        (True, ("True", "HintsFlowing")),
    ):
        stage.flow = HintsFlow(expected=True, speaks=speaks)
        await stage.look()
        assert hints(stage) == said, speaks
        told = [reason for _, reason, *_ in stage.events.told if "Hints" in reason]
    assert told == ["HintsSilent", "HintsFlowing"]
    stage.flow = HintsFlow(expected=False, speaks=False)
    await stage.look()
    assert hints(stage) is None, "its token was taken away"
