"""Load on something that answers: so many callers at once, or so many requests a second.

Nothing here knows what a request is; `ask` does.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

T = TypeVar("T")


class Arrivals(str, Enum):
    """When requests come at a given rate."""

    poisson = "poisson"
    fixed = "fixed"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one request took of the engine."""

    tokens: int
    """Prompt tokens that were scored."""
    documents: int
    """Documents of the request."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request that has ended."""

    seconds: float
    """From when it was due to its answer."""
    answer: Cost | Exception
    """What came back, or why nothing did."""


Ask = Callable[[T], Awaitable[Cost]]
Record = Callable[[Outcome], None]
"""Told of each request as it ends."""


async def closed_loop(ask: Ask[T], requests: Iterable[T], concurrency: int, record: Record) -> None:
    """`concurrency` callers, each of whom asks again as soon as it is answered."""
    waiting = iter(requests)

    async def caller() -> None:
        for request in waiting:
            record(await _outcome(ask, request, time.perf_counter()))

    await asyncio.gather(*(caller() for _ in range(concurrency)))


async def open_loop(
    ask: Ask[T], requests: Iterable[T], gaps: Iterator[float], record: Record
) -> None:
    """Requests at times of their own, however many are still waiting for an answer.

    Args:
        ask: asks one request.
        requests: what is asked.
        gaps: seconds between each request and the next.
        record: told of each request as it ends. Its seconds count from when the request was due,
            so that a load generator that falls behind does not look like a fast engine.
    """
    due = time.perf_counter()
    calls: list[asyncio.Future[None]] = []

    async def caller(request: T, due: float) -> None:
        record(await _outcome(ask, request, due))

    for request in requests:
        await asyncio.sleep(due - time.perf_counter())
        calls.append(asyncio.ensure_future(caller(request, due)))
        due += next(gaps)
    await asyncio.gather(*calls)


def gaps(arrivals: Arrivals, rate: float, seed: int) -> Iterator[float]:
    """Seconds between requests that come `rate` times a second, without end."""
    chance = random.Random(seed)  # noqa: S311 - arrivals, no secret
    while True:
        yield chance.expovariate(rate) if arrivals is Arrivals.poisson else 1 / rate


async def _outcome(ask: Ask[T], request: T, due: float) -> Outcome:
    try:
        answer: Cost | Exception = await ask(request)
    except Exception as error:  # noqa: BLE001 - whatever failed is counted
        answer = error
    return Outcome(time.perf_counter() - due, answer)
