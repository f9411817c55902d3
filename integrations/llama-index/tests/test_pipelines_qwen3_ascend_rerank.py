"""Real pipelines with the real lexical engine: its scores come from a Qwen3 forward pass."""

from __future__ import annotations

import asyncio
import math
import re
import zlib
from collections.abc import Iterator
from itertools import pairwise
from operator import itemgetter

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import MetadataMode, NodeWithScore
from llama_index.postprocessor.qwen3_ascend_rerank import Qwen3AscendRerank

from qwen3_ascend_rerank import Reranker

PASSAGES = {
    "beijing": "Beijing is the capital of the People's Republic of China.",
    "paris": "Paris, on the Seine, is the capital of France and its largest city.",
    "wall": "The Great Wall was built to guard China's northern border.",
    "bread": "Bread is baked from flour, water, salt and yeast.",
    "ocean": "The Pacific is the largest ocean on Earth.",
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


class HashedWords(BaseEmbedding):
    """A bag of words as a vector: deterministic, local, and of middling quality."""

    def _get_text_embedding(self, text: str) -> list[float]:
        vector = [0.0] * 64
        for word in re.findall(r"[a-z]+|[\u4e00-\u9fff]", text.lower()):
            vector[zlib.crc32(word.encode()) % 64] += 1.0
        length = math.hypot(*vector) or 1.0
        return [value / length for value in vector]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


@pytest.fixture(scope="module")
def lexical(loaded: None) -> Iterator[Qwen3AscendRerank]:
    with Qwen3AscendRerank(model="lexical", top_n=3, cache_size=1000) as postprocessor:
        postprocessor.start()
        yield postprocessor


@pytest.fixture(scope="module")
def index() -> VectorStoreIndex:
    documents = [
        Document(text=text, metadata={"name": name}, excluded_embed_metadata_keys=["name"])
        for name, text in PASSAGES.items()
    ]
    return VectorStoreIndex.from_documents(documents, embed_model=HashedWords())


@pytest.fixture
def retriever(index):
    return index.as_retriever(similarity_top_k=len(PASSAGES))


def names(nodes: list[NodeWithScore]) -> list[str]:
    return [node.metadata["name"] for node in nodes]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_query_engine_answers_from_the_reranked_nodes(retriever, lexical, question, way):
    engine = RetrieverQueryEngine.from_args(
        retriever, llm=MockLLM(), node_postprocessors=[lexical], use_async=way == "async"
    )
    response = engine.query(question) if way == "sync" else asyncio.run(engine.aquery(question))
    assert len(response.source_nodes) == 3
    assert names(response.source_nodes)[0] == QUESTIONS[question]
    scores = [node.score for node in response.source_nodes]
    assert all(0 <= score <= 1 for score in scores)
    assert all(before >= after for before, after in pairwise(scores))
    assert all("retrieval_score" in node.metadata for node in response.source_nodes)


def test_no_score_is_read_by_the_llm(retriever, lexical):
    engine = RetrieverQueryEngine(
        retriever, get_response_synthesizer(llm=MockLLM()), node_postprocessors=[lexical]
    )
    response = engine.query(QUESTION)
    assert PASSAGES["beijing"] in response.response  # the mock repeats its prompt
    assert "score" not in response.response


def test_other_postprocessors_work_before_and_after_it(retriever, lexical):
    engine = RetrieverQueryEngine.from_args(
        retriever,
        llm=MockLLM(),
        node_postprocessors=[
            SimilarityPostprocessor(similarity_cutoff=-1.0),
            lexical,
            SimilarityPostprocessor(similarity_cutoff=0.5),
        ],
    )
    response = engine.query(QUESTION)
    assert names(response.source_nodes)[0] == "beijing"
    assert all(node.score >= 0.5 for node in response.source_nodes)


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_chat_engine_reranks_its_context(retriever, lexical, way):
    engine = ContextChatEngine.from_defaults(
        retriever,
        llm=MockLLM(),
        memory=ChatMemoryBuffer.from_defaults(llm=MockLLM()),
        node_postprocessors=[lexical],
    )
    response = engine.chat(QUESTION) if way == "sync" else asyncio.run(engine.achat(QUESTION))
    assert names(response.source_nodes)[0] == "beijing"


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_query_is_traced_with_one_rerank_inside_it(retriever, lexical, way, events, spans):
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM(), node_postprocessors=[lexical])
    if way == "sync":
        engine.query(QUESTION)
    else:
        asyncio.run(engine.aquery(QUESTION))
    [span] = spans.named("Qwen3AscendRerank")
    parent = next(one for one in spans.completed_spans if one.id_ == span.parent_id)
    assert parent.id_.startswith("RetrieverQueryEngine")
    assert len(events.reranks()) == 2


def test_the_query_engines_callbacks_hear_of_it(retriever, lexical, callbacks, legacy):
    postprocessor = lexical.model_copy()
    engine = RetrieverQueryEngine.from_args(
        retriever, llm=MockLLM(), node_postprocessors=[postprocessor], callback_manager=callbacks
    )
    engine.query(QUESTION)
    assert [kind.value for kind, _ in legacy.started].count("reranking") == 1
    postprocessor.close()


def test_the_score_is_the_cores_own(retriever, lexical):
    nodes = retriever.retrieve(QUESTION)
    with Reranker("lexical") as reranker:
        texts = [node.get_content(MetadataMode.EMBED) for node in nodes]
        scores = zip(names(nodes), reranker.score(QUESTION, texts), strict=True)
    expected = dict(sorted(scores, key=itemgetter(1), reverse=True)[: lexical.top_n])
    ranked = lexical.postprocess_nodes(nodes, query_str=QUESTION)
    found = {node.metadata["name"]: node.score for node in ranked}
    assert len(found) == 3
    assert found == pytest.approx(expected, abs=1e-5)
