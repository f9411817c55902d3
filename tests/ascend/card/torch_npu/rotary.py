"""The rotary embedding: x · cos + (-x₂, x₁) · sin over halves of a head, or over pairs."""

from __future__ import annotations

import torch

from .refusal import refuse


def _turned(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mode: str) -> torch.Tensor:
    wide = heads.float()
    if mode == "half":
        first, second = wide.chunk(2, dim=-1)
        other = torch.cat([-second, first], dim=-1)
    elif mode == "interleave":
        other = torch.stack([-wide[..., 1::2], wide[..., ::2]], dim=-1).flatten(-2)
    else:
        refuse("npu_rotary_mul", f"rotary_mode {mode!r}", heads=heads)
    return (wide * cos.float() + other * sin.float()).to(heads.dtype)


def npu_rotary_mul(
    self: torch.Tensor, r1: torch.Tensor, r2: torch.Tensor, rotary_mode: str = "half"
) -> torch.Tensor:
    """Heads turned by cosines `r1` and sines `r2`, which broadcast to them."""
    return _turned(self, r1, r2, rotary_mode)


def npu_apply_rotary_pos_emb(
    query: torch.Tensor,
    key: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    layout: str = "BSND",
    rotary_mode: str = "half",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys, turned in place."""
    if layout not in ("BSND", "TND", 1, "1"):
        refuse("npu_apply_rotary_pos_emb", f"layout {layout!r}", query=query, key=key)
    for heads in (query, key):
        heads.copy_(_turned(heads, cos, sin, rotary_mode))
    return query, key


def _npu_rotary_embedding(
    positions: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    head_size: int,
    cos_sin_cache: torch.Tensor,
    is_neox_style: bool,
) -> None:
    """Turned in place; rows of `cos_sin_cache` are the cosines and then the sines of a position."""
    cos, sin = (part[:, None] for part in cos_sin_cache[positions.flatten()].chunk(2, dim=-1))
    if is_neox_style:
        cos, sin = (torch.cat([one, one], dim=-1) for one in (cos, sin))
    else:
        cos, sin = (one.repeat_interleave(2, dim=-1) for one in (cos, sin))
    for heads in (query, key):
        split = heads.view(len(cos), -1, head_size)
        mode = "half" if is_neox_style else "interleave"
        split.copy_(_turned(split, cos, sin, mode))
