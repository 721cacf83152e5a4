"""Processes are recognised by mark and start time, never by pid alone, and end when told to."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import processes
from lab.processes import Process, parse_stat, recall, remember, spawn


def stat_line(name: str, state: str = "S", flags: int = 0, started: int = 4711, pages: int = 3) -> str:
    before_start = [state, "1", "1", "1", "0", "-1", str(flags), *["0"] * 12]
    return f"42 ({name}) {' '.join([*before_start, str(started), '1000', str(pages), '0'])}\n"


@pytest.mark.parametrize("name", ["etcd", "a b", "tricky) S 1", "((", ") R 0 0"])
def test_a_process_name_cannot_shift_the_fields(name: str) -> None:
    stat = parse_stat(stat_line(name, state="T"))
    assert (stat.state, stat.started, stat.of_kernel) == ("T", 4711, False)
    assert stat.resident == 3 * os.sysconf("SC_PAGE_SIZE")


def test_threads_of_the_kernel_are_told_from_processes_without_environment() -> None:
    assert parse_stat(stat_line("kworker/0:1", flags=0x04208060)).of_kernel


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Process]:
    process = spawn(["sleep", "60"], {"PATH": os.environ["PATH"]}, tmp_path / "log", tmp_path, "sleeper")
    yield process
    processes.kill([process])


def test_a_spawned_process_is_in_a_session_of_its_own_and_marked(sleeper: Process, tmp_path: Path) -> None:
    assert os.getsid(sleeper.pid) == sleeper.pid
    found = list(processes.marked(tmp_path))
    assert [(m.process, m.component, m.argv) for m in found] == [(sleeper, "sleeper", ["sleep", "60"])]


def test_a_lab_whose_folder_begins_like_another_is_another_lab(sleeper: Process, tmp_path: Path) -> None:
    assert list(processes.marked(tmp_path.with_name(tmp_path.name[:-1]))) == []
    assert processes.is_alive(sleeper)


def test_a_record_is_believed_only_if_all_of_it_is_true(sleeper: Process, tmp_path: Path) -> None:
    record = tmp_path / "sleeper.json"
    assert recall(record, tmp_path, "sleeper") is None
    remember(record, sleeper)
    assert recall(record, tmp_path, "sleeper") == sleeper
    assert recall(record, tmp_path, "other") is None
    assert recall(record, tmp_path / "other", "sleeper") is None
    record.write_text(json.dumps({"pid": sleeper.pid, "started": sleeper.started + 1}))  # the pid was given away again
    assert recall(record, tmp_path, "sleeper") is None
    record.write_text(json.dumps({"pid": os.getpid(), "started": sleeper.started}))
    assert recall(record, tmp_path, "sleeper") is None


def test_a_signal_never_reaches_the_next_owner_of_a_pid(sleeper: Process) -> None:
    processes.send(Process(sleeper.pid, sleeper.started - 1), signal.SIGKILL)
    time.sleep(0.05)
    assert processes.is_alive(sleeper)


def test_stopping_a_frozen_process_needs_no_sigkill(tmp_path: Path) -> None:
    says_so = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('asked', flush=True)))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    log = tmp_path / "log"
    process = spawn([sys.executable, "-c", says_so], dict(os.environ), log, tmp_path, "polite")
    while "ready" not in log.read_text():
        time.sleep(0.01)
    processes.send(process, signal.SIGSTOP)
    processes.stop([process], grace=5)
    assert not processes.is_alive(process)
    assert log.read_text() == "ready\nasked\n"


def test_what_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    stubborn = "trap '' TERM; echo ready; while :; do sleep 0.01; done"
    log = tmp_path / "log"
    process = spawn(["sh", "-c", stubborn], {"PATH": os.environ["PATH"]}, log, tmp_path, "stubborn")
    while "ready" not in log.read_text():
        time.sleep(0.01)
    processes.stop([process], grace=0.05)
    assert not processes.is_alive(process)


def test_children_of_others_are_left_for_them_to_wait_for(sleeper: Process) -> None:
    with subprocess.Popen(["sh", "-c", "exit 3"]) as child:
        time.sleep(0.05)
        assert processes.is_alive(sleeper)
        assert child.wait() == 3
