"""HTTP clients of one kept connection each, the last one used first."""

from __future__ import annotations

import time
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
        """Since when each is idle."""
        self._all: set[httpx.AsyncClient] = set()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client that nobody else has meanwhile."""
        await self._close_old()
        if self._idle:
            _, client = self._idle.pop()
        else:
            self._all.add(client := self._make(limits=LIMITS))
        try:
            yield client
        finally:
            self._idle.append((time.monotonic(), client))

    async def aclose(self) -> None:
        """Close every connection."""
        for client in list(self._all):
            await client.aclose()

    async def _close_old(self) -> None:
        """Close those whose connection has been idle for too long."""
        while self._idle and self._idle[0][0] < time.monotonic() - KEPT_SECONDS:
            _, client = self._idle.popleft()
            self._all.discard(client)
            await client.aclose()
