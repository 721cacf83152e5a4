"""`elile hints forward` as a process beside a real OpenBao: killed, its file rotated and cut, its operator away."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.support.cluster import eventually
from tests.fakes.http import Authority, closed_port
from tests.fault.support.forwarding import AuditedBao, Forwarder, audited_bao
from tests.security.traces import forms, leaks
from tests.support.hint_receiver import TOKEN, Receiver

AUTHORITY = Authority()
TLS = AUTHORITY.server()
CANARY = "canary/7f3a9c51+d20e48b6=tweet"

Versions = dict[tuple[str, str, str], int | None]


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuditedBao]:
    with audited_bao(tmp_path_factory.mktemp("bao")) as bao:
        bao.call("POST", "sys/namespaces/team")
        bao.call("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}}, namespace="team")
        bao.call("POST", "sys/mounts/kv1", {"type": "kv"})
        yield bao


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(TLS) as receiver:
        yield receiver


Run = Callable[..., Forwarder]


@pytest.fixture
def run(bao: AuditedBao, receiver: Receiver, tmp_path: Path) -> Iterator[Run]:
    """Start a forwarder that sends to the receiver, and wait until the first batch was taken."""
    made: list[Forwarder] = []
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "ca.crt").write_text(AUTHORITY.pem)
    files = {"token-file": tmp_path / "token", "ca-file": tmp_path / "ca.crt"}

    def start(**options: Path | str) -> Forwarder:
        made.append(
            Forwarder(tmp_path, **{"file": bao.audit, "to": receiver.url, "server": "default", **files, **options})
        )
        if "to" not in options:
            eventually("the first batch", lambda: receiver.taken or None, every=0.02)
        return made[-1]

    yield start
    for forwarder in made:
        if forwarder.process.poll() is None:
            forwarder.kill()


def put(bao: AuditedBao, count: int, paths: int, name: str, *, namespace: str = "") -> Versions:
    """Write so many times to so many entries; answers what has to be told of each."""
    wanted: Versions = {}
    for i in range(count):
        path = f"{name}/{i % paths}"
        wanted[namespace, "secret", f"data/{path}"] = bao.put(path, f"{CANARY}{i}", namespace=namespace)
    return wanted


def told(receiver: Receiver, wanted: Versions) -> None:
    """Wait until that is what was told last."""

    def missing() -> list[tuple[str, str, str]]:
        latest = receiver.latest
        return [key for key, version in wanted.items() if latest.get(key, -1) != version]

    try:
        eventually("every write is told", lambda: not missing() or None, every=0.02)
    except AssertionError:
        raise AssertionError(f"never told: {missing()[:5]}") from None


def saved(forwarder: Forwarder) -> bytes:
    eventually("the state is saved", lambda: forwarder.state.exists() or None, every=0.02)
    return forwarder.state.read_bytes()


def test_every_write_arrives_and_no_value_does(bao: AuditedBao, receiver: Receiver, run: Run) -> None:
    forwarder = run()
    wanted = put(bao, 160, 40, "all") | put(bao, 20, 5, "all", namespace="team")
    bao.call("POST", "kv1/some/entry", {"password": CANARY})
    wanted["", "kv1", "some/entry"] = None
    bao.put("gone", CANARY)
    bao.call("DELETE", "secret/data/gone")
    wanted["", "secret", "data/gone"] = None
    told(receiver, wanted)
    assert receiver.gaps == 1
    assert forwarder.metric("elile_hints_found_total") >= 183
    assert forwarder.metric("elile_hints_dropped_total") == 0
    assert forwarder.metric("elile_hints_unreadable_lines_total") == 0
    eventually("nothing waits", lambda: forwarder.metric("elile_hints_pending") == 0 or None)
    assert time.time() - forwarder.metric("elile_hints_last_taken_timestamp_seconds") < 30
    assert forwarder.get("/livez") == "ok"

    texts = {
        "sent": b"".join(receiver.bodies).decode() + "".join(str(headers) for headers in receiver.headers),
        "logged": forwarder.log.read_text(),
        "kept": saved(forwarder).decode(),
        "counted": forwarder.get("/metrics"),
    }
    assert all(texts.values())
    assert {where: leaks(text, forms([CANARY])) for where, text in texts.items() if leaks(text, forms([CANARY]))} == {}
    assert leaks(bao.audit.read_text(), [CANARY]), "the same search finds it where it is"
    assert TOKEN not in texts["logged"] + texts["kept"] + texts["counted"]
    assert forwarder.terminate() == 0


def test_killed_and_started_again_nothing_is_lost(bao: AuditedBao, receiver: Receiver, run: Run) -> None:
    forwarder = run()
    wanted = put(bao, 50, 10, "killed")
    saved(forwarder)
    wanted |= put(bao, 50, 10, "killed")
    forwarder.kill()
    wanted |= put(bao, 100, 20, "killed")
    forwarder.start()
    wanted |= put(bao, 50, 10, "killed-after")
    told(receiver, wanted)
    assert receiver.gaps == 1, "of the first start"
    assert forwarder.terminate() == 0


def test_stopped_and_started_again_nothing_is_told_twice(bao: AuditedBao, receiver: Receiver, run: Run) -> None:
    forwarder = run()
    told(receiver, put(bao, 20, 20, "stopped"))
    assert forwarder.terminate() == 0
    receiver.taken.clear()
    wanted = put(bao, 5, 5, "stopped-since")
    forwarder.start()
    told(receiver, wanted)
    assert receiver.latest == wanted
    assert receiver.gaps == 0


def reopened(bao: AuditedBao, name: str, wanted: Versions) -> bool:
    """Write, to the one file or to the other, and say whether it was the new one."""
    wanted |= put(bao, 10, 10, name)
    return bao.audit.exists() and bao.audit.stat().st_size > 0


def test_rotated_by_renaming_nothing_is_lost(bao: AuditedBao, receiver: Receiver, run: Run) -> None:
    run()
    wanted: Versions = {}
    for turn in range(3):
        wanted |= put(bao, 20, 10, f"rotated-{turn}")
        old = bao.audit.with_name(f"audit.log.{turn}")
        bao.audit.rename(old)
        if turn == 1:
            bao.audit.touch()  # as logrotate's `create` does
        wanted |= put(bao, 20, 10, f"rotated-{turn}-renamed")
        assert old.stat().st_size, "it is written to still"
        bao.reopen()

        eventually("OpenBao has opened the next", partial(reopened, bao, f"rotated-{turn}-reopened", wanted))
        told(receiver, wanted)
    assert receiver.gaps == 1, "of the start"


def test_cut_in_place_it_is_a_gap(bao: AuditedBao, receiver: Receiver, run: Run) -> None:
    forwarder = run()
    told(receiver, put(bao, 20, 10, "cut"))
    shutil.copy(bao.audit, bao.audit.with_name("audit.log.copy"))
    os.truncate(bao.audit, 0)
    wanted = put(bao, 20, 10, "cut-since")
    told(receiver, wanted)
    eventually("the gap is told", lambda: receiver.gaps == 2 or None)
    assert forwarder.metric('elile_hints_gaps_total{reason="truncated"}') == 1


def test_an_operator_that_is_away_gets_it_when_it_is_back(bao: AuditedBao, run: Run) -> None:
    port = closed_port()
    forwarder = run(to=f"https://127.0.0.1:{port}")
    eventually("it was tried", lambda: forwarder.metric('elile_hints_requests_total{code="connect"}') >= 1 or None)
    wanted = put(bao, 20, 10, "away")
    with Receiver(TLS, port=port) as late:
        told(late, wanted)
        assert late.taken[0].gap
        assert late.gaps == 1
        assert forwarder.terminate() == 0


def test_a_vault_that_restarts_goes_on_in_its_file(receiver: Receiver, run: Run, tmp_path: Path) -> None:
    with audited_bao(tmp_path) as own:
        run(file=own.audit)
        told(receiver, put(own, 5, 5, "before"))
        own.stop()
        own.start()
        told(receiver, put(own, 5, 5, "after"))
    assert receiver.gaps == 1


def test_a_file_that_comes_later_is_told_from_its_start(receiver: Receiver, run: Run, tmp_path: Path) -> None:
    run(file=tmp_path / "audit.log")
    with audited_bao(tmp_path) as own:
        told(receiver, put(own, 5, 5, "first"))
    assert receiver.gaps == 2, "of the start, and of the file, which may have had another name before"


def test_what_can_never_work_ends_at_once(tmp_path: Path) -> None:
    elile = Path(sys.executable).with_name("elile")
    options = (
        "--file",
        tmp_path,
        "--to",
        "https://127.0.0.1:1",
        "--server",
        "default",
        "--token-file",
        tmp_path / "none",
    )
    done = subprocess.run([elile, "hints", "forward", *options], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"elile hints forward: --file: {tmp_path} is a directory; name the file of Vault's audit device\n"
    )
