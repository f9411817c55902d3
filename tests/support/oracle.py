"""Log-odds of the lexical model for any token ids: what a server that does no wrong computes."""

import asyncio
from functools import cache
from threading import Thread

from qwen3_ascend_rerank.engines.served import probing
from qwen3_ascend_rerank.engines.startup import open_tokenizer
from qwen3_ascend_rerank.engines.torch import TorchEngine
from qwen3_ascend_rerank.prompts import DEFAULT_INSTRUCTION, PromptBatch, build_batch
from qwen3_ascend_rerank.trust import likeness
from qwen3_ascend_rerank.trust.answers import LEXICAL_ANSWERS

LONGEST = 4096
FIRST = [
    (probing.QUERY, probing.DOCUMENTS),
    (likeness.QUERY, likeness.DOCUMENTS),
    *((query, list(answers)) for query, answers in LEXICAL_ANSWERS.items()),
]
"""What clients ask when they start, and what the tests ask most."""


class Oracle:
    """The lexical model in this process, which computes each prompt once. Usable from any loop."""

    def __init__(self) -> None:
        self._engine = TorchEngine("lexical", max_length=LONGEST)
        self._known: dict[tuple[int, ...], float] = {}
        self._loop = asyncio.new_event_loop()
        """The engine's own: it lives in one, and whoever asks in others."""
        Thread(target=self._loop.run_forever, name="oracle", daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result()

    async def _begin(self) -> None:
        """Load, and compute what every client asks first, before anybody waits for it."""
        await self._engine.start()
        tokenizer = open_tokenizer("lexical")
        for query, documents in FIRST:
            batch = build_batch(tokenizer, DEFAULT_INSTRUCTION, query, documents, LONGEST)
            await self._learn(list(map(tuple, batch.prompts())))

    async def score(self, prompts: list[list[int]]) -> list[float]:
        """The log-odds of each prompt, shape (len(prompts),)."""
        new = [ids for ids in set(map(tuple, prompts)) if ids not in self._known]
        if new:
            learning = asyncio.run_coroutine_threadsafe(self._learn(new), self._loop)
            await asyncio.wrap_future(learning)
        return [self._known[tuple(ids)] for ids in prompts]

    async def _learn(self, prompts: list[tuple[int, ...]]) -> None:
        values = await self._engine.score(_bare(prompts))
        self._known.update(zip(prompts, values, strict=True))


@cache
def oracle() -> Oracle:
    """The one of this process."""
    return Oracle()


async def by_length(prompts: list[list[int]]) -> list[float]:
    """Scores that cost nothing, of a model that minds only how long a prompt is."""
    return [(len(prompt) - 110) / 12 for prompt in prompts]


def _bare(prompts: list[tuple[int, ...]]) -> PromptBatch:
    """`prompts` as documents, with nothing before and nothing after."""
    count = len(prompts)
    ids = [list(prompt) for prompt in prompts]
    return PromptBatch([], ids, [], "", "", [""] * count, [False] * count)
