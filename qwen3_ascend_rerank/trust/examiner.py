"""Who asks an engine: prompts of any query, what they took, and how near two answers must lie."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping

from ..errors import InvalidInputError
from ..prompts import DEFAULT_INSTRUCTION, PromptBatch, QwenTokenizer, build_batch
from ..protocol import Engine

TOLERANCE = {"float32": 1e-3, "float16": 0.05, "bfloat16": 0.25}
"""How far two computations of one log-odds may lie apart, by precision of the model's body."""
ROOM = 4096
"""Tokens in which any prompt of the selfcheck fits whole."""
FILLER = (" and", " the", " river", " runs", " past", " old", " walls", " of", " stone")
"""Words of one token each."""


class Examiner:
    """Asks an engine, and counts the tokens."""

    def __init__(self, engine: Engine, tokenizer: QwenTokenizer) -> None:
        self.info = engine.info
        self.tokens = 0
        self.tolerance = TOLERANCE.get(engine.info.dtype, max(TOLERANCE.values()))
        self._engine = engine
        self._tokenizer = tokenizer

    async def ask(
        self, query: str, documents: list[str], instruction: str = DEFAULT_INSTRUCTION
    ) -> list[float]:
        """Log-odds of each document."""
        batch = self._batch(query, documents, instruction)
        self.tokens += sum(batch.lengths())
        return await self._engine.score(batch)

    def demand_room(self, asked: Mapping[str, Collection[str]]) -> None:
        """Make sure that no document of a query would be cut: what is left has another answer."""
        batches = [
            self._batch(query, list(documents), max_length=ROOM)
            for query, documents in asked.items()
        ]
        least = max((max(batch.lengths()) for batch in batches), default=0)
        if least > self.info.max_length:
            raise InvalidInputError(
                f"max_length is {self.info.max_length}, too short for the selfcheck, whose prompts "
                f"take up to {least} tokens: raise it to {least} or more, or pass "
                'selfcheck="off"'
            )

    def same(self, one: float, other: float) -> bool:
        """Whether two log-odds may be two computations of one."""
        return abs(one - other) <= self.tolerance

    def without(self, option: str) -> str:
        """What to do to have the engine run without something that it does by itself."""
        ways = {
            "vllm": f'pass engine_options={{"{option}": False}}',
            "served": f"start the server with --no-{option.replace('_', '-')}",
        }
        return ways.get(self.info.engine, f"report it, with {self.info.version}")

    def fill_blocks(self, query: str) -> str:
        """`query`, continued until all of it lies in full blocks of the cache, two at least.

        Whatever the query, the same follows after those blocks. So a cache that mixes up prompts
        gives another query this one's score to the last bit.
        """
        block = self.info.cache_block
        if not block:
            return query
        full = max(2, math.ceil(self._prefix_length(query) / block)) * block
        wanted = min(full + 1, self.info.max_length - 64)
        filler = ""
        for word in itertools.cycle(reversed(FILLER)):
            if self._prefix_length(query + filler) >= wanted:
                break
            filler = word + filler
        return query + filler

    def _prefix_length(self, query: str) -> int:
        return len(self._batch(query, []).prefix)

    def _batch(
        self,
        query: str,
        documents: list[str],
        instruction: str = DEFAULT_INSTRUCTION,
        max_length: int | None = None,
    ) -> PromptBatch:
        info = self.info
        return build_batch(
            self._tokenizer,
            instruction,
            query,
            documents,
            max_length or info.max_length,
            as_text=info.takes_text,
        )
