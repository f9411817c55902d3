"""The layouts in which the card keeps matrices: rows (ND), and blocks of 16 numbers (NZ).

Weights have the same numbers in both, and a shape that says nothing of it. A 310P's cache and masks
have the shape of their blocks.
"""

from __future__ import annotations

from typing import Any

import torch

from . import chip
from .refusal import refuse

ND, NZ = 2, 29
"""Formats of the card."""
BLOCK = 16


def npu_format_cast(self: torch.Tensor, acl_format: int, **others: Any) -> torch.Tensor:
    """`self` in another layout of memory, which only the card sees."""
    if acl_format not in (ND, NZ) or others:
        refuse("npu_format_cast", f"format {acl_format} with {sorted(others)}", self=self)
    return self


def get_npu_format(self: torch.Tensor) -> int:
    """Everything lies in rows here."""
    return ND


def empty_with_format(
    size: Any, dtype: torch.dtype, device: torch.device, acl_format: int = ND, **others: Any
) -> torch.Tensor:
    """A tensor to be filled."""
    if acl_format not in (ND, NZ) or others:
        refuse("empty_with_format", f"format {acl_format} with {sorted(others)}", size=size)
    return torch.empty(size, dtype=dtype, device=device)


def by_token(cache: torch.Tensor) -> torch.Tensor:
    """The cache as (blocks, block size, …); a 310P has (blocks, heads * size / 16, block size, 16).

    The same memory, so that it can be written to.
    """
    if not chip.is_310p():
        return cache
    if cache.dim() != 4 or cache.shape[-1] != BLOCK:
        refuse("cache", "a 310P keeps blocks of 16 numbers", cache=cache)
    return cache.transpose(1, 2)


def mask_in_rows(operator: str, mask: torch.Tensor) -> torch.Tensor:
    """A mask as (queries, keys); a 310P has (1, keys / 16, queries, 16)."""
    if not chip.is_310p():
        return mask
    if mask.dim() != 4 or mask.shape[0] != 1 or mask.shape[-1] != BLOCK:
        refuse(operator, "a 310P takes a mask in blocks of 16 keys", mask=mask)
    return mask[0].transpose(0, 1).flatten(1)
