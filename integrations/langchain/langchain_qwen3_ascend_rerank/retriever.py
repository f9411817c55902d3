"""A retriever that fetches with another one, and reranks what came."""

from __future__ import annotations

from typing import Any, cast

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, RetrieverLike
from pydantic import Field, model_validator
from typing_extensions import override

from qwen3_ascend_rerank.components import CallOptions, refuse_unknown

from .rerank import Qwen3AscendRerank

RERANK_OPTIONS = ("threshold", "instruction", "timeout")


class Qwen3AscendRerankRetriever(BaseRetriever):
    """Fetches with `base_retriever`, and keeps the best `k` after reranking.

    Unlike `ContextualCompressionRetriever` it takes options with each call: `k`, `threshold`,
    `instruction` and `timeout` go to the reranker, everything else to `base_retriever`.

    Example:
        ```python
        retriever = Qwen3AscendRerankRetriever(
            base_retriever=store.as_retriever(search_kwargs={"k": 50}),
            base_compressor=Qwen3AscendRerank(),
            k=5,
        )
        documents = retriever.invoke("What is the capital of China?", k=3, threshold=0.5)
        ```
    """

    base_retriever: RetrieverLike
    """Where the documents come from; let it fetch several times `k`."""
    base_compressor: Qwen3AscendRerank = Field(default_factory=Qwen3AscendRerank)
    """What ranks them; with no settings, as the environment says."""
    k: int | None = Field(None, ge=1)
    """How many documents to return at most; None: as many as the compressor keeps."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, values: Any) -> Any:
        if isinstance(values, dict):
            refuse_unknown(cls, values)
        return values

    @override
    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        options = self._take_options(kwargs)
        documents = self.base_retriever.invoke(
            query, {"callbacks": run_manager.get_child()}, **kwargs
        )
        return self.base_compressor.compress_documents(
            documents, query, run_manager.get_child(), **options
        )

    @override
    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        options = self._take_options(kwargs)
        documents = await self.base_retriever.ainvoke(
            query, {"callbacks": run_manager.get_child()}, **kwargs
        )
        return await self.base_compressor.acompress_documents(
            documents, query, run_manager.get_child(), **options
        )

    def _take_options(self, kwargs: dict[str, Any]) -> CallOptions:
        """Out of `kwargs`, what is meant for the reranker; `k` is its `top_n`."""
        options = {name: kwargs.pop(name) for name in RERANK_OPTIONS if name in kwargs}
        if "k" in kwargs or self.k is not None:
            options["top_n"] = kwargs.pop("k", self.k)
        return cast("CallOptions", options)
