"""LlamaIndex's stand-ins."""

from __future__ import annotations

from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import (
    CompletionResponse,
    CompletionResponseGen,
    CustomLLM,
    LLMMetadata,
)
from llama_index.core.llms.callbacks import llm_completion_callback

from .text import embed, quote


class HashEmbedding(BaseEmbedding):
    """Counts words by their hashes: no network, no weights, the same vector every time."""

    model_name: str = "hash"

    def _get_text_embedding(self, text: str) -> list[float]:
        return embed(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return embed(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return embed(query)


class QuotingLLM(CustomLLM):
    """Answers with the first passage of its prompt, word for word."""

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex asks of every LLM."""
        return LLMMetadata(context_window=32_768, num_output=256, model_name="quoting")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:  # noqa: ARG002
        """The whole answer."""
        return CompletionResponse(text=quote(prompt))

    @llm_completion_callback()
    def stream_complete(
        self,
        prompt: str,
        formatted: bool = False,  # noqa: ARG002 - as LlamaIndex calls it
        **_: Any,
    ) -> CompletionResponseGen:
        """The answer as one piece."""
        answer = quote(prompt)
        yield CompletionResponse(text=answer, delta=answer)
