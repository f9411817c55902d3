"""From texts to token ids: exact, truncated safely, closed to injection."""

from .batch import PromptBatch, PromptMaker, build_batch
from .template import CONTROL_TOKENS, DEFAULT_INSTRUCTION, HEAD, TAIL
from .tokenizer import QwenTokenizer, load_tokenizer

__all__ = [
    "CONTROL_TOKENS",
    "DEFAULT_INSTRUCTION",
    "HEAD",
    "TAIL",
    "PromptBatch",
    "PromptMaker",
    "QwenTokenizer",
    "build_batch",
    "load_tokenizer",
]
