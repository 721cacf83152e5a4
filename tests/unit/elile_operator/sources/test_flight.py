"""However many ask at once, it is fetched once, and nobody's end is another's."""

import asyncio
import gc

import pytest

from elile_operator.sources.flight import Flights


class Fetch:
    """Counts fetches and ends them when told to."""

    def __init__(self, result: object = "value") -> None:
        self.count = 0
        self.cancelled = 0
        self.end = asyncio.Event()
        self.result = result

    async def __call__(self) -> object:
        self.count += 1
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def callers(flights: Flights[str], fetch: Fetch, number: int, key: str = "k") -> list[asyncio.Task[object]]:
    return [asyncio.create_task(flights.share(key, fetch), name=f"caller-{i}") for i in range(number)]


async def a_few_turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_many_callers_share_one_fetch() -> None:
    flights: Flights[str] = Flights("test")
    fetch = Fetch()
    tasks = callers(flights, fetch, 100)
    await a_few_turns()
    assert flights.under_way() == 1
    fetch.end.set()
    assert await asyncio.gather(*tasks) == ["value"] * 100
    await a_few_turns()
    assert (fetch.count, flights.under_way()) == (1, 0)


async def test_keys_are_fetched_apart() -> None:
    flights: Flights[str] = Flights("test")
    one, two = Fetch(1), Fetch(2)
    tasks = callers(flights, one, 2, "one") + callers(flights, two, 2, "two")
    one.end.set()
    two.end.set()
    assert await asyncio.gather(*tasks) == [1, 1, 2, 2]
    assert (one.count, two.count) == (1, 1)


async def test_who_comes_after_the_landing_fetches_anew() -> None:
    flights: Flights[str] = Flights("test")
    fetch = Fetch()
    fetch.end.set()
    await flights.share("k", fetch)
    await a_few_turns()
    await flights.share("k", fetch)
    assert fetch.count == 2


@pytest.mark.parametrize("leaver", [0, 2], ids=["who started it", "who joined it"])
async def test_a_cancelled_caller_harms_nobody(leaver: int) -> None:
    flights: Flights[str] = Flights("test")
    fetch = Fetch()
    tasks = callers(flights, fetch, 4)
    await a_few_turns()
    tasks[leaver].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks.pop(leaver)
    assert fetch.cancelled == 0
    fetch.end.set()
    assert await asyncio.gather(*tasks) == ["value"] * 3
    assert fetch.count == 1


async def test_an_error_reaches_everybody_and_is_not_kept() -> None:
    flights: Flights[str] = Flights("test")
    fetch = Fetch(ValueError("no"))
    fetch.end.set()
    got = await asyncio.gather(*callers(flights, fetch, 10), return_exceptions=True)
    assert [(type(e), str(e)) for e in got if isinstance(e, Exception)] == [(ValueError, "no")] * 10
    await a_few_turns()
    fetch.result = "better"
    assert await flights.share("k", fetch) == "better"


async def test_an_error_nobody_waits_for_is_let_go_in_silence() -> None:
    flights: Flights[str] = Flights("test")
    fetch = Fetch(ValueError("no"))
    reports: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    (only,) = callers(flights, fetch, 1)
    await a_few_turns()
    only.cancel()
    fetch.end.set()
    await a_few_turns()
    gc.collect()
    assert (reports, flights.under_way()) == ([], 0)


async def test_stop_cancels_what_is_under_way_and_waits_for_it() -> None:
    flights: Flights[str] = Flights("test")
    fetch, other = Fetch(), Fetch()
    tasks = callers(flights, fetch, 2, "one") + callers(flights, other, 1, "two")
    await a_few_turns()
    await flights.stop()
    assert (fetch.cancelled, other.cancelled) == (1, 1)
    assert all(isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*tasks, return_exceptions=True))
    assert flights.under_way() == 0


async def test_stop_with_nothing_under_way() -> None:
    flights: Flights[str] = Flights("test")
    await flights.stop()
    assert flights.under_way() == 0
