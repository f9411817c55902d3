"""Matrix products, and the layouts in which the card keeps matrices."""

from __future__ import annotations

from typing import Any

import torch

from .refusal import refuse

ND, NZ = 2, 29
"""Formats of the card: rows; blocks of 16 by 16. A tensor's numbers are the same in both."""


def npu_format_cast(self: torch.Tensor, acl_format: int, **others: Any) -> torch.Tensor:
    """`self` in another layout of memory, which only the card sees."""
    if acl_format not in (ND, NZ) or others:
        refuse("npu_format_cast", f"format {acl_format} with {sorted(others)}", self=self)
    return self


def get_npu_format(self: torch.Tensor) -> int:
    """Everything lies in rows here."""
    return ND


def _npu_matmul_add_fp32(x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> None:
    """out += xᵀ · weight, in float32."""
    out += x.float().T @ weight.float()
