"""A fake engine for your own tests: no model, no network, the real Reranker around it.

```python
from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.testing import FakeEngine

engine = FakeEngine(lambda query, document: 4.0 if "Beijing" in document else -4.0)
with Reranker(engine) as reranker:
    result = reranker.rerank("capital of China", ["Bread", "Beijing"])
assert result[0].index == 1
assert engine.pairs == [("capital of China", "Bread"), ("capital of China", "Beijing")]
```

For scores from a real forward pass without downloads, use ``Reranker("lexical")``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .models.lexical import NAME
from .protocol import EngineInfo, PromptBatch

__all__ = ["FakeEngine"]


class FakeEngine:
    """An `Engine` that scores by a function, and remembers what it was asked.

    Prompts are built, and truncated, by the real code on the small tokenizer of the lexical model.
    """

    __test__ = False

    def __init__(
        self,
        score: Callable[[str, str], float] = lambda _query, _document: 0.0,
        *,
        seconds: float = 0.0,
        error: Exception | None = None,
        max_length: int = 8192,
        takes_text: bool = False,
    ) -> None:
        """Describe the fake.

        Args:
            score: log-odds of a (query, document) pair; the document as the engine sees it.
            seconds: how long each call takes.
            error: raised by each call instead of an answer.
            max_length: what `info` says.
            takes_text: what `info` says: control tokens in texts are broken up then.
        """
        self._score = score
        self._seconds = seconds
        self._error = error
        self.pairs: list[tuple[str, str]] = []
        """Every (query, document) that was scored, in order."""
        self.starts = 0
        """How often the engine was started."""
        self.closed = False
        """Whether the engine was closed."""
        self._info = EngineInfo(
            model="fake",
            engine="fake",
            version="",
            device="cpu",
            dtype="float32",
            max_length=max_length,
            tokenizer=NAME,
            takes_text=takes_text,
        )

    @property
    def info(self) -> EngineInfo:
        """A fixed description."""
        return self._info

    async def start(self) -> None:
        """Count the start."""
        self.starts += 1
        self.closed = False

    async def score(self, batch: PromptBatch) -> list[float]:
        """What the function says of each document."""
        await asyncio.sleep(self._seconds)
        if self._error is not None:
            raise self._error
        self.pairs += [(batch.query, text) for text in batch.texts]
        return [self._score(batch.query, text) for text in batch.texts]

    async def aclose(self) -> None:
        """Remember that the engine was closed."""
        self.closed = True
