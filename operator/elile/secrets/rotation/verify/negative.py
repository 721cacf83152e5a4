"""Looks at a value that was retired: it must not work any more."""

from collections.abc import Callable

from elile.secrets.rotation.journal import Value
from elile.secrets.rotation.steps import Login
from elile.secrets.rotation.verify.outcome import Verification

__all__ = ["Probe", "refused_after"]

# Logs in once; raises SecretsError for a value that cannot be tried at all.
Probe = Callable[[Value], Login]


def refused_after(probe: Probe, value: Value) -> Verification:
    """Judge a value that was retired. No answer is not a refusal."""
    match probe(value):
        case Login.REFUSED:
            return Verification.passed("the old value is refused")
        case Login.WORKS:
            return Verification.failed("the old value still works, and was retired")
        case Login.UNREACHABLE:  # pragma: no branch - the last there is
            return Verification.inconclusive("nobody answers, which is not a refusal of the old value")
