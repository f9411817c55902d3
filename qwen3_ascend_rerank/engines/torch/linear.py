"""Linear layers in the form that this processor multiplies fastest.

On many CPUs oneDNN multiplies float32 matrices faster than the BLAS that torch was built with, once
the weights lie in its own blocks (on a Xeon with AVX512, a sixth to four fifths faster). Whether
it does here is measured, and each layer must give what torch's own gives before it takes its place.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

OPERATORS = ("_reorder_linear_weight", "_linear_pointwise")
"""Of torch.ops.mkldnn, where torch was built with oneDNN."""
ROWS = 512
"""Tokens of the products that are timed."""
ROUNDS = 3
TOLERANCE = 1e-5
"""How far two float32 products may lie apart, as a share of the largest number in them."""
WORTH = 0.95
"""The most time that oneDNN may take, as a share of torch's, to be chosen."""
STEP = 32
"""oneDNN keeps some 6 MB for each number of rows that it meets: better that there are few."""
LEAST = 2**18
"""Weights of a layer that is worth the trouble."""


def pack(model: torch.nn.Module) -> bool:
    """Put oneDNN's form in place of the linear layers of `model`, on a CPU, where that is faster.

    The forms are those that torch's own compiler puts in, by the same operators; a torch without
    them keeps its own.

    Returns:
        Whether it was done.
    """
    import torch

    if not all(hasattr(torch.ops.mkldnn, name) for name in OPERATORS):
        return False
    layers = [
        (parent, name)
        for parent in model.modules()
        for name, child in parent.named_children()
        if _suits(child)
    ]
    try:
        if not layers or not _faster(max((getattr(*one) for one in layers), key=_size)):
            return False
        kind = _packed_linear()
        with torch.inference_mode():
            for parent, name in layers:  # one by one, so that memory holds one layer twice
                made = kind(getattr(parent, name))
                if not _agree(getattr(parent, name), made):
                    logger.warning("oneDNN multiplies otherwise than torch here; not used")
                    return False
                setattr(parent, name, made)
    except RuntimeError as error:
        logger.warning("oneDNN takes no weights in its own form here (%s); not used", error)
        return False
    return True


def _size(linear: torch.nn.Linear) -> int:
    return linear.weight.numel()


def _suits(module: Any) -> bool:
    import torch

    return (
        type(module) is torch.nn.Linear
        and module.weight.dtype == torch.float32
        and module.weight.numel() >= LEAST
    )


def _packed_linear() -> Any:
    import torch

    reorder, multiply = (
        torch.ops.mkldnn._reorder_linear_weight,
        torch.ops.mkldnn._linear_pointwise,
    )

    class PackedLinear(torch.nn.Module):
        """A linear layer whose weight lies in oneDNN's blocks."""

        def __init__(self, linear: torch.nn.Linear) -> None:
            super().__init__()
            self.bias = linear.bias
            self.weight = reorder(linear.weight.detach(), ROWS)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            product: torch.Tensor = multiply(rows, self.weight, self.bias, "none", [], "")
            return product

    return PackedLinear


def _rows(linear: torch.nn.Linear, count: int) -> torch.Tensor:
    import torch

    noise = torch.Generator().manual_seed(0)
    return torch.randn(count, linear.in_features, generator=noise)


def _agree(one: torch.nn.Linear, other: Any) -> bool:
    rows = _rows(one, 3)
    right = one(rows)
    return bool((other(rows) - right).abs().max() <= TOLERANCE * right.abs().max())


def _faster(linear: torch.nn.Linear) -> bool:
    import torch

    with torch.inference_mode():
        rows = _rows(linear, ROWS)
        packed = _packed_linear()(linear)
        own, other = (min(_times(one, rows)) for one in (linear, packed))
    return other < WORTH * own


def _times(product: Callable[[Any], Any], rows: torch.Tensor) -> list[float]:
    taken = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        product(rows)
        taken.append(time.perf_counter() - began)
    return taken[1:]
