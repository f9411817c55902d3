"""Much work from an iterable that is read as it goes: a bounded part of it is held at once.

What is held is under way, or done and not taken yet: where outcomes come in order, those that wait
behind a slow one count. So memory is bounded by `limit`, however long the iterable is and however
slow whoever takes the outcomes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def stream(
    items: Iterable[Item],
    begin: Callable[[Item], Future[Result]],
    cost: Callable[[Item], int],
    limit: int,
    *,
    ordered: bool,
) -> Iterator[tuple[Item, Future[Result]]]:
    """Each item with the future that `begin` gave, which is done.

    An item is read when there is room for it, but for one that is read ahead. One that costs more
    than `limit` is held alone. Closing the iterator cancels what is under way.

    Args:
        items: what to do; read in the thread that takes the outcomes.
        begin: begins the work of one.
        cost: how much of `limit` it takes.
        limit: how much may be held at once.
        ordered: hand on in the order of `items`; else as they end.
    """
    held: dict[Future[Result], tuple[Item, int]] = {}
    ended: SimpleQueue[Future[Result]] = SimpleQueue()
    used = 0

    def take() -> tuple[Item, Future[Result]]:
        nonlocal used
        future = next(iter(held)) if ordered else ended.get()
        wait([future])
        item, need = held.pop(future)
        used -= need
        return item, future

    try:
        for item in items:
            need = cost(item)
            while held and used + need > limit:
                yield take()
            future = begin(item)
            held[future] = item, need
            used += need
            if not ordered:
                future.add_done_callback(ended.put)
            while held and (next(iter(held)).done() if ordered else not ended.empty()):
                yield take()
        while held:
            yield take()
    finally:
        for future in held:
            future.cancel()


async def astream(
    items: AsyncIterator[Item],
    begin: Callable[[Item], Future[Result]],
    cost: Callable[[Item], int],
    limit: int,
    *,
    ordered: bool,
) -> AsyncGenerator[tuple[Item, Future[Result]], None]:
    """`stream` for asyncio: outcomes are handed on while the next item is waited for."""
    held: dict[Future[Result], tuple[Item, int]] = {}
    ended: deque[Future[Result]] = deque()
    used, news, loop = 0, asyncio.Event(), asyncio.get_running_loop()

    def tell(future: Future[Result]) -> None:
        if not ordered:
            ended.append(future)
        news.set()

    def has_ended(future: Future[Result]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, future)

    def read() -> asyncio.Task[tuple[Item, ...]]:
        task = asyncio.ensure_future(_next(items))
        task.add_done_callback(lambda _: news.set())
        return task

    reading: asyncio.Task[tuple[Item, ...]] | None = read()
    try:
        while held or reading:
            news.clear()
            if ended or (ordered and held and next(iter(held)).done()):
                future = next(iter(held)) if ordered else ended.popleft()
                item, need = held.pop(future)
                used -= need
                yield item, future
                continue
            if reading and reading.done():
                if not reading.result():
                    reading = None
                    continue
                (item,) = reading.result()
                need = cost(item)
                if not held or used + need <= limit:
                    future = begin(item)
                    held[future] = item, need
                    used += need
                    future.add_done_callback(has_ended)
                    reading = read()
                    continue
            await news.wait()
    finally:
        if reading:
            reading.cancel()
        for future in held:
            future.cancel()


async def _next(source: AsyncIterator[Item]) -> tuple[Item, ...]:
    """The next item, alone; nothing at the end."""
    async for item in source:
        return (item,)
    return ()
