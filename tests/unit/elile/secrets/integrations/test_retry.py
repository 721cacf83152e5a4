import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from elile.secrets.errors import SecretNotFoundError, SecretsUnavailableError
from elile.secrets.integrations.retry import Renewal, is_refused_login
from elile.secrets.managed import BackendSecretsManager
from elile.secrets.memory import MemoryBackend
from elile.secrets.protocol import Reading
from elile.secrets.sync import SyncSecrets
from elile.secrets.types import SecretValue

PATH = "app/token"


class RefusedError(Exception):
    pass


class Backend(MemoryBackend):
    """Counts what was read, waits at a gate, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__({PATH: {"token": "first"}})
        self.reads = 0
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def read(self, path: str, *, version: str | None = None) -> Reading:
        self.reads += 1
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return super().read(path, version=version)


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def manager(backend: Backend) -> Iterator[BackendSecretsManager]:
    manager = BackendSecretsManager(backend)
    manager.get_secret_blocking(PATH)
    yield manager
    manager.close_blocking()


class Server:
    """Accepts one token, and says nothing about any other."""

    def __init__(self, accepts: str = "second") -> None:
        self.accepts = accepts
        self.asked: list[str] = []

    def call(self, value: SecretValue) -> str:
        self.asked.append(value["token"].reveal())
        if self.asked[-1] != self.accepts:
            raise RefusedError
        return "done"

    async def call_async(self, value: SecretValue) -> str:
        return self.call(value)


def refused(error: Exception) -> bool:
    return isinstance(error, RefusedError)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_refusal_is_tried_once_more_with_what_is_new(manager: BackendSecretsManager, backend: Backend) -> None:
    backend.write(PATH, {"token": "second"})
    server = Server()
    assert Renewal(manager, PATH).attempt(server.call, refused) == "done"
    assert server.asked == ["first", "second"]
    assert backend.reads == 2


def test_nothing_is_asked_while_nothing_is_refused(manager: BackendSecretsManager, backend: Backend) -> None:
    assert Renewal(manager, PATH).attempt(Server("first").call, refused) == "done"
    assert backend.reads == 1


def test_another_error_is_no_refusal(manager: BackendSecretsManager, backend: Backend) -> None:
    def fail(_: SecretValue) -> None:
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - it is the one of `fail`
        Renewal(manager, PATH).attempt(fail, refused)
    assert backend.reads == 1


def test_a_refusal_of_the_current_value_is_told_as_it_is(manager: BackendSecretsManager, backend: Backend) -> None:
    server = Server()
    with pytest.raises(RefusedError):
        Renewal(manager, PATH).attempt(server.call, refused)
    assert server.asked == ["first"]
    assert backend.reads == 2


def test_the_second_refusal_is_the_last(manager: BackendSecretsManager, backend: Backend) -> None:
    backend.write(PATH, {"token": "second"})
    server = Server("third")
    with pytest.raises(RefusedError):
        Renewal(manager, PATH).attempt(server.call, refused)
    assert server.asked == ["first", "second"]


def test_a_backend_that_does_not_answer_leaves_the_refusal(manager: BackendSecretsManager, backend: Backend) -> None:
    backend.error = SecretsUnavailableError("no answer", path=PATH)
    with pytest.raises(RefusedError):
        Renewal(manager, PATH).attempt(Server().call, refused)


def test_without_a_secret_nothing_is_tried(manager: BackendSecretsManager) -> None:
    server = Server()
    with pytest.raises(SecretNotFoundError):
        Renewal(manager, "app/other").attempt(server.call, refused)
    assert server.asked == []


def test_the_current_value_is_not_asked_for_again_within_the_cooldown(
    manager: BackendSecretsManager, backend: Backend
) -> None:
    clock = Clock()
    renewals = [Renewal(manager, PATH, clock=clock) for _ in range(3)]
    for renewal in renewals:
        assert renewal.renew(1) is None
    assert backend.reads == 2
    clock.now += 29.9
    assert renewals[0].renew(1) is None
    assert backend.reads == 2
    clock.now += 0.2
    assert renewals[0].renew(1) is None
    assert backend.reads == 3


def test_news_from_elsewhere_end_the_cooldown(manager: BackendSecretsManager, backend: Backend) -> None:
    renewal = Renewal(manager, PATH, clock=Clock())
    assert renewal.renew(1) is None
    manager.set_secret_blocking(PATH, {"token": "second"})
    assert (newer := renewal.renew(1)) is not None
    assert newer.generation == 2
    assert backend.reads == 2
    # The new one may be refused as well, and was never asked for.
    backend.write(PATH, {"token": "third"})
    assert (newest := renewal.renew(2)) is not None
    assert newest["token"].reveal() == "third"
    assert backend.reads == 3


def test_paths_and_managers_have_cooldowns_of_their_own(manager: BackendSecretsManager, backend: Backend) -> None:
    backend.write("app/other", {"token": "x"})
    manager.get_secret_blocking("app/other")
    other = BackendSecretsManager(backend)
    other.get_secret_blocking(PATH)
    before = backend.reads
    for renewal in (Renewal(manager, PATH), Renewal(manager, "app/other"), Renewal(other, PATH)):
        assert renewal.renew(1) is None
    assert backend.reads == before + 3
    other.close_blocking()


def test_the_blocking_face_shares_with_the_other(manager: BackendSecretsManager, backend: Backend) -> None:
    clock = Clock()
    assert Renewal(SyncSecrets(manager), PATH, clock=clock).renew(1) is None
    assert Renewal(manager, PATH, clock=clock).renew(1) is None
    assert backend.reads == 2


def test_many_threads_that_are_refused_at_once_ask_once(manager: BackendSecretsManager, backend: Backend) -> None:
    backend.write(PATH, {"token": "second"})
    start = threading.Barrier(30)
    answers: list[str] = []

    def run() -> None:
        start.wait(10)
        answers.append(Renewal(manager, PATH).attempt(Server().call, refused))

    threads = [threading.Thread(target=run) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert answers == ["done"] * 30
    assert backend.reads == 2


def test_many_threads_that_stay_refused_ask_once(manager: BackendSecretsManager, backend: Backend) -> None:
    backend.gate.clear()
    errors: list[Exception] = []

    def run() -> None:
        try:
            Renewal(manager, PATH).attempt(Server().call, refused)
        except RefusedError as e:
            errors.append(e)

    threads = [threading.Thread(target=run) for _ in range(30)]
    for thread in threads:
        thread.start()
    backend.gate.set()
    for thread in threads:
        thread.join(10)
    assert len(errors) == 30
    assert backend.reads == 2


async def test_many_tasks_that_are_refused_at_once_ask_once(manager: BackendSecretsManager, backend: Backend) -> None:
    backend.write(PATH, {"token": "second"})
    renewal = Renewal(manager, PATH)
    answers = await asyncio.gather(*(renewal.attempt_async(Server().call_async, refused) for _ in range(30)))
    assert answers == ["done"] * 30
    assert backend.reads == 2


async def test_others_get_the_answer_when_the_one_who_asks_is_cancelled(
    manager: BackendSecretsManager, backend: Backend
) -> None:
    backend.write(PATH, {"token": "second"})
    backend.gate.clear()
    renewal = Renewal(manager, PATH)
    first, second = (asyncio.create_task(renewal.renew_async(1)) for _ in range(2))
    await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.sleep(0)
    backend.gate.set()
    assert (newer := await second) is not None
    assert newer["token"].reveal() == "second"
    with pytest.raises(asyncio.CancelledError):
        await first
    assert backend.reads == 2


async def test_the_loop_goes_on_while_it_is_asked(manager: BackendSecretsManager, backend: Backend) -> None:
    backend.gate.clear()
    asking = asyncio.create_task(Renewal(manager, PATH).renew_async(1))
    await asyncio.sleep(0.01)
    assert not asking.done()
    backend.gate.set()
    assert await asking is None
    assert await Renewal(manager, PATH).renew_async(1) is None
    assert backend.reads == 2


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"sqlstate": "28P01"}, True),
        ({"sqlstate": "28000"}, True),
        ({"sqlstate": "53300"}, False),
        ({"pgcode": "28P01"}, True),
        ({"sqlstate": None, "pgconn": SimpleNamespace(used_password=True, needs_password=False)}, True),
        ({"sqlstate": None, "pgconn": SimpleNamespace(used_password=False, needs_password=True)}, True),
        ({"sqlstate": None, "pgconn": SimpleNamespace(used_password=False, needs_password=False)}, False),
        ({}, False),
    ],
)
def test_refused_logins_are_told_by_what_the_driver_knows(told: dict[str, Any], expected: bool) -> None:
    error = Exception("some text")
    for name, value in told.items():
        setattr(error, name, value)
    assert is_refused_login(error) is expected


def test_refused_logins_are_told_by_their_text_where_there_is_nothing_else() -> None:
    assert is_refused_login(Exception('FATAL:  password authentication failed for user "x"'))
    assert is_refused_login(Exception('FATAL:  role "x" is not permitted to log in'))
