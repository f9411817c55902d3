"""LangChain's stand-ins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun, CallbackManagerForRetrieverRun
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import SimpleChatModel
from langchain_core.messages import BaseMessage
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict

from .text import Bm25, embed, quote


class MarkdownLoader(BaseLoader):
    """Every Markdown file below a folder, one document each."""

    def __init__(self, folder: Path) -> None:
        """Load from `folder`."""
        self.folder = folder

    def lazy_load(self) -> Iterator[Document]:
        """The files in the order of their names."""
        for file in sorted(self.folder.rglob("*.md")):
            source = file.relative_to(self.folder).as_posix()
            yield Document(file.read_text(encoding="utf-8"), metadata={"source": source})


class HashEmbeddings(Embeddings):
    """Counts words by their hashes: no network, no weights, the same vector every time."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text."""
        return [embed(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        return embed(text)


class Bm25Retriever(BaseRetriever):
    """BM25 over documents in memory."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    documents: list[Document]
    index: Bm25
    k: int

    @classmethod
    def from_documents(cls, documents: list[Document], k: int) -> Bm25Retriever:
        """Index `documents`, and retrieve the best `k`."""
        return cls(documents=documents, index=Bm25([d.page_content for d in documents]), k=k)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - as LangChain calls it
    ) -> list[Document]:
        return [self.documents[place] for place, _ in self.index.best(query, self.k)]


class QuotingChatModel(SimpleChatModel):
    """Answers with the first passage of its prompt, word for word."""

    @property
    def _llm_type(self) -> str:
        return "quoting"

    def _call(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - as LangChain calls it
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **_kwargs: Any,
    ) -> str:
        return quote(str(messages[-1].content))
