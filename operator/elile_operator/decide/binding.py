"""What to say where the operator has no rights: the one command that gives them, which a namespace admin can run."""

from elile_operator.api.reasons import Reason
from elile_operator.decide.violation import Violation

__all__ = ["not_bound"]


def not_bound(namespace: str, account: str) -> Violation:
    """Return the violation for a namespace; `account` is the operator's `<namespace>:<ServiceAccount>`."""
    return Violation(
        Reason.NAMESPACE_NOT_BOUND,
        f"the operator has no rights to the Secrets and ServiceAccounts of namespace {namespace!r}; give them: "
        f"kubectl -n {namespace} create rolebinding elile-deliver --clusterrole=elile-deliver "
        f"--serviceaccount={account}",
    )
