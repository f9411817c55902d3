"""The rotary embedding: x · cos + (-x₂, x₁) · sin over halves of a head, or over pairs."""

from __future__ import annotations

from collections.abc import Sequence

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
    for heads in (query, key):
        heads.copy_(_at_positions(positions, heads, head_size, cos_sin_cache, neox=is_neox_style))


def npu_mrope(
    positions: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    head_size: int,
    *,
    mrope_section: Sequence[int] | None = None,
    rotary_mode: str = "half",
    cache_mode: str = "default",
) -> tuple[torch.Tensor, torch.Tensor]:
    """New queries and keys, (tokens, heads x head_size), turned; no sections: one position each."""
    given = {"positions": positions, "mrope_section": mrope_section, "cache_mode": cache_mode}
    if positions.dim() != 1 or any(mrope_section or ()) or cache_mode != "default":
        refuse("npu_mrope", "several positions of a token are not written", **given)
    if cos_sin_cache.shape[-1] != head_size or rotary_mode not in ("half", "interleaved"):
        refuse("npu_mrope", f"rotary_mode {rotary_mode!r} of part of a head", **given)
    neox = rotary_mode == "half"
    return (
        _at_positions(positions, query, head_size, cos_sin_cache, neox=neox),
        _at_positions(positions, key, head_size, cos_sin_cache, neox=neox),
    )


def _at_positions(
    positions: torch.Tensor,
    heads: torch.Tensor,
    head_size: int,
    cos_sin_cache: torch.Tensor,
    *,
    neox: bool,
) -> torch.Tensor:
    cos, sin = (part[:, None] for part in cos_sin_cache[positions.flatten()].chunk(2, dim=-1))
    if neox:
        cos, sin = (torch.cat([one, one], dim=-1) for one in (cos, sin))
    else:
        cos, sin = (one.repeat_interleave(2, dim=-1) for one in (cos, sin))
    split = heads.view(len(cos), -1, head_size)
    return _turned(split, cos, sin, "half" if neox else "interleave").view(heads.shape)
