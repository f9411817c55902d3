"""Qwen's real tokenizer, rebuilt from the BPE ranks that the `dashscope` package carries.

The ranks are Qwen's own ``qwen.tiktoken`` (Apache-2.0). A merge list follows from them: every
token longer than a byte is the merge of the two pieces that BPE with only the lower ranks leaves.
"""

import base64
import json
from importlib.metadata import distribution
from pathlib import Path

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
ADDED = [
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
    "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>",
    "<think>", "</think>",
]  # fmt: skip


def byte_letters() -> dict[int, str]:
    """GPT-2's printable letter for each byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in printable}
    hidden = (byte for byte in range(256) if byte not in letters)
    return letters | {byte: chr(0x100 + place) for place, byte in enumerate(hidden)}


def read_ranks() -> dict[bytes, int]:
    # Read, not imported: the package brings a client for all of Alibaba's models with it.
    file = distribution("dashscope").locate_file("dashscope/resources/qwen.tiktoken")
    lines = Path(str(file)).read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}


def split_in_two(token: bytes, rank: int, ranks: dict[bytes, int]) -> list[bytes]:
    """BPE of `token` with the merges below `rank`: the two pieces that `rank` joins."""
    pieces = [token[place : place + 1] for place in range(len(token))]
    while True:
        candidates = [
            (found, place)
            for place in range(len(pieces) - 1)
            if (found := ranks.get(pieces[place] + pieces[place + 1], rank)) < rank
        ]
        if not candidates:
            return pieces
        _, place = min(candidates)
        pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]


def write_tokenizer(file: Path) -> Path:
    """Write Qwen3's ``tokenizer.json``."""
    ranks, letters = read_ranks(), byte_letters()
    spell = {token: "".join(letters[byte] for byte in token) for token in ranks}
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            pieces = split_in_two(token, rank, ranks)
            if len(pieces) == 2:
                merges.append([spell[piece] for piece in pieces])
    added = [
        {
            "id": len(ranks) + place,
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": content in SPECIAL,
        }
        for place, content in enumerate(SPECIAL + ADDED)
    ]
    byte_level = {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False,
    }  # fmt: skip
    split = {
        "type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False,
    }  # fmt: skip
    specification = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {spell[token]: rank for token, rank in ranks.items()},
            "merges": merges,
        },
    }
    file.write_text(json.dumps(specification, ensure_ascii=False), encoding="utf-8")
    return file
