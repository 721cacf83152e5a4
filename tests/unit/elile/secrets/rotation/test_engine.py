"""One pass of the engine: what it asks, in which order, what it tells, and what ends it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from elile.secrets.errors import SecretConflictError, SecretsConfigurationError, SecretsUnavailableError
from elile.secrets.memory import MemoryBackend
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.rotation.egress import EgressRefusedError
from elile.secrets.rotation.engine import Engine, Parts
from elile.secrets.rotation.journal import JournalEntry, Phase, Reason, Strategy, Value
from elile.secrets.rotation.journal_memory import MemoryJournal
from elile.secrets.rotation.live import BackendLive
from elile.secrets.rotation.policy import OnInconclusive, Policy, Retire
from elile.secrets.rotation.ports import Fence
from elile.secrets.rotation.steps import (
    Delivered,
    Finished,
    Live,
    Locked,
    Login,
    NeedsPerson,
    Proofs,
    Stage,
    Wait,
    Written,
)
from elile.secrets.rotation.verify.hooks import Hook, Judged, judge, together
from elile.secrets.rotation.verify.outcome import Outcome, Verification
from tests.fakes.accounts import Accounts
from tests.fakes.rotation import NOW, OWNER, REQUEST

PATH = "team/db"
PASSED, FAILED = Verification.passed("it works"), Verification.failed("it does not")
UNKNOWN = Verification.inconclusive("nobody knows")


class Readers:
    def deliver(self, value: Any, live_version: int) -> Delivered:
        return Delivered.DONE

    def proofs(self, value: Any, live_version: int) -> Proofs:
        return Proofs.PROVED


@dataclass
class Site:
    """All that an engine needs, in memory."""

    hooks: list[Hook] = field(default_factory=list)
    guard: Callable[[], None] = lambda: None
    backend: MemoryBackend = field(
        default_factory=lambda: MemoryBackend({PATH: {"username": "shop_a", "password": "old"}})
    )
    accounts: Accounts = field(default_factory=lambda: Accounts({"shop_a": SecretStr("old"), "shop_b": None}))
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    recorded: list[JournalEntry] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    moments: list[Any] = field(default_factory=lambda: [NOW])

    def run(self, *, negative: bool = False, **changes: Any) -> Any:
        parts = Parts(
            path=PATH,
            journal_id="test",
            journal=self.journal,
            live=BackendLive(self.backend, PATH),
            target=self.accounts,
            consumers=Readers(),
            hooks=self.hooks,
            negative=negative,
        )
        engine = Engine(
            parts,
            now=lambda: self.moments.pop(0) if len(self.moments) > 1 else self.moments[0],
            sleep=lambda _: None,
            guard=self.guard,
            on_record=self.recorded.append,
            on_judged=self.judged.append,
        )
        policy = Policy(owner=OWNER, strategy=Strategy.DUAL_USER, request=REQUEST)
        return engine.run(lambda: replace(policy, **changes))


def hook(*answers: Verification, stages: frozenset[Stage] = frozenset({Stage.PENDING}), **more: Any) -> Hook:
    left = list(answers)
    return Hook(name="asked", check=lambda _: left.pop(0) if len(left) > 1 else left[0], stages=stages, **more)


# ── passes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pass_goes_as_far_as_it_can_and_tells_each_phase() -> None:
    site = Site()
    end = site.run()
    assert end == Wait(NOW + timedelta(hours=1), Reason.IN_GRACE)
    phases = [entry.phase for entry in site.recorded]
    assert list(dict.fromkeys(phases)) == [
        Phase.PENDING,
        Phase.APPLIED,
        Phase.VERIFIED,
        Phase.PROMOTED,
        Phase.GRACE,
    ]
    assert [one.hook.name for one in site.judged] == ["target", "target"]


def test_the_guard_is_asked_before_each_side_effect_and_ends_the_pass() -> None:
    asked: list[int] = []

    def lost() -> None:
        asked.append(1)
        raise SecretConflictError("the lease is lost")

    site = Site(guard=lost)
    with pytest.raises(SecretConflictError, match="lease"):
        site.run()
    assert site.accounts.passwords["shop_b"] is None
    assert site.backend.version(PATH) == "1"
    site.guard = lambda: None
    assert isinstance(site.run(), Wait)


def test_a_clock_that_is_set_back_takes_nothing_back() -> None:
    site = Site()
    site.run()
    over = NOW + timedelta(hours=1)
    site.moments = [over, NOW]
    assert site.run() == Finished(Phase.DONE, Reason.NONE)


def test_what_keeps_the_live_path_from_being_rotated_comes_first() -> None:
    site = Site()
    site.backend.write(PATH, {"username": "somebody", "password": "x"})
    end = site.run()
    assert (end.phase, end.reason) == (None, Reason.PREFLIGHT)
    assert "somebody" in end.detail
    assert site.recorded == []


def test_what_a_command_says_meanwhile_is_heard_in_the_same_pass() -> None:
    site = Site()
    calls = []

    def policy() -> Policy:
        calls.append(1)
        return Policy(owner=OWNER, strategy=Strategy.DUAL_USER, request=REQUEST, may_start=len(calls) < 3)

    parts = Parts(
        path=PATH,
        journal_id="test",
        journal=site.journal,
        live=BackendLive(site.backend, PATH),
        target=site.accounts,
        consumers=Readers(),
    )
    assert Engine(parts, now=lambda: NOW).run(policy) == Finished(None, Reason.BLACKOUT)
    assert len(calls) == 3


def test_before_anything_begins_hooks_are_asked_of_the_current_value() -> None:
    asked: list[str] = []

    def check(value: Value) -> Verification:
        asked.append(value.reveal()["password"])
        return PASSED

    site = Site(hooks=[Hook(name="mail", check=check, stages=frozenset({Stage.PREFLIGHT, Stage.AFTER_PROMOTE}))])
    site.run()
    assert [one.hook.name for one in site.judged] == ["mail", "target", "target", "mail"]
    assert asked == ["old", asked[1]]
    assert asked[1] != "old"


def test_a_current_value_that_does_not_pass_is_not_rotated() -> None:
    hooks = [
        hook(UNKNOWN, attempts=1, stages=frozenset({Stage.PREFLIGHT})),
        Hook(name="mail", check=lambda _: FAILED, stages=frozenset({Stage.PREFLIGHT})),
    ]
    site = Site(hooks=hooks)
    assert site.run() == Finished(None, Reason.PREFLIGHT, "mail: it does not")
    assert (site.recorded, site.backend.version(PATH)) == ([], "1")
    site.hooks = hooks[:1]
    assert site.run() == Wait(NOW + timedelta(seconds=10), Reason.VERIFICATION_INCONCLUSIVE)
    assert site.recorded == []
    site.hooks = []
    assert site.run().reason is Reason.IN_GRACE


def test_hooks_are_not_asked_of_a_value_that_is_refused() -> None:
    site = Site(hooks=[hook(FAILED, stages=frozenset({Stage.PREFLIGHT}))])
    site.accounts.passwords["shop_a"] = SecretStr("another")
    assert site.run() == Finished(Phase.ABORTED, Reason.CURRENT_REFUSED)
    assert site.judged == []


@pytest.mark.parametrize("strategy", [Strategy.DUAL_USER, Strategy.SINGLE_USER])
def test_hooks_of_drift_are_no_part_of_a_rotation(strategy: Strategy) -> None:
    site = Site(hooks=[hook(FAILED, stages=frozenset({Stage.DRIFT}))])
    site.accounts.strategy = strategy
    site.run(strategy=strategy, retire=Retire.NOW)
    site.moments = [NOW + timedelta(hours=2)]
    assert site.run(strategy=strategy, retire=Retire.NOW) == Finished(Phase.DONE, Reason.NONE)


@pytest.mark.parametrize("hold", [False, True])
def test_hooks_that_cannot_tell_may_hold_a_rotation_that_would_be_aborted(hold: bool) -> None:
    kind = OnInconclusive.HOLD if hold else OnInconclusive.ABORT
    site = Site(hooks=[hook(UNKNOWN, attempts=1, on_inconclusive=kind)])
    assert site.run().reason is Reason.VERIFICATION_INCONCLUSIVE
    site.moments = [NOW + timedelta(minutes=10)]
    end = site.run()
    if hold:
        assert isinstance(end, Wait)
    else:
        assert end == Finished(Phase.ABORTED, Reason.VERIFICATION_INCONCLUSIVE)


def test_one_that_does_not_hold_is_enough() -> None:
    site = Site(hooks=[hook(UNKNOWN, attempts=1, on_inconclusive=OnInconclusive.HOLD), hook(UNKNOWN, attempts=1)])
    site.run()
    site.moments = [NOW + timedelta(minutes=10)]
    assert site.run().phase is Phase.ABORTED


def test_hooks_are_asked_in_their_stage_and_their_failure_is_told() -> None:
    site = Site(hooks=[hook(FAILED, stages=frozenset({Stage.AFTER_PROMOTE}))])
    assert site.run() == Finished(Phase.ROLLED_BACK, Reason.VERIFICATION_FAILED)
    assert [(one.hook.name, one.verification.outcome) for one in site.judged] == [
        ("target", Outcome.PASSED),
        ("target", Outcome.PASSED),
        ("asked", Outcome.FAILED),
    ]
    assert site.backend.read(PATH).data.reveal()["password"] == "old"


def test_the_one_password_of_an_account_is_put_back_when_the_next_does_not_pass() -> None:
    accounts = Accounts({"shop_a": SecretStr("old")}, strategy=Strategy.SINGLE_USER)
    site = Site(hooks=[hook(FAILED)], accounts=accounts)
    assert site.run(strategy=Strategy.SINGLE_USER).phase is Phase.ABORTED
    assert accounts.passwords == {"shop_a": SecretStr("old")}


@pytest.mark.parametrize(
    ("afterwards", "reason"), [(Login.WORKS, Reason.OLD_STILL_WORKS), (Login.UNREACHABLE, Reason.TARGET_UNREACHABLE)]
)
def test_what_is_not_seen_refused_is_not_taken_for_locked(afterwards: Login, reason: Reason) -> None:
    class Odd(Accounts):
        def lock(self, value: Value, keep: Value, *, fence: Fence, end_sessions: bool) -> Locked:
            self.locked = True
            return super().lock(value, keep, fence=fence, end_sessions=end_sessions)

        def probe(self, value: Value) -> Login:
            old = value.reveal()["password"] == "old"
            return afterwards if old and getattr(self, "locked", False) else super().probe(value)

    site = Site(accounts=Odd({"shop_a": SecretStr("old"), "shop_b": None}))
    site.run(negative=True)
    site.moments = [NOW + timedelta(hours=2)]
    end = site.run(negative=True)
    assert isinstance(end, Wait)
    assert end.reason is reason
    assert site.run() == Finished(Phase.DONE, Reason.NONE)


def test_an_old_value_that_somebody_else_ended_calls_a_person() -> None:
    site = Site()
    site.run(negative=True)
    site.accounts.passwords["shop_a"] = None
    site.moments = [NOW + timedelta(hours=2)]
    assert site.run(negative=True) == NeedsPerson(Reason.OLD_REFUSED)
    assert site.run(negative=True) == NeedsPerson(Reason.OLD_REFUSED)
    unasked = Site()
    unasked.run()
    unasked.accounts.passwords["shop_a"] = None
    unasked.moments = [NOW + timedelta(hours=2)]
    assert unasked.run() == Finished(Phase.DONE, Reason.NONE)


# ── hooks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def outcome(one: Hook) -> tuple[Outcome, list[float]]:
    slept: list[float] = []
    (judged,) = judge(Redacted({}), [one], sleep=slept.append)
    return judged.verification.outcome, slept


@pytest.mark.parametrize(
    ("one", "expected", "slept"),
    [
        (hook(PASSED), Outcome.PASSED, []),
        (hook(PASSED, initial_delay=5.0), Outcome.PASSED, [5.0]),
        (hook(UNKNOWN, UNKNOWN, PASSED), Outcome.PASSED, [1.0, 1.0]),
        (hook(UNKNOWN, UNKNOWN, UNKNOWN, PASSED), Outcome.INCONCLUSIVE, [1.0, 1.0]),
        (hook(UNKNOWN, FAILED, PASSED, pause=0.5), Outcome.FAILED, [0.5]),
        (hook(FAILED, PASSED), Outcome.FAILED, []),
        (hook(PASSED, successes=3), Outcome.PASSED, [1.0, 1.0]),
        (hook(PASSED, successes=4, attempts=2), Outcome.PASSED, [1.0, 1.0, 1.0]),
        (hook(PASSED, UNKNOWN, PASSED, successes=2), Outcome.INCONCLUSIVE, [1.0, 1.0]),
        (hook(PASSED, UNKNOWN, PASSED, PASSED, successes=2, attempts=4), Outcome.PASSED, [1.0, 1.0, 1.0]),
    ],
)
def test_a_hook_is_tried_until_it_passed_often_enough(one: Hook, expected: Outcome, slept: list[float]) -> None:
    assert outcome(one) == (expected, slept)


@pytest.mark.parametrize(
    "error", [EgressRefusedError("not listed"), SecretsConfigurationError("no"), SecretsUnavailableError("away")]
)
def test_a_hook_that_cannot_ask_has_judged_nothing(error: Exception) -> None:
    def check(_: Any) -> Verification:
        raise error

    assert outcome(Hook(name="asked", check=check, attempts=1))[0] is Outcome.INCONCLUSIVE


def test_after_a_failure_nobody_is_asked() -> None:
    judged = judge(Redacted({}), [hook(PASSED), hook(FAILED), hook(PASSED)], sleep=lambda _: None)
    assert [one.verification.outcome for one in judged] == [Outcome.PASSED, Outcome.FAILED]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], Verification.passed("everything that was asked for passed")),
        ([PASSED, PASSED], Verification.passed("everything that was asked for passed")),
        ([PASSED, UNKNOWN, UNKNOWN], Verification.inconclusive("1: nobody knows")),
        ([UNKNOWN, PASSED, FAILED], Verification.failed("2: it does not")),
    ],
)
def test_what_hooks_come_to_together(answers: list[Verification], expected: Verification) -> None:
    def asked(answer: Verification) -> Callable[[Value], Verification]:
        return lambda _: answer

    hooks = [Hook(name=str(n), check=asked(one), attempts=1) for n, one in enumerate(answers)]
    assert together(judge(Redacted({}), hooks, sleep=lambda _: None)) == expected


# ── the live path ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_live_path_of_a_backend() -> None:
    backend = MemoryBackend()
    live = BackendLive(backend, PATH)
    assert live.read() == Live(0, None)
    backend.write(PATH, {"a": "1"})
    found = live.read()
    assert (found.version, found.value is not None) == (1, True)
    assert found.value is not None
    assert live.write(found.value, cas=1) == Written(2)
    assert live.write(found.value, cas=1) == Written(None)
    backend.delete(PATH)
    assert live.read() == Live(2, None)
    assert live.preflight() == ""
