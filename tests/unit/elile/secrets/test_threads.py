"""Calls in threads end whatever becomes of the callers, and a forked process has threads of its own."""

import asyncio
import gc
import logging
import os
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from elile.secrets.errors import SecretNotFoundError, SecretsClosedError, SecretsUnavailableError
from elile.secrets.threads import IoThreads, outcome, settled

PATIENCE = 10.0


@pytest.fixture
def threads() -> Iterator[IoThreads]:
    made = IoThreads(2)
    yield made
    made.close()


def in_child(check: object) -> int:
    """The exit code of a forked process that runs `check`: 0 when it raised nothing."""
    assert callable(check)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            check()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_no_more_threads_than_said_and_none_before_the_first_call(threads: IoThreads) -> None:
    def named() -> int:
        return sum(thread.name.startswith("elile-secrets") for thread in threading.enumerate())

    before, most, lock, running = named(), 0, threading.Lock(), 0

    def work(i: int) -> int:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return i

    assert IoThreads() is not None
    assert named() == before
    assert [f.result(PATIENCE) for f in [threads.submit(work, i) for i in range(10)]] == list(range(10))
    assert most == 2


def test_at_least_one_thread() -> None:
    with pytest.raises(ValueError, match="max_workers"):
        IoThreads(0)


async def test_a_cancelled_caller_cancels_no_call(threads: IoThreads) -> None:
    gate, ran = threading.Event(), threading.Event()
    blocked = [threads.submit(gate.wait, PATIENCE) for _ in range(2)]
    queued = asyncio.create_task(threads.run(ran.set))  # not begun: this is what `Future.cancel` would take away
    await asyncio.sleep(0.01)
    queued.cancel()
    with pytest.raises(asyncio.CancelledError):
        await queued
    gate.set()
    assert await asyncio.to_thread(ran.wait, PATIENCE)
    assert all(future.result(PATIENCE) for future in blocked)


def test_a_loop_that_is_closed_meanwhile_is_left_alone(threads: IoThreads, caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()
    future = threads.submit(gate.wait, PATIENCE)
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(outcome(future))
    loop.run_until_complete(asyncio.sleep(0.01))
    waiting.cancel()
    loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
    loop.close()
    with caplog.at_level(logging.INFO):
        gate.set()
        assert settled(future) is True
        assert asyncio.run(outcome(future)) is True
    assert not caplog.records


def test_each_caller_raises_an_error_of_its_own() -> None:
    future: Future[None] = Future()
    future.set_exception(SecretNotFoundError("nothing is stored there", path="a/b"))
    raised = []
    for _ in range(3):
        with pytest.raises(SecretNotFoundError, match="a/b: nothing") as caught:
            settled(future)
        raised.append(caught.value)
    assert len({id(error) for error in raised}) == 3
    assert future.exception() not in raised


async def test_results_and_errors_come_back(threads: IoThreads) -> None:
    assert await threads.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)


async def test_after_close_nothing_starts_and_what_had_not_begun_says_so(threads: IoThreads) -> None:
    gate = threading.Event()
    blocked = [threads.submit(gate.wait, PATIENCE) for _ in range(2)]
    queued = asyncio.create_task(threads.run(gate.is_set))
    await asyncio.sleep(0.01)
    threads.close()
    threads.close()
    with pytest.raises(SecretsClosedError):
        await queued
    with pytest.raises(SecretsClosedError):
        threads.submit(gate.is_set)
    gate.set()
    assert all(future.result(PATIENCE) for future in blocked)


def test_a_system_without_threads_is_an_outage(threads: IoThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(SecretsUnavailableError, match="no thread"):
        threads.submit(int)


class Hooked:
    def __init__(self) -> None:
        self.calls = 0

    def hook(self) -> None:
        self.calls += 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # of Python 3.12
def test_a_forked_process_has_threads_of_its_own(threads: IoThreads) -> None:
    gate, hooked, gone = threading.Event(), Hooked(), Hooked()
    threads.on_fork(hooked.hook)
    threads.on_fork(gone.hook)
    del gone
    gc.collect()
    blocked = [threads.submit(gate.wait, PATIENCE) for _ in range(2)]  # all threads are busy, in the parent

    def check() -> None:
        assert hooked.calls == 1
        assert settled(threads.submit(os.getpid)) == os.getpid()

    with threads._lock:  # as if another thread held it
        code = in_child(check)
    gate.set()
    assert code == 0
    assert hooked.calls == 0
    assert all(future.result(PATIENCE) for future in blocked)
    assert settled(threads.submit(os.getpid)) == os.getpid()
