"""An engine option of the wrong kind is named with its value, whatever the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from qwen3_ascend_rerank import InvalidInputError, Reranker
from qwen3_ascend_rerank.engines import EngineSpec
from qwen3_ascend_rerank.runtime.kinds import KINDS
from qwen3_ascend_rerank.runtime.plan import Deployment, plan
from tests.runtime.machines import cpu, cuda, npu

ODD: list[Any] = [
    *("8k", "many", "", [1], [], {"a": 1}, {}, {1}, ("a",), -1, 0, 1.5, float("nan"), True, b"x"),
    *(None, 3, "auto", object()),
]
MACHINES = [npu("0.13.0"), npu("0.18.0"), npu("0.11.0rc1", "310P3"), cuda("0.23.0"), cpu("0.30.0")]
READ = [*KINDS, "compilation_config", "dtype", "hf_overrides", "kv_cache_dtype", "quantization"]


def complaint(work: Callable[[], object]) -> str:
    """What `work` refuses, in our words; none where it is done. Any other error comes through."""
    try:
        work()
    except InvalidInputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("value", ODD, ids=lambda value: f"{value!r:.12}")
@pytest.mark.parametrize("name", READ)
def test_no_argument_of_vllm_ends_in_a_raw_error(name: str, value: Any) -> None:
    for machine in MACHINES:
        said = complaint(partial(plan, machine, Deployment(100, {name: value}), {}))
        assert not said or (f"{name} is" in said and repr(value)[:20] in said)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_num_batched_tokens", "8k", r"'8k' \(str\); pass a whole number >= 1"),
        ("max_num_batched_tokens", [8192], r"\[8192\] \(list\); pass a whole number"),
        ("tensor_parallel_size", "2", r"'2' \(str\); pass a whole number"),
        ("gpu_memory_utilization", 90, r"90 \(int\); pass a number in \(0, 1\]"),
        ("enable_prefix_caching", ["no"], r"\['no'\] \(list\); pass True or False"),
        ("enable_prefix_caching", "false", r"'false' \(str\); pass True or False"),
        ("additional_config", "{}", r"'\{\}' \(str\); pass a dict"),
    ],
)
def test_an_argument_of_another_kind_is_named(name: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} is {message}"):
        plan(npu("0.13.0"), Deployment(100, {name: value}), {})


def test_what_vllm_takes_is_not_judged_here() -> None:
    options = {"max_num_batched_tokens": 9000, "dtype": "auto", "gpu_memory_utilization": 0.5}
    assert not plan(cpu("0.30.0"), Deployment(100, options), {}).refusals


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("batch_tokens", "many", r"batch_tokens is 'many' \(str\); pass a whole number >= 1"),
        ("batch_tokens", 0, "batch_tokens is 0"),
        ("dtype", 3, "dtype is 3; use one of float32"),
        ("device", 5, r"device is 5 \(int\)"),
        ("device", ["cpu"], r"device is \['cpu'\] \(list\)"),
        ("compile", "yes", r"compile is 'yes' \(str\); pass True or False"),
    ],
)
def test_an_option_of_the_torch_engine_is_named(name: str, value: Any, message: str) -> None:
    with Reranker("lexical", engine_options={name: value}) as reranker:
        with pytest.raises(InvalidInputError, match=message):
            reranker.start()


def test_an_unknown_option_is_named_with_the_nearest() -> None:
    with Reranker("lexical", engine_options={"batch_token": 64}) as reranker:
        with pytest.raises(
            InvalidInputError, match="no option batch_token; did you mean batch_tok"
        ):
            reranker.start()


SERVED = {
    *("headers", "ca_file", "client_certificate", "concurrency", "documents_per_request"),
    *("connect_timeout", "request_timeout", "attempts", "patience", "dialect", "formatting"),
}


@pytest.mark.parametrize("name", sorted(SERVED))
def test_an_option_of_the_served_engine_is_named(name: str) -> None:
    def make(value: Any) -> None:
        spec = EngineSpec("served", None, 512, None, {name: value}, ("https://127.0.0.1:1",))
        asyncio.run(spec.make().aclose())

    said = [said for value in ODD if (said := complaint(partial(make, value)))]
    assert len(said) >= len(ODD) - 5
    assert all(name in one for one in said)
