"""HTTP clients of one kept connection each, the last one used first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx

KEPT_SECONDS = 4.0
"""How long an idle connection is kept: less than the 5 seconds after which uvicorn ends it."""
LIMITS = httpx.Limits(
    max_connections=None, max_keepalive_connections=1, keepalive_expiry=KEPT_SECONDS
)


class Lanes:
    """As many clients as there are requests at once.

    One client with a pool would do the same, but httpx's pool looks at every one of its connections
    several times a request: with 64 that costs more than all the rest.
    """

    def __init__(self, make: Callable[..., httpx.AsyncClient]) -> None:
        """Use clients that `make` makes of `limits`."""
        self._make = make
        self._idle: deque[tuple[float, httpx.AsyncClient]] = deque()
        """Since when each is idle, in the loop's time; the first for longest."""
        self._all: set[httpx.AsyncClient] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def one(self, *, new: bool = False) -> AsyncIterator[httpx.AsyncClient]:
        """A client that nobody else has meanwhile; by a `new` connection, which is not kept."""
        if self._idle and not new:
            _, client = self._idle.pop()
        else:
            self._all.add(client := self._make(limits=LIMITS))
        try:
            yield client
        finally:
            if new:
                self._close(client)
            else:
                self._idle.append((asyncio.get_running_loop().time(), client))
                self._tidy_later()

    async def aclose(self) -> None:
        """Close every connection."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*self._closing, *(client.aclose() for client in self._all))

    def _tidy_later(self) -> None:
        if self._timer is None and self._idle:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._idle[0][0] + KEPT_SECONDS, self._tidy)

    def _tidy(self) -> None:
        """Close those that have been idle for too long: the server will have closed its end."""
        self._timer = None
        oldest = asyncio.get_running_loop().time() - KEPT_SECONDS
        while self._idle and self._idle[0][0] <= oldest:
            self._close(self._idle.popleft()[1])
        self._tidy_later()

    def _close(self, client: httpx.AsyncClient) -> None:
        self._all.discard(client)
        task = asyncio.get_running_loop().create_task(client.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
