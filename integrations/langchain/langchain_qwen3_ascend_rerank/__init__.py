"""Qwen3-Reranker for LangChain: a document compressor, a Runnable, and a reranking retriever."""

from .rerank import Qwen3AscendRerank, RerankInput
from .retriever import Qwen3AscendRerankRetriever

__version__ = "0.1.0"

__all__ = ["Qwen3AscendRerank", "Qwen3AscendRerankRetriever", "RerankInput"]
