"""Turns: much work, a bounded part of it under way, and no call behind another."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_ascend_rerank.bridge.turns import Turns

COSTS = st.lists(st.integers(1, 50), max_size=20)


class Work:
    """Work that ends only when it is told to, and knows what is under way."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.running: dict[object, asyncio.Future[None]] = {}

    async def __call__(self, item: object) -> object:
        self.begun.append(item)
        self.running[item] = asyncio.get_running_loop().create_future()
        try:
            await self.running[item]
        finally:
            del self.running[item]
        return item

    async def end(self, item: object) -> None:
        self.running[item].set_result(None)
        await settle()

    async def end_all(self) -> None:
        while self.running:
            await self.end(next(iter(self.running)))


async def settle() -> None:
    """Let everything happen that can without the end of any work."""
    for _ in range(50):
        await asyncio.sleep(0)


@settings(deadline=None)
@given(st.lists(COSTS, min_size=1, max_size=5), st.integers(1, 100))
def test_everything_is_done_once_in_order_and_within_the_limit(
    calls: list[list[int]], limit: int
) -> None:
    async def run() -> None:
        turns, under_way = Turns(limit), []

        async def work(item: tuple[int, int]) -> tuple[int, int]:
            under_way.append(item)
            costs = [calls[call][place] for call, place in under_way]
            assert len(costs) == 1 or sum(costs) <= limit
            assert sum(costs) <= turns.used
            await asyncio.sleep(0)
            under_way.remove(item)
            return item

        items = [[(call, place) for place in range(len(costs))] for call, costs in enumerate(calls)]
        done = await asyncio.gather(
            *(turns.map(work, each, lambda item: calls[item[0]][item[1]]) for each in items)
        )
        assert done == items
        assert turns.used == 0

    asyncio.run(run())


@settings(deadline=None, max_examples=30)
@given(COSTS, COSTS, st.integers(1, 100))
def test_calls_that_both_wait_have_had_as_much_but_for_one_item_each(
    one: list[int], other: list[int], limit: int
) -> None:
    async def run() -> None:
        turns, work = Turns(limit), Work()
        items = [
            [(call, place, cost) for place, cost in enumerate(costs)]
            for call, costs in enumerate([one, other])
        ]
        calls = [asyncio.create_task(turns.map(work, each, lambda item: item[2])) for each in items]
        await settle()
        while work.running:
            begun = [[item for item in work.begun if item[0] == call] for call in (0, 1)]
            if all(len(some) < len(each) for some, each in zip(begun, items, strict=True)):
                had = [sum(item[2] for item in some) for some in begun]
                assert abs(had[0] - had[1]) <= max(one) + max(other)
            await work.end(next(iter(work.running)))
        await asyncio.gather(*calls)

    asyncio.run(run())


def test_a_small_call_goes_beside_a_huge_one() -> None:
    async def run() -> None:
        turns, work = Turns(4), Work()
        huge = asyncio.create_task(turns.map(work, range(1000)))
        await settle()
        small = asyncio.create_task(turns.map(work, ["a", "b"]))
        await settle()
        assert work.begun == [0, 1, 2, 3]
        for item in range(4):
            await work.end(item)
        assert work.begun[4:] in ([4, "a", 5, "b"], ["a", 4, "b", 5])
        await work.end("a")
        await work.end("b")
        assert await small == ["a", "b"]
        huge.cancel()

    asyncio.run(run())


def test_turns_are_counted_in_what_they_cost() -> None:
    async def run() -> None:
        turns, work = Turns(100), Work()
        long = asyncio.create_task(turns.map(work, range(1000), lambda _: 100))
        await settle()
        short = asyncio.create_task(turns.map(work, map(str, range(1000)), lambda _: 10))
        await settle()
        while len(work.begun) < 110:
            await work.end(next(iter(work.running)))
        assert 8 <= sum(isinstance(item, int) for item in work.begun) <= 12
        long.cancel()
        short.cancel()

    asyncio.run(run())


def test_an_item_beyond_the_limit_goes_alone_and_is_not_passed_over() -> None:
    async def run() -> None:
        turns, work = Turns(10), Work()
        calls = [
            asyncio.create_task(turns.map(work, [item], lambda item: item)) for item in (4, 99, 5)
        ]
        await settle()
        assert work.begun == [4]
        await work.end(4)
        assert work.begun == [4, 99]
        await work.end(99)
        await work.end(5)
        assert await asyncio.gather(*calls) == [[4], [99], [5]]

    asyncio.run(run())


def test_items_are_made_when_they_are_needed() -> None:
    made = 0

    def items() -> Iterator[int]:
        nonlocal made
        for made in range(1, 1001):  # noqa: UP028 - the number is what is looked at
            yield made

    async def run() -> None:
        turns, work = Turns(5), Work()
        call = asyncio.create_task(turns.map(work, items()))
        await settle()
        assert made == 6
        await work.end_all()
        assert await call == list(range(1, 1001))

    asyncio.run(run())


def test_a_cancelled_call_leaves_nothing_and_makes_room() -> None:
    async def run() -> None:
        turns, work = Turns(3), Work()
        first = asyncio.create_task(turns.map(work, range(10)))
        await settle()
        second = asyncio.create_task(turns.map(work, "ab"))
        await settle()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await settle()
        assert set(work.running) == {"a", "b"}
        await work.end_all()
        assert await second == ["a", "b"]
        assert turns.used == 0

    asyncio.run(run())


def test_who_waits_behind_a_call_that_gives_up_need_not_wait_longer() -> None:
    async def run() -> None:
        turns, work = Turns(10), Work()
        calls = [
            asyncio.create_task(turns.map(work, [item], lambda item: item)) for item in (5, 9, 4)
        ]
        await settle()
        calls[1].cancel()
        await settle()
        assert set(work.running) == {5, 4}
        await work.end_all()

    asyncio.run(run())


def test_a_call_cancelled_when_its_turn_comes_does_not_keep_it() -> None:
    async def run() -> None:
        turns = Turns(1)

        async def work(item: str) -> str:
            if item == "first":
                task = asyncio.current_task()
                assert task is not None
                task.add_done_callback(lambda _: calls[1].cancel())  # after the turn was given on
                await settle()
            return item

        calls = [
            asyncio.create_task(turns.map(work, [item])) for item in ("first", "second", "third")
        ]
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert done == [["first"], done[1], ["third"]]
        assert isinstance(done[1], asyncio.CancelledError)
        assert turns.used == 0

    asyncio.run(asyncio.wait_for(run(), 10))


def test_a_failure_ends_its_call_and_no_other() -> None:
    async def run() -> None:
        turns, work = Turns(6), Work()

        async def fragile(item: int) -> object:
            if item == 2:
                raise ValueError("two")
            return await work(item)

        failing = asyncio.create_task(turns.map(fragile, range(100)))
        other = asyncio.create_task(turns.map(work, "abc"))
        with pytest.raises(ValueError, match="two"):
            await failing
        await settle()
        assert set(work.running) == {"a", "b", "c"}
        await work.end_all()
        assert await other == ["a", "b", "c"]
        assert turns.used == 0

    asyncio.run(run())


def test_a_call_that_has_failed_does_not_wait_for_its_turn() -> None:
    async def run() -> None:
        turns, work = Turns(10), Work()
        other = asyncio.create_task(turns.map(work, ["other"], lambda _: 8))
        failing = asyncio.create_task(turns.map(work, [1, 9], lambda item: item))
        await settle()
        work.running[1].set_exception(ValueError("one"))
        with pytest.raises(ValueError, match="one"):
            await asyncio.wait_for(failing, 5)
        assert work.begun == ["other", 1]
        await work.end_all()
        await other

    asyncio.run(run())
