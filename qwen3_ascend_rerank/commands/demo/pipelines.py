"""One question, three doors to one engine: the core, LangChain, LlamaIndex."""

from __future__ import annotations

from collections.abc import Callable

from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_qwen3_ascend_rerank import Qwen3AscendRerank as LangChainRerank
from llama_index.core.schema import QueryBundle
from llama_index.postprocessor.qwen3_ascend_rerank import Qwen3AscendRerank as LlamaIndexRerank

from ...reranker import Reranker
from .retrieval import Bm25, LangChainBm25, LlamaIndexBm25
from .trial import Ranking


def through_core(question: str, bm25: Bm25, reranker: Reranker) -> Ranking:
    """BM25, then `Reranker.rerank`."""
    found = [place for place, _ in bm25.search(question)]
    result = reranker.rerank(question, [bm25.passages[place] for place in found])
    return [(found[document.index], document.score) for document in result]


def through_langchain(question: str, bm25: Bm25, reranker: Reranker) -> Ranking:
    """`ContextualCompressionRetriever` over BM25."""
    retriever = ContextualCompressionRetriever(
        base_compressor=LangChainRerank(reranker=reranker),
        base_retriever=LangChainBm25(bm25=bm25),
    )
    documents = retriever.invoke(question)
    return [(int(str(one.id)), one.metadata["relevance_score"]) for one in documents]


def through_llama_index(question: str, bm25: Bm25, reranker: Reranker) -> Ranking:
    """A retriever over BM25, then a node postprocessor."""
    query = QueryBundle(question)
    nodes = LlamaIndexBm25(bm25).retrieve(query)
    ranked = LlamaIndexRerank(reranker=reranker).postprocess_nodes(nodes, query)
    return [(int(one.node_id), one.get_score()) for one in ranked]


PIPELINES: dict[str, Callable[[str, Bm25, Reranker], Ranking]] = {
    "core": through_core,
    "LangChain": through_langchain,
    "LlamaIndex": through_llama_index,
}
