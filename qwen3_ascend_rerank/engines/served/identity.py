"""Whether what answers at an address is still the model that was found there.

Behind a balancer, or a Kubernetes Service that is being updated, a model can be exchanged for
another without a single request that fails. So pairs on which models differ are asked again and
again, beside the requests, and no answer is handed out that such a look does not stand behind.
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Awaitable, Callable

from ...errors import RerankError
from .faults import fault_of

ALWAYS = 0.5
"""Share of the time between two looks after which the next one begins, if there are requests."""


class Identity:
    """Looks at one server again and again, beside its requests."""

    def __init__(self, url: str, look: Callable[[], Awaitable[None]], every: float) -> None:
        """Nothing has been seen yet.

        Args:
            url: the server.
            look: asks it, and raises what is wrong.
            every: seconds for which a look counts.
        """
        self._url = url
        self._look = look
        self._every = every
        self._seen = -math.inf
        """When the last look began in which all was well, in the loop's time."""
        self._doubts = 0
        """How often the server may have been exchanged in a way that showed."""
        self._looking: asyncio.Task[RerankError | None] | None = None

    def seen(self) -> None:
        """All was well just now."""
        self._seen = asyncio.get_running_loop().time()

    def doubt(self) -> None:
        """The server may have been exchanged: no earlier look counts any more."""
        self._doubts += 1
        self._seen = -math.inf

    def attend(self) -> None:
        """Begin a look if one will soon be needed; to be called with every request."""
        if asyncio.get_running_loop().time() - self._seen > ALWAYS * self._every:
            self._begin()

    async def assure(self, asked: float) -> None:
        """Return if a look stands behind the answer to a request that was sent at `asked`.

        It does if it began less than `every` seconds ago, or after the request was sent.

        Raises:
            RerankError: what a look found to be wrong.
        """
        while self._seen < min(asked, asyncio.get_running_loop().time() - self._every):
            # It belongs to nobody: a caller that gives up does not end it for the others.
            if (error := await asyncio.shield(self._begin())) is not None:
                raise copy.copy(error)

    async def aclose(self) -> None:
        """End a look that is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def _begin(self) -> asyncio.Task[RerankError | None]:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._examine())
        return self._looking

    async def _examine(self) -> RerankError | None:
        began, doubts = asyncio.get_running_loop().time(), self._doubts
        error = await fault_of(self._url, self._look())
        if error is not None:
            self._seen = -math.inf
        elif doubts == self._doubts:
            self._seen = began
        return error
