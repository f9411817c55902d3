"""What a cascade of two models costs, against its arithmetic.

N documents cost N·s with the small model and N·l with the large one; a cascade that hands on K of
them N·s + K·l. Two geometries with random weights, whose sizes lie about as far apart as those of
the 0.6B and the 4B model: their costs alone are measured, and from them the cascade's is reckoned
and compared with what it takes. Rounds alternate between the three.

    python -m benchmarks.cascade
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.comparison.workload import Cell, Workload
from benchmarks.own_cost import alternating
from qwen3_ascend_rerank import CascadeReranker, Reranker
from qwen3_ascend_rerank.batch.sizing import Geometry
from qwen3_ascend_rerank.models import tokenizer_file
from qwen3_ascend_rerank.prompts import QwenTokenizer, load_tokenizer

SMALL = Geometry(layers=8, hidden=256, heads=2, key_value_heads=1, intermediate=768)
LARGE = Geometry(layers=12, hidden=640, heads=5, key_value_heads=1, intermediate=1920)
AIM = 0.15
"""By how much the measured cost may differ from the arithmetic."""


def write_model(folder: Path, geometry: Geometry, tokenizer: QwenTokenizer, file: Path) -> Path:
    """A folder with random weights in `geometry`."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen3Config

    torch.manual_seed(7)
    config = Qwen3Config(
        vocab_size=tokenizer.highest_id + 1,
        hidden_size=geometry.hidden,
        intermediate_size=geometry.intermediate,
        num_hidden_layers=geometry.layers,
        num_attention_heads=geometry.heads,
        num_key_value_heads=geometry.key_value_heads,
        head_dim=geometry.head_dim,
        max_position_embeddings=40960,
        tie_word_embeddings=True,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    shutil.copy(file, folder / "tokenizer.json")
    return folder


def measure(count: int, keep: int, tokens: int, rounds: int) -> dict[str, Any]:
    """Seconds of the small model, the large one and both as a cascade, and what was reckoned."""
    file = tokenizer_file("lexical")
    tokenizer = load_tokenizer(file)
    request = Workload(tokenizer, file).request(Cell(tokens, tokens, count), seed=1)
    asked = (request.query, request.documents)
    with tempfile.TemporaryDirectory() as place:
        small, large, *stages = (
            Reranker(
                write_model(Path(place) / name, geometry, tokenizer, file),
                engine="torch",
                selfcheck="invariants",  # random weights know no answers
            )
            for name, geometry in (
                *(("small", SMALL), ("large", LARGE)),
                *(("small", SMALL), ("large", LARGE)),
            )
        )
        with small, large, CascadeReranker([(stages[0], keep), stages[1]]) as both:
            taken = alternating(
                rounds,
                lambda: small.rerank(*asked),
                lambda: large.rerank(*asked),
                lambda: both.rerank(*asked),
            )
    seconds = dict(zip(("small", "large", "cascade"), map(median, taken), strict=True))
    operations = {
        name: geometry.operations(tokens) for name, geometry in (("small", SMALL), ("large", LARGE))
    }
    return {
        **seconds,
        "reckoned": seconds["small"] + keep / count * seconds["large"],
        "by_operations": operations["small"] / operations["large"] + keep / count,
    }


def main() -> None:
    """Measure, and print a Markdown table; status 1 if the arithmetic is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--count", type=int, default=100, help="documents")
    parser.add_argument("--keep", type=int, default=20, help="of them handed on")
    parser.add_argument("--tokens", type=int, default=100, help="of a document")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    found = measure(given.count, given.keep, given.tokens, given.rounds)
    difference = found["cascade"] / found["reckoned"] - 1
    print("| what | seconds | of the large model alone |\n|---|---|---|")
    for name in ("small", "large", "cascade", "reckoned"):
        print(f"| {name} | {found[name]:.3f} | {found[name] / found['large']:.3f} |")
    print(f"\nmeasured against reckoned: {difference:+.1%}", end="; ")
    print(f"by operations alone {found['by_operations']:.3f} of the large model")
    sys.exit(abs(difference) > AIM)


if __name__ == "__main__":
    main()
