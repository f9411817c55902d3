"""The standard suite of langchain-tests for retrievers."""

from __future__ import annotations

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_qwen3_ascend_rerank import Qwen3AscendRerank, Qwen3AscendRerankRetriever

standard = pytest.importorskip("langchain_tests.integration_tests")


class TestRerankRetrieverStandard(standard.RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return Qwen3AscendRerankRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, object]:
        store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
        store.add_documents([Document(f"passage number {n}") for n in range(10)])
        return {
            "base_retriever": store.as_retriever(search_kwargs={"k": 10}),
            "base_compressor": Qwen3AscendRerank(model="lexical"),
        }

    @property
    def retriever_query_example(self) -> str:
        return "Which passage has number 3?"
