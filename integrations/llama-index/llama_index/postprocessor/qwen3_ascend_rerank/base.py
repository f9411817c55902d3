"""Qwen3AscendRerank: a node postprocessor that reranks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.exception import ExceptionEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import ConfigDict, Field
from typing_extensions import Unpack, override

from qwen3_ascend_rerank import InvalidInputError
from qwen3_ascend_rerank.components import (
    RELEVANCE_SCORE,
    RELEVANCE_SPAN,
    RELEVANCE_STAGE,
    RERANK_FAILURE,
    RETRIEVAL_SCORE,
    CallOptions,
    Outcome,
    RerankComponent,
    checked_list,
    checked_query,
    checked_scores,
    marked_metadata,
    marks_of,
)

MARKS = (RELEVANCE_SCORE, RELEVANCE_SPAN, RELEVANCE_STAGE, RETRIEVAL_SCORE, RERANK_FAILURE)
"""Metadata keys that neither an LLM nor an embedding should see."""

dispatcher = get_dispatcher(__name__)


def _checked_mode(mode: Any) -> MetadataMode:
    """One of LlamaIndex's modes, or the name of one."""
    try:
        return MetadataMode(mode)
    except ValueError:
        raise InvalidInputError(
            f"metadata_mode is {mode!r}; use one of {', '.join(MetadataMode)}"
        ) from None


class Qwen3AscendRerank(RerankComponent, BaseNodePostprocessor):
    """Puts the nodes that answer the query first, with Qwen3-Reranker.

    Takes flat settings, from the environment (``QWEN3_RERANK_*``) where they are not given, or a
    ready ``reranker``. Nothing is loaded before the first call. The nodes that come back are
    copies with the same id, relationships and embedding. Their `score` is P("yes") in [0, 1]; their
    metadata holds it as ``relevance_score`` and the retriever's as ``retrieval_score``, both
    excluded from what an LLM or an embedding sees. With ``fusion`` the score that a node came with
    counts in the order, too.

    Example:
        >>> from llama_index.core.schema import NodeWithScore, TextNode
        >>> texts = ["Bread needs flour.", "Beijing is China's capital."]
        >>> nodes = [NodeWithScore(node=TextNode(text=text)) for text in texts]
        >>> with Qwen3AscendRerank(model="lexical", top_n=1) as postprocessor:
        ...     postprocessor.postprocess_nodes(nodes, query_str="capital of China")[0].text
        "Beijing is China's capital."
    """

    model_config = ConfigDict(extra="forbid")

    metadata_mode: MetadataMode = Field(
        MetadataMode.EMBED,
        description="Which metadata is scored along with a node's text, unless metadata_fields "
        "names it.",
    )
    _CHECKS: ClassVar = {**RerankComponent._CHECKS, "metadata_mode": _checked_mode}

    @classmethod
    @override
    def class_name(cls) -> str:
        """The name under which LlamaIndex stores this class."""
        return "Qwen3AscendRerank"

    @override
    def postprocess_nodes(
        self,
        nodes: list[NodeWithScore],
        query_bundle: QueryBundle | None = None,
        query_str: str | None = None,
        **options: Unpack[CallOptions],
    ) -> list[NodeWithScore]:
        """Rank `nodes` for the query, best first.

        Args:
            nodes: what to rank; never changed.
            query_bundle: what is asked, or
            query_str: the same as a text; not empty.
            **options: `top_n` (>= 1), `threshold` (in [0, 1], applied before `top_n`),
                `instruction`, `timeout` (seconds) and `long_documents` for this call.

        Returns:
            New nodes, by falling score; with ``on_failure="keep_order"`` and a failure, the first
            `top_n` as they came, with the error's name as ``rerank_failure`` in their metadata.

        Raises:
            InvalidInputError: an argument that cannot be used.
            RerankError: scoring failed, and ``on_failure`` is ``raise``.
        """
        return self._postprocess_nodes(nodes, _query(query_bundle, query_str), **options)

    @override
    async def apostprocess_nodes(
        self,
        nodes: list[NodeWithScore],
        query_bundle: QueryBundle | None = None,
        query_str: str | None = None,
        **options: Unpack[CallOptions],
    ) -> list[NodeWithScore]:
        """`postprocess_nodes` for asyncio; the event loop is never blocked."""
        return await self._apostprocess_nodes(nodes, _query(query_bundle, query_str), **options)

    @dispatcher.span
    @override
    def _postprocess_nodes(
        self,
        nodes: list[NodeWithScore],
        query_bundle: QueryBundle | None = None,
        **options: Unpack[CallOptions],
    ) -> list[NodeWithScore]:
        nodes, chosen = _checked(nodes, query_bundle), self._options(**options)
        with self._observed(nodes, query_bundle, chosen) as ranked:
            prepared = self._prepare(nodes, query_bundle)
            outcome = self._rerank(*prepared, chosen, self._retrieved(nodes))
            ranked += _apply(nodes, outcome, chosen)
        return ranked

    @dispatcher.span
    @override
    async def _apostprocess_nodes(
        self,
        nodes: list[NodeWithScore],
        query_bundle: QueryBundle | None = None,
        **options: Unpack[CallOptions],
    ) -> list[NodeWithScore]:
        nodes, chosen = _checked(nodes, query_bundle), self._options(**options)
        with self._observed(nodes, query_bundle, chosen) as ranked:
            prepared = self._prepare(nodes, query_bundle)
            outcome = await self._arerank(*prepared, chosen, self._retrieved(nodes))
            ranked += _apply(nodes, outcome, chosen)
        return ranked

    def _prepare(
        self, nodes: Sequence[NodeWithScore], query: QueryBundle | None
    ) -> tuple[str, list[str]]:
        if query is None:
            raise InvalidInputError("there is no query; pass query_bundle or query_str")
        return query.query_str, [self._content(one) for one in nodes]

    def _retrieved(self, nodes: Sequence[NodeWithScore]) -> list[float] | None:
        """The scores that the nodes came with, where they count."""
        if self.fusion is None:
            return None
        return checked_scores([one.score for one in nodes], "the score of its node")

    def _content(self, given: NodeWithScore) -> str:
        if self.metadata_fields is None:
            return given.node.get_content(self.metadata_mode)
        return self._text(_own_text(given), given.node.metadata)

    @contextmanager
    def _observed(
        self, nodes: Sequence[NodeWithScore], query: QueryBundle | None, options: CallOptions
    ) -> Iterator[list[NodeWithScore]]:
        """Start and end events, whatever happens between them, around a list to be filled."""
        ranked: list[NodeWithScore] = []
        top_n = options["top_n"]
        start = ReRankStartEvent(
            query=query,
            nodes=_copies(nodes),
            top_n=len(nodes) if top_n is None else top_n,
            model_name=self._model_name,
        )
        payload: dict[str, Any] = {
            EventPayload.NODES: start.nodes,
            EventPayload.MODEL_NAME: start.model_name,
            EventPayload.QUERY_STR: query.query_str if query else None,
            EventPayload.TOP_K: start.top_n,
        }
        dispatcher.event(start)
        try:
            with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
                yield ranked
                event.on_end(payload={EventPayload.NODES: _copies(ranked)})
        finally:
            dispatcher.event(ReRankEndEvent(nodes=_copies(ranked)))


def _query(bundle: QueryBundle | None, text: str | None) -> QueryBundle | None:
    if bundle is not None and text is not None:
        raise InvalidInputError("both query_bundle and query_str are given; pass one of them")
    return bundle if text is None else QueryBundle(checked_query(text))


def _checked(nodes: Any, query: Any) -> list[NodeWithScore]:
    """The nodes, before an event or a span's handler meets what is none.

    A bare node is refused rather than wrapped: its retriever's score is lost, which a caller who
    passed it by mistake would miss only much later.
    """
    if not isinstance(query, QueryBundle | None):
        checked_query(query)
        raise InvalidInputError(
            f"query_bundle is a {type(query).__name__}; pass query_str={query!r}, or a QueryBundle"
        )
    return checked_list(
        "nodes",
        nodes,
        NodeWithScore,
        "pass a list of NodeWithScore, as retrievers return",
        "pass NodeWithScore, as retrievers return: NodeWithScore(node=node) for a node, "
        "NodeWithScore(node=TextNode(text=text)) for a text",
    )


def _copies(nodes: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    """For handlers, that may keep them: what a caller does to his own does not change these."""
    return [NodeWithScore(node=one.node, score=one.score) for one in nodes]


def _apply(
    nodes: Sequence[NodeWithScore], outcome: Outcome, options: CallOptions
) -> list[NodeWithScore]:
    if isinstance(outcome, Exception):
        dispatcher.event(ExceptionEvent(exception=outcome))
        failure = type(outcome).__name__
        return [_copy(one, one.score, rerank_failure=failure) for one in nodes[: options["top_n"]]]
    return [
        _copy(nodes[one.index], one.score, **marks_of(one, _own_text(nodes[one.index])))
        for one in outcome
    ]


def _own_text(given: NodeWithScore) -> str:
    """A node's text without its metadata."""
    return given.node.get_content(MetadataMode.NONE)


def _copy(given: NodeWithScore, score: float | None, **marks: Any) -> NodeWithScore:
    """The node with `score`, and in metadata that neither an LLM nor an embedding sees, `marks`."""
    node = given.node
    changes = {
        "metadata": marked_metadata(node.metadata, marks, given.score),
        "excluded_embed_metadata_keys": _with_marks(node.excluded_embed_metadata_keys, marks),
        "excluded_llm_metadata_keys": _with_marks(node.excluded_llm_metadata_keys, marks),
    }
    return given.model_copy(update={"node": node.model_copy(update=changes), "score": score})


def _with_marks(keys: Sequence[str], marks: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*keys, *MARKS, *marks]))
