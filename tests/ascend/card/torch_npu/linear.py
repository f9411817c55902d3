"""Matrix products."""

from __future__ import annotations

import torch

from . import chip
from .refusal import refuse


def _npu_matmul_add_fp32(x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> None:
    """out += xᵀ · weight, in float32; a 310P cannot (vllm-ascend, issue 6199)."""
    if chip.is_310p():
        refuse("_npu_matmul_add_fp32", "a 310P has no such operator", x=x, weight=weight)
    out += x.float().T @ weight.float()
