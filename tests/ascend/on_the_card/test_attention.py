"""The card's attention against the plain formula, one query and one head at a time, in float64."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch_npu
from torch_npu import chip

HEADS, KEY_HEADS, SIZE, BLOCK = 4, 2, 16, 8
SCALE = 1 / math.sqrt(SIZE)
MASK = torch.ones(2048, 2048).triu(1)


def formula(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, sees: Any = None
) -> torch.Tensor:
    """Attention of one sequence; `sees(query, key)` says what is visible, None: causal."""
    gap = len(keys) - len(queries)
    sees = sees or (lambda query, key: key <= query + gap)
    rows = []
    for place, query in enumerate(queries.double()):
        seen = [number for number in range(len(keys)) if sees(place, number)]
        heads = []
        for head in range(HEADS):
            own = head * KEY_HEADS // HEADS
            products = keys[seen, own].double() @ query[head] * SCALE
            heads.append(products.softmax(0) @ values[seen, own].double())
        rows.append(torch.stack(heads))
    return torch.stack(rows)


def draw(tokens: int, heads: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(tokens, heads, SIZE).to(dtype)


def packed(lengths: list[int], dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    tokens = sum(lengths)
    return (
        draw(tokens, HEADS, dtype),
        draw(tokens, KEY_HEADS, dtype),
        draw(tokens, KEY_HEADS, dtype),
    )


def in_cache(contexts: list[int], dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
    """Keys and values of sequences, the caches that they lie in, and the table of their blocks."""
    torch.manual_seed(2)
    rows = [(draw(length, KEY_HEADS, dtype), draw(length, KEY_HEADS, dtype)) for length in contexts]
    needed = [-(-length // BLOCK) for length in contexts]
    blocks = torch.randperm(sum(needed) + 3)
    caches = torch.full((2, len(blocks), BLOCK, KEY_HEADS, SIZE), torch.nan, dtype=dtype)
    table = torch.zeros(len(contexts), max(needed) + 1, dtype=torch.int32)
    taken = 0
    for number, (pair, count) in enumerate(zip(rows, needed, strict=True)):
        own = blocks[taken : taken + count]
        taken += count
        table[number, :count] = own
        for cache, row in zip(caches, pair, strict=True):
            for place, each in enumerate(row):
                cache[own[place // BLOCK], place % BLOCK] = each
    return rows, caches.npu(), table.npu()


def ends(lengths: list[int]) -> list[int]:
    return [sum(lengths[: number + 1]) for number in range(len(lengths))]


def each(lengths: list[int], *tensors: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
    return [tuple(one[a:b] for one in tensors) for a, b in pairwise([0, *ends(lengths)])]


def assert_close(found: torch.Tensor, right: torch.Tensor) -> None:
    error = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[found.dtype]
    torch.testing.assert_close(found.cpu().double(), right, rtol=error, atol=error)


def infer(queries: Any, keys: Any, values: Any, **given: Any) -> torch.Tensor:
    found, _ = torch_npu.npu_fused_infer_attention_score(
        query=queries,
        key=keys,
        value=values,
        input_layout="TND",
        num_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        scale=SCALE,
        **given,
    )
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_fused_infer_of_prompts_one_behind_the_other(dtype: torch.dtype) -> None:
    lengths = [3, 1, 17]
    given = packed(lengths, dtype)
    found = infer(
        *(one.npu() for one in given),
        atten_mask=MASK.to(torch.int8).npu(),
        sparse_mode=3,
        actual_seq_lengths=ends(lengths),
        actual_seq_lengths_kv=ends(lengths),
    )
    assert_close(found, torch.cat([formula(*one) for one in each(lengths, *given)]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_fused_infer_over_a_cache(dtype: torch.dtype) -> None:
    asking, contexts = [1, 5, 9], [1, 21, 9]
    queries = packed(asking, dtype)[0]
    rows, caches, table = in_cache(contexts, dtype)
    found = infer(
        queries.npu(),
        *(cache.flatten(2) for cache in caches),
        atten_mask=MASK.bool().npu(),
        sparse_mode=3,
        block_table=table,
        block_size=BLOCK,
        actual_seq_lengths=ends(asking),
        actual_seq_lengths_kv=contexts,
    )
    pairs = zip(each(asking, queries), rows, strict=True)
    assert_close(found, torch.cat([formula(own, *row) for (own,), row in pairs]))


def test_fused_infer_without_a_mask_sees_everything() -> None:
    lengths = [4, 6]
    given = packed(lengths)
    found = infer(
        *(one.npu() for one in given),
        sparse_mode=0,
        actual_seq_lengths=ends(lengths),
        actual_seq_lengths_kv=ends(lengths),
    )
    right = [formula(*one, sees=lambda query, key: True) for one in each(lengths, *given)]
    assert_close(found, torch.cat(right))


@pytest.mark.parametrize(
    "fault",
    [
        {"atten_mask": None},
        {"atten_mask": torch.ones(2048, 2048).triu(0).bool()},
        {"atten_mask": torch.ones(9, 9).triu(1).bool()},
        {"actual_seq_lengths": [3]},
        {"input_layout": "BSH"},
        {"dequant_scale1": torch.ones(1)},
    ],
    ids=["no mask", "hides the diagonal", "not compressed", "ends early", "layout", "unknown"],
)
def test_fused_infer_refuses_what_the_card_refuses(fault: dict[str, Any]) -> None:
    queries, keys, values = packed([4])
    right = {
        "input_layout": "TND",
        "atten_mask": MASK.bool(),
        "actual_seq_lengths": [4],
        "actual_seq_lengths_kv": [4],
        "sparse_mode": 3,
        "num_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "scale": SCALE,
    }
    torch_npu.npu_fused_infer_attention_score(queries, keys, values, **right)
    with pytest.raises(NotImplementedError, match="npu_fused_infer_attention_score"):
        torch_npu.npu_fused_infer_attention_score(queries, keys, values, **{**right, **fault})


SPARSE = [
    (2, {}, lambda query, key: key <= query),
    (3, {}, lambda query, key: key <= query + 2),
    (4, {"pre_tockens": 3, "next_tockens": 1}, lambda query, key: -3 <= key - query - 2 <= 1),
]


@pytest.mark.parametrize(("mode", "reach", "sees"), SPARSE, ids=["left up", "right down", "band"])
def test_fusion_attention_in_every_sparse_mode(mode: int, reach: dict[str, int], sees: Any) -> None:
    queries, (_, keys, values) = packed([6])[0], packed([8])
    found, *_ = torch_npu.npu_fusion_attention(
        *(one.npu() for one in (queries, keys, values)),
        HEADS,
        "TND",
        scale=SCALE,
        sparse_mode=mode,
        atten_mask=MASK.bool().npu(),
        actual_seq_qlen=[6],
        actual_seq_kvlen=[8],
        **reach,
    )
    assert_close(found, formula(queries, keys, values, sees))


@pytest.mark.parametrize("layout", ["BSND", "BNSD"])
def test_fusion_attention_of_a_batch(layout: str) -> None:
    rows = [packed([7]), tuple(2 * one for one in packed([7]))]
    batch = [torch.stack(one) for one in zip(*rows, strict=True)]
    if layout == "BNSD":
        batch = [one.transpose(1, 2) for one in batch]
    found, *_ = torch_npu.npu_fusion_attention(
        *(one.npu() for one in batch), HEADS, layout, scale=SCALE
    )
    found = found.transpose(1, 2) if layout == "BNSD" else found
    assert_close(found, torch.stack([formula(*row, sees=lambda q, k: True) for row in rows]))


def test_flash_attention_adds_its_mask() -> None:
    lengths = [5, 2, 9]
    given = packed(lengths, torch.float16)
    out = torch.zeros_like(given[0]).npu()
    mask = torch.zeros(9, 9, dtype=torch.float16).masked_fill(MASK[:9, :9].bool(), -torch.inf)
    torch_npu._npu_flash_attention(
        *(one.npu() for one in given),
        mask=mask.npu(),
        seq_len=torch.tensor(lengths, dtype=torch.int32),
        scale_value=SCALE,
        num_heads=HEADS,
        num_kv_heads=KEY_HEADS,
        out=out,
    )
    assert_close(out, torch.cat([formula(*one) for one in each(lengths, *given)]))


def test_flash_attention_over_a_cache() -> None:
    asking, contexts = [3, 8], [11, 8]
    queries = packed(asking)[0]
    rows, caches, table = in_cache(contexts)
    out = torch.zeros_like(queries).npu()
    torch_npu._npu_flash_attention_qlens(
        query=queries.npu(),
        key_cache=caches[0],
        value_cache=caches[1],
        block_table=table,
        mask=MASK[:128, :128].npu(),
        seq_len=torch.tensor(asking, dtype=torch.int32),
        context_lens=torch.tensor(contexts, dtype=torch.int32),
        num_kv_heads=KEY_HEADS,
        num_heads=HEADS,
        scale_value=SCALE,
        out=out,
    )
    pairs = zip(each(asking, queries), rows, strict=True)
    assert_close(out, torch.cat([formula(own, *row) for (own,), row in pairs]))


def test_paged_attention_of_one_query_each() -> None:
    contexts = [1, 8, 19]
    queries = packed([3])[0]
    rows, caches, table = in_cache(contexts)
    out = torch.zeros_like(queries).npu()
    torch_npu._npu_paged_attention(
        query=queries.npu(),
        key_cache=caches[0],
        value_cache=caches[1],
        num_kv_heads=KEY_HEADS,
        num_heads=HEADS,
        scale_value=SCALE,
        block_table=table,
        context_lens=torch.tensor(contexts, dtype=torch.int32),
        out=out,
    )
    right = [formula(queries[n : n + 1], *row) for n, row in enumerate(rows)]
    assert_close(out, torch.cat(right))


# ---- a 310P's layouts --------------------------------------------------------------------------


@pytest.fixture
def on_a_310p(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chip, "NAME", chip.P310)


def in_blocks(rows: torch.Tensor) -> torch.Tensor:
    """A mask of (queries, keys) as the card has it, number by number: (1, keys / 16, queries, 16).

    Both are filled up to multiples of 16.
    """
    queries, keys = (-(-size // 16) * 16 for size in rows.shape)
    made = torch.zeros(1, keys // 16, queries, 16, dtype=rows.dtype)
    for query, row in enumerate(rows):
        for key, value in enumerate(row):
            made[0, key // 16, query, key % 16] = value
    return made.npu()


def in_blocks_of_numbers(caches: torch.Tensor) -> torch.Tensor:
    """Caches of rows, (blocks, block size, heads, size), as a 310P has them."""
    wide = caches.cpu().flatten(-2)
    parts = [wide[..., start : start + 16] for start in range(0, wide.shape[-1], 16)]
    return torch.stack(parts, dim=2).npu()


def added(queries: int, keys: int) -> torch.Tensor:
    """The mask of the last `queries` of `keys` tokens, to be added."""
    hidden = torch.ones(queries, keys).triu(keys - queries + 1).bool()
    return torch.zeros(queries, keys, dtype=torch.float16).masked_fill(hidden, -torch.inf)


def test_flash_attention_of_a_310p(on_a_310p: None) -> None:
    lengths = [5, 2, 19]
    given = packed(lengths, torch.float16)
    out = torch.zeros_like(given[0]).npu()
    named = {
        "seq_len": torch.tensor(lengths, dtype=torch.int32),
        "scale_value": SCALE,
        "num_heads": HEADS,
        "num_kv_heads": KEY_HEADS,
        "out": out,
    }
    rows = [one.npu() for one in given]
    torch_npu._npu_flash_attention(*rows, mask=in_blocks(added(19, 19)), **named)
    assert_close(out, torch.cat([formula(*one) for one in each(lengths, *given)]))
    with pytest.raises(NotImplementedError, match="a mask in blocks of 16 keys"):
        torch_npu._npu_flash_attention(*rows, mask=added(19, 19).npu(), **named)


def test_prompts_in_chunks_of_a_310p(on_a_310p: None) -> None:
    asking, contexts = [3, 18, 1], [21, 18, 9]
    queries = packed(asking, torch.float16)[0]
    rows, caches, table = in_cache(contexts, torch.float16)
    mask = torch.zeros(sum(asking), max(contexts), dtype=torch.float16)
    for start, (count, length) in zip([0, 3, 21], zip(asking, contexts, strict=True), strict=True):
        mask[start : start + count, :length] = added(count, length)
    out = torch.zeros_like(queries).npu()
    in_blocks_ = in_blocks_of_numbers(caches)
    named = {
        "query": queries.npu(),
        "key_cache": in_blocks_[0],
        "value_cache": in_blocks_[1],
        "mask": in_blocks(mask),
        "block_table": table,
        "seq_len": torch.tensor(asking, dtype=torch.int32),
        "context_lens": torch.tensor(contexts, dtype=torch.int32).npu(),
        "num_kv_heads": KEY_HEADS,
        "num_heads": HEADS,
        "scale_value": SCALE,
        "out": out,
    }
    torch_npu._npu_paged_attention_splitfuse(**named)
    pairs = zip(each(asking, queries), rows, strict=True)
    assert_close(out, torch.cat([formula(own, *row) for (own,), row in pairs]))
    with pytest.raises(NotImplementedError, match="the host has the numbers of queries"):
        torch_npu._npu_paged_attention_splitfuse(**{**named, "seq_len": named["seq_len"].npu()})
    with pytest.raises(NotImplementedError, match="a 310P keeps blocks of 16"):
        torch_npu._npu_paged_attention_splitfuse(**{**named, "key_cache": caches[0].flatten(2)})


def test_newer_operators_are_asked_for_and_not_there() -> None:
    assert not hasattr(torch_npu, "_npu_flash_attention_v3")
    assert hasattr(torch_npu, "_npu_another")  # refuses once it is called
