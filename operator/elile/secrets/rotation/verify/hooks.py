"""Verifications that were asked for: when each is run, how often, and what they come to together."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from elile.secrets.errors import SecretsError
from elile.secrets.rotation.journal import Value
from elile.secrets.rotation.policy import OnInconclusive
from elile.secrets.rotation.steps import Stage
from elile.secrets.rotation.verify.outcome import Outcome, Verification

__all__ = ["Hook", "Judged", "judge", "together"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One verification; `check` blocks, and has a deadline of its own.

    It is tried up to `attempts` times (3), `pause` seconds (1) apart, until it passed `successes` times (1) in a row;
    the first try begins after `initial_delay` seconds (0). A failure is final: another wrong password might lock the
    account. on_inconclusive: what it means when the attempts are used up.
    """

    name: str
    check: Callable[[Value], Verification]
    stages: frozenset[Stage] = frozenset({Stage.PENDING})
    attempts: int = 3
    successes: int = 1
    initial_delay: float = 0.0
    pause: float = 1.0
    on_inconclusive: OnInconclusive = OnInconclusive.ABORT


@dataclass(frozen=True, slots=True)
class Judged:
    """What one hook came to."""

    hook: Hook
    verification: Verification


def judge(value: Value, hooks: Iterable[Hook], *, sleep: Callable[[float], None]) -> list[Judged]:
    """Run hooks in their order, and stop at the first failure: nothing can outweigh it."""
    judged = []
    for hook in hooks:
        found = Judged(hook, _try(hook, value, sleep))
        judged.append(found)
        if found.verification.outcome is Outcome.FAILED:
            break
    return judged


def together(judged: Iterable[Judged]) -> Verification:
    """Return what they come to, and by which of them: one that failed outweighs one that could not tell."""
    found = {one.verification.outcome: one for one in reversed(list(judged))}
    for outcome in (Outcome.FAILED, Outcome.INCONCLUSIVE):
        if outcome in found:
            return Verification(outcome, f"{found[outcome].hook.name}: {found[outcome].verification.detail}")
    return Verification.passed("everything that was asked for passed")


def _try(hook: Hook, value: Value, sleep: Callable[[float], None]) -> Verification:
    if hook.initial_delay:
        sleep(hook.initial_delay)
    passed = 0
    for attempt in range(max(hook.attempts, hook.successes)):
        if attempt:
            sleep(hook.pause)
        found = _check(hook, value)
        if found.outcome is Outcome.FAILED:
            return found
        passed = passed + 1 if found.outcome is Outcome.PASSED else 0
        if passed == hook.successes:
            return found
    if found.outcome is Outcome.PASSED:
        return Verification.inconclusive(f"passed {passed} times in a row, {hook.successes} are wanted")
    return found


def _check(hook: Hook, value: Value) -> Verification:
    try:
        return hook.check(value)
    except SecretsError as e:
        # An address that is not allowed, a value that cannot be sent: the value was not judged.
        return Verification.inconclusive(e.detail)
