"""A stream of work: read as it goes, bounded, and every outcome once."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_ascend_rerank.bridge.stream import astream, stream
from tests.support.processes import wait_until


class Work:
    """Work that ends when it is told to, and knows what is under way."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.futures: dict[int, Future[int]] = {}

    def __call__(self, item: int) -> Future[int]:
        self.begun.append(item)
        self.futures[item] = Future()
        return self.futures[item]

    def end(self, *items: int) -> None:
        for item in items:
            self.futures[item].set_result(-item)


async def everything(work: Callable[[int], Future[int]], items: Any, **how: Any) -> list[int]:
    async def source() -> AsyncIterator[int]:
        for item in items:
            yield item

    streamed = astream(source(), work, **how)
    return [(await asyncio.wrap_future(future)) async for _, future in streamed]


async def until(condition: Callable[[], bool]) -> None:
    """Let happen what can without the end of any work, until `condition` holds."""
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0)


COSTS = st.lists(st.integers(1, 50), max_size=30)


@pytest.mark.parametrize("ordered", [True, False])
@settings(max_examples=50, deadline=None)
@given(costs=COSTS, limit=st.integers(1, 100))
def test_everything_comes_once_and_no_more_is_held_than_may_be(
    ordered: bool, costs: list[int], limit: int
) -> None:
    lock, held, most = threading.Lock(), [], []

    with ThreadPoolExecutor(4) as pool:

        def begin(item: int) -> Future[int]:
            with lock:
                held.append(costs[item])
                most.append(sum(held) if len(held) > 1 else 0)
            return pool.submit(lambda: -item)

        how: dict[str, Any] = {"cost": costs.__getitem__, "limit": limit, "ordered": ordered}
        got = []
        for item, future in stream(range(len(costs)), begin, **how):
            held.remove(costs[item])
            got.append(future.result())
        assert (got if ordered else sorted(got, reverse=True)) == [-n for n in range(len(costs))]
        assert max(most, default=0) <= limit
        asynchronous = asyncio.run(
            everything(lambda item: pool.submit(lambda: -item), range(len(costs)), **how)
        )
        assert sorted(asynchronous) == sorted(got)


def test_items_are_read_when_there_is_room() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            read.append(number)
            yield number

    work = Work()
    outcomes = stream(items(), work, lambda _: 1, 5, ordered=True)
    threading.Timer(0.05, lambda: wait_until(lambda: len(read) == 6) and work.end(0)).start()
    assert next(outcomes)[0] == 0
    assert (work.begun, read) == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5])


def test_one_that_costs_more_than_may_be_held_goes_alone() -> None:
    work = Work()
    outcomes = stream([1, 99, 2], work, lambda item: item, 10, ordered=True)
    threading.Timer(0.02, lambda: wait_until(lambda: 1 in work.futures) and work.end(1)).start()
    assert next(outcomes)[0] == 1
    assert work.begun == [1]
    threading.Timer(0.02, lambda: wait_until(lambda: 99 in work.futures) and work.end(99)).start()
    assert next(outcomes)[0] == 99
    assert work.begun == [1, 99]


def test_ordered_waits_for_the_first_and_unordered_for_any() -> None:
    for ordered, first in ((True, 0), (False, 1)):
        work = Work()
        outcomes = stream(range(2), work, lambda _: 1, 2, ordered=ordered)

        def one_after_the_other(work: Work = work) -> None:
            wait_until(lambda: len(work.begun) == 2)
            work.end(1)
            work.end(0)

        threading.Thread(target=one_after_the_other).start()
        assert [item for item, _ in outcomes] == [first, 1 - first]


def test_leaving_early_cancels_what_is_under_way() -> None:
    work = Work()
    outcomes = stream(range(9), work, lambda _: 1, 4, ordered=True)
    threading.Timer(0.02, lambda: wait_until(lambda: len(work.begun) == 4) and work.end(0)).start()
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert [work.futures[item].cancelled() for item in work.begun] == [False, True, True, True]


def test_what_reading_raises_is_raised_and_ends_the_rest() -> None:
    work = Work()

    def items() -> Iterator[int]:
        yield 0
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        list(stream(items(), work, lambda _: 1, 4, ordered=True))
    assert work.futures[0].cancelled()


class TestAsync:
    def test_outcomes_come_while_the_next_item_is_waited_for(self) -> None:
        async def run() -> None:
            never, work = asyncio.Event(), Work()

            async def source() -> AsyncIterator[int]:
                yield 0
                await never.wait()

            outcomes = astream(source(), work, lambda _: 1, 4, ordered=True)
            coming = asyncio.ensure_future(anext(outcomes))
            await until(lambda: bool(work.begun))
            work.end(0)
            assert (await asyncio.wait_for(coming, 20))[0] == 0
            await outcomes.aclose()

        asyncio.run(run())

    @pytest.mark.parametrize("ordered", [True, False])
    def test_items_are_read_when_there_is_room(self, ordered: bool) -> None:
        async def run() -> None:
            read: list[int] = []
            work = Work()

            async def source() -> AsyncIterator[int]:
                for number in range(1000):
                    read.append(number)
                    yield number

            outcomes = astream(source(), work, lambda _: 1, 5, ordered=ordered)
            coming = asyncio.ensure_future(anext(outcomes))
            await until(lambda: len(read) > 6)
            assert (work.begun, len(read)) == ([0, 1, 2, 3, 4], 6)
            work.end(0)
            assert (await coming)[0] == 0
            await outcomes.aclose()
            assert all(work.futures[item].cancelled() for item in work.begun[1:])

        asyncio.run(run())

    def test_what_reading_raises_is_raised(self) -> None:
        async def run() -> None:
            async def source() -> AsyncIterator[int]:
                yield 0
                raise OSError("the disk")

            work = Work()
            with pytest.raises(OSError, match="the disk"):
                await anext(astream(source(), work, lambda _: 1, 4, ordered=True))
            assert work.futures[0].cancelled()

        asyncio.run(run())
