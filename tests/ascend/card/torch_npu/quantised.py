"""Products of int8 matrices, and how activations become int8; as ModelSlim's W8A8 has them."""

from __future__ import annotations

from typing import Any

import torch

from .refusal import refuse

LEAST, MOST = -128, 127
SCALES = (torch.int64, torch.bfloat16, torch.float32)
"""Types of a scale."""


def _rounded(wide: torch.Tensor) -> torch.Tensor:
    return wide.round().clamp(LEAST, MOST).to(torch.int8)


def npu_dynamic_quant(
    x: torch.Tensor, *, dst_type: torch.dtype = torch.int8, **others: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each token in int8, and the scale that makes its largest number 127."""
    if dst_type != torch.int8 or any(one is not None for one in others.values()):
        refuse("npu_dynamic_quant", f"{dst_type} with {sorted(others)}", x=x)
    wide = x.float()
    scale = wide.abs().amax(-1) / MOST
    return _rounded(wide / scale.clamp_min(1e-30)[..., None]), scale


def npu_quantize(
    input: torch.Tensor,  # noqa: A002 - the operator's own name
    scales: torch.Tensor,
    zero_points: torch.Tensor | None,
    dtype: torch.dtype,
    axis: int = 1,
    div_mode: bool = True,
) -> torch.Tensor:
    """``input / scales + zero_points`` in int8; ``input * scales`` where `div_mode` is false."""
    if dtype not in (torch.qint8, torch.int8) or axis not in (-1, input.dim() - 1):
        refuse("npu_quantize", f"{dtype} along axis {axis}", input=input, scales=scales)
    wide = input.float() / scales.float() if div_mode else input.float() * scales.float()
    return _rounded(wide if zero_points is None else wide + zero_points.float())


def npu_quant_matmul(
    x1: torch.Tensor,
    x2: torch.Tensor,
    scale: torch.Tensor,
    *,
    pertoken_scale: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    output_dtype: torch.dtype | None = None,
    **others: Any,
) -> torch.Tensor:
    """``x1 @ x2`` in int32, a bias in int32 added, times a scale a column, and one a token.

    A float bias is added last. An int64 scale is the bits of a float32; float16 is refused, as
    aclnnQuantMatmulWeightNz does (vllm-ascend, issue 12907).
    """
    given = {"x1": x1, "x2": x2, "scale": scale, "bias": bias}
    if (x1.dtype, x2.dtype) != (torch.int8, torch.int8) or any(
        one is not None for one in others.values()
    ):
        refuse("npu_quant_matmul", f"int8 by int8, with {sorted(others)}", **given)
    if scale.dtype not in SCALES:
        refuse("npu_quant_matmul", "a scale is int64, bfloat16 or float32", **given)
    exact = x1.cpu().double() @ x2.cpu().double()
    if bias is not None and bias.dtype == torch.int32:
        exact = exact + bias.cpu().double()
    if scale.dtype == torch.int64:
        scale = scale.to(torch.int32).view(torch.float32)
    total = exact.float().to(x1.device) * scale.float()
    if pertoken_scale is not None:
        total = total * pertoken_scale.float()[..., None]
    if bias is not None and bias.dtype != torch.int32:
        total = total + bias.float()
    return total.to(output_dtype or torch.int8)
