"""Where rights are missing, the message is the command that gives them."""

from elile_operator.api.reasons import Reason
from elile_operator.decide.binding import not_bound
from elile_operator.decide.violation import Violation


def test_the_message_holds_the_command_for_this_namespace_and_this_operator() -> None:
    assert not_bound("shop", "elile-system:elile-operator") == Violation(
        Reason.NAMESPACE_NOT_BOUND,
        "the operator has no rights to the Secrets and ServiceAccounts of namespace 'shop'; give them: "
        "kubectl -n shop create rolebinding elile-deliver --clusterrole=elile-deliver "
        "--serviceaccount=elile-system:elile-operator",
    )
