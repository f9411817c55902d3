from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_qwen3_ascend_rerank import Qwen3AscendRerankRetriever
from pydantic import Field, ValidationError

QUERY = "what is the answer?"


class ListRetriever(BaseRetriever):
    documents: list[Document]
    given: dict[str, Any] = Field(default_factory=dict)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        self.given = kwargs
        return self.documents


@pytest.fixture
def retriever(compressor, documents):
    return Qwen3AscendRerankRetriever(
        base_retriever=ListRetriever(documents=documents), base_compressor=compressor, k=2
    )


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


def test_k_is_a_field_and_an_option_of_each_call(retriever):
    assert ids(retriever.invoke(QUERY)) == ["b", "g"]
    assert ids(retriever.invoke(QUERY, k=1)) == ["b"]
    assert ids(asyncio.run(retriever.ainvoke(QUERY, k=3))) == ["b", "g", "p"]


def test_none_lifts_a_limit_for_one_call(make, engine, documents):
    retriever = Qwen3AscendRerankRetriever(
        base_retriever=ListRetriever(documents=documents),
        base_compressor=make(engine, top_n=1, threshold=0.9),
        k=2,
    )
    assert ids(retriever.invoke(QUERY, threshold=None)) == ["b", "g"]
    assert ids(retriever.invoke(QUERY, threshold=None, k=None)) == ["b", "g", "p"]


def test_without_k_the_compressor_decides(make, engine, documents):
    retriever = Qwen3AscendRerankRetriever(
        base_retriever=ListRetriever(documents=documents), base_compressor=make(engine, top_n=1)
    )
    assert ids(retriever.invoke(QUERY)) == ["b"]


def test_options_go_to_the_reranker_and_the_rest_to_the_base(retriever, engine):
    found = retriever.invoke(QUERY, threshold=0.9, instruction="Find laws", filter={"year": 2020})
    assert ids(found) == ["b"]
    assert engine.instructions == ["Find laws"]
    assert retriever.base_retriever.given == {"filter": {"year": 2020}}


def test_any_runnable_that_finds_documents_is_a_base(compressor, documents):
    retriever = Qwen3AscendRerankRetriever(
        base_retriever=RunnableLambda(lambda _query: documents), base_compressor=compressor
    )
    assert ids(retriever.invoke(QUERY)) == ["b", "g", "p"]


@pytest.mark.parametrize("way", ["sync", "async"])
def test_both_steps_are_traced_below_it(retriever, tracer, way):
    config = {"callbacks": [tracer]}
    if way == "sync":
        retriever.invoke(QUERY, config)
    else:
        asyncio.run(retriever.ainvoke(QUERY, config))
    [root] = tracer.roots
    assert [run.name for run in root.child_runs] == ["ListRetriever", "Qwen3AscendRerank"]


def test_an_unknown_setting_is_named(compressor, documents):
    base = ListRetriever(documents=documents)
    with pytest.raises(ValidationError, match="top_n is no setting of .* there are base_compress"):
        Qwen3AscendRerankRetriever(base_retriever=base, base_compressor=compressor, top_n=3)
    with pytest.raises(ValidationError, match="did you mean base_retriever"):
        Qwen3AscendRerankRetriever(retriever=base, base_compressor=compressor)


def test_a_wrong_k_is_refused(compressor, documents):
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Qwen3AscendRerankRetriever(
            base_retriever=ListRetriever(documents=documents), base_compressor=compressor, k=0
        )
