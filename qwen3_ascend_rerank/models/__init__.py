"""Models: what is in a folder, and whether it can be trusted to be a Qwen3-Reranker."""

from .checkpoint import TOKENIZER_FILE, Checkpoint, is_local, open_checkpoint, tokenizer_file
from .configuration import Configuration
from .heads import Labels
from .overrides import expected_in_vllm, vllm_overrides
from .tensors import read_rows

__all__ = [
    "TOKENIZER_FILE",
    "Checkpoint",
    "Configuration",
    "Labels",
    "expected_in_vllm",
    "is_local",
    "open_checkpoint",
    "read_rows",
    "tokenizer_file",
    "vllm_overrides",
]
