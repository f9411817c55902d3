"""Log-odds of the lexical model for any token ids: what a server that does no wrong computes."""

import asyncio
from functools import cache

from qwen3_ascend_rerank.engines.torch import TorchEngine
from qwen3_ascend_rerank.prompt import PromptBatch

LONGEST = 4096


class Oracle:
    """The lexical model in this process, which computes each prompt once. Usable from any loop."""

    def __init__(self) -> None:
        self._engine = TorchEngine("lexical", max_length=LONGEST)
        self._known: dict[tuple[int, ...], float] = {}
        asyncio.run(self._engine.start())

    async def score(self, prompts: list[list[int]]) -> list[float]:
        """The log-odds of each prompt, shape (len(prompts),)."""
        new = [ids for ids in set(map(tuple, prompts)) if ids not in self._known]
        if new:
            values = await self._engine.score(_bare(new))
            self._known.update(zip(new, values, strict=True))
        return [self._known[tuple(ids)] for ids in prompts]


@cache
def oracle() -> Oracle:
    """The one of this process."""
    return Oracle()


def _bare(prompts: list[tuple[int, ...]]) -> PromptBatch:
    """`prompts` as documents, with nothing before and nothing after."""
    count = len(prompts)
    ids = [list(prompt) for prompt in prompts]
    return PromptBatch([], ids, [], "", "", [""] * count, [False] * count)
