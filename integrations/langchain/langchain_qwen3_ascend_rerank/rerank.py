"""Qwen3AscendRerank: a document compressor that reranks, and a Runnable of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from typing import Any, ClassVar, cast

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import RunnableConfig, RunnableSerializable
from langchain_core.runnables.config import ensure_config
from pydantic import ConfigDict, Field, field_validator
from typing_extensions import TypedDict, Unpack, override

from qwen3_ascend_rerank import InvalidInputError
from qwen3_ascend_rerank.components import (
    API_KEY_VARIABLE,
    CallOptions,
    Outcome,
    RerankComponent,
    checked_list,
    checked_scores,
    marked_metadata,
    marks_of,
    nearest,
    public_options,
)

logger = logging.getLogger(__name__)


class RerankInput(TypedDict):
    """What `Qwen3AscendRerank.invoke` takes."""

    query: str
    documents: Sequence[Document]


def _checked_field(name: Any) -> str | None:
    """The name of a field; None: none."""
    if name is None or (isinstance(name, str) and name):
        return name
    raise InvalidInputError(f"score_field is {name!r}; pass the name of a field of the metadata")


class Qwen3AscendRerank(
    RerankComponent,
    RunnableSerializable[RerankInput, list[Document]],
    BaseDocumentCompressor,
):
    """Puts the documents that answer the query first, with Qwen3-Reranker.

    Takes flat settings, from the environment (``QWEN3_RERANK_*``) where they are not given, or a
    ready ``reranker``. Nothing is loaded before the first call. The documents that come back are
    copies: `id`, content and metadata as they were, P("yes") in [0, 1] as ``relevance_score``, and
    the ``relevance_score`` or ``score`` that they came with as ``retrieval_score``.

    Options of one call, in the order in which they count: keyword arguments; ``rerank_top_n``,
    ``rerank_threshold``, ``rerank_instruction`` and ``rerank_timeout`` under ``configurable`` in
    the config; the fields.

    Example:
        >>> from langchain_core.documents import Document
        >>> documents = [Document("Bread needs flour."), Document("Beijing is China's capital.")]
        >>> with Qwen3AscendRerank(model="lexical", top_n=1) as compressor:
        ...     compressor.compress_documents(documents, "capital of China")[0].page_content
        "Beijing is China's capital."
    """

    model_config = ConfigDict(extra="forbid")

    score_field: str | None = Field(
        None,
        description="Field of the metadata with the retriever's score, higher is better, for "
        "`fusion`; not given: the order in which documents come, which does for `rrf`.",
    )
    _CHECKS: ClassVar = {**RerankComponent._CHECKS, "score_field": _checked_field}

    @field_validator("score_field", mode="before")
    @classmethod
    def _read_field(cls, name: Any) -> str | None:
        return _checked_field(name)

    @override
    def _check_fusion(self, fusion: str | None) -> None:
        super()._check_fusion(fusion)
        if fusion is not None and fusion.startswith("weighted") and self.score_field is None:
            raise InvalidInputError(
                f"fusion is {fusion}, which takes scores, and LangChain's documents have none; "
                "pass score_field, where in their metadata it is, or use rrf"
            )

    @override
    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,
        **options: Unpack[CallOptions],
    ) -> list[Document]:
        """Rank `documents` for `query`, best first.

        Args:
            documents: what to rank; never changed.
            query: what is asked; not empty.
            callbacks: handlers that see the call as a run of its own.
            **options: `top_n` (>= 1), `threshold` (in [0, 1], applied before `top_n`),
                `instruction`, `timeout` (seconds) and `long_documents` for this call.

        Returns:
            New documents, by falling score; with ``on_failure="keep_order"`` and a failure, the
            first `top_n` as they came, with the error's name as ``rerank_failure``.

        Raises:
            InvalidInputError: an argument that cannot be used.
            RerankError: scoring failed, and ``on_failure`` is ``raise``.
        """
        wanted = RerankInput(query=query, documents=documents)
        return self.invoke(wanted, {"callbacks": callbacks}, **options)

    @override
    async def acompress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,
        **options: Unpack[CallOptions],
    ) -> list[Document]:
        """`compress_documents` for asyncio; the event loop is never blocked."""
        wanted = RerankInput(query=query, documents=documents)
        return await self.ainvoke(wanted, {"callbacks": callbacks}, **options)

    @override
    def invoke(
        self,
        input: RerankInput,
        config: RunnableConfig | None = None,
        **options: Any,
    ) -> list[Document]:
        """`compress_documents` as a step of a chain: ``{"query": …, "documents": …}`` in."""
        call = self._prepare(input, config, options)
        output = cast("Any", self._call_with_config)(self._run, call, config)
        return cast("list[Document]", output["documents"])

    @override
    async def ainvoke(
        self,
        input: RerankInput,
        config: RunnableConfig | None = None,
        **options: Any,
    ) -> list[Document]:
        """`invoke` for asyncio; the event loop is never blocked."""
        call = self._prepare(input, config, options)
        output = await cast("Any", self._acall_with_config)(self._arun, call, config)
        return cast("list[Document]", output["documents"])

    @classmethod
    @override
    def is_lc_serializable(cls) -> bool:
        """Whether `dumps` and `loads` know this class."""
        return True

    @property
    @override
    def lc_secrets(self) -> dict[str, str]:
        """What `dumps` leaves to the environment of whoever calls `loads`."""
        return {"api_key": API_KEY_VARIABLE}

    @property
    @override
    def lc_attributes(self) -> dict[str, Any]:
        """What `dumps` writes otherwise than it is: the options without their secrets."""
        return {"engine_options": public_options(self.engine_options)}

    def _prepare(
        self, given: RerankInput, config: RunnableConfig | None, options: dict[str, Any]
    ) -> dict[str, Any]:
        """What is reranked, and how: the input of the traced run."""
        if not isinstance(given, dict) or not given.keys() >= {"query", "documents"}:
            raise InvalidInputError(
                f'input is of type {type(given).__name__}; pass {{"query": …, "documents": […]}}'
            )
        documents = checked_list(
            "documents",
            given["documents"],
            Document,
            "pass a list of LangChain's Documents",
            "pass LangChain's Documents: Document(page_content=text) for a text",
        )
        configured = ensure_config(config)["configurable"]
        known = {f"rerank_{name}": name for name in CallOptions.__annotations__}
        chosen = {name: configured[key] for key, name in known.items() if key in configured}
        for key in configured:
            if key.startswith("rerank_") and key not in known:
                _tell_of(key, nearest(key.removeprefix("rerank_"), known.values()))
        return {
            "query": given["query"],
            "documents": documents,
            "model": self._model_name,
            "options": self._options(**(chosen | options)),
        }

    def _run(self, call: dict[str, Any]) -> dict[str, Any]:
        return _apply(call, self._rerank(*self._asked(call)))

    async def _arun(self, call: dict[str, Any]) -> dict[str, Any]:
        return _apply(call, await self._arerank(*self._asked(call)))

    def _asked(
        self, call: dict[str, Any]
    ) -> tuple[str, list[str], CallOptions, list[float] | None]:
        documents = call["documents"]
        texts = [self._text(one.page_content, one.metadata) for one in documents]
        return call["query"], texts, call["options"], self._retrieved(documents)

    def _retrieved(self, documents: Sequence[Document]) -> list[float] | None:
        """The retriever's scores, or what stands for its order, where they count."""
        if self.fusion is None:
            return None
        self._check_fusion(self.fusion)  # the field may have been taken away since
        field = self.score_field
        if field is None:
            return [-float(place) for place in range(len(documents))]
        scores = [one.metadata.get(field) for one in documents]
        return checked_scores(scores, f"{field!r} of its metadata")


@cache
def _tell_of(key: str, meant: str | None) -> None:
    """Warn once of what may be somebody else's, but looks like an option misspelt."""
    if meant is not None:
        logger.warning("%s under configurable is not read; did you mean rerank_%s?", key, meant)


def _apply(call: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    """The documents in their new order, and what the trace tells about them."""
    documents = call["documents"]
    if isinstance(outcome, Exception):
        failure = type(outcome).__name__
        kept = documents[: call["options"]["top_n"]]
        return {
            "documents": [_copy(document, rerank_failure=failure) for document in kept],
            "failure": f"{failure}: {outcome}",
        }
    return {
        "documents": [
            _copy(documents[one.index], **marks_of(one, documents[one.index].page_content))
            for one in outcome
        ],
        "scores": outcome.scores,
        "engine": outcome.engine,
        "usage": asdict(outcome.usage),
    }


def _copy(document: Document, **marks: Any) -> Document:
    return document.model_copy(update={"metadata": marked_metadata(document.metadata, marks)})
