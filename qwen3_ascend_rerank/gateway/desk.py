"""How many requests may be inside at once, and how large all of them together."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .refusals import RequestRefusedError

_MOST_SECONDS = 60
_WEIGHT = 0.1
"""How much the last request counts in the mean of what they take."""


class Desk:
    """Counts what is inside; who comes when it is full is told when to come again.

    The requests inside take turns at the engine, which knows how much it can do at once. So this
    bounds memory and waiting, not the work.
    """

    def __init__(self, requests: int, size: int) -> None:
        """Nobody is inside.

        Args:
            requests: how many may be inside.
            size: bytes of their bodies, all together.
        """
        self._requests, self._size = requests, size
        self.inside = 0
        """Requests inside."""
        self.held = 0
        """Bytes of their bodies."""
        self._seconds = 1.0

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A place for one request, for as long as it is inside.

        Raises:
            RequestRefusedError: there is none.
        """
        if self.inside >= self._requests:
            raise self._full(f"{self.inside} requests are inside already")
        place, began = Place(self), time.monotonic()
        self.inside += 1
        try:
            yield place
        finally:
            self.inside -= 1
            self.held -= place.size
            self._seconds += _WEIGHT * (time.monotonic() - began - self._seconds)

    def hold(self, size: int) -> None:
        """Make room for `size` bytes more.

        Raises:
            RequestRefusedError: there is none.
        """
        if self.held and self.held + size > self._size:
            raise self._full(f"the requests inside hold {self.held:,} bytes already")
        self.held += size

    def _full(self, why: str) -> RequestRefusedError:
        seconds = min(max(math.ceil(self._seconds), 1), _MOST_SECONDS)
        reason = f"{why}; try again in {seconds} s"
        return RequestRefusedError(429, "TooManyRequestsError", reason, retry_after=seconds)


class Place:
    """One request's."""

    def __init__(self, desk: Desk) -> None:
        """It holds nothing yet."""
        self._desk = desk
        self.size = 0
        """Bytes that it holds."""

    def hold(self, size: int) -> None:
        """Take `size` bytes more; raises as `Desk.hold` does."""
        self._desk.hold(size)
        self.size += size
