"""The stock checks fail when they should, and say why."""

import asyncio

from elile_operator.obs import checks


async def test_running_names_the_tasks_that_ended() -> None:
    async def quick() -> None:
        return

    ended = asyncio.create_task(quick(), name="elile-worker-3")
    runs = asyncio.create_task(asyncio.Event().wait(), name="elile-worker-4")
    check = checks.running(lambda: [ended, runs])
    assert check() is None
    await ended
    assert check() == "ended: elile-worker-3"
    runs.cancel()


def test_fresh_counts_seconds_up_to_its_limit() -> None:
    age = 1799.9
    check = checks.fresh(lambda: age, 1800.0, "the last complete list")
    assert check() is None
    age = 1800.0
    assert check() == "the last complete list is 1800 s old, limit 1800 s"


def test_holds_says_what_it_was_told() -> None:
    good = False
    check = checks.holds(lambda: good, "the first list is not complete")
    assert check() == "the first list is not complete"
    good = True
    assert check() is None
