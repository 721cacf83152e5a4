"""A task knows whether a cancellation is meant for it."""

import asyncio

from elile_operator.engine.cancellation import being_cancelled
from tests.fakes.clock import FakeClock


async def test_a_cancellation_that_is_meant_for_this_task() -> None:
    answers: list[bool] = []

    async def work() -> None:
        answers.append(being_cancelled())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            answers.append(being_cancelled())
            raise

    task = asyncio.create_task(work(), name="work")
    await FakeClock().settle()
    task.cancel()
    await FakeClock().settle()
    assert answers == [False, True]


async def test_a_cancellation_of_something_that_is_awaited() -> None:
    shared = asyncio.get_running_loop().create_future()
    shared.cancel()
    try:
        await shared
    except asyncio.CancelledError:
        assert not being_cancelled()
    else:
        raise AssertionError


def test_without_a_task_there_is_nothing_to_keep_alive() -> None:
    async def scenario() -> bool:
        answer = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: answer.set_result(being_cancelled()))
        return bool(await answer)

    assert asyncio.run(scenario())
