"""Looks at the old value from the other side: it has to work until it is retired, and must not work afterwards."""

from collections.abc import Callable

from elile.secrets.rotation.journal import Value
from elile.secrets.rotation.steps import Login
from elile.secrets.rotation.verify.outcome import Verification

__all__ = ["Probe", "refused_after", "works_before"]

# Logs in once; raises SecretsError for a value that cannot be tried at all.
Probe = Callable[[Value], Login]


def works_before(probe: Probe, value: Value) -> Verification:
    """Judge a value that was not retired yet: whoever still holds it has to get in."""
    match probe(value):
        case Login.WORKS:
            return Verification.passed("the old value still works")
        case Login.REFUSED:
            return Verification.failed("the old value is refused, and was not retired yet")
        case Login.UNREACHABLE:  # pragma: no branch - the last there is
            return Verification.inconclusive("nobody answers, which says nothing about the old value")


def refused_after(probe: Probe, value: Value) -> Verification:
    """Judge a value that was retired. No answer is not a refusal."""
    match probe(value):
        case Login.REFUSED:
            return Verification.passed("the old value is refused")
        case Login.WORKS:
            return Verification.failed("the old value still works, and was retired")
        case Login.UNREACHABLE:  # pragma: no branch - the last there is
            return Verification.inconclusive("nobody answers, which is not a refusal of the old value")
