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
from elile.secrets.rotation.policy import Command, CommandKind, OnProofTimeout, Policy, Retire
from elile.secrets.rotation.steps import (
    Apply,
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
    Restore,
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
from elile.secrets.rotation.verify.outcome import Outcome
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
    Decision,
    Reached,
    reach,
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
    looked = {"live": Live(BASE, PREVIOUS), "preflight": Preflighted(), "probed": Probed(Which.LIVE, Login.WORKS)}
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


def test_hooks_are_run_on_the_new_value_in_three_stages() -> None:
    stages = {d.step.stage.value for d in reached(Strategy.DUAL_USER).decisions if isinstance(d.step, Verify)}
    assert stages == {"pending", "afterPromote", "beforeRetire"}
    assert all(
        d.step.value.reveal()["username"] in ("pending", "second")
        for d in reached(Strategy.DUAL_USER).decisions
        if isinstance(d.step, Verify)
    )
