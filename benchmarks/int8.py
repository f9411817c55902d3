"""What int8 would bring on a CPU, and what it would cost: why there is no int8 engine.

First the products of the 0.6B geometry, by what torch has for int8, against its float32. Then the
model itself with weights and activations rounded to int8, a scale for each output of a weight and
for each token, so that a document's score does not depend on its neighbours: how far do log-odds
move, as a share of their spread? The rounding is simulated in float32, so its error is that of any
library that rounds like this.

    python -m benchmarks.int8
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, stdev
from typing import Any

import torch

from benchmarks.comparison.roofline import read_shapes
from benchmarks.comparison.workload import Cell, Workload, random_model
from qwen3_ascend_rerank.engines.torch import TorchEngine
from qwen3_ascend_rerank.engines.torch.linear import pack
from qwen3_ascend_rerank.models import tokenizer_file
from qwen3_ascend_rerank.prompts import (
    DEFAULT_INSTRUCTION,
    PromptBatch,
    build_batch,
    load_tokenizer,
)

ROWS = 512
"""Tokens of a product."""
LEFT_OUT = ("none", "qnnpack")
"""Made for telephones, the latter."""
AIM_SPEED, AIM_ERROR = 2.0, 0.05
"""Worth having from here on: times float32, and error as a share of the log-odds' spread."""


def rounded(values: torch.Tensor) -> torch.Tensor:
    """`values` as int8 with a scale for each row would give them back."""
    scale = values.abs().amax(dim=-1, keepdim=True).clamp_min(1e-12) / 127
    return (values / scale).round_().mul_(scale)


class RoundedLinear(torch.nn.Module):
    """A linear layer whose weight and input are int8, in float32."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        """Round the weight."""
        super().__init__()
        weight = linear.weight.detach()
        self.weight = rounded(weight.to_dense() if weight.is_mkldnn else weight)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """The product of what int8 leaves of both."""
        return torch.nn.functional.linear(rounded(rows), self.weight)


def products(inputs: int, outputs: int) -> dict[str, Callable[[], Any]]:
    """Name → one product by it, scales of tokens and outputs included."""
    rows, weight = torch.randn(ROWS, inputs), torch.randn(outputs, inputs)
    scales = weight.abs().amax(dim=1) / 127
    whole = (weight / scales[:, None]).round().to(torch.int8)
    across = whole.t().contiguous()

    def int_mm() -> torch.Tensor:
        token = rows.abs().amax(dim=1, keepdim=True) / 127
        product = torch._int_mm((rows / token).round_().to(torch.int8), across)
        return product.float().mul_(token).mul_(scales)

    layer = torch.nn.Sequential(torch.nn.Linear(inputs, outputs, bias=False))
    pack(layer)  # as TorchEngine multiplies, where that is faster
    found: dict[str, Callable[[], Any]] = {
        "float32": lambda: layer(rows),
        "torch._int_mm": int_mm,
    }
    engines = [one for one in torch.backends.quantized.supported_engines if one not in LEFT_OUT]
    for engine in engines:
        torch.backends.quantized.engine = engine
        packed = torch.ops.quantized.linear_prepack(
            torch.quantize_per_channel(
                weight, scales, torch.zeros(outputs, dtype=torch.long), 0, torch.qint8
            ),
            None,
        )

        def dynamic(engine: str = engine, packed: Any = packed) -> torch.Tensor:
            torch.backends.quantized.engine = engine
            result: torch.Tensor = torch.ops.quantized.linear_dynamic(rows, packed, True)
            return result

        found[f"{engine} (one scale for all tokens)"] = dynamic
    return found


def speeds(model: Path, rounds: int) -> dict[str, float]:
    """Name → times the rate of float32 over all products of a layer; rounds alternate."""
    sums: dict[str, list[float]] = {}
    with torch.inference_mode():
        for shape in read_shapes(model).products:
            ways = products(*shape)
            taken: dict[str, list[float]] = {name: [] for name in ways}
            for number in range(rounds + 1):
                for name, product in ways.items():
                    began = time.perf_counter()
                    product()
                    if number:
                        taken[name].append(time.perf_counter() - began)
            for name, seconds in taken.items():
                sums.setdefault(name, []).append(median(seconds))
    own = sum(sums["float32"])
    return {name: own / sum(seconds) for name, seconds in sums.items()}


async def log_odds(model: Path, batch: PromptBatch, *, int8: bool) -> list[float]:
    """Those of `batch`, with the products of the layers rounded or not."""
    engine = TorchEngine(str(model), device="cpu")
    await engine.start()
    if int8:
        body = engine._body._model  # type: ignore[union-attr]
        for layer in body.layers:
            for parent in (layer.self_attn, layer.mlp):
                for name, child in list(parent.named_children()):
                    if name.endswith("_proj"):
                        setattr(parent, name, RoundedLinear(child))
    try:
        return await engine.score(batch)
    finally:
        await engine.aclose()


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", type=Path, help="not given: random weights in the geometry")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=16, help="documents")
    given = parser.parse_args()
    model = given.model or random_model(None)
    file = tokenizer_file(model)
    tokenizer = load_tokenizer(file)
    request = Workload(tokenizer, file).request(Cell(42, 166, given.count), seed=1)
    batch = build_batch(tokenizer, DEFAULT_INSTRUCTION, request.query, request.documents, 8192)
    right, found = (asyncio.run(log_odds(model, batch, int8=int8)) for int8 in (False, True))
    error = max(abs(one - other) for one, other in zip(right, found, strict=True))
    spread = stdev(right)
    print(f"| products on {ROWS} tokens | times float32 |\n|---|---|")
    for name, times in speeds(model, given.rounds).items():
        print(f"| {name} | {times:.2f} |")
    print(
        f"\nInt8 moves log-odds by {error:.4f} at most, {error / spread:.0%} of their standard "
        f"deviation {spread:.4f} over {given.count} documents. Worth having: {AIM_SPEED:g} times "
        f"float32 and under {AIM_ERROR:.0%}."
    )


if __name__ == "__main__":
    main()
