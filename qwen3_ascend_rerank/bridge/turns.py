"""Turns: much work from many calls, of which a bounded part is under way at once.

A runtime behind an engine serves whoever asked first, so that one huge call would hold up all
others, and all of its prompts would lie in memory at once. Here each call hands over one piece of
work after the other, and calls take turns by the tokens that they have had: a small call goes
beside a huge one, not behind it. Start-time fair queueing, after Goyal, Vin and Cheng, "Start-time
fair queueing: a scheduling algorithm for integrated services packet switching networks", 1996.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Turns:
    """Who begins next, of all calls of one event loop."""

    def __init__(self, limit: int) -> None:
        """Nothing is under way.

        Args:
            limit: how much may be under way at once, in whatever costs are counted in. May be
                assigned anew; what is under way beyond it then ends first.
        """
        self.limit = limit
        self.used = 0
        """How much is under way."""
        self._clock = 0
        """Where the call stood that began something last."""
        self._numbers = count()
        self._waiting: list[_Turn] = []
        """A heap; a call that waits has one entry."""
        self._looking = False
        """Whether it will soon be seen who may begin."""

    async def map(
        self,
        work: Callable[[Item], Coroutine[Any, Any, Result]],
        items: Iterable[Item],
        cost: Callable[[Item], int] = lambda _: 1,
    ) -> list[Result]:
        """What `work` gives for each of `items`, in their order.

        An item is taken from `items` when the one before has begun, so that they can be made as
        they are needed. An item that alone costs more than the limit begins when nothing else is
        under way. Cancelling the call, or the failure of one item, ends all that has begun.

        Args:
            work: does one item.
            items: what to do.
            cost: how much of the limit an item takes, at least 1.

        Raises:
            Exception: what `work` raised.
        """
        call: _Call[Result] = _Call()
        try:
            for item in items:
                need = max(1, cost(item))
                await self._turn(call, need)
                self._begin(call, work(item), need)
            return await asyncio.gather(*call.tasks)
        finally:
            for task in call.tasks:
                task.cancel()
            await asyncio.gather(*call.tasks, return_exceptions=True)

    async def _turn(self, call: _Call[Any], need: int) -> None:
        """Wait until `call` may begin something that costs `need`."""
        if call.failure is not None:
            raise call.failure
        start = max(call.place, self._clock)
        call.place = start + need
        call.waits = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, _Turn(start, next(self._numbers), need, call.waits))
        self._look()
        try:
            await call.waits
        except asyncio.CancelledError:
            # Its turn may have come in the same moment; if not, it stands in nobody's way any more.
            self._give_back(0 if call.waits.cancelled() else need)
            raise

    def _begin(self, call: _Call[Result], work: Coroutine[Any, Any, Result], need: int) -> None:
        def ended(task: asyncio.Task[Result]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                call.fail(error)
            self._give_back(need)

        task = asyncio.get_running_loop().create_task(work)
        call.tasks.append(task)
        task.add_done_callback(ended)

    def _give_back(self, need: int) -> None:
        self.used -= need
        self._look()

    def _look(self) -> None:
        """See who may begin when all have asked that are about to."""
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._hand_out)

    def _hand_out(self) -> None:
        """Let begin whoever may."""
        self._looking = False
        while self._waiting:
            turn = self._waiting[0]
            if turn.waits.done():  # cancelled, or its call has failed
                heapq.heappop(self._waiting)
                continue
            if self.used and self.used + turn.need > self.limit:
                return
            heapq.heappop(self._waiting)
            self.used += turn.need
            self._clock = turn.start
            turn.waits.set_result(None)


@dataclass(frozen=True, slots=True, order=True)
class _Turn:
    """What a call waits to begin."""

    start: int
    """How much the call has had, and what it missed before it came; the least is next."""
    number: int
    """Among equals the first to ask is first."""
    need: int = field(compare=False)
    waits: asyncio.Future[None] = field(compare=False)


class _Call(Generic[Result]):
    def __init__(self) -> None:
        self.place = 0
        self.tasks: list[asyncio.Task[Result]] = []
        self.waits: asyncio.Future[None] | None = None
        self.failure: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        """Begin nothing more."""
        self.failure = self.failure or error
        if self.waits is not None and not self.waits.done():
            self.waits.set_exception(error)
