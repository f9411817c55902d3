"""Attention as the card's operators define it, in plain torch, one sequence after the other.

What they have in common: queries of a sequence are its last tokens; scores, softmax and sums are
computed in float32 and rounded once. A compressed mask, 2,048 by 2,048, is never looked up beyond
its form, an upper triangle that says what is hidden: which diagonal is meant follows from
``sparse_mode``, as torch_npu's documentation of ``npu_fused_infer_attention_score`` has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch

from .layouts import by_token, mask_in_rows
from .refusal import refuse

COMPRESSED = (2048, 2048)
ALL, LEFT_UP, RIGHT_DOWN, BAND = 0, 2, 3, 4
"""Sparse modes: the mask as given; causal from the first key, from the last; a band."""


def attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scale: float,
    hidden: torch.Tensor | None = None,
    added: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention of one sequence.

    Args:
        queries: (queries, heads, size).
        keys: (keys, key heads, size); each serves ``heads / key heads`` heads.
        values: as `keys`.
        scale: factor of the products.
        hidden: what each query does not see, bool (queries, keys).
        added: what is added to the products, (queries, keys).
    """
    if len({queries.dtype, keys.dtype, values.dtype}) != 1:
        refuse("attention", "of one type", queries=queries, keys=keys, values=values)
    times = queries.shape[1] // keys.shape[1]
    keys, values = (one.float().repeat_interleave(times, dim=1) for one in (keys, values))
    products = torch.einsum("qhd,khd->hqk", queries.float(), keys) * scale
    if added is not None:
        products = products + added.float()
    if hidden is not None:
        products = products.masked_fill(hidden, -torch.inf)
    weights = torch.softmax(products, dim=-1).nan_to_num(0.0)  # who sees nothing gets nothing
    return torch.einsum("hqk,khd->qhd", weights, values).to(queries.dtype)


def causal(queries: int, keys: int, device: torch.device) -> torch.Tensor:
    """What the last `queries` of `keys` tokens do not see: what comes after them."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).triu(keys - queries + 1)


def hidden_by(
    operator: str,
    mode: int,
    mask: torch.Tensor | None,
    queries: int,
    keys: int,
    device: torch.device,
    reach: tuple[int, int],
) -> torch.Tensor | None:
    """What a sparse mode hides, bool (queries, keys); `reach` is how far a band looks."""
    if mode == ALL:
        if mask is None:
            return None
        if mask.shape[-2:] != (queries, keys):
            refuse(operator, "sparse_mode 0 takes a mask of every query and key", mask=mask)
        return mask.bool().reshape(queries, keys)
    _check_compressed(operator, mask)
    if mode == RIGHT_DOWN:
        return causal(queries, keys, device)
    if mode == LEFT_UP:
        return torch.ones(queries, keys, dtype=torch.bool, device=device).triu(1)
    if mode == BAND:
        before, after = reach
        places = torch.arange(queries, device=device)[:, None] + keys - queries
        distance = torch.arange(keys, device=device) - places
        return (distance > after) | (distance < -before)
    return refuse(operator, f"sparse_mode {mode} is not written")


def _check_compressed(operator: str, mask: torch.Tensor | None) -> None:
    if mask is None or mask.shape != COMPRESSED or mask.dtype not in (torch.bool, torch.int8):
        refuse(
            operator, "a causal sparse_mode takes a mask of 2048 by 2048, bool or int8", mask=mask
        )
    if bool(mask[0, 0]) or not bool(mask[0, 1]) or bool(mask[1, 0]):
        refuse(operator, "a compressed mask hides its upper triangle", mask=mask)


# ---- layouts ------------------------------------------------------------------------------------


def spans(ends: Sequence[int] | torch.Tensor) -> Iterator[slice]:
    """Where sequences lie that end at `ends`, one behind the other (layout TND)."""
    for start, end in pairwise([0, *(int(each) for each in ends)]):
        yield slice(start, end)


def paged(cache: torch.Tensor, blocks: torch.Tensor, length: int, heads: int) -> torch.Tensor:
    """The first `length` tokens of a sequence whose blocks are `blocks`: (length, heads, size).

    The cache is (blocks, block size, heads, size), the last two flattened or not, or a 310P's.
    """
    cache = by_token(cache)
    size = cache.shape[1]
    wanted = blocks[: -(-length // size)].long()
    return cache[wanted].flatten(0, 1)[:length].reshape(length, heads, -1)


# ---- operators ----------------------------------------------------------------------------------


def npu_fused_infer_attention_score(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    num_heads: int,
    scale: float,
    input_layout: str = "BSH",
    num_key_value_heads: int = 0,
    atten_mask: torch.Tensor | None = None,
    block_table: torch.Tensor | None = None,
    block_size: int = 0,
    actual_seq_lengths: Sequence[int] | None = None,
    actual_seq_lengths_kv: Sequence[int] | None = None,
    sparse_mode: int = 0,
    pre_tokens: int = 2147483647,
    next_tokens: int = 2147483647,
    **others: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Layout TND: sequences one behind the other, their ends in `actual_seq_lengths`.

    With a block table keys and values are in a cache, and `actual_seq_lengths_kv` are lengths;
    without, they lie as the queries do, and those are ends.
    """
    operator = "npu_fused_infer_attention_score"
    given = {"query": query, "key": key, "value": value, "block_table": block_table}
    if input_layout != "TND" or any(one is not None for one in others.values()):
        refuse(operator, f"input_layout {input_layout} with {sorted(others)}", **given)
    if actual_seq_lengths is None or actual_seq_lengths_kv is None:
        refuse(operator, "layout TND takes the ends of sequences", **given)
    if actual_seq_lengths[-1] != len(query):
        refuse(
            operator, f"{len(query)} queries, sequences end at {actual_seq_lengths[-1]}", **given
        )
    heads = num_key_value_heads or num_heads
    if block_table is not None and (key.dim() != 3 or block_size != key.shape[1]):
        refuse(operator, f"a cache is (blocks, {block_size}, heads * size)", **given)
    output = torch.empty_like(query)
    places = list(spans(actual_seq_lengths))
    known = list(spans(actual_seq_lengths_kv)) if block_table is None else actual_seq_lengths_kv
    if len(known) < len(places):
        refuse(operator, f"{len(places)} sequences, {len(known)} of keys", **given)
    for number, asking in enumerate(places):
        if asking.start == asking.stop:
            continue
        if block_table is None:
            keys, values = key[known[number]], value[known[number]]
        else:
            blocks, length = block_table[number], int(known[number])
            keys, values = (paged(one, blocks, length, heads) for one in (key, value))
        hidden = hidden_by(
            operator,
            sparse_mode,
            atten_mask,
            asking.stop - asking.start,
            len(keys),
            query.device,
            (pre_tokens, next_tokens),
        )
        output[asking] = attend(query[asking], keys, values, scale, hidden)
    return output, query.new_empty(1)


def npu_fusion_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    head_num: int,
    input_layout: str,
    *,
    scale: float = 1.0,
    keep_prob: float = 1.0,
    atten_mask: torch.Tensor | None = None,
    sparse_mode: int = 0,
    pre_tockens: int = 2147483647,
    next_tockens: int = 2147483647,
    actual_seq_qlen: Sequence[int] | None = None,
    actual_seq_kvlen: Sequence[int] | None = None,
    **others: Any,
) -> tuple[torch.Tensor, ...]:
    """Layouts TND, BSND and BNSD; no cache."""
    operator = "npu_fusion_attention"
    given = {"query": query, "key": key, "value": value}
    if any(one is not None for one in others.values()) or keep_prob != 1.0:
        refuse(operator, f"with {sorted(others)}, keep_prob {keep_prob}", **given)

    def one(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        reach = (pre_tockens, next_tockens)
        size = (len(queries), len(keys))
        hidden = hidden_by(operator, sparse_mode, atten_mask, *size, query.device, reach)
        return attend(queries, keys, values, scale, hidden)

    if input_layout == "TND":
        if actual_seq_qlen is None or actual_seq_kvlen is None:
            refuse(operator, "layout TND takes the ends of sequences", **given)
        output = torch.zeros_like(query)
        for asking, known in zip(spans(actual_seq_qlen), spans(actual_seq_kvlen), strict=True):
            output[asking] = one(query[asking], key[known], value[known])
    elif input_layout in ("BSND", "BNSD"):
        turned = input_layout == "BNSD"
        rows = ([r.transpose(0, 1) if turned else r for r in t] for t in (query, key, value))
        output = torch.stack([one(*row) for row in zip(*rows, strict=True)])
        output = output.transpose(1, 2) if turned else output
    else:
        refuse(operator, f"input_layout {input_layout} is not written", **given)
    nothing = query.new_empty(0)
    return output, nothing, nothing, nothing, 0, 0, 0


def _npu_flash_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    seq_len: torch.Tensor,
    scale_value: float,
    num_heads: int,
    num_kv_heads: int,
    out: torch.Tensor,
) -> None:
    """Prompts one behind the other, of `seq_len` tokens; `mask` is added, (longest, longest)."""
    mask = mask_in_rows("_npu_flash_attention", mask)
    ends = seq_len.cumsum(0)
    if ends[-1] > len(query):
        refuse("_npu_flash_attention", f"{ends[-1]} tokens of prompts", query=query)
    for place in spans(ends):
        length = place.stop - place.start
        out[place] = attend(
            query[place], key[place], value[place], scale_value, added=mask[:length, :length]
        )


def _npu_flash_attention_qlens(
    query: torch.Tensor,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    block_table: torch.Tensor,
    mask: torch.Tensor,
    seq_len: torch.Tensor,
    context_lens: torch.Tensor,
    num_kv_heads: int,
    num_heads: int,
    scale_value: float,
    out: torch.Tensor,
) -> None:
    """The last `seq_len` tokens of prompts of `context_lens`, whose keys are in the cache.

    `mask` is the compressed one that is added, (128, 128): what comes after a query is hidden.
    """
    if mask.shape != (128, 128) or not mask[0, 1] or mask[1, 0]:
        refuse("_npu_flash_attention_qlens", "a mask of 128 by 128 hides what follows", mask=mask)
    for number, place in enumerate(spans(seq_len.cumsum(0))):
        length = int(context_lens[number])
        keys, values = (
            paged(one, block_table[number], length, num_kv_heads)
            for one in (key_cache, value_cache)
        )
        hidden = causal(place.stop - place.start, length, query.device)
        out[place] = attend(query[place], keys, values, scale_value, hidden)


def _npu_paged_attention_splitfuse(
    query: torch.Tensor,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    mask: torch.Tensor,
    block_table: torch.Tensor,
    seq_len: torch.Tensor,
    context_lens: torch.Tensor,
    num_kv_heads: int,
    num_heads: int,
    scale_value: float,
    out: torch.Tensor,
) -> None:
    """As `_npu_flash_attention_qlens`; `mask` has a row for each query, which is added."""
    operator = "_npu_paged_attention_splitfuse"
    if seq_len.device.type != "cpu":
        refuse(operator, "the host has the numbers of queries", seq_len=seq_len)
    mask = mask_in_rows(operator, mask)
    for number, place in enumerate(spans(seq_len.cumsum(0))):
        length = int(context_lens[number])
        keys, values = (
            paged(one, block_table[number], length, num_kv_heads)
            for one in (key_cache, value_cache)
        )
        added = mask[place, :length]
        if added.shape != (place.stop - place.start, length):
            refuse(operator, f"queries {place} of {length} keys", mask=mask)
        out[place] = attend(query[place], keys, values, scale_value, added=added)


def _npu_paged_attention(
    query: torch.Tensor,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    num_kv_heads: int,
    num_heads: int,
    scale_value: float,
    block_table: torch.Tensor,
    context_lens: torch.Tensor,
    out: torch.Tensor,
    workspace: torch.Tensor | None = None,
) -> None:
    """One query a sequence, the last of its `context_lens` tokens."""
    for number in range(len(context_lens)):
        length = int(context_lens[number])
        keys, values = (
            paged(one, block_table[number], length, num_kv_heads)
            for one in (key_cache, value_cache)
        )
        out[number] = attend(query[number : number + 1], keys, values, scale_value)[0]
