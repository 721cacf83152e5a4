"""Verifications that an application brings as functions: called in their place, within their time, and believed."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar

from elile.secrets.errors import SecretsError
from elile.secrets.rotation.journal import Value
from elile.secrets.rotation.verify.outcome import Outcome, Verification

__all__ = ["Callback", "Inconclusive", "VerifyFn"]

T = TypeVar("T")
# Truthy: it works. Falsy, or an exception: it does not. Raising Inconclusive: nobody can say, ask again.
VerifyFn: TypeAlias = Callable[[T], "bool | Verification | Outcome | Awaitable[Any] | None"]


class Inconclusive(Exception):  # noqa: N818 - it is no error: a callback raises it to be asked again
    """Raised by a callback that cannot tell, such as when the other side does not answer."""


class Callback:
    """Calls a function of the application's, synchronous or not, and makes a verification of what it answers.

    An awaitable is awaited in `loop`, the event loop that asked for the rotation; anything else runs in a thread of its
    own, since it may block. One that takes longer than `timeout` seconds is inconclusive, and left to itself.
    """

    def __init__(
        self,
        fn: VerifyFn[T],
        shape: Callable[[Value], T],
        *,
        loop: asyncio.AbstractEventLoop,
        timeout: float,
    ) -> None:
        self._fn: Callable[[Any], Any] = fn
        self._shape: Callable[[Value], Any] = shape
        self._loop = loop
        self._timeout = timeout

    def __call__(self, value: Value) -> Verification:
        """Judge a value. Blocks, and must not be called in the thread of the event loop."""
        try:
            shaped = self._shape(value)
        except SecretsError as e:
            return Verification.failed(f"the new value has not the shape that it should have: {e.detail}")
        answer: Future[Any] = Future()
        threading.Thread(target=self._call, args=(shaped, answer), daemon=True, name="elile-verify").start()
        try:
            return _judged(answer.result(self._timeout))
        except TimeoutError:
            return Verification.inconclusive(f"the verification took longer than {self._timeout:g} s")
        except Inconclusive:
            return Verification.inconclusive("the verification could not tell")
        except BaseException as e:
            # Its text may hold the value: it was made with it at hand.
            return Verification.failed(f"the verification raised {type(e).__name__}")

    def _call(self, shaped: Any, answer: "Future[Any]") -> None:
        try:
            found = self._fn(shaped)
            if inspect.isawaitable(found):
                found = asyncio.run_coroutine_threadsafe(_wait(found), self._loop).result(self._timeout)
            answer.set_result(found)
        except BaseException as e:
            answer.set_exception(e)


async def _wait(found: Awaitable[Any]) -> Any:
    return await found


def _judged(found: Any) -> Verification:
    match found:
        case Verification():
            return found
        case Outcome.INCONCLUSIVE:
            return Verification.inconclusive("the verification could not tell")
        case Outcome():
            passed = found is Outcome.PASSED
        case _:
            passed = bool(found)
    return Verification.passed("the verification passed") if passed else Verification.failed("the verification failed")
