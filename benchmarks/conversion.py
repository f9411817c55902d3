"""How much memory and time `qwen3-rerank convert` takes, on random weights of a real geometry.

    python -m benchmarks.conversion --geometry 0.6B --shards 2
    python -m benchmarks.conversion --geometry 4B --shards 2 --adapter

The weights are bfloat16. The conversion runs in a process of its own, whose highest resident memory
is told; tokenizer and libraries are in it. `--adapter` also merges a LoRA of rank 16 on each layer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from benchmarks.comparison.workload import GEOMETRIES, write_tokenizer
from qwen3_ascend_rerank.conversion.storage import PIECE, Planned, raw, write
from qwen3_ascend_rerank.models import Configuration
from qwen3_ascend_rerank.models.weights import LM_HEAD, expected_shapes

RANK = 16
MEASURED = """
import resource, sys, time
from qwen3_ascend_rerank.conversion import convert
began = time.perf_counter()
convert(sys.argv[1], sys.argv[2], adapter=sys.argv[3] if len(sys.argv) > 3 else None)
kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(kilobytes / 1024, time.perf_counter() - began)
"""


def random_bytes(shape: tuple[int, ...], seed: int) -> Iterator[bytes]:
    """bfloat16 of about the size that weights have; ones for what scales."""
    drawn, left = np.random.default_rng(seed), prod(shape)
    while left:
        count = min(left, PIECE // 4)
        values = drawn.standard_normal(count, np.float32) * 0.02 if len(shape) > 1 else None
        yield raw(np.ones(count, np.float32) if values is None else values, "BF16")
        left -= count


def planned(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Planned]:
    """Random weights of `shapes`."""
    return {
        name: Planned("BF16", shape, partial(random_bytes, shape, place))
        for place, (name, shape) in enumerate(shapes.items())
    }


def write_model(folder: Path, geometry: str, shards: int, tokenizer: Path | None) -> Path:
    """An original checkpoint of random weights."""
    folder.mkdir()
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "rope_theta": 1_000_000,
        "torch_dtype": "bfloat16",
        **GEOMETRIES[geometry],
    }
    (folder / "config.json").write_text(json.dumps(config))
    shapes = expected_shapes(Configuration.read(config, geometry), converted=False)
    index = {}
    for number in range(shards):
        part = dict(list(shapes.items())[number::shards])
        one = (
            "model.safetensors"
            if shards == 1
            else f"model-{number + 1:05}-of-{shards:05}.safetensors"
        )
        write(folder / one, planned(part))
        index |= dict.fromkeys(part, one)
    if shards > 1:
        text = json.dumps({"metadata": {}, "weight_map": index})
        (folder / "model.safetensors.index.json").write_text(text)
    write_tokenizer(folder / "tokenizer.json", tokenizer)
    return folder


def write_adapter(folder: Path, geometry: str) -> Path:
    """A LoRA on every linear layer."""
    folder.mkdir()
    config = {"rope_theta": 1_000_000, **GEOMETRIES[geometry]}
    shapes = expected_shapes(Configuration.read(config, geometry), converted=False)
    parts = {}
    for name, shape in shapes.items():
        if "_proj" in name and name != LM_HEAD:
            module = "base_model.model." + name.removesuffix(".weight")
            parts[f"{module}.lora_A.weight"] = (RANK, shape[1])
            parts[f"{module}.lora_B.weight"] = (shape[0], RANK)
    write(folder / "adapter_model.safetensors", planned(parts))
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def main() -> None:
    """Measure, and print a line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--geometry", choices=GEOMETRIES, default="0.6B")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--adapter", action="store_true", help="merge one on the way")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json; not given: from dashscope")
    parser.add_argument("--folder", type=Path, help="where to write; three times the model's size")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        source = write_model(Path(place) / "source", given.geometry, given.shards, given.tokenizer)
        size = sum(file.stat().st_size for file in source.glob("*.safetensors"))
        line = [sys.executable, "-c", MEASURED, str(source), str(Path(place) / "target")]
        if given.adapter:
            line.append(str(write_adapter(Path(place) / "adapter", given.geometry)))
        done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    memory, seconds = map(float, done.stdout.split())
    print(
        f"{given.geometry}, {size / 1e9:.2f} GB in {given.shards} files"
        f"{', adapter merged' if given.adapter else ''}: "
        f"{memory:.0f} MiB at most, {seconds:.1f} s"
    )


if __name__ == "__main__":
    main()
