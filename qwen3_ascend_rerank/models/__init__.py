"""Models: what is in a folder, and whether it can be trusted to be a Qwen3-Reranker."""

from .checkpoint import TOKENIZER_FILE, Checkpoint, open_checkpoint, tokenizer_file

__all__ = ["TOKENIZER_FILE", "Checkpoint", "open_checkpoint", "tokenizer_file"]
