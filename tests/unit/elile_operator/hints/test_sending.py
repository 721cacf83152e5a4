"""What each answer of the operator leads to: the next address, a wait, or a word to whoever runs the forwarder."""

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from elile.secrets.redact import SecretStr
from elile_operator.decide.hints import Batch, Hint, encode
from elile_operator.hints.connection import Address, Answer, UnreachableError
from elile_operator.hints.options import Target
from elile_operator.hints.sending import Outcome, Result, Sender

TARGET = Target("hints.example", 8443, "/v1/hints/default", True, "default")
BATCH = Batch((Hint("", "secret", "data/a", 1),))
ONE, TWO, THREE = ("10.0.0.1", 8443), ("10.0.0.2", 8443), ("10.0.0.3", 8443)
OK, FOLLOWER, REFUSED = Answer(204), Answer(421), UnreachableError("connect", "it cannot be reached")

Reply = Answer | UnreachableError


@dataclass
class Token:
    text: str = "one"
    next: str | None = None

    def get(self) -> SecretStr:
        return SecretStr(self.text)

    def refresh(self) -> bool:
        changed = self.next is not None
        self.text, self.next = self.next or self.text, None
        return changed


@dataclass
class Operator:
    """Replicas by address: what each answers next, and then always. `posts` are the addresses that were asked."""

    replies: dict[Address, list[Reply]]
    addresses: Sequence[Address] | UnreachableError = ()
    posts: list[Address] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    answered: list[str] = field(default_factory=list)
    token: Token = field(default_factory=Token)

    def sender(self, rand: float = 1.0) -> Sender:
        self.addresses = self.addresses or list(self.replies)
        return Sender(
            TARGET,
            token=self.token,
            context=lambda: None,
            resolve=self.resolve,
            connect=self.connect,
            rand=lambda: rand,
            answered=self.answered.append,
        )

    def resolve(self, host: str, port: int) -> Sequence[Address]:
        assert (host, port) == (TARGET.host, TARGET.port)
        if isinstance(self.addresses, UnreachableError):
            raise self.addresses
        return self.addresses

    def connect(self, target: Target, address: Address, context: ssl.SSLContext | None) -> "Fake":
        self.opened += 1
        return Fake(self, address)


@dataclass
class Fake:
    operator: Operator
    address: Address

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        assert path == TARGET.path
        assert headers["Content-Type"] == "application/json"
        self.operator.posts.append(self.address)
        self.operator.tokens.append(headers["Authorization"])
        self.operator.bodies.append(body)
        replies = self.operator.replies[self.address]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, UnreachableError):
            raise reply
        return reply

    def close(self) -> None:
        self.operator.closed += 1


TAKEN = Result(Outcome.TAKEN)


def later(wait: float) -> Result:
    return Result(Outcome.LATER, wait)


# ── which address ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("replies", "posts", "result"),
    [
        pytest.param({ONE: [OK]}, [ONE], TAKEN, id="taken"),
        pytest.param({ONE: [FOLLOWER], TWO: [OK]}, [ONE, TWO], TAKEN, id="the other leads"),
        pytest.param({ONE: [REFUSED], TWO: [OK]}, [ONE, TWO], TAKEN, id="the first is down"),
        pytest.param({ONE: [Answer(503)], TWO: [OK]}, [ONE, TWO], TAKEN, id="the first is ill"),
        pytest.param({ONE: [FOLLOWER], TWO: [REFUSED], THREE: [OK]}, [ONE, TWO, THREE], TAKEN, id="the third"),
        pytest.param({ONE: [FOLLOWER], TWO: [FOLLOWER]}, [ONE, TWO], later(0.1), id="none leads"),
        pytest.param({ONE: [Answer(429, 3.0)], TWO: [OK]}, [ONE], later(3.0), id="asked to wait by the leader"),
    ],
)
def test_every_address_is_tried_once(replies: dict[Address, list[Reply]], posts: list[Address], result: Result) -> None:
    operator = Operator(replies)
    assert operator.sender().send(BATCH) == result
    assert operator.posts == posts
    assert set(operator.bodies) == {encode(BATCH)}


@pytest.mark.parametrize(
    ("kept", "posts"),
    [
        pytest.param(OK, [ONE], id="it is still good"),
        pytest.param(Answer(429), [ONE], id="it asks to wait"),
        pytest.param(FOLLOWER, [ONE, TWO], id="another leads now"),
        pytest.param(Answer(503), [ONE, TWO], id="it is ill now"),
        pytest.param(UnreachableError("broken", "it closed"), [ONE, ONE], id="it was idle for too long"),
    ],
)
def test_the_open_connection_is_tried_first(kept: Reply, posts: list[Address]) -> None:
    operator = Operator({ONE: [OK, kept, OK], TWO: [OK]})
    sender = operator.sender()
    assert sender.send(BATCH) == TAKEN
    operator.posts.clear()
    sender.send(BATCH)
    assert operator.posts == posts


@pytest.mark.parametrize(
    ("kept", "posts"),
    [
        pytest.param(FOLLOWER, [ONE, ONE], id="there may be another replica behind it"),
        pytest.param(Answer(401), [ONE], id="it would say the same"),
    ],
)
def test_an_address_that_is_the_only_one(kept: Reply, posts: list[Address]) -> None:
    operator = Operator({ONE: [OK, kept]})
    sender = operator.sender()
    sender.send(BATCH)
    operator.posts.clear()
    assert sender.send(BATCH) == later(0.1)
    assert operator.posts == posts


def test_the_host_is_resolved_anew_when_the_leader_is_another() -> None:
    operator = Operator({ONE: [OK, FOLLOWER], THREE: [OK]}, addresses=[ONE])
    sender = operator.sender()
    sender.send(BATCH)
    operator.addresses = [ONE, THREE]
    assert sender.send(BATCH) == TAKEN
    assert operator.posts == [ONE, ONE, THREE]


def test_one_connection_is_open_at_a_time() -> None:
    operator = Operator({ONE: [FOLLOWER], TWO: [REFUSED], THREE: [OK]})
    sender = operator.sender()
    for _ in range(3):
        sender.send(BATCH)
    assert (operator.opened, operator.closed) == (3, 2)
    sender.close()
    sender.close()
    assert operator.closed == 3


def test_a_host_that_cannot_be_resolved_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    operator = Operator({ONE: [OK]}, addresses=UnreachableError("resolve", "the host hints.example cannot be resolved"))
    sender = operator.sender()
    assert sender.send(BATCH) == later(0.1)
    assert operator.answered == ["resolve"]
    assert caplog.messages == [
        "the operator is not reached: the host hints.example cannot be resolved; "
        "correct --to, or look whether the operator's Service exists"
    ]
    operator.addresses = [ONE]
    assert sender.send(BATCH) == TAKEN


# ── how long to wait ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_waits_double_up_to_five_seconds_and_begin_anew_after_a_batch_was_taken() -> None:
    operator = Operator({ONE: [*[REFUSED] * 8, OK, REFUSED]})
    sender = operator.sender()
    waits = [sender.send(BATCH).wait for _ in range(10)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 0.0, 0.1]


def test_waits_differ_by_half() -> None:
    assert Operator({ONE: [REFUSED]}).sender(rand=0.0).send(BATCH) == later(0.05)


def test_thousands_of_failures_are_no_overflow() -> None:
    operator = Operator({ONE: [REFUSED]})
    sender = operator.sender()
    assert {sender.send(BATCH).wait for _ in range(3_000)} >= {5.0}


@pytest.mark.parametrize(("asked", "wait"), [(None, 1.0), (0.0, 0.1), (2.0, 2.0), (30.0, 30.0), (3_600.0, 30.0)])
def test_what_the_operator_asks_for_is_bounded(asked: float | None, wait: float) -> None:
    assert Operator({ONE: [Answer(429, asked)]}).sender().send(BATCH) == later(wait)


# ── what is said ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        (
            {ONE: [Answer(401)]},
            "VaultServer 'default' has another token, or none (401); correct --token-file or --server",
        ),
        (
            {ONE: [Answer(403)]},
            "the token may not tell of VaultServer 'default' (403); correct --token-file or --server",
        ),
        (
            {ONE: [Answer(404)]},
            "the operator has no VaultServer 'default', or takes no hints (404); correct --server or --to",
        ),
        (
            {ONE: [Answer(302)]},
            "the operator answers 302; look at its log, and whether --to is its address for hints",
        ),
        (
            {ONE: [Answer(200)]},
            "the operator answers 200; look at its log, and whether --to is its address for hints",
        ),
        ({ONE: [Answer(429)]}, "the operator has no time for more hints (429); it is asked again when it said"),
        ({ONE: [FOLLOWER]}, "no replica of the operator leads (421); it is asked again"),
        (
            {ONE: [UnreachableError("tls", "the certificate is refused")]},
            "the operator is not reached: the certificate is refused; give the CA that signed it in --ca-file, and a "
            "name that it holds in --to",
        ),
        (
            {ONE: [Answer(403)], TWO: [FOLLOWER], THREE: [REFUSED]},
            "the token may not tell of VaultServer 'default' (403); correct --token-file or --server",
        ),
        (
            {ONE: [FOLLOWER], TWO: [REFUSED]},
            "the operator is not reached: it cannot be reached; look whether it runs, and whether a NetworkPolicy lets "
            "the forwarder to it",
        ),
    ],
)
def test_the_problem_that_says_most_is_told_once(
    replies: dict[Address, list[Reply]], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    sender = Operator(replies).sender()
    for _ in range(5):
        assert sender.send(BATCH).outcome is Outcome.LATER
    assert caplog.messages == [said]


def test_an_end_of_the_problem_is_told_and_the_next_one_anew(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    sender = Operator({ONE: [OK, OK, FOLLOWER, FOLLOWER, OK, OK, FOLLOWER]}).sender()
    for _ in range(7):
        sender.send(BATCH)
    follower = "no replica of the operator leads (421); it is asked again"
    assert caplog.messages == [follower, "the operator takes hints", follower]


def test_every_answer_is_counted() -> None:
    operator = Operator({ONE: [FOLLOWER], TWO: [UnreachableError("timeout", "late")], THREE: [OK]})
    operator.sender().send(BATCH)
    assert operator.answered == ["421", "timeout", "204"]


# ── the token, and what can never be taken ───────────────────────────────────────────────────────────────────────────


def test_after_a_401_another_token_is_tried_at_once() -> None:
    operator = Operator({ONE: [Answer(401), OK]}, token=Token("one", next="two"))
    assert operator.sender().send(BATCH) == TAKEN
    assert operator.tokens == ["Bearer one", "Bearer two"]


def test_without_another_token_it_is_asked_once() -> None:
    operator = Operator({ONE: [Answer(401)]})
    assert operator.sender().send(BATCH) == later(0.1)
    assert operator.tokens == ["Bearer one"]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_the_operator_cannot_read_is_given_up_and_not_hurried(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    operator = Operator({ONE: [Answer(status)], TWO: [OK]})
    sender = operator.sender()
    assert [sender.send(BATCH) for _ in range(2)] == [Result(Outcome.REFUSED, 0.1), Result(Outcome.REFUSED, 0.2)]
    assert operator.posts == [ONE, ONE]
    assert caplog.messages == [f"the operator cannot read hints ({status}); run forwarder and operator of one version"]
