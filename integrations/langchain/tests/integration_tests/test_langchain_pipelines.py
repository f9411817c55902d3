"""Real pipelines with the real lexical engine: its scores come from a Qwen3 forward pass."""

from __future__ import annotations

import asyncio
import math
import re
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, TypedDict

import bm25s
import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever, EnsembleRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import BaseDocumentTransformer, Document
from langchain_core.embeddings import Embeddings
from langchain_core.prompts import PromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableParallel, RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_qwen3_ascend_rerank import Qwen3AscendRerank, Qwen3AscendRerankRetriever

from qwen3_ascend_rerank import Reranker

PASSAGES = {
    "beijing": "Beijing is the capital of the People's Republic of China.",
    "paris": "Paris, on the Seine, is the capital of France and its largest city.",
    "wall": "The Great Wall was built to guard China's northern border.",
    "bread": "Bread is baked from flour, water, salt and yeast.",
    "rice": "Rice is the staple food of southern China.",
    "ocean": "The Pacific is the largest ocean on Earth.",
    "moon": "The Moon turns around the Earth in about twenty-seven days.",
    "tea": "茶树的嫩叶经过杀青、揉捻和干燥制成绿茶。",
    "yangtze": "长江是中国最长的河流，发源于青藏高原。",
    "huangshan": "黄山位于安徽省南部，以奇松和云海闻名。",
}
QUESTIONS = {
    "What is the capital of China?": "beijing",
    "What is bread baked from?": "bread",
    "Which ocean is the largest?": "ocean",
    "中国最长的河流是哪一条？": "yangtze",
    "黄山位于哪个省？": "huangshan",
}
QUESTION = "What is the capital of China?"


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+|[\u4e00-\u9fff]", text.lower())


class HashedWords(Embeddings):
    """A bag of words as a vector: deterministic, local, and of middling quality."""

    def embed_query(self, text: str) -> list[float]:
        vector = [0.0] * 64
        for word in words(text):
            vector[zlib.crc32(word.encode()) % 64] += 1.0
        length = math.hypot(*vector) or 1.0
        return [value / length for value in vector]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


class BM25(BaseRetriever):
    documents: list[Document]
    k: int = 10
    index: Any = None

    def model_post_init(self, context: Any, /) -> None:
        self.index = bm25s.BM25()
        self.index.index([words(d.page_content) for d in self.documents], show_progress=False)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        known = [word for word in words(query) if word in self.index.vocab_dict]
        scores = self.index.get_scores(known)
        order = sorted(range(len(scores)), key=lambda i: -scores[i])[: self.k]
        return [
            self.documents[i].model_copy(
                update={"metadata": {**self.documents[i].metadata, "score": float(scores[i])}}
            )
            for i in order
        ]


@pytest.fixture(scope="module")
def lexical(loaded: None) -> Iterator[Qwen3AscendRerank]:
    with Qwen3AscendRerank(model="lexical", cache_size=1000) as compressor:
        compressor.start()
        yield compressor


@pytest.fixture(scope="module")
def passages() -> list[Document]:
    return [Document(text, id=name, metadata={"name": name}) for name, text in PASSAGES.items()]


@pytest.fixture(scope="module")
def bm25(passages: list[Document]) -> BM25:
    return BM25(documents=passages)


@pytest.fixture(scope="module")
def store(passages: list[Document]) -> InMemoryVectorStore:
    store = InMemoryVectorStore(HashedWords())
    store.add_documents(passages)
    return store


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


def assert_ranked(documents: list[Document], question: str = QUESTION) -> None:
    scores = [document.metadata["relevance_score"] for document in documents]
    assert all(0 <= score <= 1 for score in scores)
    assert all(before >= after for before, after in pairwise(scores))
    assert documents[0].id == QUESTIONS[question]


@pytest.mark.parametrize("question", QUESTIONS)
def test_contextual_compression_over_bm25(lexical, bm25, question):
    retriever = ContextualCompressionRetriever(base_compressor=lexical, base_retriever=bm25)
    documents = retriever.invoke(question)
    assert_ranked(documents, question)
    assert all(one.metadata["retrieval_score"] == one.metadata["score"] for one in documents)
    assert asyncio.run(retriever.ainvoke(question)) == documents


def test_contextual_compression_over_a_vector_store(lexical, store):
    retriever = ContextualCompressionRetriever(
        base_compressor=lexical, base_retriever=store.as_retriever(search_kwargs={"k": 8})
    )
    documents = retriever.invoke(QUESTION)
    assert len(documents) == 8
    assert_ranked(documents)


def test_after_an_ensemble_of_both(lexical, store, bm25):
    ensemble = EnsembleRetriever(
        retrievers=[bm25, store.as_retriever(search_kwargs={"k": 8})], weights=[0.5, 0.5]
    )
    retriever = ContextualCompressionRetriever(base_compressor=lexical, base_retriever=ensemble)
    documents = retriever.invoke(QUESTION)
    assert_ranked(documents)
    assert len(set(ids(documents))) == len(documents)


def test_inside_a_compressor_pipeline(lexical, bm25, tracer):
    class WithoutChinese(BaseDocumentTransformer):
        def transform_documents(self, documents, **_kwargs):
            return [one for one in documents if one.page_content.isascii()]

    pipeline = DocumentCompressorPipeline(
        transformers=[WithoutChinese(), lexical, lexical.model_copy(update={"top_n": 2})]
    )
    retriever = ContextualCompressionRetriever(base_compressor=pipeline, base_retriever=bm25)
    for documents in (
        retriever.invoke(QUESTION, {"callbacks": [tracer]}),
        asyncio.run(retriever.ainvoke(QUESTION, {"callbacks": [tracer]})),
    ):
        assert_ranked(documents)
        assert len(documents) == 2
        assert documents[0].metadata["retrieval_score"] == documents[0].metadata["score"]
    assert len(tracer.reranks()) == 4


def test_in_an_lcel_chain(lexical, store, tracer):
    chain = (
        RunnableParallel(query=RunnablePassthrough(), documents=store.as_retriever())
        | lexical
        | (lambda documents: {"context": documents[0].page_content})
        | PromptTemplate.from_template("Answer from: {context}")
    )
    answer = chain.invoke(QUESTION, {"callbacks": [tracer]})
    assert answer.text == f"Answer from: {PASSAGES['beijing']}"
    [run] = tracer.reranks()
    assert run.parent_run_id == tracer.roots[0].id


def test_in_a_langgraph_node(lexical, store, tracer):
    graph = pytest.importorskip("langgraph.graph")

    find = store.as_retriever()

    class State(TypedDict, total=False):
        question: str
        documents: list[Document]

    async def rerank(state: State) -> State:
        found = await lexical.acompress_documents(state["documents"], state["question"])
        return {"documents": found}

    builder = graph.StateGraph(State)
    builder.add_node("retrieve", lambda state: {"documents": find.invoke(state["question"])})
    builder.add_node("rerank", rerank)
    builder.add_edge(graph.START, "retrieve")
    builder.add_edge("retrieve", "rerank")
    compiled = builder.compile()

    config = {"configurable": {"rerank_top_n": 2}, "callbacks": [tracer]}
    documents = asyncio.run(compiled.ainvoke({"question": QUESTION}, config))["documents"]
    assert_ranked(documents)
    assert len(documents) == 2
    [run] = tracer.reranks()
    assert next(r for r in tracer.all_runs() if r.id == run.parent_run_id).name == "rerank"


def test_in_the_reranking_retriever(lexical, bm25):
    retriever = Qwen3AscendRerankRetriever(base_retriever=bm25, base_compressor=lexical, k=3)
    documents = retriever.invoke(QUESTION)
    assert_ranked(documents)
    assert len(documents) == 3
    assert ids(retriever.invoke(QUESTION, k=1)) == ["beijing"]


def test_the_retriever_and_the_rerank_are_siblings_in_the_trace(lexical, bm25, tracer):
    retriever = ContextualCompressionRetriever(base_compressor=lexical, base_retriever=bm25)
    retriever.invoke(QUESTION, {"callbacks": [tracer]})
    asyncio.run(retriever.ainvoke(QUESTION, {"callbacks": [tracer]}))
    children = [[run.name for run in root.child_runs] for root in tracer.roots]
    assert children == [["BM25", "Qwen3AscendRerank"]] * 2


def test_the_score_is_the_cores_own(lexical, passages):
    with Reranker("lexical") as reranker:
        scores = reranker.score(QUESTION, [passage.page_content for passage in passages])
    ranked = lexical.compress_documents(passages, QUESTION)
    found = {document.id: document.metadata["relevance_score"] for document in ranked}
    expected = dict(zip(ids(passages), scores, strict=True))
    assert found == pytest.approx(expected, abs=1e-5)
