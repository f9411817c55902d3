"""Whether what answers at an address is still the model that was found there.

Behind a balancer, or a Kubernetes Service that is being updated, a model can be exchanged for
another without a single request that fails. So pairs on which models differ are asked again and
again, beside the requests, and no answer is handed out that such a look does not stand behind.
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Awaitable, Callable, Sequence

from ...errors import RerankError
from ...results import probability
from ...trust.examiner import TOLERANCE
from .faults import fault_of

QUERY = "What is the capital of China?"
DOCUMENTS = (
    "The court was moved to the north, to what is Beijing today.",
    "Tell me what Beijing is known for.",
    "Rome is the seat of the Italian government, and what some call the eternal city.",
    "Beijing is the seat of the government.",
    "Nanjing was the capital of several dynasties.",
    "Shanghai is the largest city of China.",
    "What people ask is which of the cities leads.",
    "The answer is Beijing.",
)
"""Neither good answers nor bad ones: where models are sure of themselves, they all agree."""
LARGEST = max(TOLERANCE.values())
"""How far the log-odds of one pair may lie apart, where the same model computes them twice."""
USUAL = 0.15
"""How far those of all pairs may on average."""
ROUNDING = 1 / 256
"""What a probability loses where it is computed in bfloat16."""
ALWAYS = 0.5
"""Share of the time between two looks after which the next one begins, if there are requests."""


def same_model(one: Sequence[float], other: Sequence[float], *, exact: bool) -> bool:
    """Whether these log-odds of `DOCUMENTS` may be from one model.

    Args:
        one: from one server, or at one time.
        other: from another.
        exact: whether they are log-odds from the start; else they come from probabilities, which
            say little of log-odds near 0 and 1, and are compared themselves.
    """
    pairs = list(zip(one, other, strict=False))  # one may take fewer documents at once
    if exact:
        apart = [abs(mine - yours) for mine, yours in pairs]
        return max(apart) <= LARGEST and sum(apart) <= USUAL * len(apart)
    chances = [(probability(mine), probability(yours)) for mine, yours in pairs]
    apart = [abs(mine - yours) for mine, yours in chances]
    slopes = [max(chance * (1 - chance) for chance in both) for both in chances]
    return all(
        distance <= LARGEST * slope + ROUNDING
        for distance, slope in zip(apart, slopes, strict=True)
    ) and sum(apart) <= USUAL * sum(slopes) + ROUNDING * len(apart)


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
