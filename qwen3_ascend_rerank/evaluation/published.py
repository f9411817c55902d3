r"""The prompt with which the published figures were made, for comparison.

The evaluation code of the model's authors builds another prompt than their model card: two line
feeds between instruction, query and document, and ``<|im_end|>`` twice, since its chat template
ends the turn and its suffix ends it again.

Source: https://github.com/QwenLM/Qwen3-Embedding, ``evaluation/qwen3_reranker_model.py``.
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import InvalidInputError
from ..prompts import PromptBatch
from ..protocol import EngineInfo
from ..reranker import Reranker

MORE = 8
"""Tokens by which this prompt may be longer than the model card's; documents are cut so much
earlier. The authors cut at 8,192 before the suffix, so that their longest prompt has some more."""
END_OF_TURN = 2
"""Tokens with which the model card's suffix begins: ``<|im_end|>`` and a line feed."""


class PublishedPrompt:
    """An engine that asks a Reranker's own engine with the other prompt.

    Hand it to another Reranker, whose scores are then those of that prompt::

        Reranker(PublishedPrompt(reranker), instruction=…)

    Whoever made the inner Reranker closes it.
    """

    def __init__(self, reranker: Reranker) -> None:
        """Nothing is loaded yet.

        Args:
            reranker: one that loads its model here; it is examined with the model card's prompt.
        """
        self._held = reranker._held

    @property
    def info(self) -> EngineInfo:
        """What runs, and where."""
        info = self._held.info
        assert info is not None  # noqa: S101 - it has started
        return replace(info, max_length=info.max_length - MORE)

    async def start(self) -> None:
        """Start the inner engine.

        Raises:
            InvalidInputError: it sends text, of which the server makes its own prompt.
            RerankError: it could not start.
        """
        info = await self._held.start()
        if info.takes_text:
            raise InvalidInputError(
                "the published prompt needs an engine that takes token ids, and this server takes "
                "text; load the model here, or ask a vLLM server directly"
            )

    async def score(self, batch: PromptBatch) -> list[float]:
        """Log-odds of "yes" for each document of `batch`, in its order."""
        engine, tokenizer = await self._held.started()
        opening = f"<Instruct>: {batch.instruction}\n\n<Query>: {batch.query}\n\n<Document>:"
        (shared,) = tokenizer.encode([opening])
        other = replace(
            batch,
            prefix=tokenizer.head + shared,
            suffix=batch.suffix[:END_OF_TURN] + batch.suffix,
        )
        return list(await self._held.score(engine, other))

    async def aclose(self) -> None:
        """Leave the inner engine to whoever made it."""
