"""The sender, its files and its connections together, to receivers over real TLS."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from elile_operator.decide.hints import Batch, Hint
from elile_operator.hints.connection import Address, Connection
from elile_operator.hints.credentials import WatchedFile, authorities_of, token_of
from elile_operator.hints.options import target_of
from elile_operator.hints.sending import Outcome, Result, Sender
from tests.fakes.http import Authority, closed_port
from tests.support.hint_receiver import TOKEN, Receiver

AUTHORITY = Authority()
TLS = AUTHORITY.server(["hints.example"])
BATCH = Batch((Hint("team", "secret", "data/shop/db", 7),), gap=True)
TAKEN = Result(Outcome.TAKEN)


@pytest.fixture
def first() -> Iterator[Receiver]:
    with Receiver(TLS) as receiver:
        yield receiver


@pytest.fixture
def second() -> Iterator[Receiver]:
    with Receiver(TLS) as receiver:
        yield receiver


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.fixture
def sending(tmp_path: Path, token_file: Path) -> Iterator[Callable[..., Sender]]:
    """Make senders to a host that has the given addresses."""
    made: list[Sender] = []
    ca_file = tmp_path / "ca.crt"
    ca_file.write_text(AUTHORITY.pem)

    def make(*addresses: Address) -> Sender:
        def resolve(host: str, port: int) -> Sequence[Address]:
            assert (host, port) == ("hints.example", 8443)
            return addresses

        sender = Sender(
            target_of("https://hints.example:8443", "default"),
            token=WatchedFile("--token-file", token_file, token_of),
            context=WatchedFile("--ca-file", ca_file, authorities_of).get,
            resolve=resolve,
            connect=Connection,
            rand=lambda: 1.0,
            answered=lambda _: None,
        )
        made.append(sender)
        return sender

    yield make
    for sender in made:
        sender.close()


def test_batches_go_over_one_connection(first: Receiver, sending: Callable[..., Sender]) -> None:
    sender = sending(first.address)
    assert [sender.send(BATCH) for _ in range(5)] == [TAKEN] * 5
    assert first.taken == [BATCH] * 5
    assert first.connections == 1


def test_the_leader_is_found_among_two_addresses_and_found_again_when_it_changes(
    first: Receiver, second: Receiver, sending: Callable[..., Sender]
) -> None:
    first.status = 421
    sender = sending(first.address, second.address)
    assert [sender.send(BATCH) for _ in range(3)] == [TAKEN] * 3
    assert (first.asked, second.taken) == ([421], [BATCH] * 3)
    first.status, second.status = None, 421
    assert [sender.send(BATCH) for _ in range(3)] == [TAKEN] * 3
    assert (second.asked[3:], first.taken) == ([421], [BATCH] * 3)


def test_a_token_that_is_replaced_is_used_at_once_and_after_a_401(
    first: Receiver, sending: Callable[..., Sender], token_file: Path
) -> None:
    sender = sending(first.address)
    assert sender.send(BATCH) == TAKEN
    first.token = "token-two"
    assert sender.send(BATCH) == Result(Outcome.LATER, 0.1)
    fresh = token_file.with_name("fresh")
    fresh.write_text("token-two")
    fresh.rename(token_file)
    assert sender.send(BATCH) == TAKEN
    assert first.asked == [204, 401, 204]
    assert first.taken == [BATCH] * 2


def test_the_operator_may_ask_to_wait(first: Receiver, sending: Callable[..., Sender]) -> None:
    first.answers.append((429, {"Retry-After": "2"}))
    sender = sending(first.address)
    assert sender.send(BATCH) == Result(Outcome.LATER, 2.0)
    assert sender.send(BATCH) == TAKEN
    assert first.connections == 1


def test_an_operator_that_comes_up_is_reached(sending: Callable[..., Sender]) -> None:
    port = closed_port()
    sender = sending(("127.0.0.1", port))
    assert [sender.send(BATCH).wait for _ in range(2)] == [0.1, 0.2]
    with Receiver(TLS, port=port) as receiver:
        assert sender.send(BATCH) == TAKEN
        assert receiver.taken == [BATCH]


def test_an_idle_connection_that_was_cut_costs_no_wait(first: Receiver, sending: Callable[..., Sender]) -> None:
    sender = sending(first.address)
    assert sender.send(BATCH) == TAKEN
    first.cut()
    assert sender.send(BATCH) == TAKEN
    assert (len(first.taken), first.connections) == (2, 2)


def test_an_authority_that_is_replaced_is_used(
    sending: Callable[..., Sender], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Authority("next")
    with Receiver(other.server(["hints.example"])) as receiver:
        sender = sending(receiver.address)
        assert sender.send(BATCH) == Result(Outcome.LATER, 0.1)
        assert (
            "is refused: unable to get local issuer certificate; give the CA that signed it in --ca-file" in caplog.text
        )
        (tmp_path / "ca.crt").write_text(AUTHORITY.pem + other.pem)
        assert sender.send(BATCH) == TAKEN
        assert receiver.taken == [BATCH]
