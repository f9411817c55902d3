"""The first stage: BM25 over the demo's passages, as each ecosystem wants its retriever."""

from __future__ import annotations

from collections.abc import Sequence

import bm25s
import numpy as np
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever as LangChainBaseRetriever
from llama_index.core.retrievers import BaseRetriever as LlamaIndexBaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from pydantic import ConfigDict

from ...evaluation.first_stage import words

CANDIDATES = 10
"""How many passages the first stage hands to the reranker."""


class Bm25:
    """A BM25 index of passages."""

    def __init__(self, passages: Sequence[str]) -> None:
        """Index `passages`."""
        self.passages = passages
        self._index = bm25s.BM25()
        self._index.index([words(passage) for passage in passages], show_progress=False)

    def search(self, question: str) -> list[tuple[int, float]]:
        """Index and BM25 score of the passages that share most with `question`, best first."""
        scores = self._index.get_scores_from_ids(self._index.get_tokens_ids(words(question)))
        best = np.argsort(-scores, kind="stable")[:CANDIDATES]
        return [(int(place), float(scores[place])) for place in best if scores[place] > 0]


class LangChainBm25(LangChainBaseRetriever):
    """BM25 as a retriever of LangChain; a document's id is the index of its passage."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    bm25: Bm25

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - as LangChain calls it
    ) -> list[Document]:
        return [
            Document(self.bm25.passages[place], id=str(place), metadata={"score": score})
            for place, score in self.bm25.search(query)
        ]


class LlamaIndexBm25(LlamaIndexBaseRetriever):
    """BM25 as a retriever of LlamaIndex; a node's id is the index of its passage."""

    def __init__(self, bm25: Bm25) -> None:
        """Retrieve nodes from `bm25`."""
        super().__init__()
        self._bm25 = bm25

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [
            NodeWithScore(
                node=TextNode(text=self._bm25.passages[place], id_=str(place)), score=score
            )
            for place, score in self._bm25.search(query_bundle.query_str)
        ]
