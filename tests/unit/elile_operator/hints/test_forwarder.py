"""The whole forwarder in this process: a log is written, and a receiver takes what was written, or does not."""

import contextlib
import http.client
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from elile_operator.decide.hints import Batch, Hint
from elile_operator.hints import forwarder as module
from elile_operator.hints.forwarder import Forwarder
from elile_operator.hints.options import ConfigurationError, Options
from elile_operator.hints.pending import Pending
from elile_operator.hints.state import StateFile
from tests.e2e.support.cluster import eventually
from tests.fakes.http import Authority, closed_port
from tests.support.audit_lines import CANARY, line
from tests.support.hint_receiver import TOKEN, Receiver

AUTHORITY = Authority()
TLS = AUTHORITY.server()
PROMISED = 0.02  # seconds from a line to the request
DB = Hint("", "secret", "data/shop/db", 1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(TLS) as receiver:
        yield receiver


@pytest.fixture
def options(tmp_path: Path, receiver: Receiver) -> Options:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "ca.crt").write_text(AUTHORITY.pem)
    (tmp_path / "audit.log").write_bytes(line(operation="read"))
    return Options(
        file=tmp_path / "audit.log",
        to=receiver.url,
        server="default",
        token_file=tmp_path / "token",
        ca_file=tmp_path / "ca.crt",
        state_file=tmp_path / "state",
    )


@contextlib.contextmanager
def running(options: Options) -> Iterator[Forwarder]:
    """Run a forwarder beside the test, until its end."""
    forwarder = Forwarder(options)
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(forwarder.run()), name="forwarder")
    thread.start()
    try:
        yield forwarder
    finally:
        forwarder.stop()
        thread.join(30)
    assert results == [True]


def write(options: Options, *lines: bytes) -> None:
    with options.file.open("ab", buffering=0) as file:
        file.write(b"".join(lines))


def soon(what: str, check: Callable[[], object]) -> None:
    eventually(what, lambda: bool(check()) or None, every=0.005)


def test_what_is_written_is_told_within_its_time(receiver: Receiver, options: Options, figure: list[str]) -> None:
    took = []
    with running(options):
        soon("the first batch", lambda: receiver.taken)
        for version in range(1, 21):
            began = time.monotonic()
            write(options, line(version=version, kind="request"), line(version=version))
            eventually("it is told", lambda v=version: len(receiver.hints) == v or None, every=0.0005)
            took.append(time.monotonic() - began)
    assert receiver.hints == [replace(DB, version=v) for v in range(1, 21)]
    figure.append(
        f"audit line to the receiver's answer: median {sorted(took)[10] * 1000:.1f} ms, max {max(took) * 1000:.1f} ms"
    )
    assert sorted(took)[10] < 5 * PROMISED


def test_the_first_batch_says_that_there_is_a_gap_and_the_next_does_not(receiver: Receiver, options: Options) -> None:
    write(options, line())
    with running(options):
        soon("the first batch", lambda: receiver.taken)
        write(options, line(version=1))
        soon("the second", lambda: receiver.hints)
    assert receiver.taken == [Batch(gap=True), Batch((DB,))]


def test_a_gap_is_told_until_somebody_took_it(receiver: Receiver, options: Options) -> None:
    receiver.answers.extend([(503, {}), (503, {}), (421, {})])
    with running(options):
        soon("it is taken", lambda: receiver.taken)
    assert receiver.asked[:4] == [503, 503, 421, 204]
    assert receiver.gaps == 1
    assert all(b'"gap":true' in body for body in receiver.bodies[:4])


def test_nothing_is_sent_before_the_operator_wants_it(receiver: Receiver, options: Options) -> None:
    with running(options):
        soon("the first batch", lambda: receiver.taken)
        receiver.answers.append((429, {"Retry-After": "1"}))
        write(options, line(version=1))
        soon("it is asked to wait", lambda: 429 in receiver.asked)
        began = time.monotonic()
        write(options, line(version=2))
        soon("both are told", lambda: receiver.hints)
        assert time.monotonic() - began > 0.8
    assert receiver.hints == [replace(DB, version=2)]


def test_without_news_an_empty_batch_says_that_the_way_is_open(
    receiver: Receiver, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT", 0.05)
    with running(options):
        soon("some heartbeats", lambda: len(receiver.taken) >= 5)
    assert receiver.taken[:5] == [Batch(gap=True), *[Batch()] * 4]
    assert receiver.connections == 1


def test_with_a_state_it_goes_on_without_a_gap(receiver: Receiver, options: Options) -> None:
    with running(options):
        soon("the first batch", lambda: receiver.taken)
    write(options, line(version=1))
    receiver.taken.clear()
    with running(options):
        soon("it is told", lambda: receiver.hints)
    assert receiver.hints == [DB]
    assert receiver.gaps == 0


def test_the_first_batch_is_sent_at_once_also_when_there_is_nothing_to_say(
    receiver: Receiver, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT", 1_000.0)
    with running(options):
        soon("the first batch", lambda: receiver.taken)
    receiver.taken.clear()
    with running(options):
        soon("the first batch", lambda: receiver.taken)
    assert receiver.taken == [Batch()]


def test_the_state_is_not_beyond_what_the_operator_has(
    receiver: Receiver, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAVE_EVERY", 0.01)
    monkeypatch.setattr(module, "STOP_WITHIN", 0.1)
    with running(options):
        soon("the first batch", lambda: receiver.taken)
        receiver.status = 503
        write(options, line(version=1))
        soon("it is refused for many times of saving", lambda: receiver.asked.count(503) >= 3)
    assert receiver.hints == []
    assert options.state_file is not None
    known = StateFile(options.state_file).load()
    assert known is not None
    assert known.place.offset == len(line(operation="read"))
    soon("nobody sends", lambda: not any(t.name == "elile-hints-sender" for t in threading.enumerate()))
    receiver.status = None
    receiver.taken.clear()
    with running(options):
        soon("it is told after the restart", lambda: receiver.hints)
    assert (receiver.hints, receiver.gaps) == ([DB], 0)


def test_at_the_end_what_waits_is_sent(receiver: Receiver, options: Options) -> None:
    with running(options) as forwarder:
        soon("the first batch", lambda: receiver.taken)
        receiver.answers.extend([(503, {})] * 2)
        write(options, *(line(f"data/{n}") for n in range(50)))
        forwarder.stop()
    assert len(receiver.hints) == 50


def test_an_operator_that_is_away_does_not_hold_up_the_end(options: Options, caplog: pytest.LogCaptureFixture) -> None:
    away = replace(options, to=f"https://127.0.0.1:{closed_port()}")
    with running(away) as forwarder:
        failed = ("elile_hints_requests_total", {"code": "connect"})
        soon("it is tried", lambda: forwarder.metrics.registry.get_sample_value(*failed))
        write(options, line())
        began = time.monotonic()
    assert time.monotonic() - began < 5 * module.STOP_WITHIN
    (stopped,) = [record for record in caplog.records if record.getMessage() == "the forwarder has stopped"]
    assert (stopped.levelno, stopped.__dict__["fields"]) == (logging.WARNING, {"untold": 1})


def test_what_the_operator_cannot_read_becomes_a_gap(receiver: Receiver, options: Options) -> None:
    with running(options):
        soon("the first batch", lambda: receiver.taken)
        receiver.answers.append((400, {}))
        write(options, line(version=1))
        soon("a gap instead", lambda: receiver.gaps == 2)
        write(options, line(version=2))
        soon("the next", lambda: receiver.hints)
    assert receiver.hints == [replace(DB, version=2)]


def test_more_than_there_is_room_for_becomes_a_gap(
    receiver: Receiver, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Pending", lambda: Pending(room=10))
    with running(options):
        soon("the first batch", lambda: receiver.taken)
        receiver.taken.clear()
        receiver.status = 503
        write(options, *(line(f"data/{n}") for n in range(30)))
        soon("it is refused", lambda: 503 in receiver.asked)
        receiver.status = None
        soon("the rest is told", lambda: receiver.gaps and len(receiver.hints) >= 10)
    assert len(receiver.hints) == 10


@pytest.mark.parametrize(
    ("lines", "gaps", "warning"),
    [
        pytest.param([b"<xml/>\n"], 0, "lines that are no JSON", id="no JSON"),
        pytest.param([line()[:-9] + b"\n"], 1, "a line that cannot be read", id="unreadable"),
        pytest.param([line(padding=2_000_000)], 1, "a line that is too long", id="too long"),
        pytest.param([line(operation="list", padding=2_000_000)], 0, None, id="too long, and no write"),
    ],
)
def test_lines_that_cannot_be_read(
    receiver: Receiver,
    options: Options,
    caplog: pytest.LogCaptureFixture,
    lines: list[bytes],
    gaps: int,
    warning: str | None,
) -> None:
    with running(options):
        soon("the first batch", lambda: receiver.taken)
        receiver.taken.clear()
        write(options, *lines, *lines, line(version=1))
        soon("the line after them", lambda: receiver.hints)
    assert receiver.hints == [DB]
    assert bool(receiver.gaps) is bool(gaps)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == (1 if warning else 0)
    assert warning is None or warning in said[0]


def test_a_sender_that_dies_ends_the_forwarder_as_failed(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(module.Sender, "send", broken)
    hooked: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: hooked.append(str(args.exc_value)))
    assert not Forwarder(options).run()
    assert hooked == ["a mistake"]


def test_no_value_is_sent_logged_kept_or_counted(
    receiver: Receiver, options: Options, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the lines it stands in the clear, as with log_raw; also in those that cannot be read."""
    caplog.set_level(logging.DEBUG)
    rendered: list[bytes] = []
    monkeypatch.setattr(module, "SAVE_EVERY", 0.01)
    with running(options) as forwarder:
        soon("the first batch", lambda: receiver.taken)
        write(
            options,
            line(version=1),
            line()[:-9] + b"\n",
            CANARY.encode() + b"\n",
            line(padding=2_000_000),
            line("data/other"),
        )
        soon("all is told", lambda: len(receiver.hints) >= 2)
        rendered.append(forwarder.metrics.render())
    assert options.state_file is not None
    texts = [*receiver.bodies, *rendered, options.state_file.read_bytes(), caplog.text.encode()]
    texts += [str(headers).encode() for headers in receiver.headers]
    assert all(texts)
    assert [text for text in texts if CANARY.encode() in text] == []
    assert CANARY.encode() in options.file.read_bytes()


def test_loopback_may_go_without_tls(options: Options) -> None:
    with Receiver(None) as plain, running(replace(options, to=plain.url, ca_file=None)):
        soon("the first batch", lambda: plain.taken)


def test_without_a_ca_file_the_authorities_of_the_system_count(receiver: Receiver, options: Options) -> None:
    with running(replace(options, ca_file=None)) as forwarder:
        refused = ("elile_hints_requests_total", {"code": "tls"})
        soon("it is refused", lambda: forwarder.metrics.registry.get_sample_value(*refused))
        forwarder.stop()
    assert receiver.asked == []


@pytest.mark.parametrize(
    ("stuck", "status", "text"),
    [
        (None, 200, "ok"),
        ("READER_STUCK", 503, "the audit file is not read any more"),
        ("SENDER_STUCK", 503, "nothing is sent any more"),
    ],
)
def test_metrics_and_liveness_are_served(
    receiver: Receiver,
    options: Options,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    stuck: str | None,
    status: int,
    text: str,
) -> None:
    caplog.set_level(logging.INFO)
    if stuck is not None:
        monkeypatch.setattr(module, stuck, -1.0)
    with running(replace(options, metrics_port=0)):
        soon("the first batch", lambda: receiver.taken)
        (served,) = [record for record in caplog.records if record.getMessage() == "metrics served"]
        connection = http.client.HTTPConnection("127.0.0.1", served.__dict__["fields"]["port"], timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/livez")
            answer = connection.getresponse()
            assert (answer.status, answer.read().decode()) == (status, text)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("to", "http://hints.example"),
        ("server", "a/b"),
        ("token_file", Path("/no/such")),
        ("ca_file", Path("/no/such")),
    ],
)
def test_what_can_never_work_is_said_at_the_start(options: Options, option: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"^--{option.replace('_', '-')}: "):
        Forwarder(replace(options, **{option: value}))


def test_a_port_of_metrics_that_is_taken(options: Options, receiver: Receiver) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Forwarder(replace(options, metrics_port=receiver.port))
    assert str(raised.value) == (
        f"--metrics-port: 127.0.0.1 port {receiver.port} cannot be used (Address already in use); give another, or "
        "--metrics-host"
    )
