"""Which Rotation goes on, begins, steers, waits or ends: what is asked for, against how far the journal is."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from elile.secrets.rotation.journal import TERMINAL, JournalEntry, Owner, Past, Phase, Strategy
from elile.secrets.rotation.journal import Reason as Cause
from elile.secrets.rotation.policy import Command, CommandKind, Request
from elile_operator.api.reasons import Reason
from elile_operator.api.rotation import Action, Rotation, RotationResult, Trigger
from elile_operator.decide.orders import Order, command_id, give_order, is_open, label_of, trigger_of
from tests.fakes.objects import rotation

AT = datetime(2030, 1, 1, 10, tzinfo=UTC)
OWNER = Owner("cluster", "shop", "weekly", "uid")
LABEL = "2030-01-01T11:00[Etc/UTC]"
LATER, EARLIER = "2030-01-01T11:30:00Z", "2030-01-01T10:30:00Z"
GOING = replace(
    JournalEntry(
        owner=OWNER,
        rotation_id="id-own",
        occurrence=LABEL,
        strategy=Strategy.DUAL_USER,
        phase=Phase.PENDING,
        base_version=7,
    ),
)
OVER = replace(GOING, phase=Phase.DONE, wiped=True, history=(Past("id-own", LABEL, Phase.DONE, Cause.NONE, AT),))
BEGUN = {"rotationID": "id-own", "phase": "Pending"}
OWN = rotation("own", trigger=Trigger.SCHEDULE, occurrence=LABEL, status=BEGUN)


def ask(action: Action, name: str = "asked", *, made: str = LATER, **spec: Any) -> Rotation:
    """A Rotation that a person made after the run that is under way."""
    if action is Action.DESTROY_KEY:
        spec["keyID"] = "k1"
    return rotation(name, metadata={"creationTimestamp": made}, action=action, **spec)


def order(*rotations: Rotation, entry: JournalEntry | None, leaving: bool = False) -> Order:
    ids = {r.metadata.name: f"id-{r.metadata.name}" for r in rotations}
    return give_order(rotations, ids, entry, leaving=leaving)


def answered(found: Order) -> list[tuple[str, RotationResult, Reason, str]]:
    return [(a.rotation.metadata.name, a.result, a.reason, a.message) for a in found.answers]


def deleted(asked: Rotation) -> Rotation:
    metadata = asked.metadata.model_copy(update={"deletion_timestamp": AT})
    return asked.model_copy(update={"metadata": metadata})


# ── whatever is asked for, and whenever ──────────────────────────────────────────────────────────────────────────────

PHASES = [
    None,
    *(replace(GOING, phase=p) for p in Phase if p not in TERMINAL),
    *(replace(GOING, phase=p, compromised=True) for p in Phase if p not in TERMINAL),
    replace(GOING, phase=Phase.RETIRING, hurried=True),
    *(replace(GOING, phase=p) for p in TERMINAL),
    *(replace(OVER, phase=p) for p in TERMINAL),
]
ASKED = [*(ask(a) for a in Action), ask(Action.ROTATE, compromised=True), ask(Action.ROTATE, retire="Now")]
ENTRY_IDS = [
    "none" if e is None else f"{e.phase}{' compromised' * e.compromised}{' hurried' * e.hurried}{' wiped' * e.wiped}"
    for e in PHASES
]


@pytest.mark.parametrize("entry", PHASES, ids=ENTRY_IDS)
@pytest.mark.parametrize("own", [OWN, None, rotation("own", status=BEGUN, compromised=True), deleted(OWN)])
@pytest.mark.parametrize("leaving", [False, True])
def test_every_rotation_is_obeyed_answered_or_waits(
    entry: JournalEntry | None, own: Rotation | None, leaving: bool
) -> None:
    for asked, other in product(ASKED, (None, *ASKED)):
        second = other and ask(other.spec.action, "second")
        given = [r for r in (own, asked, second) if r is not None]
        found = order(*given, entry=entry, leaving=leaving)
        places = [
            *(a.rotation for a in found.answers),
            *found.waiting,
            *(r for r in (found.active, found.commander, found.errand) if r is not None),
        ]
        gone = [r for r in given if r.metadata.deletion_timestamp is not None and r not in places]
        assert sorted(r.metadata.name for r in (*places, *gone)) == sorted(r.metadata.name for r in given)
        assert (found.request is not None) <= (found.active is not None)
        assert found.commander is None or found.command is not None or entry is None
        idle = entry is None or entry.wiped
        if idle:
            assert found.command is None
        else:
            assert (found.request, found.errand) == (None, None), "one run at a time"
        if leaving:
            assert (found.request, found.errand) == (None, None), "nothing begins"


# ── nothing is under way ─────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_asked_for() -> None:
    assert order(entry=None) == Order()
    assert order(entry=OVER) == Order()


def test_the_first_begins_and_the_others_wait() -> None:
    first, second = ask(Action.ROTATE, "first"), ask(Action.DRY_RUN, "second")
    assert order(first, second, entry=OVER) == Order(
        active=first, request=Request("id-first", "shop/first"), waiting=(second,)
    )


@pytest.mark.parametrize("spec", [{"compromised": True}, {"retire": "Now"}])
def test_an_emergency_goes_first(spec: dict[str, Any]) -> None:
    first, urgent = ask(Action.ROTATE, "first"), ask(Action.ROTATE, "urgent", **spec)
    found = order(first, urgent, entry=None)
    assert (found.active, found.waiting) == (urgent, (first,))


@pytest.mark.parametrize("action", [Action.DRY_RUN, Action.DESTROY_KEY])
def test_what_is_no_run_is_done_between_them(action: Action) -> None:
    asked = ask(action)
    assert order(asked, entry=OVER) == Order(errand=asked)


def test_while_the_object_goes_nothing_begins() -> None:
    asked = ask(Action.ROTATE)
    assert order(asked, entry=None, leaving=True) == Order(waiting=(asked,))


def test_what_is_being_deleted_does_not_begin() -> None:
    assert order(deleted(ask(Action.ROTATE)), entry=None) == Order()


INSTEAD = "so there is nothing to {}; to replace the value that is live, make a Rotation with action Rotate"
RETIRED, NOTHING = f"the previous value is retired, {INSTEAD}", f"no rotation is under way, {INSTEAD}"


@pytest.mark.parametrize(
    ("action", "entry", "reason", "message"),
    [
        pytest.param(
            Action.ABORT, None, Reason.ABORTED, "no rotation is under way that could be aborted", id="abort nothing"
        ),
        pytest.param(
            Action.ROLL_BACK, None, Reason.PREVIOUS_RETIRED, NOTHING.format("take back"), id="roll back nothing"
        ),
        pytest.param(
            Action.ROLL_BACK, OVER, Reason.PREVIOUS_RETIRED, RETIRED.format("take back"), id="roll back too late"
        ),
        pytest.param(
            Action.ROLL_BACK,
            replace(OVER, compromised=True),
            Reason.VALUE_COMPROMISED,
            "the value that was replaced last is compromised and must not come back; make another Rotation, if the one "
            "that is live is wrong",
            id="roll back what is compromised",
        ),
        pytest.param(Action.RETIRE, OVER, Reason.PREVIOUS_RETIRED, RETIRED.format("retire"), id="retire twice"),
        pytest.param(
            Action.RETIRE,
            replace(OVER, history=(Past("id", LABEL, Phase.ROLLED_BACK, Cause.NONE, AT),)),
            Reason.PREVIOUS_RETIRED,
            NOTHING.format("retire"),
            id="retire what was rolled back",
        ),
    ],
)
def test_a_command_without_a_run_ends_at_once(
    action: Action, entry: JournalEntry | None, reason: Reason, message: str
) -> None:
    assert answered(order(ask(action), entry=entry)) == [("asked", RotationResult.ABORTED, reason, message)]


@pytest.mark.parametrize(
    ("past", "result", "reason", "message"),
    [
        pytest.param(
            (Phase.DONE, Cause.NONE),
            RotationResult.SUCCEEDED,
            Reason.RETIRED,
            "The old value no longer works.",
            id="done",
        ),
        pytest.param(
            (Phase.DONE, Cause.SUPERSEDED),
            RotationResult.SUCCEEDED,
            Reason.SUPERSEDED,
            "a Rotation of a compromised value took over",
            id="ended by an emergency",
        ),
        pytest.param(
            (Phase.DONE, Cause.BY_PERSON),
            RotationResult.SUCCEEDED,
            Reason.RETIRED,
            "a Rotation of another action, or the deletion of this one, asked for it",
            id="finished by a person",
        ),
        pytest.param(
            (Phase.ABORTED, Cause.WINDOW_CLOSED),
            RotationResult.ABORTED,
            Reason.WINDOW_CLOSED,
            "the window of the schedule closed before the value was live",
            id="aborted",
        ),
        pytest.param(
            (Phase.ABORTED, Cause.NONE),
            RotationResult.ABORTED,
            Reason.ABORTED,
            "The run was undone before anybody was given the new value.",
            id="aborted, and nothing says why",
        ),
        pytest.param(
            (Phase.ROLLED_BACK, Cause.BY_PERSON),
            RotationResult.ROLLED_BACK,
            Reason.ROLLED_BACK,
            "a Rotation of another action, or the deletion of this one, asked for it",
            id="rolled back",
        ),
    ],
)
def test_a_run_ends_as_the_journal_remembers(
    past: tuple[Phase, Cause], result: RotationResult, reason: Reason, message: str
) -> None:
    entry = replace(OVER, phase=past[0], history=(Past("id-own", LABEL, *past, AT),))
    assert answered(order(OWN, entry=entry)) == [("own", result, reason, message)]


def test_the_same_name_again_is_no_second_run() -> None:
    again = rotation("own")
    message = (
        "AlreadyDone: a Rotation of this name ended as Done at 2030-01-01T10:00:00Z; use metadata.generateName for "
        "another one"
    )
    want = [("own", RotationResult.ALREADY_DONE, Reason.ALREADY_DONE, message)]
    assert answered(order(again, entry=OVER)) == want
    going = replace(OVER, phase=Phase.GRACE, wiped=False, rotation_id="id-next")
    assert answered(order(again, entry=going)) == want, "and one that lost its status is told at once"


@pytest.mark.parametrize(
    ("action", "ended", "result", "reason"),
    [
        pytest.param(Action.RETIRE, Phase.DONE, RotationResult.SUCCEEDED, Reason.RETIRED, id="retired"),
        pytest.param(Action.RETIRE, Phase.ROLLED_BACK, RotationResult.ABORTED, Reason.ROLLED_BACK, id="not retired"),
        pytest.param(Action.ROLL_BACK, Phase.ROLLED_BACK, RotationResult.SUCCEEDED, Reason.ROLLED_BACK, id="back"),
        pytest.param(Action.ROLL_BACK, Phase.ABORTED, RotationResult.SUCCEEDED, Reason.ABORTED, id="undone"),
        pytest.param(Action.ABORT, Phase.ABORTED, RotationResult.SUCCEEDED, Reason.ABORTED, id="aborted"),
        pytest.param(Action.ABORT, Phase.DONE, RotationResult.ABORTED, Reason.RETIRED, id="not aborted"),
    ],
)
def test_a_command_that_was_obeyed_ends_with_its_run(
    action: Action, ended: Phase, result: RotationResult, reason: Reason
) -> None:
    entry = replace(OVER, handled="shop/asked", phase=ended, history=(Past("id", LABEL, ended, Cause.NONE, AT),))
    assert answered(order(ask(action), entry=entry)) == [("asked", result, reason, reason.sentence)]


# ── a run is under way ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_goes_on() -> None:
    assert order(OWN, entry=GOING) == Order(active=OWN)


GONE = Command(CommandKind.ABORT, "gone/id-own")


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.APPLIED, Phase.VERIFIED])
def test_before_it_is_live_a_run_goes_with_its_object(phase: Phase) -> None:
    entry = replace(GOING, phase=phase)
    assert order(entry=entry) == Order(command=GONE)
    assert order(deleted(OWN), entry=entry) == Order(active=deleted(OWN), command=GONE)
    assert order(OWN, entry=entry, leaving=True) == Order(active=OWN, command=GONE)


@pytest.mark.parametrize("phase", [Phase.DISTRIBUTING, Phase.PROMOTED, Phase.GRACE, Phase.RETIRING, Phase.REVERTING])
def test_afterwards_it_is_finished_without_it(phase: Phase) -> None:
    entry = replace(GOING, phase=phase)
    assert order(entry=entry) == Order()
    assert order(OWN, entry=entry, leaving=True) == Order(active=OWN)


ABORT, BACK, RETIRE, ROTATE = CommandKind.ABORT, CommandKind.ROLL_BACK, CommandKind.RETIRE, CommandKind.ROTATE


@pytest.mark.parametrize(
    ("phase", "obeys", "compromised"),
    [
        pytest.param(Phase.PENDING, {ABORT, BACK}, {ABORT}, id="Pending"),
        pytest.param(Phase.APPLIED, {ABORT, BACK}, {ABORT}, id="Applied"),
        pytest.param(Phase.VERIFIED, {ABORT, BACK}, {ABORT}, id="Verified"),
        pytest.param(Phase.DISTRIBUTING, {ABORT, BACK}, set(), id="Distributing"),
        pytest.param(Phase.PROMOTED, {ABORT, BACK, RETIRE}, {RETIRE}, id="Promoted"),
        pytest.param(Phase.GRACE, {ABORT, BACK, RETIRE}, {RETIRE}, id="Grace"),
        pytest.param(Phase.RETIRING, {RETIRE}, {RETIRE}, id="Retiring"),
        pytest.param(Phase.ABORTING, set(), set(), id="Aborting"),
        pytest.param(Phase.REVERTING, set(), set(), id="Reverting"),
        pytest.param(Phase.NEEDS_INTERVENTION, {ABORT, BACK, ROTATE}, {ABORT, RETIRE, ROTATE}, id="NeedsIntervention"),
        pytest.param(Phase.DONE, set(), set(), id="Done"),
    ],
)
def test_a_run_is_asked_for_what_it_can_do_in_its_phase(
    phase: Phase, obeys: set[CommandKind], compromised: set[CommandKind]
) -> None:
    actions = {Action.ABORT: ABORT, Action.ROLL_BACK: BACK, Action.RETIRE: RETIRE, Action.ROTATE: ROTATE}
    for one_way, want in ((False, obeys), (True, compromised)):
        entry = replace(GOING, phase=phase, compromised=one_way)
        found = {kind: order(OWN, ask(action), entry=entry) for action, kind in actions.items()}
        assert {kind for kind, given in found.items() if given.command} == want
        for kind in want:
            assert found[kind].command == Command(kind, "shop/asked")
            assert found[kind].commander is not None


def test_what_cannot_be_obeyed_does_not_keep_others_from_their_turn() -> None:
    retire, abort = ask(Action.RETIRE, "retire"), ask(Action.ABORT, "abort")
    found = order(OWN, retire, abort, entry=GOING)
    assert (found.command, found.waiting) == (Command(ABORT, "shop/abort"), (retire,))


def test_what_was_obeyed_steers_on_and_is_not_asked_again() -> None:
    back, abort = ask(Action.ROLL_BACK, "back"), ask(Action.ABORT, "abort")
    entry = replace(GOING, phase=Phase.REVERTING, handled="shop/back")
    assert order(OWN, back, abort, entry=entry) == Order(active=OWN, commander=back, waiting=(abort,))
    stuck = replace(entry, phase=Phase.NEEDS_INTERVENTION)
    assert order(OWN, back, abort, entry=stuck) == Order(
        active=OWN, command=Command(ABORT, "shop/abort"), commander=abort, waiting=(back,)
    )


def test_another_run_waits() -> None:
    later, look = ask(Action.ROTATE, "later"), ask(Action.DRY_RUN, "look")
    assert order(OWN, later, look, entry=replace(GOING, phase=Phase.GRACE)) == Order(active=OWN, waiting=(later, look))


def test_only_a_person_ends_what_needs_one() -> None:
    stuck = replace(GOING, phase=Phase.NEEDS_INTERVENTION)
    due = rotation("due", trigger=Trigger.SCHEDULE, occurrence="2030-01-08T11:00[Etc/UTC]")
    assert order(due, entry=stuck) == Order(waiting=(due,))
    asked = ask(Action.ROTATE)
    assert order(due, asked, entry=stuck).command == Command(ROTATE, "shop/asked")


def test_retire_does_not_end_what_needs_a_person() -> None:
    assert answered(order(ask(Action.RETIRE), entry=replace(GOING, phase=Phase.NEEDS_INTERVENTION))) == [
        (
            "asked",
            RotationResult.ABORTED,
            Reason.NEEDS_INTERVENTION,
            "the run that is under way needs a person, and Retire does not end it: look, then make a Rotation with "
            "action RollBack, Abort or Rotate",
        )
    ]


@pytest.mark.parametrize(
    ("entry", "own", "who"),
    [
        pytest.param(GOING, rotation("own", compromised=True), "Rotation 'own'", id="its own object says so"),
        pytest.param(replace(GOING, compromised=True), OWN, "Rotation 'own'", id="the journal says so"),
        pytest.param(
            replace(GOING, phase=Phase.GRACE, compromised=True),
            None,
            "the run that is under way",
            id="its object is gone",
        ),
    ],
)
def test_a_compromised_value_does_not_come_back(entry: JournalEntry, own: Rotation | None, who: str) -> None:
    given = [own] if own is not None else []
    assert answered(order(*given, ask(Action.ROLL_BACK), entry=entry)) == [
        (
            "asked",
            RotationResult.ABORTED,
            Reason.VALUE_COMPROMISED,
            f"{who} replaces a value that is compromised, which must not come back; make another Rotation, if the new "
            "value is wrong",
        )
    ]


@pytest.mark.parametrize("action", [Action.ABORT, Action.ROLL_BACK, Action.RETIRE])
def test_a_command_for_an_earlier_run_that_lost_its_status_is_not_obeyed(action: Action) -> None:
    old = ask(action, made=EARLIER)
    found = order(OWN, old, entry=replace(GOING, phase=Phase.GRACE))
    assert (found.command, [a.rotation for a in found.answers]) == (None, [old])
    handled = order(OWN, old, entry=replace(GOING, phase=Phase.REVERTING, handled="shop/asked"))
    assert (handled.commander, handled.answers) == (old, ()), "but what was obeyed was"


# ── the emergency ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("phase", "kind"),
    [
        (Phase.PENDING, ABORT),
        (Phase.APPLIED, ABORT),
        (Phase.VERIFIED, ABORT),
        (Phase.DISTRIBUTING, ABORT),
        (Phase.PROMOTED, RETIRE),
        (Phase.GRACE, RETIRE),
        (Phase.RETIRING, RETIRE),
        (Phase.NEEDS_INTERVENTION, ROTATE),
    ],
)
def test_a_compromised_value_takes_over(phase: Phase, kind: CommandKind) -> None:
    urgent, back = ask(Action.ROTATE, "urgent", compromised=True), ask(Action.ROLL_BACK, "back")
    found = order(OWN, back, urgent, entry=replace(GOING, phase=phase))
    assert found == Order(
        active=OWN,
        command=Command(kind, "shop/urgent/takeover", Cause.SUPERSEDED),
        commander=urgent,
        waiting=(back,),
    )


def test_an_emergency_of_the_past_that_lost_its_status_takes_nothing_over() -> None:
    entry = replace(GOING, history=(Past("id-urgent", "shop/urgent", Phase.DONE, Cause.NONE, AT),))
    found = order(OWN, ask(Action.ROTATE, "urgent", compromised=True), entry=entry)
    assert (found.command, [a.reason for a in found.answers]) == (None, [Reason.ALREADY_DONE])


def test_one_that_is_being_deleted_takes_nothing_over() -> None:
    urgent = deleted(ask(Action.ROTATE, compromised=True))
    assert order(OWN, urgent, entry=GOING) == Order(active=OWN, waiting=(urgent,))


# ── what a Rotation says of itself ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "label", "trigger"),
    [
        pytest.param(rotation(), "shop/by-hand", Trigger.MANUAL, id="by hand"),
        pytest.param(rotation(trigger=Trigger.STAGED, occurrence="inbox@5"), "inbox@5", Trigger.STAGED, id="made"),
        pytest.param(
            rotation(status={"occurrence": "then", "trigger": "MaxAge"}, occurrence="now", trigger=Trigger.SCHEDULE),
            "then",
            Trigger.MAX_AGE,
            id="what was told counts",
        ),
        pytest.param(
            rotation(metadata={"annotations": {"elile.io/trigger": "Cron"}}),
            "shop/by-hand",
            Trigger.MANUAL,
            id="no trigger of ours",
        ),
    ],
)
def test_what_it_is_for(asked: Rotation, label: str, trigger: Trigger) -> None:
    assert (label_of(asked), trigger_of(asked), command_id(asked)) == (label, trigger, "shop/by-hand")


def test_it_is_open_until_it_has_a_result() -> None:
    assert is_open(rotation(status={"phase": "Grace"}))
    assert not is_open(rotation(status={"result": "NeedsIntervention"}))
