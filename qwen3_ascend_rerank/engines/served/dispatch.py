"""Who is asked for scores: the server with the least to do, and another one if it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ...errors import DocumentError, EngineError, RerankError, ServerUnavailableError
from ...prompts import PromptBatch
from .faults import (
    BUSY,
    CHANGED,
    FoundAnewError,
    GoneError,
    PassingError,
    RequestFaultError,
    SilentError,
)
from .replica import Replica
from .replicas import LONGEST_REST, Replicas, pause

REST_SECONDS = 1.0
"""How long a server that failed gets no work that another one can do."""


class Dispatcher:
    """Divides the work among servers."""

    def __init__(self, replicas: Replicas, attempts: int) -> None:
        """Give work to `replicas`, `attempts` times, and once more for each further one."""
        self._replicas = replicas
        self._attempts = attempts + len(replicas) - 1

    async def score(self, batch: PromptBatch, start: int = 0) -> list[float]:
        """Log-odds of "yes" of each document, from whichever server can give them.

        Args:
            batch: what to ask.
            start: the place of its first document in the whole call.

        Raises:
            ServerUnavailableError: none of them could answer.
            DocumentError: they fail at one of the documents, and at no other.
            EngineError: none of them gave scores.
        """
        try:
            return await self._whole(batch)
        except RequestFaultError as error:
            if len(batch) == 1:
                raise DocumentError(
                    start,
                    f"makes {error.url} fail ({error.what}), which is well otherwise; leave it "
                    "out, and see the server's log",
                ) from None
        half = len(batch) // 2
        first = await self.score(batch.part(0, half), start)
        return first + await self.score(batch.part(half, len(batch)), start + half)

    async def _whole(self, batch: PromptBatch) -> list[float]:
        tried: list[Replica] = []
        while True:
            replica = await self._pick(tried)
            tried.append(replica)
            try:
                return await self._ask(replica, batch)
            except RequestFaultError:
                if len(tried) > 1:  # it is not by chance
                    raise
                await asyncio.sleep(self._pause(tried))
            except (PassingError, *CHANGED) as error:
                if len(tried) < self._attempts and self._is_worth_it(error, tried):
                    await asyncio.sleep(self._pause(tried, error))
                elif isinstance(error, PassingError):
                    unavailable = isinstance(error, ServerUnavailableError)
                    kind = ServerUnavailableError if unavailable else EngineError
                    raise kind(f"{error}; tried {len(tried)} times") from None
                else:
                    raise

    def _is_worth_it(self, error: RerankError, tried: Sequence[Replica]) -> bool:
        """Whether another try may end otherwise."""
        if isinstance(error, PassingError) and error.retry_after <= LONGEST_REST:
            return True
        return self._others(tried)

    def _pause(self, tried: Sequence[Replica], error: RerankError | None = None) -> float:
        """Seconds before it."""
        if self._others(tried):
            return 0.0
        return max(pause(len(tried)), getattr(error, "retry_after", 0.0))

    async def _ask(self, replica: Replica, batch: PromptBatch) -> list[float]:
        try:
            return await replica.score(batch)
        except (RequestFaultError, FoundAnewError):
            raise  # the server is well
        except PassingError as error:
            self._blame(replica, error)
            raise
        except CHANGED as error:
            if replica.up and len(self._replicas) > 1:
                self._replicas.leave_out(replica, error)
            raise

    def _blame(self, replica: Replica, error: PassingError) -> None:
        """Give a server less work after a fault, or none."""
        replica.faults += 1
        failing = isinstance(error, SilentError) or (error.status != BUSY and replica.faults > 1)
        gone = isinstance(error, GoneError) or (failing and len(self._replicas) > 1)
        if gone and replica.up:
            self._replicas.leave_out(replica, error)
        rest = min(max(error.retry_after, REST_SECONDS), LONGEST_REST)
        replica.rests_until = asyncio.get_running_loop().time() + rest

    async def _pick(self, tried: Sequence[Replica]) -> Replica:
        """The server with the fewest tokens to compute, and if possible one not tried yet."""
        while not self._replicas.up:
            await self._replicas.wait_for_one()
        now = asyncio.get_running_loop().time()
        return min(
            self._replicas.up,
            key=lambda one: (one in tried, one.rests_until > now, one.outstanding, one.last_asked),
        )

    def _others(self, tried: Sequence[Replica]) -> bool:
        """Whether a server that was not tried yet can take work now."""
        now = asyncio.get_running_loop().time()
        return any(one not in tried and one.rests_until <= now for one in self._replicas.up)
