"""The card's other operators against plain formulas."""

from typing import Any

import pytest
import torch
import torch_npu
from torch_npu import chip
from torch_npu.extension import npu_add_rms_norm_bias

HALVES = [torch.float32, torch.float16, torch.bfloat16]
ERROR = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 1e-2}


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    torch.manual_seed(len(shape))
    return torch.randn(*shape).to(dtype).npu()


def assert_close(found: torch.Tensor, right: torch.Tensor) -> None:
    error = ERROR[found.dtype]
    torch.testing.assert_close(found.cpu().double(), right, rtol=error, atol=error)


@pytest.mark.parametrize("dtype", HALVES)
def test_norms(dtype: torch.dtype) -> None:
    x, y, weight = (draw(5, 32, dtype=dtype), draw(5, 32, dtype=dtype) * 3, draw(32, dtype=dtype))

    def formula(rows: torch.Tensor) -> torch.Tensor:
        wide = rows.cpu().double()
        return wide / (wide.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weight.cpu().double()

    found, root = torch_npu.npu_rms_norm(x, weight, 1e-5)
    assert_close(found, formula(x))
    wide = x.cpu().double().pow(2).mean(-1, keepdim=True)
    assert_close(root, 1 / (wide + 1e-5).sqrt())
    found, _, total = torch_npu.npu_add_rms_norm(x, y, weight, 1e-5)
    assert total.cpu().equal((x + y).cpu())
    assert_close(found, formula(total))
    for beta, added in ((None, 0), (y[0], y[0].cpu().double())):
        found, _, total = npu_add_rms_norm_bias(x, y, weight, beta, 1e-5)
        assert_close(found, formula(total) + added)


@pytest.mark.parametrize("dtype", HALVES)
def test_swiglu(dtype: torch.dtype) -> None:
    x = draw(5, 32, dtype=dtype)
    first, second = x.cpu().double().chunk(2, -1)
    assert_close(torch_npu.npu_swiglu(x), first / (1 + (-first).exp()) * second)


def angles(positions: torch.Tensor, size: int) -> torch.Tensor:
    turns = 100.0 ** (-torch.arange(0, size, 2).double() / size)
    return positions.double()[:, None] * turns


def turned(heads: torch.Tensor, angle: torch.Tensor, pairs: Any) -> torch.Tensor:
    """Each pair of numbers is a complex one, times exp(i · angle); (tokens, heads, size)."""
    wide = heads.cpu().double()
    first, second = pairs(wide.shape[-1])
    numbers = torch.complex(wide[..., first], wide[..., second])
    numbers = numbers * torch.polar(torch.ones_like(angle), angle)[:, None]
    found = torch.empty_like(wide)
    found[..., first], found[..., second] = numbers.real, numbers.imag
    return found


def halves(size: int) -> tuple[Any, Any]:
    return torch.arange(size // 2), torch.arange(size // 2, size)


def neighbours(size: int) -> tuple[Any, Any]:
    return torch.arange(0, size, 2), torch.arange(1, size, 2)


POSITIONS = torch.tensor([0, 7, 3, 100])


@pytest.mark.parametrize(("neox", "pairs"), [(True, halves), (False, neighbours)])
def test_rotary_embedding_of_positions(neox: bool, pairs: Any) -> None:
    size = 8
    table = angles(torch.arange(128), size)
    cache = torch.cat([table.cos(), table.sin()], dim=-1).float().npu()
    queries, keys = draw(4, 3 * size), draw(4, 2 * size) * 2
    right = [
        turned(one.view(4, -1, size), angles(POSITIONS, size), pairs).flatten(1)
        for one in (queries, keys)
    ]
    mode = "half" if neox else "interleaved"
    anew = torch_npu.npu_mrope(
        POSITIONS.npu(), queries, keys, cache, size, mrope_section=[0, 0, 0], rotary_mode=mode
    )
    torch_npu._npu_rotary_embedding(POSITIONS.npu(), queries, keys, size, cache, neox)
    assert all(
        one.cpu().equal(other.cpu()) for one, other in zip(anew, (queries, keys), strict=True)
    )
    for found, wanted in zip((queries, keys), right, strict=True):
        torch.testing.assert_close(found.cpu().double(), wanted, rtol=1e-4, atol=1e-4)


def test_rotary_by_cosines_and_sines() -> None:
    heads, angle = draw(4, 3, 8), angles(POSITIONS, 8)
    twice = torch.cat([angle, angle], dim=-1)[None, :, None].float()
    cos, sin = twice.cos().npu(), twice.sin().npu()
    right = turned(heads, angle, halves)
    found = torch_npu.npu_rotary_mul(heads[None], cos, sin)[0]
    torch.testing.assert_close(found.cpu().double(), right, rtol=1e-4, atol=1e-4)
    queries, keys = heads[None].clone(), heads[None].clone()
    torch_npu.npu_apply_rotary_pos_emb(queries, keys, cos, sin)
    assert queries.cpu().equal(found[None].cpu())
    assert keys.cpu().equal(queries.cpu())


def write(operator: str, slots: list[int], *, dtype: torch.dtype = torch.int32) -> torch.Tensor:
    caches = torch.zeros(2, 3, 4, 2, 8).npu()
    rows = draw(len(slots), 2, 8), 2 * draw(len(slots), 2, 8)
    name = "slot_indices" if operator == "_npu_reshape_and_cache" else "slot_mapping"
    getattr(torch_npu, operator)(
        key=rows[0],
        value=rows[1],
        key_cache=caches[0],
        value_cache=caches[1],
        **{name: torch.tensor(slots, dtype=dtype).npu()},
    )
    return caches


WRITERS = ["_npu_reshape_and_cache", "npu_scatter_pa_kv_cache"]


@pytest.mark.parametrize("operator", WRITERS)
def test_the_cache_is_written_by_slot(operator: str) -> None:
    slots = [5, -1, 0, 11]
    found = write(operator, slots).cpu()
    rows = draw(4, 2, 8).cpu()
    right = torch.zeros(2, 3, 4, 2, 8)
    for slot, row in zip(slots, rows, strict=True):
        if slot >= 0:
            right[0, slot // 4, slot % 4] = row
            right[1, slot // 4, slot % 4] = 2 * row
    assert found.equal(right)


def test_a_310p_writes_blocks_of_16_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """vllm-ascend makes its cache (blocks, heads * size / 16, block size, 16)."""
    monkeypatch.setattr(chip, "NAME", chip.P310)
    slots, rows = [5, -1, 0, 11], draw(4, 2, 24)
    caches = [
        torch_npu.empty_with_format(
            size=(3, 3, 4, 16), dtype=torch.float32, device=torch.device("npu"), acl_format=29
        ).zero_()
        for _ in range(2)
    ]
    torch_npu._npu_reshape_and_cache(
        key=rows,
        value=2 * rows,
        key_cache=caches[0],
        value_cache=caches[1],
        slot_indices=torch.tensor(slots, dtype=torch.int32).npu(),
    )
    right = torch.zeros(3, 3, 4, 16)
    for slot, row in zip(slots, rows.cpu().flatten(1), strict=True):
        if slot >= 0:
            for number, value in enumerate(row):
                right[slot // 4, number // 16, slot % 4, number % 16] = value
    assert caches[0].cpu().equal(right)
    assert caches[1].cpu().equal(2 * right)


@pytest.mark.parametrize("operator", WRITERS)
@pytest.mark.parametrize("slots", [[3, 3], [12]], ids=["twice", "beyond"])
def test_a_wrong_slot_is_refused(operator: str, slots: list[int]) -> None:
    with pytest.raises(NotImplementedError, match=operator):
        write(operator, slots)


def test_slots_are_int32() -> None:
    with pytest.raises(NotImplementedError, match="slots are int32"):
        write("_npu_reshape_and_cache", [1], dtype=torch.int64)


def test_products_are_added_in_float32() -> None:
    x, weight, out = draw(6, 4, dtype=torch.float16), draw(6, 3, dtype=torch.float16), draw(4, 3)
    right = out.cpu().double() + x.cpu().double().T @ weight.cpu().double()
    torch_npu._npu_matmul_add_fp32(x, weight, out)
    torch.testing.assert_close(out.cpu().double(), right, rtol=1e-5, atol=1e-5)


def test_a_310p_does_not_add_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chip, "NAME", chip.P310)
    with pytest.raises(NotImplementedError, match="a 310P has no such operator"):
        torch_npu._npu_matmul_add_fp32(draw(6, 4), draw(6, 3), draw(4, 3))


def test_a_format_changes_no_number() -> None:
    x = draw(4, 16)
    assert torch_npu.npu_format_cast(x, 29).cpu().equal(x.cpu())
    with pytest.raises(NotImplementedError, match="format 3"):
        torch_npu.npu_format_cast(x, 3)


def test_slots_follow_from_block_tables() -> None:
    """What Triton computes on the card; vllm-ascend calls it by these arguments."""
    kernel = torch_npu.triton_kernels.SlotMapping()
    blocks = torch.tensor([[4, 2, 0], [1, 0, 0]], dtype=torch.int32).npu()
    positions = torch.tensor([126, 127, 128, 0, 1]).npu()
    slots = torch.full((8,), 99, dtype=torch.int32).npu()
    starts = torch.tensor([0, 3, 5], dtype=torch.int32).npu()
    kernel[(3,)](5, 8, starts, positions, blocks, 3, 128, slots, TOTAL_CP_WORLD_SIZE=1, PAD_ID=-1)
    assert slots.tolist() == [4 * 128 + 126, 4 * 128 + 127, 2 * 128, 128, 129, -1, -1, -1]


# ---- int8 --------------------------------------------------------------------------------------


def test_tokens_become_int8_by_their_largest_number() -> None:
    x = torch.tensor([[1.0, -2.54, 0.3], [0.0, 0.0, 0.0]], dtype=torch.float16).npu()
    found, scale = torch_npu.npu_dynamic_quant(x, dst_type=torch.int8)
    assert found.tolist() == [[50, -127, 15], [0, 0, 0]]
    torch.testing.assert_close(scale.cpu(), x.cpu().float().abs().amax(-1) / 127)


@pytest.mark.parametrize(("scale", "divided"), [(0.5, True), (2.0, False)])
def test_numbers_become_int8_by_a_given_scale(scale: float, divided: bool) -> None:
    x = torch.tensor([[1.0, -2.3, 100.0, -90.0]]).npu()
    scales, zero = torch.tensor([scale]).npu(), torch.tensor([3.0]).npu()
    found = torch_npu.npu_quantize(x, scales, zero, torch.qint8, -1, divided)
    assert found.tolist() == [[5, -2, 127, -128]]


@pytest.mark.parametrize("bits", [False, True], ids=["float32", "its bits in int64"])
def test_products_of_int8(bits: bool) -> None:
    torch.manual_seed(3)
    left, right = (torch.randint(-128, 128, size, dtype=torch.int8) for size in ((4, 6), (6, 5)))
    scale, token, bias = torch.rand(5), torch.rand(4), torch.arange(5, dtype=torch.int32) * 100
    total = left.long() @ right.long() + bias
    given = scale.view(torch.int32).long() if bits else scale
    found = torch_npu.npu_quant_matmul(
        left.npu(),
        right.npu(),
        given.npu(),
        pertoken_scale=token.npu(),
        bias=bias.npu(),
        output_dtype=torch.float32,
    )
    torch.testing.assert_close(
        found.cpu().double(), total * scale.double() * token.double()[:, None], rtol=1e-5, atol=1e-5
    )
    with pytest.raises(NotImplementedError, match="a scale is int64, bfloat16 or float32"):
        torch_npu.npu_quant_matmul(left.npu(), right.npu(), scale.half().npu())
    with pytest.raises(NotImplementedError, match="int8 by int8"):
        torch_npu.npu_quant_matmul(left.npu().float(), right.npu(), scale.npu())
