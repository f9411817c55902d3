"""Tokenizers as fine-tunes leave them: with added tokens of their own."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qwen3_ascend_rerank.models.lexical import tokenizer_file
from tests.support.qwen_tokenizer import byte_letters

WORDS = (
    "yes", "no", "Query", "Document", "drug", "the", "Ġthe", "word", "ing", "åĮĹäº¬", "'s", "...",
    "ĠĠĠĠ", "ĊĊ", "ĊĠĊ", "ĊĠĠ", "čĊčĊ", "ĠĊ", "Ġ.", ".Ċ", "ĉĉ", "Ġdon", "don", "Ìģ", "ÌģĊ", "ãĢģ",
)  # fmt: skip
"""Of the small vocabulary, in the letters of bytes."""


def added(content: str, **attributes: bool) -> dict[str, Any]:
    """An added token of a ``tokenizer.json``; its id is counted when it is read."""
    plain = {
        "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
        "special": False,
    }  # fmt: skip
    return {"content": content, **plain, **attributes}


def with_added(file: Path, tokens: Iterable[dict[str, Any]]) -> str:
    """The ``tokenizer.json`` in `file` with further added tokens."""
    return extended(json.loads(file.read_text(encoding="utf-8")), tokens)


def small(tokens: Iterable[dict[str, Any]]) -> str:
    """A ``tokenizer.json`` that takes no time to read: Qwen's rules on `WORDS`, and `tokens`."""
    parts = json.loads(tokenizer_file().read_text(encoding="utf-8"))
    vocabulary = {letter: place for place, letter in enumerate(byte_letters().values())}
    merges = []
    for word in WORDS:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
                merges.append([word[: end - 1], word[end - 1]])
    parts["model"] |= {"vocab": vocabulary, "merges": merges}
    return extended(parts, tokens)


def extended(parts: dict[str, Any], tokens: Iterable[dict[str, Any]]) -> str:
    further = [{"id": 10**6 + place, **token} for place, token in enumerate(tokens)]
    return json.dumps(parts | {"added_tokens": parts["added_tokens"] + further})
