"""The lexical model's tokenizer: Qwen's own in every respect but the size of its vocabulary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...prompts.added import QWEN_ADDED_TOKENS, QWEN_SPECIAL_TOKENS
from ...prompts.boundaries import PATTERN
from .vocabulary import Token, read_vocabulary

PAD_TOKEN, END_TOKEN = "<|endoftext|>", "<|im_end|>"

_SPLIT = {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}
_BYTE_LEVEL = {
    "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False,
}  # fmt: skip


def write_tokenizer(folder: Path) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` into `folder`."""
    vocabulary = read_vocabulary()
    _write_json(folder / "tokenizer.json", _specification(vocabulary))
    _write_json(folder / "tokenizer_config.json", _configuration(vocabulary))


def token_ids(vocabulary: Sequence[Token]) -> dict[str, int]:
    """The id of every token by its spelling; the added ones come last."""
    spellings = [*(token.spelling for token in vocabulary), *QWEN_ADDED_TOKENS]
    return {spelling: place for place, spelling in enumerate(spellings)}


def _specification(vocabulary: Sequence[Token]) -> dict[str, Any]:
    """The ``tokenizer.json`` of the tokenizers library."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": place, **token} for place, token in _added(vocabulary).items()],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [_SPLIT, _BYTE_LEVEL]},
        "post_processor": _BYTE_LEVEL,
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token.spelling: place for place, token in enumerate(vocabulary)},
            "merges": [" ".join(token.pieces) for token in vocabulary if len(token.pieces) == 2],
        },
    }


def _configuration(vocabulary: Sequence[Token]) -> dict[str, Any]:
    """The ``tokenizer_config.json`` of transformers, in a form that 4.51 to 5.x read alike."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": {str(place): token for place, token in _added(vocabulary).items()},
        "clean_up_tokenization_spaces": False,
        "eos_token": END_TOKEN,
        "pad_token": PAD_TOKEN,
        "padding_side": "left",
        "model_input_names": ["input_ids", "attention_mask"],  # as Qwen's; a plain class has more
        "model_max_length": 131072,
    }


def _added(vocabulary: Sequence[Token]) -> dict[int, dict[str, Any]]:
    return {
        len(vocabulary) + place: {
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": content in QWEN_SPECIAL_TOKENS,
        }
        for place, content in enumerate(QWEN_ADDED_TOKENS)
    }


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
