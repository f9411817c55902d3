r"""The strings of Qwen3-Reranker's prompt.

Source: https://github.com/QwenLM/Qwen3-Embedding, README, "Transformers Usage".
"""

from __future__ import annotations

DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
"""The instruction of the official README."""

HEAD = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
TAIL = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
CONTROL_TOKENS = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
"""The added tokens that the prompt itself is made with."""
LAST_LABEL = "\n<Document>:"
"""What a document follows, after one space."""


def opening(instruction: str, query: str) -> str:
    """What stands between `HEAD` and the space before a document."""
    return f"<Instruct>: {instruction}\n<Query>: {query}{LAST_LABEL}"
