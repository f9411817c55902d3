"""The device: operators give the CPU's numbers on it, and what a card refuses is refused."""

from collections.abc import Callable, Iterator

import pytest
import torch
import torch_npu

CARD = torch_npu.stand_in


@pytest.fixture
def little_memory() -> Iterator[int]:
    """Room for 4 MiB more."""
    before, room = CARD.limit(), 4 << 20
    CARD.set_limit(CARD.used() + room)
    yield room
    CARD.set_limit(before)


def test_operators_give_the_numbers_of_the_cpu() -> None:
    here = torch.randn(5, 7, 8)
    there = here.npu()
    for compute in (
        lambda x: x.transpose(0, 1).contiguous(),
        lambda x: x[:, 2:5, ::2] + 1,
        lambda x: x[x > 0.5],
        lambda x: torch.cat([x, 2 * x], dim=1).softmax(-1),
        lambda x: x.flatten(1) @ x.flatten(1).T,
        lambda x: torch.nn.functional.rms_norm(x, (8,)),
        lambda x: x.new_zeros(3, 4).fill_(2).cumsum(0),
        lambda x: torch.arange(9, device=x.device).view(3, 3).sum(1),
        lambda x: torch.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True),
    ):
        found = compute(there)
        assert found.device.type == "npu"
        torch.testing.assert_close(found.cpu(), compute(here))


def test_a_view_shares_its_memory() -> None:
    whole = torch.zeros(4, 6, device="npu")
    whole.view(2, 12)[1].fill_(1)
    whole[0].add_(3)
    whole[2:, 1] = 5
    assert whole.cpu().tolist() == [[3] * 6, [0] * 6, [1, 5, 1, 1, 1, 1], [1, 5, 1, 1, 1, 1]]


def test_index_assignment_takes_indices_of_either_device() -> None:
    for places in (torch.tensor([0, 2]), torch.tensor([0, 2]).npu()):
        found = torch.zeros(3, device="npu")
        found[places] = torch.ones(2, device="npu")
        assert found.tolist() == [1, 0, 1]


def test_memory_is_counted_and_given_back() -> None:
    before, (free, whole) = CARD.used(), torch.npu.mem_get_info()
    held = torch.empty(1 << 20, device="npu")
    summed = held.zero_() + 1  # a result is memory of the device too
    assert CARD.used() - before == 8 << 20
    assert torch.npu.mem_get_info() == (free - (8 << 20), whole)
    del held, summed
    assert CARD.used() == before


def test_memory_runs_out(little_memory: int) -> None:
    with pytest.raises(torch.OutOfMemoryError, match="NPU out of memory. Tried to allocate"):
        torch.empty(little_memory + 1, dtype=torch.int8, device="npu")
    fits = torch.zeros(little_memory // 2, dtype=torch.int8, device="npu")
    with pytest.raises(torch.OutOfMemoryError):
        fits + fits.to(torch.int16)


def test_there_is_one_device() -> None:
    assert torch.zeros(1, device="npu:0").device == torch.device("npu", 0)
    with pytest.raises(RuntimeError, match="Invalid device ID 1"):
        torch.zeros(1, device="npu:1")


def test_float64_is_not_multiplied() -> None:
    matrix = torch.ones(2, 2, dtype=torch.float64, device="npu")
    with pytest.raises(RuntimeError, match="aten::mm: not implemented for DT_DOUBLE"):
        matrix @ matrix


def test_tensors_of_two_devices_do_not_meet() -> None:
    with pytest.raises(RuntimeError, match="at least two devices, npu:0 and cpu"):
        torch.ones(2, device="npu") + torch.ones(2)
    assert (torch.ones(2, device="npu") + torch.tensor(1.0)).tolist() == [2, 2]  # a number


@pytest.fixture
def pinned() -> Iterator[torch.Tensor]:
    """Memory of the host that the device copies by itself, while it is watched."""
    CARD.set_watching(True)
    yield torch.zeros(8, dtype=torch.int64, pin_memory=True)
    CARD.wait_for_all()
    CARD.set_watching(False)


def _look_at_a_number() -> None:
    torch.ones(1, device="npu").item()


def _copy_back() -> None:
    torch.ones(1, device="npu").cpu()


WAITS = [lambda: torch.npu.synchronize(), _look_at_a_number, _copy_back]


@pytest.mark.parametrize("wait", WAITS)
def test_a_write_into_what_is_being_copied_is_seen(
    pinned: torch.Tensor, wait: Callable[[], None]
) -> None:
    pinned.to("npu", non_blocking=True)
    pinned.numpy()[3] = 1
    with pytest.raises(RuntimeError, match="the host wrote into pinned memory"):
        wait()


@pytest.mark.parametrize("wait", WAITS)
def test_what_was_waited_for_may_be_written_into(
    pinned: torch.Tensor, wait: Callable[[], None]
) -> None:
    pinned.to("npu", non_blocking=True)
    wait()
    pinned.numpy()[3] = 1


def test_an_event_stands_for_what_was_under_way_when_it_was_recorded(pinned: torch.Tensor) -> None:
    before, after = pinned[:4], pinned[4:]
    before.to("npu", non_blocking=True)
    event = torch.npu.Event()
    event.record()
    after.to("npu", non_blocking=True)
    event.synchronize()
    before[0] = 1
    torch.npu.synchronize()
    after.to("npu", non_blocking=True)
    after[0] = 1
    event.synchronize()
    with pytest.raises(RuntimeError, match="the host wrote into pinned memory"):
        torch.npu.synchronize()


def test_copies_that_the_host_makes_are_not_watched(pinned: torch.Tensor) -> None:
    pageable = torch.zeros(8)
    for host, non_blocking in ((pageable, True), (pinned, False)):
        host.to("npu", non_blocking=non_blocking)
        host[0] = 1
    assert pinned.is_pinned()
    assert not pageable.is_pinned()


def test_the_device_does_not_wait_for_itself(pinned: torch.Tensor) -> None:
    """Operators here look at numbers, such as lengths, which on a card the host never sees."""
    rows = torch.ones(2, 1, 8, device="npu")
    caches = [torch.zeros(1, 4, 1, 8, device="npu") for _ in range(2)]
    slots = torch.tensor([1, 3], dtype=torch.int32).npu()
    pinned.to("npu", non_blocking=True)
    pinned[0] = 1
    torch_npu._npu_reshape_and_cache(rows, rows, *caches, slots)
    with pytest.raises(RuntimeError, match="the host wrote into pinned memory"):
        torch.npu.synchronize()


def test_an_operator_that_is_not_written_says_what_it_was_given() -> None:
    with pytest.raises(NotImplementedError) as caught:
        torch_npu.npu_grouped_matmul(torch.ones(2, 3, device="npu"), group_list=[1])
    assert str(caught.value).startswith(
        "the stand-in's torch_npu.npu_grouped_matmul: is not written "
        "(_0=torch.float32[2, 3] on npu:0, group_list=[1]); write it in tests/ascend/card/torch_npu"
    )
    with pytest.raises(NotImplementedError):
        torch_npu.atb.npu_paged_cache_load(1)
