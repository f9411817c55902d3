"""What is asked, of all contenders alike, and the model that is asked."""

from __future__ import annotations

import json
import random
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from qwen3_ascend_rerank.prompts import DEFAULT_INSTRUCTION, QwenTokenizer, build_batch
from qwen3_ascend_rerank.runtime.paths import cache_folder

MAX_LENGTH = 8192
QUERY_WORDS = 12
AROUND = 84
"""Tokens of a prompt that are not its passage: head, default instruction, query, tail."""
COMMON = {
    "vocab_size": 151669,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
GEOMETRIES = {
    "0.6B": {
        **COMMON,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
    },
    "4B": {
        **COMMON,
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
    },
}
"""Those of Qwen/Qwen3-Reranker-…, after each config.json; their rope_theta is 1,000,000."""
_WORD = re.compile("\u0120[A-Za-z]+")
"""A token that is a word with the space before it, in the letters that stand for bytes."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of request."""

    low: int
    high: int
    """Tokens of a passage, at least and at most."""
    count: int
    """Passages of a request."""

    @property
    def length(self) -> str:
        """Tokens of a passage, as text."""
        return f"{self.low}" if self.low == self.high else f"{self.low}-{self.high}"

    def __str__(self) -> str:
        return f"{self.count} passages of {self.length} tokens"


@dataclass(frozen=True, slots=True)
class Request:
    """A query, its documents, and how many tokens their prompts have together."""

    query: str
    documents: list[str]
    tokens: int


class Workload:
    """Draws requests; each word of their texts is one token."""

    def __init__(self, tokenizer: QwenTokenizer, file: Path) -> None:
        """Take the words of `file`, which `tokenizer` was read from."""
        vocabulary = json.loads(file.read_text(encoding="utf-8"))["model"]["vocab"]
        self._words = [token[1:] for token in vocabulary if _WORD.fullmatch(token)]
        self._tokenizer = tokenizer

    def request(self, cell: Cell, seed: int) -> Request:
        """The request of `seed`; no two share query or passages, so that no cache knows them."""
        chance = random.Random(f"{cell} {seed}")
        query = " ".join(chance.choices(self._words, k=QUERY_WORDS))
        documents = [
            " ".join(chance.choices(self._words, k=chance.randint(cell.low, cell.high)))
            for _ in range(cell.count)
        ]
        return Request(query, documents, self._tokens(query, documents))

    def overhead(self) -> int:
        """Tokens of a prompt beside its passage."""
        query = " ".join(self._words[:QUERY_WORDS])
        return self._tokens(query, [self._words[0]]) - 1

    def _tokens(self, query: str, documents: list[str]) -> int:
        batch = build_batch(self._tokenizer, DEFAULT_INSTRUCTION, query, documents, MAX_LENGTH)
        return sum(batch.lengths())


def random_model(
    tokenizer: Path | None, geometry: str = "0.6B", dtype: str = "float32", device: str = "cpu"
) -> Path:
    """A folder with random weights, made once; 2.4 GB for the 0.6B model in float32.

    Args:
        tokenizer: Qwen3's ``tokenizer.json``; None: rebuilt from the package `dashscope`.
        geometry: one of `GEOMETRIES`.
        dtype: of the weights.
        device: where they are drawn.
    """
    folder = cache_folder() / f"benchmark-{geometry}-{dtype}"
    if not (folder / "tokenizer.json").exists():
        folder.mkdir(exist_ok=True)
        _write_weights(folder, geometry, dtype, device)
        write_tokenizer(folder / "tokenizer.json", tokenizer)  # last: the folder is complete now
    return folder


def write_tokenizer(file: Path, source: Path | None) -> None:
    """Qwen3's tokenizer into `file`, from `source` or rebuilt."""
    if source is not None:
        shutil.copy(source, file)
        return
    from tests.support import qwen_tokenizer

    qwen_tokenizer.write_tokenizer(file)


def _write_weights(folder: Path, geometry: str, dtype: str, device: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, Qwen3Config

    torch.manual_seed(7)
    rope = {"rope_theta": 1_000_000.0, "rope_type": "default"}
    config = Qwen3Config(**GEOMETRIES[geometry], rope_parameters=rope)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    model.to_empty(device=device)
    model.tie_weights()
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(1.0) if weight.dim() == 1 else weight.normal_(0, 0.02)
    model.save_pretrained(folder)
    if device != "cpu":  # others need the room
        del model, weight
        getattr(torch, device).empty_cache()
