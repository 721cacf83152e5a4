"""What the status of a VaultServer says, for each thing that asking it can end in."""

from typing import Any

import pytest

from elile.secrets.answers import Flavor as Answered
from elile.secrets.answers import ServerState
from elile_operator.api.reasons import SERVER_EFFECTS, Reason
from elile_operator.api.vaultserver import Flavor, VaultServer, VaultServerStatus
from elile_operator.decide.polling import PollState
from elile_operator.decide.server import Answer, check_address, judge, server_status
from elile_operator.decide.violation import Violation
from tests.fakes.objects import EARLIER, NOW, condition, vault_server

STATE = ServerState(flavor=Answered.OPENBAO, version="2.7.2", initialized=True, sealed=False, cluster_id="c-1")
SEALED = ServerState(flavor=Answered.OPENBAO, version="2.7.2", initialized=True, sealed=True, cluster_id="")
FRESH = ServerState(flavor=Answered.VAULT, version="1.20.0", initialized=False, sealed=True, cluster_id="")
POLLED = "Polls keep their intervals, as far as was measured."
AT = "VaultServer 'default' at https://vault.example:8200"
KNOWN = {"observedGeneration": 2, "flavor": "OpenBao", "serverVersion": "2.7.1", "clusterID": "c-0"}


def ready() -> VaultServer:
    """The server as it is after a good look."""
    return after(vault_server(), Answer(STATE, None))


def after(server: VaultServer, answer: Answer) -> VaultServer:
    return server.model_copy(update={"status": server_status(server, answer, PollState(), EARLIER)})


def test_plain_http_is_refused_even_when_it_was_stored_before_the_rule() -> None:
    server = vault_server()
    stored = server.model_copy(update={"spec": server.spec.model_copy(update={"address": "http://vault.example:8200"})})
    assert check_address(stored) == Violation(
        Reason.PLAIN_HTTP_REFUSED, "spec.address uses http; use https or set spec.tls.allowPlainHTTP: true"
    )


@pytest.mark.parametrize(
    "spec", [{}, {"address": "http://vault.example:8200", "tls": {"allowPlainHTTP": True}}], ids=["https", "allowed"]
)
def test_https_or_leave_is_enough(spec: dict[str, Any]) -> None:
    assert check_address(vault_server(**spec)) is None


@pytest.mark.parametrize(
    ("state", "message"),
    [
        pytest.param(STATE, None, id="usable"),
        pytest.param(SEALED, f"{AT} is sealed; unseal it", id="sealed"),
        pytest.param(FRESH, f"{AT} is not initialised; initialise and unseal it", id="not initialised"),
    ],
)
def test_a_server_that_answers_is_judged(state: ServerState, message: str | None) -> None:
    want = None if message is None else Violation(Reason.VAULT_SEALED, message)
    assert judge(vault_server(), state) == want


def test_a_good_answer_is_told_in_full() -> None:
    status = server_status(vault_server(), Answer(STATE, None), PollState(), NOW)
    text = "the server answers and is unsealed"
    assert status == VaultServerStatus(
        observed_generation=2,
        conditions=(
            condition("Ready", "True", "ServerReady", text, generation=2, since=NOW),
            condition("Reachable", "True", "ServerReady", text, generation=2, since=NOW),
            condition("Unsealed", "True", "ServerReady", text, generation=2, since=NOW),
            condition("PollDelayed", "False", "PollOnTime", POLLED, generation=2, since=NOW),
        ),
        flavor=Flavor.OPENBAO,
        server_version="2.7.2",
        cluster_id="c-1",
    )


def test_nothing_new_is_nothing_to_write() -> None:
    server = ready()
    assert server_status(server, Answer(STATE, None), PollState(), NOW) == server.status


@pytest.mark.parametrize(
    ("violation", "marks"),
    [
        pytest.param(Violation(Reason.VAULT_UNREACHABLE, "gone"), "False False Unknown", id="unreachable"),
        pytest.param(Violation(Reason.TLS_UNTRUSTED, "tls"), "False False Unknown", id="untrusted"),
        pytest.param(Violation(Reason.PLAIN_HTTP_REFUSED, "http"), "False False Unknown", id="plain http"),
        pytest.param(Violation(Reason.MALFORMED_RESPONSE, "html"), "False False Unknown", id="malformed"),
        pytest.param(Violation(Reason.VAULT_SEALED, "sealed"), "False True False", id="sealed"),
        pytest.param(Violation(Reason.VAULT_THROTTLED, "slow down"), "False True True", id="throttled"),
        pytest.param(Violation(Reason.SPEC_INVALID, "spec"), "False Unknown Unknown", id="spec"),
    ],
)
def test_trouble_is_told_and_what_was_known_of_the_server_stays(violation: Violation, marks: str) -> None:
    status = server_status(ready(), Answer(None, violation), PollState(), NOW)
    assert " ".join(c.status.value for c in status.conditions[:-1]) == marks
    assert [c.type for c in status.conditions] == ["Ready", "Reachable", "Unsealed", "PollDelayed"]
    assert status.conditions[-1] == ready().status.conditions[-1]
    assert (status.flavor, status.server_version, status.cluster_id) == (Flavor.OPENBAO, "2.7.2", "c-1")
    changed = [c for c in status.conditions[:-1] if c.status.value != "True"]
    assert {(c.reason, c.message, c.last_transition_time) for c in changed} <= {
        (violation.reason.value, violation.message, NOW)
    }


def test_every_state_of_servers_can_be_told() -> None:
    for reason in SERVER_EFFECTS.keys() - {Reason.SERVER_READY}:
        status = server_status(vault_server(), Answer(None, Violation(reason, "m")), PollState(), NOW)
        assert [c.reason for c in status.conditions] == [reason.value] * 3


def test_throttling_before_any_answer_tells_nothing_of_the_seal() -> None:
    status = server_status(vault_server(), Answer(None, Violation(Reason.VAULT_THROTTLED, "m")), PollState(), NOW)
    assert [(c.type, c.status.value) for c in status.conditions] == [
        ("Ready", "False"),
        ("Reachable", "True"),
        ("Unsealed", "Unknown"),
    ]


@pytest.mark.parametrize(
    ("state", "found"),
    [
        pytest.param(SEALED, (Flavor.OPENBAO, "2.7.2", "c-0"), id="sealed servers do not tell their cluster"),
        pytest.param(STATE, (Flavor.OPENBAO, "2.7.2", "c-1"), id="another cluster"),
        pytest.param(FRESH, (Flavor.VAULT, "1.20.0", "c-0"), id="another product"),
        pytest.param(None, (Flavor.OPENBAO, "2.7.1", "c-0"), id="no answer"),
    ],
)
def test_the_last_thing_heard_of_a_server_counts(state: ServerState | None, found: tuple[Flavor, str, str]) -> None:
    status = server_status(
        vault_server(status=KNOWN), Answer(state, Violation(Reason.VAULT_SEALED, "sealed")), PollState(), NOW
    )
    assert (status.flavor, status.server_version, status.cluster_id) == found


def test_a_server_that_never_answered_is_of_no_kind() -> None:
    status = server_status(vault_server(), Answer(None, Violation(Reason.VAULT_UNREACHABLE, "m")), PollState(), NOW)
    assert (status.flavor, status.server_version, status.cluster_id) == (None, None, None)


def test_times_tell_when_a_status_changed_last() -> None:
    server = after(ready(), Answer(None, Violation(Reason.VAULT_SEALED, "sealed")))
    status = server_status(server, Answer(None, Violation(Reason.VAULT_UNREACHABLE, "gone")), PollState(), NOW)
    assert [(c.type, c.status.value, c.reason, c.last_transition_time) for c in status.conditions] == [
        ("Ready", "False", "VaultUnreachable", EARLIER),
        ("Reachable", "False", "VaultUnreachable", NOW),
        ("Unsealed", "Unknown", "VaultUnreachable", NOW),
        ("PollDelayed", "False", "PollOnTime", EARLIER),
    ]


def test_what_was_measured_of_the_polls_is_told_beside() -> None:
    polls = PollState(delayed=True, behind=12.0, message="up to 12 s late")
    told = server_status(ready(), Answer(STATE, None), polls, NOW).conditions[-1]
    assert told == condition("PollDelayed", "True", "PollDelayed", "up to 12 s late", generation=2, since=NOW)
