"""Decide what the status of a VaultServer says, from what the server answered."""

from dataclasses import dataclass
from datetime import datetime

from elile.secrets.answers import ServerState
from elile_operator.api.reasons import SERVER_EFFECTS, Reason
from elile_operator.api.vaultserver import Flavor, VaultServer, VaultServerStatus
from elile_operator.decide.conditions import find, set_conditions
from elile_operator.decide.polling import PollState
from elile_operator.decide.violation import Violation

__all__ = ["Answer", "check_address", "judge", "server_status"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What asking the server ended in: its state, or what was wrong."""

    state: ServerState | None
    violation: Violation | None


def check_address(server: VaultServer) -> Violation | None:
    """Refuse plain http once more before a token is sent: CEL saw it, an older CRD may not have."""
    if server.spec.address.startswith("https://") or server.spec.tls.allow_plain_http:
        return None
    return Violation(
        Reason.PLAIN_HTTP_REFUSED,
        "spec.address uses http; use https or set spec.tls.allowPlainHTTP: true",
    )


def judge(server: VaultServer, state: ServerState) -> Violation | None:
    """Say whether a server that answers can be used."""
    if not state.sealed and state.initialized:
        return None
    what = "sealed; unseal it" if state.initialized else "not initialised; initialise and unseal it"
    return Violation(Reason.VAULT_SEALED, f"VaultServer {server.metadata.name!r} at {server.spec.address} is {what}")


def server_status(server: VaultServer, answer: Answer, polls: PollState, now: datetime) -> VaultServerStatus:
    """Return the status; what a server that is away reported last (version, cluster) stays."""
    previous, state = server.status, answer.state
    reason = answer.violation.reason if answer.violation else Reason.SERVER_READY
    message = answer.violation.message if answer.violation else "the server answers and is unsealed"
    effect = SERVER_EFFECTS[reason]
    marks = {
        "Ready": (effect.ready, reason, message),
        "Reachable": (effect.reachable, reason, message),
        "Unsealed": (effect.unsealed, reason, message),
    }
    # With the first good answer: to say it when it was measured would be a write of its own.
    if answer.violation is None or find(previous.conditions, "PollDelayed"):
        marks["PollDelayed"] = polls.mark()
    conditions = set_conditions(
        previous.conditions,
        marks,
        generation=server.metadata.generation,
        now=now,
    )
    return VaultServerStatus(
        observed_generation=server.metadata.generation,
        conditions=conditions,
        flavor=Flavor(state.flavor.value) if state else previous.flavor,
        server_version=state.version if state else previous.server_version,
        cluster_id=(state.cluster_id if state else "") or previous.cluster_id,
    )
