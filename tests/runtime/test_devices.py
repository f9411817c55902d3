"""Which devices each server gets."""

import dataclasses
import os

import pytest

from qwen3_ascend_rerank.errors import InvalidInputError
from qwen3_ascend_rerank.runtime.devices import CPU_CORES, share
from tests.runtime.machines import cpu, cuda, npu

NPUS, GPUS = "ASCEND_RT_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"


def with_devices(machine, count):
    return dataclasses.replace(machine, devices=count)


@pytest.fixture
def cores(monkeypatch):
    def have(*numbers):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(numbers), raising=False)

    return have


def values(found, variable):
    assert all(set(one) == {variable} for one in found)
    return [one[variable] for one in found]


def test_replicas_get_consecutive_npus():
    machine = with_devices(npu("0.23.0"), 8)
    assert values(share(machine, 4, 1, {}), NPUS) == ["0", "1", "2", "3"]
    assert values(share(machine, 3, 2, {}), NPUS) == ["0,1", "2,3", "4,5"]


def test_a_list_that_is_set_is_kept_to():
    environ = {GPUS: "5, 7,GPU-8932f937,-1,3"}
    machine = with_devices(cuda("0.30.0"), 3)
    assert values(share(machine, 3, 1, environ), GPUS) == ["5", "7", "GPU-8932f937"]


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        (with_devices(npu("0.23.0"), 6), "2 replicas of 4 need 8 NPUs and 6 can be seen"),
        (with_devices(npu("0.23.0"), 0), "8 NPUs and 0 can be seen"),
        (with_devices(cuda("0.30.0"), 1), "8 GPUs and 1 can be seen"),
    ],
)
def test_too_few_are_named(machine, message):
    with pytest.raises(InvalidInputError, match=message):
        share(machine, 2, 4, {})


def test_cores_are_divided(cores):
    cores(0, 1, 2, 3, 8, 9, 10)
    assert values(share(cpu("0.30.0"), 2, 1, {}), CPU_CORES) == ["0,1,2", "3,8,9,10"]
    assert values(share(cpu("0.30.0"), 2, 2, {}), CPU_CORES) == ["0|1,2", "3,8|9,10"]


def test_fewer_cores_than_servers_are_named(cores):
    cores(0, 1)
    with pytest.raises(InvalidInputError, match="3 replicas of 1 need 3 cores and 2 can be seen"):
        share(cpu("0.30.0"), 3, 1, {})


def test_cores_that_were_given_out_are_left_alone():
    assert share(cpu("0.30.0"), 2, 1, {CPU_CORES: "nobind"}) == [{}, {}]


@pytest.mark.parametrize("machine", [npu("0.23.0"), cuda("0.30.0"), cpu("0.30.0")])
def test_one_server_takes_what_it_sees(machine):
    assert share(machine, 1, 8, {}) == [{}]
