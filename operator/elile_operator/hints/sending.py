"""Brings a batch to whichever replica of the operator leads, and says once what is wrong when none takes it."""

import logging
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Protocol

from elile.secrets.redact import SecretStr
from elile_operator.decide.hints import Batch, encode
from elile_operator.hints.connection import Address, Answer, Channel, UnreachableError
from elile_operator.hints.options import Target

__all__ = ["Outcome", "Result", "Sender", "TokenSource"]

log = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0  # seconds between tries, doubled each time
ASKED_LEAST, ASKED_MOST, ASKED_NOTHING = 0.1, 30.0, 1.0  # seconds to wait when the operator asks for that

TAKEN, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, NOT_LEADER, TOO_MANY = 204, 401, 403, 404, 421, 429
MALFORMED = frozenset({400, 413, 422})


class Outcome(Enum):
    """What became of a batch."""

    TAKEN = "taken"
    LATER = "later"
    REFUSED = "refused"  # and always will be


@dataclass(frozen=True, slots=True)
class Result:
    """`wait` is for how many seconds nothing may be sent."""

    outcome: Outcome
    wait: float = 0.0


class TokenSource(Protocol):
    """`refresh` answers whether there is another token now."""

    def get(self) -> SecretStr: ...

    def refresh(self) -> bool: ...


class _Weight(IntEnum):
    """Of several problems the one that says most is told."""

    NOT_LEADER = 1
    UNREACHABLE = 2
    ANSWERED = 3


@dataclass(frozen=True, slots=True)
class _Problem:
    weight: _Weight
    text: str


class Sender:
    """Sends one batch at a time, from one thread, over one connection that stays open.

    `context` answers None for a target without TLS. `answered` is told the status of each answer, or why there was
    none. `rand` answers in [0, 1).
    """

    def __init__(
        self,
        target: Target,
        *,
        token: TokenSource,
        context: Callable[[], ssl.SSLContext | None],
        resolve: Callable[[str, int], Sequence[Address]],
        connect: Callable[[Target, Address, ssl.SSLContext | None], Channel],
        rand: Callable[[], float],
        answered: Callable[[str], None],
    ) -> None:
        self._target = target
        self._token = token
        self._context = context
        self._resolve = resolve
        self._connect = connect
        self._rand = rand
        self._answered = answered
        self._channel: Channel | None = None
        self._last: _Weight | None = None  # what was wrong with the last channel
        self._failures = 0
        self._said: str | None = None

    def send(self, batch: Batch) -> Result:
        """Try each address of the host once, the open connection first."""
        body = encode(batch)
        problems = []
        for channel in self._channels():
            got = channel if isinstance(channel, _Problem) else self._try(channel, body)
            if isinstance(got, Result):
                return got
            problems.append(got)
            self._last = got.weight
            self.close()
        worst = max(problems, key=lambda problem: problem.weight)
        return Result(Outcome.LATER, self._fail(worst.text))

    def close(self) -> None:
        """Close the connection; the next batch opens another."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _channels(self) -> Iterator[Channel | _Problem]:
        kept = self._channel
        if kept is not None:
            yield kept
        try:
            addresses = self._resolve(self._target.host, self._target.port)
        except UnreachableError as e:
            yield self._unreachable(e)
            return
        for address in _ordered(addresses, kept.address if kept else None, self._last):
            self._channel = self._connect(self._target, address, self._context())
            yield self._channel

    def _try(self, channel: Channel, body: bytes) -> Result | _Problem:
        try:
            answer = self._post(channel, body)
            if answer.status == UNAUTHORIZED and self._token.refresh():
                answer = self._post(channel, body)
        except UnreachableError as e:
            return self._unreachable(e)
        status = answer.status
        if status == TAKEN:
            return self._take()
        if status == TOO_MANY:
            self._say("the operator has no time for more hints (429); it is asked again when it said")
            asked = ASKED_NOTHING if answer.retry_after is None else answer.retry_after
            return Result(Outcome.LATER, min(ASKED_MOST, max(ASKED_LEAST, asked)))
        if status in MALFORMED:
            text = f"the operator cannot read hints ({status}); run forwarder and operator of one version"
            return Result(Outcome.REFUSED, self._fail(text))
        if status == NOT_LEADER:
            return _Problem(_Weight.NOT_LEADER, "no replica of the operator leads (421); it is asked again")
        return _Problem(_Weight.ANSWERED, _remedy(status, self._target.server))

    def _post(self, channel: Channel, body: bytes) -> Answer:
        headers = {"Authorization": f"Bearer {self._token.get().reveal()}", "Content-Type": "application/json"}
        answer = channel.post(self._target.path, headers, body)
        self._answered(str(answer.status))
        return answer

    def _unreachable(self, error: UnreachableError) -> _Problem:
        self._answered(error.code)
        return _Problem(_Weight.UNREACHABLE, f"the operator is not reached: {error}; {_REACH[error.code]}")

    def _take(self) -> Result:
        self._failures = 0
        if self._said is not None:
            self._said = None
            log.info("the operator takes hints")
        return Result(Outcome.TAKEN)

    def _fail(self, text: str) -> float:
        """Return the seconds to wait, after so many failures in a row."""
        self._say(text)
        self._failures += 1
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(self._failures - 1, 16))
        return wait * (0.5 + self._rand() / 2)

    def _say(self, text: str) -> None:
        """Say what is wrong once, until it is something else."""
        if text != self._said:
            self._said = text
            log.warning(text)


_REACH = {
    "resolve": "correct --to, or look whether the operator's Service exists",
    "connect": "look whether it runs, and whether a NetworkPolicy lets the forwarder to it",
    "timeout": "look whether it runs, and whether a NetworkPolicy lets the forwarder to it",
    "tls": "give the CA that signed it in --ca-file, and a name that it holds in --to",
    "broken": "look at its log, and whether --to is its address for hints",
}


def _ordered(addresses: Sequence[Address], kept: Address | None, problem: _Weight | None) -> list[Address]:
    """Return the addresses to try after the open connection, to `kept`, met a problem."""
    others = [address for address in addresses if address != kept]
    if kept is None or kept not in addresses or problem is _Weight.ANSWERED:
        return others
    # One that broke may only have been idle for too long. Behind an address that follows there may be other replicas.
    return [kept, *others] if problem is _Weight.UNREACHABLE else [*others, kept]


def _remedy(status: int, server: str) -> str:
    if status == UNAUTHORIZED:
        return f"VaultServer {server!r} has another token, or none (401); correct --token-file or --server"
    if status == FORBIDDEN:
        return f"the token may not tell of VaultServer {server!r} (403); correct --token-file or --server"
    if status == NOT_FOUND:
        return f"the operator has no VaultServer {server!r}, or takes no hints (404); correct --server or --to"
    return f"the operator answers {status}; look at its log, and whether --to is its address for hints"
