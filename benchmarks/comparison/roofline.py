"""How fast the model could be at most: as fast as its matrix products alone.

python -m benchmarks.comparison.roofline FOLDER cpu float32   prints what is reached here, as JSON
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from qwen3_ascend_rerank.engines.torch.linear import pack

from .contenders import CORES, Setup

CPU_ROWS, ROWS = 2048, 16_384
"""Tokens of one product on a CPU, and on an accelerator."""
REPEATS = 5
PEAKS = (
    ("Ascend 910B (280 TFLOPS, fp16, the lowest figure given)", 280.0),
    ("Ascend 910B (376 TFLOPS, fp16, the highest figure given)", 376.0),
    ("H200 (989.5 TFLOPS, bf16 dense)", 989.5),
)
"""Assumed dense peaks in TFLOPS: published figures for the 910B vary with bin and page (256-376);
NVIDIA's data sheet for the H200."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """The matrix products that a token goes through."""

    layers: int
    hidden: int
    attention: int
    """Width of all query heads together."""
    products: tuple[tuple[int, int], ...]
    """(inputs, outputs) of each product of a layer."""

    @classmethod
    def of(cls, config: dict[str, Any]) -> Shapes:
        """Those of a Qwen3 ``config.json``."""
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        queries = config["num_attention_heads"] * config["head_dim"]
        keys = config["num_key_value_heads"] * config["head_dim"]
        products = (
            (hidden, queries + 2 * keys),
            (queries, hidden),
            (hidden, 2 * inner),
            (inner, hidden),
        )
        return cls(config["num_hidden_layers"], hidden, queries, products)

    @property
    def flops(self) -> float:
        """Of one token, attention left out."""
        return 2.0 * self.layers * sum(one * other for one, other in self.products)

    def attention_flops(self, length: int) -> float:
        """Of one token of a prompt of `length`, on average: half of it lies before a token."""
        return 2.0 * self.layers * self.attention * length

    def on_paper(self, length: float) -> list[tuple[str, float]]:
        """Device with its assumed peak → prompt tokens a second."""
        flops = self.flops + self.attention_flops(round(length))
        return [(name, peak * 1e12 / flops) for name, peak in PEAKS]


def read_shapes(model: Path) -> Shapes:
    """The shapes of the model in a folder."""
    return Shapes.of(json.loads((model / "config.json").read_text(encoding="utf-8")))


@dataclass(frozen=True, slots=True, order=True)
class Limit:
    """What the matrix products alone reach."""

    tokens_per_second: float
    gflops: float
    """A second."""
    rows: int
    """Tokens of one product."""


def measured(setup: Setup) -> Limit:
    """The limit here and now, measured in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    found = subprocess.run(  # noqa: S603 - this file
        [
            *(sys.executable, "-m", f"{__package__}.roofline"),
            *(str(setup.folder), setup.device, setup.dtype),
        ],
        cwd=Path(__file__).parents[2],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return Limit(**json.loads(found.stdout))


def _measure(shapes: Shapes, device: str, dtype: str) -> Limit:
    import torch

    torch.set_num_threads(CORES)
    count = CPU_ROWS if device == "cpu" else ROWS
    with torch.device(device), torch.inference_mode():
        seconds = sum(
            _seconds(inputs, outputs, count, getattr(torch, dtype))
            for inputs, outputs in shapes.products
        )
    rate = count / (seconds * shapes.layers)
    return Limit(rate, rate * shapes.flops / 1e9, count)


def _seconds(inputs: int, outputs: int, count: int, dtype: Any) -> float:
    """Of one product, by the faster of what torch has for it."""
    import torch

    rows = torch.randn(count, inputs).to(dtype)
    layer = torch.nn.Sequential(torch.nn.Linear(inputs, outputs, bias=False, dtype=dtype))
    taken = [_time(layer, rows)]
    if rows.device.type == "cpu" and pack(layer):
        taken.append(_time(layer, rows))
    return min(taken)


def _time(product: Callable[[Any], Any], rows: Any) -> float:
    import torch

    finish = getattr(torch, rows.device.type).synchronize  # of a CPU too, where it does nothing
    taken = []
    for _ in range(REPEATS + 1):
        finish()
        began = time.perf_counter()
        product(rows)
        finish()
        taken.append(time.perf_counter() - began)
    return median(taken[1:])


if __name__ == "__main__":
    print(json.dumps(asdict(_measure(read_shapes(Path(sys.argv[1])), *sys.argv[2:]))))
