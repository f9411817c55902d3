"""Qwen3-Reranker for LlamaIndex: a node postprocessor."""

from .base import Qwen3AscendRerank

__version__ = "0.1.0"

__all__ = ["Qwen3AscendRerank"]
