"""Who wants to be told of changes, and the thread that looks for them."""

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from elile.secrets.errors import SecretsConfigurationError, SecretsError
from elile.secrets.types import SecretChange

__all__ = ["Callback", "Followed", "Followers"]

log = logging.getLogger(__name__)

Callback = Callable[[SecretChange], Awaitable[None] | None]


@dataclass(eq=False)
class Followed:
    """One subscription; `cancel` ends it, from any thread."""

    path: str
    callback: Callback
    loop: asyncio.AbstractEventLoop | None
    _owner: "Followers"
    _told: int = field(default=0)

    def cancel(self) -> None:
        """End it; a call that is under way goes on."""
        self._owner.remove(self)

    def tell(self, change: SecretChange) -> None:
        """Call back, once for each generation: in the loop it was made in, else in the calling thread."""
        if change.current.generation == self._told:
            return
        self._told = change.current.generation
        if self.loop is None:
            self._call(change)
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._call, change)

    def _call(self, change: SecretChange) -> None:
        try:
            answer = self.callback(change)
            if inspect.isawaitable(answer):
                if self.loop is None:
                    answer.close()  # type: ignore[attr-defined] # a coroutine that a plain function has made
                    raise TypeError("a callback without an event loop must not be awaited")
                _keep(self.loop.create_task(_guarded(answer, self.path), name="elile-secrets-callback"))
        except Exception as e:
            _failed(self.path, e)


_running: set["asyncio.Task[None]"] = set()


def _keep(task: "asyncio.Task[None]") -> None:
    _running.add(task)  # the loop itself holds tasks weakly
    task.add_done_callback(_running.discard)


async def _guarded(answer: Awaitable[None], path: str) -> None:
    try:
        await answer
    except Exception as e:
        _failed(path, e)


def _failed(path: str, error: Exception) -> None:
    # Only the class: the text of a foreign exception may hold the value it was given.
    log.error("a callback for changes of %s failed: %s", path, type(error).__name__)


class Followers:
    """Subscriptions by path. While there are any, a thread looks at their paths every `interval` seconds.

    `look` reads one path, which tells of a change by the cache; its errors are logged, once for each kind in a row.
    """

    def __init__(self, look: Callable[[str], object], *, interval: float) -> None:
        self._look = look
        self._interval = interval
        self._lock = threading.Lock()
        self._by_path: dict[str, list[Followed]] = {}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._said: dict[str, type[Exception]] = {}

    def add(self, path: str, callback: Callback) -> Followed:
        """Subscribe; the callback runs in the event loop that runs here, else in a thread of ours.

        Raises SecretsConfigurationError for an asynchronous callback where no event loop runs.
        """
        try:
            loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is None and inspect.iscoroutinefunction(callback):
            raise SecretsConfigurationError(
                "an asynchronous callback runs in the event loop that it is given in: call on_change in one", path=path
            )
        followed = Followed(path, callback, loop, self)
        with self._lock:
            self._by_path.setdefault(path, []).append(followed)
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="elile-secrets-follow", daemon=True)
                self._thread.start()
        return followed

    def remove(self, followed: Followed) -> None:
        """Forget one."""
        with self._lock:
            mine = self._by_path.get(followed.path, [])
            if followed in mine:
                mine.remove(followed)
            if not mine:
                self._by_path.pop(followed.path, None)

    def tell(self, change: SecretChange) -> None:
        """Pass a change on."""
        with self._lock:
            mine = list(self._by_path.get(change.path, ()))
        for followed in mine:
            followed.tell(change)

    def forget_thread(self) -> None:
        """After a fork, which does not inherit threads: start one for the subscriptions that there are."""
        self._lock = threading.Lock()
        self._thread = None
        if self._by_path:
            self._thread = threading.Thread(target=self._run, name="elile-secrets-follow", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop looking; waits for a look that is under way, for two seconds at most."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(2.0)

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            with self._lock:
                paths = list(self._by_path)
            for path in paths:
                if self._stop.is_set():
                    return
                self._look_at(path)

    def _look_at(self, path: str) -> None:
        try:
            self._look(path)
        except SecretsError as e:
            if self._said.get(path) is not type(e):
                self._said[path] = type(e)
                log.warning("changes of %s cannot be followed for now: %s", path, e)
        except Exception as e:
            _failed(path, e)
        else:
            self._said.pop(path, None)
