"""The key-value cache: blocks of tokens, written to by slot.

A slot is ``block * block size + place``. A token whose slot is negative is padding. A 310P has its
cache in blocks of 16 numbers (`layouts.py`).
"""

from __future__ import annotations

import math
from typing import Any

import torch

from .layouts import by_token
from .refusal import refuse


def _write(
    operator: str,
    rows: tuple[torch.Tensor, torch.Tensor],
    caches: tuple[torch.Tensor, torch.Tensor],
    slots: torch.Tensor,
) -> None:
    if slots.dtype not in (torch.int32, torch.int64) or len(slots) < len(rows[0]):
        refuse(operator, "each token takes a slot, int32 or int64", key=rows[0], slots=slots)
    slots = slots[: len(rows[0])].long()
    real = slots >= 0
    slots = slots[real]
    if len(slots.unique()) != len(slots):
        refuse(operator, "a slot is written to twice", key=rows[0], slots=slots)
    for new, whole in zip(rows, caches, strict=True):
        cache = by_token(whole)
        blocks, size, *row = cache.shape
        if cache is not whole and new[0].numel() == math.prod(row):
            new = new.reshape(-1, *row)
        if row != list(new.shape[1:]):
            refuse(operator, "blocks of tokens, as wide as what is written", key=new, cache=cache)
        if len(slots) and int(slots.max()) >= blocks * size:
            refuse(operator, f"slot {int(slots.max())} of {blocks * size}", cache=cache)
        cache[slots // size, slots % size] = new[real]  # keys and values may alternate in memory


def _npu_reshape_and_cache(
    key: torch.Tensor,
    value: torch.Tensor,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    slot_indices: torch.Tensor,
) -> None:
    """Write (tokens, heads, size) into caches of (blocks, block size, heads, size)."""
    if slot_indices.dtype != torch.int32:  # ATB takes no other
        refuse("_npu_reshape_and_cache", "slots are int32", slot_indices=slot_indices)
    _write("_npu_reshape_and_cache", (key, value), (key_cache, value_cache), slot_indices)


def npu_scatter_pa_kv_cache(
    key: torch.Tensor,
    value: torch.Tensor,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    slot_mapping: torch.Tensor,
    *,
    cache_mode: str = "Norm",
    **others: Any,
) -> None:
    """The same, of later releases; ``Norm``: the cache lies in rows."""
    if cache_mode != "Norm" or any(one is not None for one in others.values()):
        refuse("npu_scatter_pa_kv_cache", f"with {sorted(others)}", key=key)
    _write("npu_scatter_pa_kv_cache", (key, value), (key_cache, value_cache), slot_mapping)
