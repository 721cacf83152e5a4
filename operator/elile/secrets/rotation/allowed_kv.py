"""What a token may do in the KV engine, asked before anything is begun."""

from collections.abc import Mapping, Sequence

from elile.secrets.errors import SecretAccessDeniedError
from elile.secrets.vault_session import VaultCalls

__all__ = ["lacking"]


def lacking(session: VaultCalls, wanted: Mapping[str, Sequence[str]]) -> str:
    """Return which of the wanted verbs the token lacks on which paths, with the remedy; empty when none."""
    try:
        allowed = session.call("sys/capabilities-self", lambda client, token: client.capabilities(token, list(wanted)))
    except SecretAccessDeniedError:
        return ""  # a token without the `default` policy may not ask; what it lacks shows when it is needed
    missing = [
        f"{', '.join(absent)} on {where}"
        for where, what in wanted.items()
        if "root" not in allowed[where] and (absent := [verb for verb in what if verb not in allowed[where]])
    ]
    return f"the Vault policy of the rotator lacks {'; '.join(missing)}: allow it" if missing else ""
