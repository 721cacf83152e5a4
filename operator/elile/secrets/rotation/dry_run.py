"""What would keep a rotation from beginning just now: every look that comes before it, and nothing that is written."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from elile.secrets.errors import SecretsError
from elile.secrets.rotation.engine import Parts, hooks_of
from elile.secrets.rotation.journal import Value
from elile.secrets.rotation.moves import TRAITS
from elile.secrets.rotation.ports import AccountTarget
from elile.secrets.rotation.steps import Login, Stage
from elile.secrets.rotation.verify.hooks import judge
from elile.secrets.rotation.verify.outcome import Outcome, Verification

__all__ = ["CURRENT", "LIVE", "LOGIN", "TARGET", "Finding", "dry_run"]

# The names of what is no hook.
LIVE, CURRENT, TARGET, LOGIN = "live path", "current value", "target", "login"
_LOGINS = {
    Login.WORKS: Verification.passed("the current login works"),
    Login.REFUSED: Verification.failed("the target refuses the current login: write the one that works into the entry"),
    Login.UNREACHABLE: Verification.inconclusive("the target does not answer"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and what came of it; no value is in it."""

    name: str
    verification: Verification


def dry_run(parts: Parts, *, sleep: Callable[[float], None] = time.sleep) -> list[Finding]:
    """Look at the live path, the value in it, the target, a login, and the hooks of the stage Preflight. Blocks.

    It goes on after what does not pass, so that all of it can be mended at once; only without a value nothing more can
    be looked at, and with one that is refused no hook sends the same wrong password again.
    """
    return list(_findings(parts, sleep))


def _findings(parts: Parts, sleep: Callable[[float], None]) -> Iterator[Finding]:
    yield Finding(LIVE, _of(lambda: _no_problem(parts.live.preflight(), "it can be read and written")))
    held: list[Value] = []
    yield Finding(CURRENT, _of(lambda: _read(parts, held)))
    if not held:
        return
    (current,) = held
    yield Finding(TARGET, _of(lambda: _no_problem(parts.target.preflight(current), "it has all that is needed")))
    target = parts.target
    if TRAITS[target.strategy].target and isinstance(target, AccountTarget):
        login = _of(lambda: _LOGINS[target.probe(current)])
        yield Finding(LOGIN, login)
        if login.outcome is Outcome.FAILED:
            return
    for one in judge(current, hooks_of(parts, Stage.PREFLIGHT), sleep=sleep):
        yield Finding(one.hook.name, one.verification)


def _of(look: Callable[[], Verification]) -> Verification:
    try:
        return look()
    except SecretsError as e:
        return Verification.inconclusive(e.detail) if e.retryable else Verification.failed(e.detail)


def _no_problem(problem: str, otherwise: str) -> Verification:
    return Verification.failed(problem) if problem else Verification.passed(otherwise)


def _read(parts: Parts, held: list[Value]) -> Verification:
    live = parts.live.read()
    if live.value is None:
        missing = f"version {live.version} was deleted" if live.version else "nothing is stored there"
        return Verification.failed(f"{missing}: write the value that is in use")
    held.append(live.value)
    return Verification.passed(f"version {live.version}")
