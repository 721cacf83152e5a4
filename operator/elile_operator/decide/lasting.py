"""Leases and certificates: when the next one is due, what a renewal is worth, and what has ended."""

from collections.abc import Container, Iterable, Mapping
from datetime import datetime
from typing import Any

from elile_operator.api.elilesecret import ElileSecret, SourceStatus
from elile_operator.api.reasons import Reason
from elile_operator.decide.violation import Violation

__all__ = [
    "certificate_files",
    "due_in",
    "ended",
    "ends",
    "is_cut_short",
    "leases",
    "next_refresh",
    "retry_in",
    "unheld_leases",
]

# Of the share after which one is due: never later, since the rest is for mending what fails.
JITTER = 0.1
# A renewal that grants less than this of the first grant comes near the end that nobody can put off.
CUT_SHORT = 0.9
LONGEST_RETRY = 60.0
SHORTEST_RETRY = 1.0
# Two times this close are the same for a status: what engines count down is cut to seconds.
SAME_TIME = 10.0


def due_in(granted: float, renew_at: float, rand: float) -> float:
    """Seconds until what is granted for `granted` seconds is due; `rand` in [0, 1) spreads those made at one time."""
    return granted * renew_at * (1 - JITTER * rand)


def is_cut_short(granted: float, renewed: float) -> bool:
    """Whether a renewal gave so little that another one is to be asked for while this one still lasts."""
    return renewed < granted * CUT_SHORT


def retry_in(failures: int, left: float) -> float:
    """Seconds until the next try after so many failures in a row, with `left` seconds until what there is ends."""
    # At most 16 doublings: 2.0 to the power of what an outage comes to would overflow.
    patience = SHORTEST_RETRY * 2.0 ** min(failures - 1, 16)
    return min(LONGEST_RETRY, patience, max(SHORTEST_RETRY, left / 8))


def ends(status: SourceStatus) -> datetime | None:
    """When what a source has delivered ends, None for what does not."""
    return status.lease_expires or status.certificate_expires


def ended(sources: Iterable[SourceStatus], now: datetime) -> Violation | None:
    """Say which of the delivered sources has ended."""
    for source in sources:
        end = ends(source)
        if end is not None and end <= now:
            what = "lease" if source.lease_expires else "certificate"
            return Violation(
                Reason.LEASE_EXPIRED,
                f"the {what} of spec.sources[{source.name}] ended at {end:%Y-%m-%dT%H:%M:%SZ}, and could not be "
                "replaced",
            )
    return None


def leases(secret: ElileSecret) -> bool:
    """Whether an object may have leases, which are revoked when it goes."""
    return any(source.lease is not None for source in secret.spec.sources)


def unheld_leases(sources: Iterable[SourceStatus], taken: Container[str], now: datetime) -> list[str]:
    """Return the sources whose delivered lease lasts and was not taken by this process, but by an earlier one."""
    return [s.name for s in sources if s.lease_expires is not None and s.lease_expires > now and s.name not in taken]


def next_refresh(before: datetime | None, due: Iterable[datetime]) -> datetime | None:
    """The earliest time that something is due; the one that was told before, if they are nearly the same."""
    earliest = min(due, default=None)
    if earliest is None:
        return None
    near = before is not None and abs((earliest - before).total_seconds()) < SAME_TIME
    return before if near else earliest.replace(microsecond=0)


def certificate_files(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What a PKI engine answers, as the keys of a Secret of type TLS: the leaf with its chain, its key, the authority.

    Raises KeyError for an answer that is none, and TypeError.
    """
    chain = [str(pem).strip() for pem in answer.get("ca_chain") or ()]
    authority = chain[-1] if chain else str(answer["issuing_ca"]).strip()
    return {
        "tls.crt": "\n".join([str(answer["certificate"]).strip(), *chain]) + "\n",
        "tls.key": str(answer["private_key"]).strip() + "\n",
        "ca.crt": authority + "\n",
    }
