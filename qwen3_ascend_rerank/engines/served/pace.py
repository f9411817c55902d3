"""How much of one call is under way: as much as servers do side by side, and little more.

A server that is asked for everything at once has it all in its own queue, and serves whoever comes
later last. What is asked for beyond what it does side by side makes no answer come sooner, only
later: that shows, and is what a call goes by.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ...bridge.turns import Turns

Item = TypeVar("Item")
Result = TypeVar("Result")

FIRST, MOST = 4, 8
"""Pieces under way at each server at first, and at most."""
SLOWER = 1.5
"""Times the shortest: how long an answer may take while others are under way."""
BACK = 0.7
"""What is left of what may be under way when one takes longer; it grows by one when all that were
under way did not. Additive increase and multiplicative decrease, as in TCP."""


async def paced(
    work: Callable[[Item], Awaitable[Result]], items: Sequence[Item], servers: int
) -> list[Result]:
    """What `work` gives for each of `items`, which are of about one size, in their order.

    Args:
        work: does one item.
        items: what to do.
        servers: how many share the work.
    """
    shortest, window = math.inf, float(FIRST * servers)
    turns = Turns(FIRST * servers)

    async def timed(item: Item) -> Result:
        nonlocal shortest, window
        loop = asyncio.get_running_loop()
        began = loop.time()
        result = await work(item)
        seconds = loop.time() - began
        shortest = min(shortest, seconds)
        window = window + 1 / window if seconds <= SLOWER * shortest else window * BACK
        window = min(max(window, servers), MOST * servers)
        turns.limit = int(window)
        return result

    return await turns.map(timed, items)
