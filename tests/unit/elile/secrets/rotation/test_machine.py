"""Every decision of the rotation machine, from everything that can be answered to everything that it asks."""

import functools
import re
from dataclasses import replace
from datetime import timedelta

import pytest

from elile.secrets.rotation import machine
from elile.secrets.rotation.journal import (
    TERMINAL,
    Intent,
    Journal,
    JournalEntry,
    Owner,
    Past,
    Phase,
    Reason,
    Strategy,
    decode,
    encode,
)
from elile.secrets.rotation.machine import next_step
from elile.secrets.rotation.moves import MAX_PROBES
from elile.secrets.rotation.policy import Command, CommandKind, OnInconclusive, OnProofTimeout, Policy, Retire
from elile.secrets.rotation.steps import (
    Applied,
    Apply,
    AwaitProofs,
    Deliver,
    Finished,
    Generate,
    Generated,
    Live,
    Lock,
    Locked,
    Login,
    NeedsPerson,
    Observations,
    Preflighted,
    Probe,
    Probed,
    Proofs,
    ReadLive,
    Restore,
    Stage,
    Step,
    TakeInbox,
    Verify,
    Wait,
    Which,
    Wipe,
    WriteJournal,
    WriteLive,
    Written,
)
from elile.secrets.rotation.verify.outcome import Outcome, Verification
from tests.fakes.rotation import (
    BASE,
    CANARY,
    FOREIGN,
    LATER,
    NOW,
    OWNER,
    PENDING,
    PREVIOUS,
    REQUEST,
    SECOND,
    Decision,
    Reached,
    reach,
    value,
)

EFFECTS: dict[type[Step], Intent] = {
    Apply: Intent.APPLY,
    TakeInbox: Intent.TAKE,
    WriteLive: Intent.WRITE_LIVE,
    Deliver: Intent.DELIVER,
    Lock: Intent.LOCK,
    Restore: Intent.RESTORE,
    Wipe: Intent.WIPE,
}


@functools.cache
def reached(strategy: Strategy) -> Reached:
    return reach(strategy)


@pytest.fixture(params=list(Strategy), scope="module")
def all_of(request: pytest.FixtureRequest) -> Reached:
    return reached(request.param)


# ── everywhere ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_phases_go_as_the_table_in_the_docstring_says() -> None:
    told = {
        (found[1], to)
        for line in (machine.__doc__ or "").splitlines()
        if (found := re.fullmatch(r" {4}(\S+) +-> (.+)", line))
        for to in found[2].split(", ")
    }
    assert told == set().union(*(reached(strategy).transitions() for strategy in Strategy))


def test_every_phase_is_reached() -> None:
    phases = {e.phase for strategy in Strategy for e in reached(strategy).entries.values() if e is not None}
    assert phases == set(Phase)


def test_each_side_effect_was_announced_by_the_write_before_it(all_of: Reached) -> None:
    for decision in all_of.decisions:
        intent = EFFECTS.get(type(decision.step))
        if intent is not None:
            assert decision.seen.fence is intent
            assert decision.entry is not None
            assert decision.entry.intent is intent


def test_a_wrong_password_is_sent_three_times_in_a_phase_at_most_each_time_counted_before(all_of: Reached) -> None:
    for decision in all_of.decisions:
        if isinstance(decision.step, Probe) and decision.entry is not None and not decision.entry.wiped:
            assert decision.seen.fence is Intent.PROBE
            assert 1 <= decision.entry.attempts <= MAX_PROBES


def test_only_a_verified_value_is_written_to_the_live_path(all_of: Reached) -> None:
    allowed = {Phase.VERIFIED, Phase.DISTRIBUTING, Phase.REVERTING}
    for decision in all_of.decisions:
        if isinstance(decision.step, WriteLive):
            assert decision.entry is not None
            assert decision.entry.phase in allowed
            assert decision.step.value != FOREIGN


def test_the_old_value_ends_only_when_proved_and_verified_once_more(all_of: Reached) -> None:
    for decision in all_of.decisions:
        entry, seen = decision.entry, decision.seen
        if isinstance(decision.step, Lock) and entry is not None and decision.step.value == PREVIOUS:
            assert entry.phase is Phase.RETIRING
            assert seen.verdict is Outcome.PASSED
            assert seen.live is not None
            assert seen.live.value == PENDING
            skipped = entry.hurried or decision.policy.on_proof_timeout is OnProofTimeout.PROCEED
            assert skipped or seen.proofs is Proofs.PROVED
            assert decision.step.end_sessions is entry.hurried
            assert entry.hurried or decision.policy.may_retire


def test_no_retirement_begins_in_the_grace_or_in_a_blackout_but_by_name(all_of: Reached) -> None:
    for decision in all_of.decisions:
        entry, step, policy = decision.entry, decision.step, decision.policy
        begins = isinstance(step, WriteJournal) and step.entry.phase is Phase.RETIRING
        if not begins or entry is None or entry.phase is Phase.RETIRING:
            continue
        asked = policy.command if policy.command is not None and policy.command.id != entry.handled else None
        command = asked is not None and asked.kind is CommandKind.RETIRE
        assert isinstance(step, WriteJournal)
        assert step.entry.hurried is (policy.retire is Retire.NOW or command)
        assert step.entry.hurried or (entry.phase is Phase.GRACE and policy.may_retire)


def test_a_compromised_value_that_was_replaced_goes_live_no_more(all_of: Reached) -> None:
    for decision in all_of.decisions:
        entry, step = decision.entry, decision.step
        if entry is None or not (entry.compromised or not decision.policy.may_revert):
            continue
        if isinstance(step, WriteJournal) and step.entry.phase is Phase.REVERTING is not entry.phase:
            # It never was replaced, or is back by a rollback that began before it was known to be compromised.
            assert entry.phase is Phase.NEEDS_INTERVENTION
            assert decision.seen.live is not None
            assert decision.seen.live.value in (entry.distributed, entry.previous)
        if isinstance(step, WriteJournal) and not entry.wiped:
            assert step.entry.compromised


def test_terminal_entries_hold_no_value_and_all_others_keep_the_previous_one(all_of: Reached) -> None:
    for entry in all_of.entries.values():
        if entry is not None:
            assert entry.holds_values is (entry.phase not in TERMINAL)
            assert (entry.previous == PREVIOUS) is (entry.phase not in TERMINAL)


def test_nothing_that_is_said_shows_a_value(all_of: Reached) -> None:
    seen: set[tuple[type[Step], Phase | None]] = set()
    for decision in all_of.decisions:
        kind = type(decision.step), decision.entry.phase if decision.entry else None
        if kind not in seen:
            seen.add(kind)
            assert CANARY not in f"{decision!r} {decision.step}"


def test_every_entry_survives_being_stored(all_of: Reached) -> None:
    for entry in all_of.entries.values():
        if entry is not None:
            assert decode(encode(entry)) == entry


def test_there_is_an_answer_to_whatever_was_seen_in_whatever_phase(all_of: Reached) -> None:
    """Also to what no driver would have seen: one decision's observations in another's phase."""
    by_phase: dict[Phase, JournalEntry] = {e.phase: e for e in all_of.entries.values() if e is not None}
    looks = list({repr(d.seen): d for d in all_of.decisions}.values())
    for entry in by_phase.values():
        for decision in looks[:: max(1, len(looks) // 100)]:
            assert _step(entry, decision) is not None


def _step(entry: JournalEntry, decision: Decision) -> Step:
    return next_step(Journal(entry, 40), decision.seen, NOW, decision.policy)


# ── at the edges ─────────────────────────────────────────────────────────────────────────────────────────────────────

POLICY = Policy(owner=OWNER, strategy=Strategy.DUAL_USER, request=REQUEST)
ENTRY = JournalEntry(
    owner=OWNER,
    rotation_id=REQUEST.rotation_id,
    occurrence=REQUEST.occurrence,
    strategy=Strategy.DUAL_USER,
    phase=Phase.PENDING,
    base_version=BASE,
    pending=PENDING,
    previous=PREVIOUS,
)
PAST = Past("id-1", "2026-11-23T02:30[Etc/UTC]", Phase.DONE, Reason.NONE, NOW - timedelta(days=1))
DONE = replace(ENTRY, phase=Phase.DONE, pending=None, previous=None, wiped=True, rotation_id="id-1", history=(PAST,))


LOOKED = {
    "preflight": Preflighted(),
    "probed": Probed(Which.LIVE, Login.WORKS),
    "current": Verification.passed("everything that was asked for passed"),
}


def say(entry: JournalEntry | None, policy: Policy = POLICY, **seen: object) -> Step:
    journal = None if entry is None else Journal(entry, 4)
    return next_step(journal, Observations(**seen), NOW, policy)  # type: ignore[arg-type] # as many as there are fields


def test_an_unknown_journal_is_left_alone() -> None:
    problem = "the journal has schema 2, and this version of Elile reads 1"
    said = next_step(Journal(None, 4, problem), Observations(), NOW, POLICY)
    assert said == NeedsPerson(Reason.JOURNAL_FORMAT, problem)


@pytest.mark.parametrize("remembered", [None, Phase.DONE, Phase.GRACE])
def test_a_journal_that_somebody_deleted(remembered: Phase | None) -> None:
    policy = replace(POLICY, remembered=remembered)
    assert next_step(Journal(None, 4), Observations(), NOW, policy) == NeedsPerson(Reason.JOURNAL_LOST)


@pytest.mark.parametrize(("remembered", "lost"), [(None, False), (Phase.DONE, False), (Phase.GRACE, True)])
def test_a_journal_that_never_was(remembered: Phase | None, lost: bool) -> None:
    said = say(None, replace(POLICY, remembered=remembered))
    assert (said == NeedsPerson(Reason.JOURNAL_LOST)) is lost


def test_a_second_owner_is_sent_away_and_told_whose_it_is() -> None:
    policy = replace(POLICY, owner=Owner("cluster", "other", "db", "uid-9"))
    assert say(ENTRY, policy) == Finished(Phase.PENDING, Reason.MANAGED_ELSEWHERE, "team/db")
    assert say(DONE, policy) == Finished(Phase.DONE, Reason.MANAGED_ELSEWHERE, "team/db")


def test_the_same_owner_made_again_adopts_and_forgets_no_intent() -> None:
    entry = replace(ENTRY, phase=Phase.VERIFIED, intent=Intent.WRITE_LIVE)
    anew = replace(OWNER, uid="uid-2")
    assert say(entry, replace(POLICY, owner=anew)) == WriteJournal(replace(entry, owner=anew), 4)


def test_an_occurrence_that_was_rotated_is_not_rotated_again() -> None:
    again = replace(POLICY, request=replace(REQUEST, rotation_id="id-1"))
    assert say(DONE, again) == Finished(Phase.DONE, Reason.NONE)


def test_the_next_rotation_keeps_the_history_and_its_last_fifty() -> None:
    entry = replace(ENTRY, phase=Phase.ABORTING, history=(PAST,) * 50)
    said = say(entry)
    assert isinstance(said, WriteJournal)
    assert len(said.entry.history) == 50
    assert said.entry.history[-1].rotation_id == REQUEST.rotation_id
    assert said.entry.history[-1].result is Phase.ABORTED


def test_a_current_value_that_is_refused_ends_the_occurrence_at_once() -> None:
    said = say(
        DONE,
        live=Live(BASE, PREVIOUS),
        preflight=Preflighted(),
        probed=Probed(Which.LIVE, Login.REFUSED),
    )
    assert isinstance(said, WriteJournal)
    assert (said.entry.phase, said.entry.reason) == (Phase.ABORTED, Reason.CURRENT_REFUSED)
    assert [past.rotation_id for past in said.entry.history] == ["id-1", REQUEST.rotation_id]
    assert say(said.entry) == Finished(Phase.ABORTED, Reason.CURRENT_REFUSED)


def test_probes_are_spaced_ever_wider() -> None:
    entry, pauses = ENTRY, []
    for _ in range(MAX_PROBES):
        said = say(entry)
        assert isinstance(said, WriteJournal)
        assert said.entry.not_before is not None
        pauses.append((said.entry.not_before - NOW).total_seconds())
        assert isinstance(say(said.entry), Wait | WriteJournal)
        entry = replace(said.entry, not_before=None)
    assert pauses == [10, 20, 40]
    said = say(entry)
    assert isinstance(said, WriteJournal)
    assert (said.entry.phase, said.entry.reason) == (Phase.ABORTING, Reason.PROBES_EXHAUSTED)


def test_a_probe_that_reached_nobody_does_not_count() -> None:
    entry = replace(ENTRY, attempts=2, intent=Intent.PROBE, not_before=LATER)
    probed = Probed(Which.PENDING, Login.UNREACHABLE)
    said = say(entry, probed=probed)
    assert isinstance(said, WriteJournal)
    assert said.entry == replace(ENTRY, attempts=1)
    assert say(said.entry, probed=probed) == Wait(NOW + POLICY.retry, Reason.TARGET_UNREACHABLE)


def test_once_the_live_write_may_have_been_sent_an_abort_waits_until_it_can_be_taken_back() -> None:
    policy = replace(POLICY, command=Command(CommandKind.ABORT, "team/stop"))
    verified = replace(ENTRY, phase=Phase.VERIFIED)
    before = say(verified, policy)
    assert isinstance(before, WriteJournal)
    assert before.entry.phase is Phase.ABORTING
    after = say(replace(verified, intent=Intent.WRITE_LIVE), policy, written=Written(BASE + 1))
    assert isinstance(after, WriteJournal)
    assert after.entry.phase is Phase.PROMOTED
    back = say(after.entry, policy)
    assert isinstance(back, WriteJournal)
    assert (back.entry.phase, back.entry.handled) == (Phase.REVERTING, "team/stop")


def test_a_lost_answer_is_told_from_somebody_elses_write() -> None:
    verified = replace(ENTRY, phase=Phase.VERIFIED, intent=Intent.WRITE_LIVE)
    told = {}
    for name, live in {
        "ours": Live(BASE + 1, PENDING),
        "behind": Live(BASE, PREVIOUS),
        "foreign": Live(BASE + 1, FOREIGN),
        "foreign after ours, perhaps": Live(BASE + 2, FOREIGN),
    }.items():
        said = say(verified, written=Written(None), live=live)
        told[name] = said.entry.phase.value if isinstance(said, WriteJournal) else type(said).__name__
    assert told == {
        "ours": "Promoted",
        "behind": "Wait",
        "foreign": "Aborting",
        "foreign after ours, perhaps": "NeedsIntervention",
    }


def test_a_rollback_of_keys_keeps_the_new_one_to_decrypt() -> None:
    kept = {
        id(decision.step.value)
        for decision in reached(Strategy.KEYSET).decisions
        if isinstance(decision.step, WriteLive) and decision.entry and decision.entry.phase is Phase.REVERTING
    }
    shared = {id(e.distributed) for e in reached(Strategy.KEYSET).entries.values() if e and e.distributed}
    assert kept
    assert kept <= shared


def test_a_lock_that_fails_for_ever_leaves_it_retiring_with_both_values() -> None:
    entry = replace(ENTRY, phase=Phase.RETIRING, live_version=BASE + 1, intent=Intent.LOCK, locking=True)
    said = say(
        entry,
        live=Live(BASE + 1, PENDING),
        proofs=Proofs.PROVED,
        verdict=Outcome.PASSED,
        locked=Locked.UNREACHABLE,
    )
    assert said == Wait(NOW + POLICY.retry, Reason.TARGET_UNREACHABLE)


def test_a_rollback_after_a_lock_may_have_been_sent_restores_before_it_asks() -> None:
    entry = replace(ENTRY, phase=Phase.REVERTING, live_version=BASE + 1, locking=True)
    said = say(entry, live=Live(BASE + 1, PENDING))
    assert isinstance(said, WriteJournal)
    assert said.entry.intent is Intent.RESTORE
    asks = say(replace(entry, locking=False), live=Live(BASE + 1, PENDING))
    assert isinstance(asks, WriteJournal)
    assert asks.entry.intent is Intent.PROBE


def test_what_somebody_else_wrote_is_not_rolled_back() -> None:
    entry = replace(ENTRY, phase=Phase.REVERTING, live_version=BASE + 1)
    said = say(entry, live=Live(BASE + 2, FOREIGN))
    assert isinstance(said, WriteJournal)
    assert (said.entry.phase, said.entry.reason) == (Phase.NEEDS_INTERVENTION, Reason.EXTERNAL_CHANGE)
    assert said.entry.holds_values


@pytest.mark.parametrize("kind", [CommandKind.ABORT, CommandKind.ROLL_BACK, CommandKind.ROTATE])
def test_a_person_ends_a_rotation_that_somebody_else_wrote_over(kind: CommandKind) -> None:
    policy = replace(POLICY, command=Command(kind, "person/1"))
    stuck = replace(PROMOTED, phase=Phase.NEEDS_INTERVENTION, reason=Reason.EXTERNAL_CHANGE, touched=True)
    assert say(stuck, policy) == ReadLive()
    assert say(stuck, policy, live=Live(BASE, PREVIOUS)) == Wait(NOW + POLICY.retry, Reason.STALE_READ)
    for live in (FOREIGN, None):
        entry = writes(say(stuck, policy, live=Live(BASE + 2, live)))
        assert (entry.phase, entry.reason, entry.handled) == (Phase.ABORTING, Reason.BY_PERSON, "person/1")
    for live in (PENDING, PREVIOUS):  # somebody has cleared it up
        assert writes(say(stuck, policy, live=Live(BASE + 3, live))).phase is Phase.REVERTING
    aborting = writes(say(stuck, policy, live=Live(BASE + 2, FOREIGN)))
    locks = say(aborting, policy, live=Live(BASE + 2, FOREIGN))
    assert isinstance(locks, WriteJournal)
    assert locks.entry.intent is Intent.LOCK


def test_a_command_is_obeyed_once() -> None:
    policy = replace(POLICY, command=Command(CommandKind.ABORT, "team/stop"))
    stuck = replace(ENTRY, phase=Phase.NEEDS_INTERVENTION, reason=Reason.IN_USE)
    said = say(stuck, policy)
    assert isinstance(said, WriteJournal)
    assert said.entry.phase is Phase.ABORTING
    again = replace(said.entry, phase=Phase.NEEDS_INTERVENTION, reason=Reason.IN_USE)
    assert say(again, policy) == NeedsPerson(Reason.IN_USE)


def test_a_command_from_before_a_rotation_is_not_for_it() -> None:
    policy = replace(POLICY, command=Command(CommandKind.ABORT, "team/stop"))
    looked = {"live": Live(BASE, PREVIOUS), **LOOKED}
    said = say(DONE, policy, **looked, generated=Generated(PENDING))
    assert isinstance(said, WriteJournal)
    assert (said.entry.phase, said.entry.handled) == (Phase.PENDING, "team/stop")
    going_on = say(said.entry, policy)
    assert isinstance(going_on, WriteJournal)
    assert going_on.entry.phase is Phase.PENDING


@pytest.mark.parametrize("strategy", Strategy)
def test_what_is_looked_at_before_anything_is_changed(strategy: Strategy) -> None:
    first = [type(d.step) for d in reached(strategy).decisions if d.entry is None]
    assert not set(first) & set(EFFECTS)
    assert Generate in first
    assert (Probe in first) is (strategy in (Strategy.DUAL_USER, Strategy.SINGLE_USER, Strategy.DUAL_PASSWORD))


def test_hooks_are_run_on_the_current_value_first_and_on_the_new_one_in_three_stages() -> None:
    asked = {
        (d.step.stage.value, d.step.value.reveal()["username"] in ("pending", "second"))
        for d in reached(Strategy.DUAL_USER).decisions
        if isinstance(d.step, Verify)
    }
    assert asked == {("preflight", False), ("pending", True), ("afterPromote", True), ("beforeRetire", True)}


def test_an_emergency_takes_over_and_that_is_written_down() -> None:
    def told(phase: Phase, kind: CommandKind) -> JournalEntry:
        policy = replace(POLICY, command=Command(kind, "team/leak", Reason.SUPERSEDED))
        return writes(
            say(replace(PROMOTED, phase=phase, live_version=None if kind is CommandKind.ABORT else 8), policy)
        )

    for phase in (Phase.PENDING, Phase.APPLIED, Phase.VERIFIED):
        entry = told(phase, CommandKind.ABORT)
        assert (entry.phase, entry.reason, entry.handled) == (Phase.ABORTING, Reason.SUPERSEDED, "team/leak")
        ended = writes(say(entry))
        assert ended.history[-1].reason is Reason.SUPERSEDED
    for phase in (Phase.PROMOTED, Phase.GRACE):
        entry = told(phase, CommandKind.RETIRE)
        assert (entry.phase, entry.reason, entry.hurried) == (Phase.RETIRING, Reason.SUPERSEDED, True)
        seen = {"live": Live(8, PENDING), "verdict": Outcome.PASSED, "locked": Locked.DONE}
        ended = writes(say(entry, **seen))
        assert (ended.phase, ended.history[-1].reason) == (Phase.DONE, Reason.SUPERSEDED)


# ── what must not come back ──────────────────────────────────────────────────────────────────────────────────────────

LEAKED = replace(
    ENTRY, phase=Phase.PROMOTED, live_version=BASE + 1, delivered=True, deadline=NOW, compromised=True, intent=None
)
# A policy of somebody who has not heard that it is compromised: the journal says so.
UNAWARE = replace(POLICY, on_proof_timeout=OnProofTimeout.REVERT, verify_for=timedelta(0))
STILL = {"live": Live(BASE + 1, PENDING)}


def test_that_a_value_is_compromised_is_written_down_when_it_is_said() -> None:
    policy = replace(POLICY, may_revert=False)
    looked = {"live": Live(BASE, PREVIOUS), **LOOKED}
    for said, compromised in ((policy, True), (POLICY, False)):
        begun = say(DONE, said, **looked, generated=Generated(PENDING))
        assert isinstance(begun, WriteJournal)
        assert begun.entry.compromised is compromised
    later = say(replace(ENTRY, phase=Phase.APPLIED), policy, verdict=Outcome.PASSED)
    assert isinstance(later, WriteJournal)
    assert (later.entry.phase, later.entry.compromised) == (Phase.VERIFIED, True)


@pytest.mark.parametrize(
    ("phase", "seen", "reason"),
    [
        (Phase.PROMOTED, {"proofs": Proofs.WAITING}, Reason.PROOF_TIMEOUT),
        (Phase.PROMOTED, {"proofs": Proofs.PROVED, "verdict": Outcome.FAILED}, Reason.VERIFICATION_FAILED),
        (Phase.PROMOTED, {"proofs": Proofs.PROVED, "verdict": Outcome.INCONCLUSIVE}, Reason.VERIFICATION_INCONCLUSIVE),
        (Phase.GRACE, {**STILL, "proofs": Proofs.WAITING}, Reason.PROOF_TIMEOUT),
        (Phase.GRACE, {**STILL, "proofs": Proofs.PROVED, "verdict": Outcome.FAILED}, Reason.VERIFICATION_FAILED),
        (Phase.DISTRIBUTING, {"proofs": Proofs.WAITING}, Reason.PROOF_TIMEOUT),
    ],
)
def test_what_would_bring_a_compromised_value_back_calls_a_person(
    phase: Phase, seen: dict[str, object], reason: Reason
) -> None:
    strategy = Strategy.KEYSET if phase is Phase.DISTRIBUTING else Strategy.DUAL_USER
    entry = replace(LEAKED, phase=phase, strategy=strategy, distributed=PREVIOUS)
    for at, policy in ((entry, UNAWARE), (replace(entry, compromised=False), replace(UNAWARE, may_revert=False))):
        said = say(at, policy, **seen)
        assert isinstance(said, WriteJournal)
        assert (said.entry.phase, said.entry.reason) == (Phase.NEEDS_INTERVENTION, reason)
        assert (said.entry.pending, said.entry.previous, said.entry.compromised) == (PENDING, PREVIOUS, True)
    goes_back = say(replace(entry, compromised=False), UNAWARE, **seen)
    assert isinstance(goes_back, WriteJournal)
    assert goes_back.entry.phase is Phase.REVERTING


@pytest.mark.parametrize("kind", [CommandKind.ROLL_BACK, CommandKind.ABORT])
@pytest.mark.parametrize("phase", [Phase.PROMOTED, Phase.GRACE, Phase.DISTRIBUTING])
def test_nobody_may_have_a_compromised_value_back(phase: Phase, kind: CommandKind) -> None:
    entry = replace(LEAKED, phase=phase, deadline=LATER, distributed=PREVIOUS)
    policy = replace(POLICY, command=Command(kind, "person/1"))
    assert say(entry, policy) == say(entry, POLICY)
    obeyed = say(replace(entry, compromised=False), policy)
    assert isinstance(obeyed, WriteJournal)
    assert obeyed.entry.phase is Phase.REVERTING


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.APPLIED, Phase.VERIFIED])
def test_before_it_is_replaced_even_a_compromised_value_may_stay(phase: Phase) -> None:
    entry = replace(ENTRY, phase=phase, compromised=True)
    policy = replace(POLICY, may_revert=False, command=Command(CommandKind.ABORT, "person/1"))
    said = say(entry, policy)
    assert isinstance(said, WriteJournal)
    assert said.entry.phase is Phase.ABORTING


STUCK = replace(LEAKED, phase=Phase.NEEDS_INTERVENTION, reason=Reason.VERIFICATION_FAILED, hurried=True)


@pytest.mark.parametrize("kind", [CommandKind.ABORT, CommandKind.ROTATE, CommandKind.RETIRE])
def test_who_is_called_to_a_compromised_value_can_only_go_on(kind: CommandKind) -> None:
    policy = replace(POLICY, command=Command(kind, "person/1"))
    assert say(STUCK, policy) == ReadLive()
    assert say(STUCK, policy, live=Live(BASE, PREVIOUS)) == Wait(NOW + POLICY.retry, Reason.STALE_READ)
    for live in (PENDING, FOREIGN, None):
        said = say(STUCK, policy, live=Live(BASE + 1, live))
        assert isinstance(said, WriteJournal)
        retires = kind is CommandKind.RETIRE
        assert said.entry.phase is (Phase.RETIRING if retires else Phase.PROMOTED)
        assert (said.entry.hurried, said.entry.handled) == (retires, "person/1")
        assert said.entry.deadline == (None if retires else NOW + POLICY.proof_timeout)
    said = say(STUCK, policy, live=Live(BASE + 1, PREVIOUS))
    assert isinstance(said, WriteJournal)
    assert (said.entry.phase, said.entry.handled) == (Phase.REVERTING, "person/1")
    assert said.entry.deadline == NOW + POLICY.proof_timeout
    never_live = say(replace(STUCK, live_version=None), policy)
    assert isinstance(never_live, WriteJournal)
    assert never_live.entry.phase is Phase.ABORTING


def test_a_rollback_does_not_end_what_needs_a_person_for_a_compromised_value() -> None:
    back = replace(POLICY, command=Command(CommandKind.ROLL_BACK, "person/1"))
    assert say(STUCK, back) == NeedsPerson(Reason.VERIFICATION_FAILED)
    retire = replace(POLICY, command=Command(CommandKind.RETIRE, "person/1"))
    assert say(replace(STUCK, compromised=False), retire) == NeedsPerson(Reason.VERIFICATION_FAILED)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_current_value_that_no_hook_lets_pass_begins_nothing(strategy: Strategy) -> None:
    seen = {**LOOKED, "live": Live(BASE, PREVIOUS)}
    policy = replace(POLICY, strategy=strategy)
    assert say(DONE, policy, **{**seen, "current": None}) == Verify(Stage.PREFLIGHT, PREVIOUS)
    failed = Verification.failed("mail: the server refuses the key with 401")
    assert say(DONE, policy, **{**seen, "current": failed}) == Finished(Phase.DONE, Reason.PREFLIGHT, failed.detail)
    unknown = Verification.inconclusive("mail: no answer")
    waits = Wait(NOW + POLICY.retry, Reason.VERIFICATION_INCONCLUSIVE)
    assert say(DONE, policy, **{**seen, "current": unknown}) == waits
    assert isinstance(say(DONE, policy, **seen), Generate)


# ── how long, and which word ─────────────────────────────────────────────────────────────────────────────────────────

WRITTEN = {"fence": None, "written": Written(None)}
PROMOTED = replace(ENTRY, phase=Phase.PROMOTED, live_version=BASE + 1, delivered=True, deadline=LATER)
QUICK = replace(POLICY, grace=timedelta(minutes=7), proof_timeout=timedelta(minutes=3), verify_for=timedelta(minutes=2))


def writes(step: Step) -> JournalEntry:
    assert isinstance(step, WriteJournal)
    return step.entry


@pytest.mark.parametrize("behind", [0, 1, 3])
def test_an_answer_from_before_the_write_is_waited_out(behind: int) -> None:
    verified = replace(ENTRY, phase=Phase.VERIFIED, base_version=BASE + 3)
    step = say(verified, **WRITTEN, live=Live(BASE + 3 - behind, PREVIOUS))
    assert step == Wait(NOW + POLICY.retry, Reason.STALE_READ)


def test_our_own_value_two_versions_later_is_somebody_elses() -> None:
    verified = replace(ENTRY, phase=Phase.VERIFIED)
    entry = writes(say(verified, **WRITTEN, live=Live(BASE + 2, PENDING)))
    assert (entry.phase, entry.reason) == (Phase.NEEDS_INTERVENTION, Reason.EXTERNAL_CHANGE)
    assert writes(say(verified, **WRITTEN, live=Live(BASE + 1, PENDING))).live_version == BASE + 1


@pytest.mark.parametrize(
    ("strategy", "retire", "grace"),
    [
        (Strategy.DUAL_USER, Retire.WHEN_PROVED, True),
        (Strategy.DUAL_USER, Retire.SKIP_GRACE, False),
        (Strategy.SINGLE_USER, Retire.WHEN_PROVED, False),
        (Strategy.DUAL_PASSWORD, Retire.WHEN_PROVED, True),
        (Strategy.REPLACE, Retire.WHEN_PROVED, True),
        (Strategy.REPLACE, Retire.SKIP_GRACE, False),
        (Strategy.EXTERNAL, Retire.WHEN_PROVED, True),
    ],
)
def test_the_grace_is_as_long_as_it_was_said(strategy: Strategy, retire: Retire, grace: bool) -> None:
    promoted = replace(PROMOTED, strategy=strategy)
    policy = replace(QUICK, strategy=strategy, retire=retire)
    entry = writes(say(promoted, policy, proofs=Proofs.PROVED, verdict=Outcome.PASSED))
    assert (entry.phase, entry.deadline) == (Phase.GRACE, NOW + (policy.grace if grace else timedelta(0)))


@pytest.mark.parametrize("strategy", list(Strategy))
def test_only_a_set_of_keys_ends_without_a_grace(strategy: Strategy) -> None:
    promoted = replace(PROMOTED, strategy=strategy, distributed=PREVIOUS)
    entry = writes(say(promoted, replace(QUICK, strategy=strategy), proofs=Proofs.PROVED, verdict=Outcome.PASSED))
    assert entry.phase is (Phase.DONE if strategy is Strategy.KEYSET else Phase.GRACE)


@pytest.mark.parametrize("phase", [Phase.PROMOTED, Phase.GRACE, Phase.DISTRIBUTING])
def test_a_way_back_that_a_person_asks_for_has_the_time_of_the_proofs(phase: Phase) -> None:
    policy = replace(QUICK, command=Command(CommandKind.ROLL_BACK, "person/1"))
    entry = writes(say(replace(PROMOTED, phase=phase, distributed=PREVIOUS), policy))
    assert (entry.phase, entry.deadline) == (Phase.REVERTING, NOW + policy.proof_timeout)
    stuck = replace(PROMOTED, phase=Phase.NEEDS_INTERVENTION)
    assert writes(say(stuck, policy)).deadline == NOW + policy.proof_timeout


@pytest.mark.parametrize("phase", [Phase.PROMOTED, Phase.GRACE])
def test_a_verification_that_fails_goes_back_with_the_time_of_the_proofs(phase: Phase) -> None:
    at = replace(PROMOTED, phase=phase, deadline=NOW)
    entry = writes(say(at, QUICK, proofs=Proofs.PROVED, live=Live(BASE + 1, PENDING), verdict=Outcome.FAILED))
    assert (entry.phase, entry.reason, entry.deadline) == (
        Phase.REVERTING,
        Reason.VERIFICATION_FAILED,
        NOW + QUICK.proof_timeout,
    )


@pytest.mark.parametrize("phase", [Phase.PROMOTED, Phase.GRACE, Phase.DISTRIBUTING])
@pytest.mark.parametrize("late", [False, True])
def test_proofs_that_do_not_come_are_gone_back_from_in_time_and_not_before(phase: Phase, late: bool) -> None:
    deadline = NOW if late else NOW + timedelta(seconds=1)
    at = replace(PROMOTED, phase=phase, deadline=deadline, distributed=PENDING)
    if phase is Phase.GRACE:
        at = replace(at, deadline=NOW)  # the grace is over, and so is the time of the proofs
    if phase is Phase.DISTRIBUTING:
        at = replace(at, strategy=Strategy.KEYSET)
    policy = replace(QUICK, strategy=at.strategy, on_proof_timeout=OnProofTimeout.REVERT)
    step = say(at, policy, proofs=Proofs.WAITING, live=Live(BASE + 1, PENDING))
    if late or phase is Phase.GRACE:
        entry = writes(step)
        assert (entry.phase, entry.reason) == (Phase.REVERTING, Reason.PROOF_TIMEOUT)
        assert entry.deadline == NOW + policy.proof_timeout
    else:
        assert step == Wait(NOW + policy.retry, Reason.AWAITING_CONSUMERS)


def test_in_retiring_no_missing_proof_brings_anything_back() -> None:
    at = replace(PROMOTED, phase=Phase.RETIRING, deadline=None)
    policy = replace(QUICK, on_proof_timeout=OnProofTimeout.REVERT)
    step = say(at, policy, proofs=Proofs.WAITING, live=Live(BASE + 1, PENDING))
    assert step == Wait(NOW + policy.retry, Reason.AWAITING_CONSUMERS)


@pytest.mark.parametrize("command", [Command(CommandKind.RETIRE, "person/1"), None])
def test_retiring_that_waits_for_a_proof_or_a_blackout_can_be_hurried(command: Command | None) -> None:
    at = replace(PROMOTED, phase=Phase.RETIRING, deadline=None)
    held = replace(QUICK, may_retire=False)
    policy = replace(held, command=command, retire=Retire.WHEN_PROVED if command else Retire.NOW)
    assert say(at, held) == Wait(NOW + POLICY.retry, Reason.BLACKOUT)
    entry = writes(say(at, policy))
    assert (entry.phase, entry.hurried, entry.handled) == (Phase.RETIRING, True, command.id if command else "")
    assert say(entry, policy, proofs=Proofs.WAITING) == ReadLive(), "neither is waited for any more"


def test_a_run_of_keys_that_waits_for_a_proof_can_be_ended_since_it_retires_nothing() -> None:
    at = replace(PROMOTED, strategy=Strategy.KEYSET, distributed=PREVIOUS)
    policy = replace(QUICK, strategy=Strategy.KEYSET)
    retire = replace(policy, command=Command(CommandKind.RETIRE, "person/1", Reason.SUPERSEDED))
    assert say(at, policy, proofs=Proofs.WAITING, live=Live(BASE + 1, PENDING)) == Wait(
        NOW + policy.retry, Reason.AWAITING_CONSUMERS
    )
    entry = writes(say(at, retire, proofs=Proofs.WAITING))
    assert (entry.phase, entry.reason, entry.handled) == (Phase.DONE, Reason.SUPERSEDED, "person/1")
    assert entry.history[-1].reason is Reason.SUPERSEDED


def test_keys_are_not_handed_on_without_a_proof_whatever_the_policy_says() -> None:
    at = replace(PROMOTED, phase=Phase.DISTRIBUTING, strategy=Strategy.KEYSET, deadline=NOW, distributed=PENDING)
    policy = replace(QUICK, strategy=Strategy.KEYSET, on_proof_timeout=OnProofTimeout.PROCEED)
    step = say(at, policy, proofs=Proofs.WAITING, live=Live(BASE + 1, PENDING))
    assert step == Wait(NOW + policy.retry, Reason.AWAITING_CONSUMERS)
    promoted = replace(PROMOTED, deadline=NOW)
    assert isinstance(say(promoted, replace(policy, strategy=Strategy.DUAL_USER), proofs=Proofs.WAITING), Verify)


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_hooks_that_cannot_tell_have_their_time(hold: bool, late: bool) -> None:
    kind = OnInconclusive.HOLD if hold else OnInconclusive.ABORT
    policy = replace(QUICK, on_inconclusive=kind)
    deadline = NOW if late else NOW + timedelta(seconds=1)
    step = say(replace(ENTRY, phase=Phase.APPLIED, deadline=deadline), policy, verdict=Outcome.INCONCLUSIVE)
    if late and not hold:
        entry = writes(step)
        assert (entry.phase, entry.reason) == (Phase.ABORTING, Reason.VERIFICATION_INCONCLUSIVE)
    else:
        assert step == Wait(NOW + policy.retry, Reason.VERIFICATION_INCONCLUSIVE)
    # After the promotion the time begins when the proofs should have been there.
    at = replace(PROMOTED, deadline=deadline - policy.verify_for)
    step = say(at, policy, proofs=Proofs.PROVED, verdict=Outcome.INCONCLUSIVE)
    if late and not hold:
        entry = writes(step)
        assert (entry.phase, entry.reason) == (Phase.REVERTING, Reason.VERIFICATION_INCONCLUSIVE)
        assert entry.deadline == NOW + policy.proof_timeout
    else:
        assert step == Wait(NOW + policy.retry, Reason.VERIFICATION_INCONCLUSIVE)


def test_in_the_grace_hooks_that_cannot_tell_are_asked_again_without_end() -> None:
    at = replace(PROMOTED, phase=Phase.GRACE, deadline=NOW - timedelta(days=9))
    step = say(at, QUICK, proofs=Proofs.PROVED, live=Live(BASE + 1, PENDING), verdict=Outcome.INCONCLUSIVE)
    assert step == Wait(NOW + QUICK.retry, Reason.VERIFICATION_INCONCLUSIVE)


@pytest.mark.parametrize("late", [False, True])
def test_a_window_that_closes_takes_back_what_is_not_promoted(late: bool) -> None:
    closes = NOW if late else NOW + timedelta(seconds=1)
    policy = replace(QUICK, window_closes=closes)
    for phase in (Phase.PENDING, Phase.APPLIED, Phase.VERIFIED):
        step = say(replace(ENTRY, phase=phase), policy)
        taken_back = isinstance(step, WriteJournal) and step.entry.phase is Phase.ABORTING
        assert taken_back == late
    assert not isinstance(say(PROMOTED, policy), WriteJournal)


def test_a_grace_that_is_not_over_is_waited_for_to_the_second() -> None:
    at = replace(PROMOTED, phase=Phase.GRACE, deadline=NOW + timedelta(seconds=1))
    assert say(at, QUICK) == Wait(NOW + timedelta(seconds=1), Reason.IN_GRACE)
    assert not isinstance(say(replace(at, deadline=NOW), QUICK), Wait)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_blackout_keeps_from_retiring_but_what_is_in_a_hurry(strategy: Strategy) -> None:
    policy = replace(QUICK, strategy=strategy, may_retire=False)
    for phase in (Phase.GRACE, Phase.RETIRING):
        at = replace(PROMOTED, phase=phase, strategy=strategy, deadline=NOW)
        assert say(at, policy) == Wait(NOW + policy.retry, Reason.BLACKOUT)
    hurried = replace(PROMOTED, phase=Phase.RETIRING, strategy=strategy, hurried=True)
    assert not isinstance(say(hurried, policy), Wait)


def test_now_is_a_word_and_ends_sessions() -> None:
    policy = replace(QUICK, retire=Retire.NOW)
    entry = writes(say(PROMOTED, policy))
    assert (entry.phase, entry.hurried) == (Phase.RETIRING, True)
    assert writes(say(replace(PROMOTED, phase=Phase.GRACE), policy)).hurried
    for retire in (Retire.WHEN_PROVED, Retire.SKIP_GRACE):
        assert not isinstance(say(PROMOTED, replace(QUICK, retire=retire)), WriteJournal)
    asked = replace(QUICK, command=Command(CommandKind.RETIRE, "person/1"))
    entry = writes(say(PROMOTED, asked))
    assert (entry.phase, entry.hurried, entry.reason) == (Phase.RETIRING, True, Reason.BY_PERSON)


def test_what_still_works_is_not_done() -> None:
    at = replace(PROMOTED, phase=Phase.RETIRING, hurried=True)
    for phase, held in ((Phase.RETIRING, at), (Phase.ABORTING, replace(ENTRY, phase=Phase.ABORTING, touched=True))):
        live = Live(BASE + (phase is Phase.RETIRING), PENDING if phase is Phase.RETIRING else PREVIOUS)
        step = say(held, QUICK, live=live, verdict=Outcome.PASSED, locked=Locked.STILL_WORKS)
        assert step == Wait(NOW + QUICK.retry, Reason.OLD_STILL_WORKS)


def test_a_value_that_the_target_rejects_is_made_once_more() -> None:
    pending = replace(ENTRY, phase=Phase.PENDING)
    assert isinstance(say(pending, QUICK, applied=Applied.REJECTED), Generate)
    again = writes(say(pending, QUICK, applied=Applied.REJECTED, generated=Generated(SECOND)))
    assert (again.phase, again.pending, again.regenerated) == (Phase.PENDING, SECOND, True)
    entry = writes(say(again, QUICK, applied=Applied.REJECTED))
    assert (entry.phase, entry.reason) == (Phase.ABORTING, Reason.REJECTED_BY_TARGET)


def test_what_was_taken_from_the_inbox_is_destroyed_first() -> None:
    entry = replace(ENTRY, strategy=Strategy.EXTERNAL, inbox_version=4)
    policy = replace(QUICK, strategy=Strategy.EXTERNAL, command=Command(CommandKind.ABORT, "person/1"))
    announced = writes(say(entry, policy))
    assert announced.intent is Intent.TAKE
    assert say(announced, policy, fence=Intent.TAKE) == TakeInbox(4)
    assert writes(say(announced, policy, taken=True)).phase is Phase.ABORTING


def test_what_is_equal_need_not_be_the_same_object() -> None:
    """A journal that was read is another object than the one that was written; large numbers are, too."""
    read = decode(encode(replace(PROMOTED, phase=Phase.VERIFIED, base_version=1_000_000, live_version=None)))
    step = say(read, QUICK, **WRITTEN, live=Live(int("1000001"), value("pending")))
    assert (writes(step).phase, writes(step).owner) == (Phase.PROMOTED, OWNER)
    foreign = writes(say(read, QUICK, **WRITTEN, live=Live(int("1000001"), FOREIGN)))
    assert (foreign.phase, foreign.reason) == (Phase.ABORTING, Reason.EXTERNAL_CHANGE)
    assert isinstance(say(decode(encode(PROMOTED)), QUICK), AwaitProofs)


def test_a_window_that_closed_a_while_ago_is_closed() -> None:
    policy = replace(QUICK, window_closes=NOW - timedelta(minutes=5))
    assert writes(say(replace(ENTRY, phase=Phase.APPLIED), policy)).reason is Reason.WINDOW_CLOSED


def test_hooks_have_their_time_from_the_moment_of_the_change() -> None:
    entry = writes(say(ENTRY, QUICK, applied=Applied.ACCEPTED))
    assert (entry.phase, entry.deadline) == (Phase.APPLIED, NOW + QUICK.verify_for)


def test_in_the_grace_a_missing_proof_may_be_done_without() -> None:
    at = replace(PROMOTED, phase=Phase.GRACE, deadline=NOW)
    policy = replace(QUICK, on_proof_timeout=OnProofTimeout.PROCEED)
    step = say(at, policy, proofs=Proofs.WAITING, live=Live(BASE + 1, PENDING))
    assert step == Verify(Stage.BEFORE_RETIRE, PENDING)


def test_a_lock_is_written_down_as_one_that_may_have_been_sent() -> None:
    at = replace(PROMOTED, phase=Phase.RETIRING, hurried=True)
    entry = writes(say(at, QUICK, live=Live(BASE + 1, PENDING), verdict=Outcome.PASSED))
    assert (entry.intent, entry.locking, entry.phase) == (Intent.LOCK, True, Phase.RETIRING)


def test_retiring_goes_on_without_a_proof_where_the_policy_says_so() -> None:
    at = replace(PROMOTED, phase=Phase.RETIRING, deadline=NOW)
    policy = replace(QUICK, on_proof_timeout=OnProofTimeout.PROCEED)
    step = say(at, policy, proofs=Proofs.WAITING, live=Live(BASE + 1, PENDING))
    assert step == Verify(Stage.BEFORE_RETIRE, PENDING)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_an_inbox_is_taken_from_with_external_alone(strategy: Strategy) -> None:
    step = say(replace(ENTRY, strategy=strategy, inbox_version=3), replace(QUICK, strategy=strategy))
    assert isinstance(step, WriteJournal)
    assert (step.entry.intent is Intent.TAKE) == (strategy is Strategy.EXTERNAL)


# ── whether the old value still works ────────────────────────────────────────────────────────────────────────────────

CHECKED = replace(POLICY, check_old=True)
RETIRING = replace(PROMOTED, phase=Phase.RETIRING, deadline=None)
READY = {"live": Live(BASE + 1, PENDING), "proofs": Proofs.PROVED, "verdict": Outcome.PASSED}


def test_before_it_is_locked_the_old_value_is_tried_once_and_that_is_counted() -> None:
    counted = writes(say(RETIRING, CHECKED, **READY))
    assert (counted.phase, counted.intent, counted.attempts) == (Phase.RETIRING, Intent.PROBE, 1)
    assert say(counted, CHECKED, **READY, fence=Intent.PROBE) == Probe(Which.PREVIOUS, PREVIOUS)
    locks = writes(say(counted, CHECKED, **READY, probed=Probed(Which.PREVIOUS, Login.WORKS)))
    assert (locks.intent, locks.locking) == (Intent.LOCK, True)
    assert writes(say(RETIRING, POLICY, **READY)).intent is Intent.LOCK


def test_an_old_value_that_somebody_else_ended_is_for_a_person() -> None:
    entry = replace(RETIRING, attempts=1, intent=Intent.PROBE)
    said = writes(say(entry, CHECKED, **READY, probed=Probed(Which.PREVIOUS, Login.REFUSED)))
    assert (said.phase, said.reason, said.locking) == (Phase.NEEDS_INTERVENTION, Reason.OLD_REFUSED, False)
    assert said.holds_values


def test_no_answer_says_nothing_about_the_old_value() -> None:
    unreachable = Probed(Which.PREVIOUS, Login.UNREACHABLE)
    entry = replace(RETIRING, attempts=1, intent=Intent.PROBE)
    uncounted = writes(say(entry, CHECKED, **READY, probed=unreachable))
    assert (uncounted.phase, uncounted.attempts) == (Phase.RETIRING, 0)
    assert say(uncounted, CHECKED, **READY, probed=unreachable) == Wait(NOW + POLICY.retry, Reason.TARGET_UNREACHABLE)


@pytest.mark.parametrize("what", [{"hurried": True}, {"locking": True}])
def test_in_a_hurry_and_after_our_own_lock_the_old_value_is_not_tried(what: dict[str, bool]) -> None:
    said = writes(say(replace(RETIRING, **what), CHECKED, **READY))  # type: ignore[arg-type] # both are such fields
    assert said.intent is Intent.LOCK
