"""vllm-ascend's own code, from its wheel, gives the torch engine's log-odds as the plan starts it.

And without the plan it does not: what the plan prevents is there. The newest final pair and the
oldest that is known to be wrong; `make ascend` runs all of them.
"""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from .matrix import CACHE, CHUNKS, RIGHT, Scenario, differences, is_right, prepared, tried
from .pairs import PAIRS, Pair, UnavailableError, folder_of

REQUIRED = "ASCEND_REQUIRED"
"""The variable that makes it a failure that wheels cannot be had."""
NEWEST, WRONG = "0.23.0", "0.13.0"
POOLING = "attention of pooling models does not read"
WAITING = "a step in which no prompt ends does not wait"
WANTED = {
    NEWEST: [Scenario("plan"), Scenario("chunks", options=CHUNKS, without=WAITING)],
    WRONG: [
        Scenario("plan"),
        Scenario(
            "cache",
            options={**CACHE, "enable_chunked_prefill": False, "max_num_batched_tokens": 2048},
            without=POOLING,
        ),
    ],
}

pytestmark = [
    pytest.mark.full,  # minutes for each pair, and hundreds of megabytes of wheels
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM's own requirements"),
    pytest.mark.timeout(1500),
]


@pytest.fixture(scope="module")
def content() -> Iterator[dict[str, Any]]:
    with prepared() as made:
        yield made


@pytest.fixture(scope="module", params=WANTED)
def found(
    request: pytest.FixtureRequest, content: dict[str, Any]
) -> tuple[Pair, dict[str, dict[str, Any]]]:
    """What came of the scenarios of one pair."""
    pair = next(one for one in PAIRS if one.name == request.param)
    try:
        with folder_of(pair) as home:
            return pair, tried(pair, home, content, WANTED[pair.name])
    except UnavailableError as error:
        if REQUIRED in os.environ:
            raise
        pytest.skip(f"its wheels cannot be had: {error}")


def test_scores_are_right_as_the_plan_starts_it(found: Any) -> None:
    pair, scenarios = found
    made = scenarios.get("plan")
    assert made, scenarios
    assert f"vllm-ascend {pair.vllm_ascend}" in made["version"]
    assert (made["device"], made["dtype"]) == ("npu", "float16")
    assert {name: made["became"][name] for name in made["asked"]} == made["asked"]
    assert max(differences(made).values()) <= RIGHT
    assert is_right(made), made


def test_prompts_in_chunks_are_right_on_a_device_that_is_waited_for(found: Any) -> None:
    """The plan turns them off for want of the waiting alone."""
    pair, scenarios = found
    if pair.name != NEWEST:
        pytest.skip("attention is wrong too")
    assert is_right(scenarios["chunks"]), scenarios["chunks"]
    assert scenarios["chunks"]["became"]["max_num_batched_tokens"] == 512


def test_a_prefix_cache_hit_is_wrong_without_the_plan(found: Any) -> None:
    pair, scenarios = found
    if pair.name != WRONG:
        pytest.skip("the fault is mended")
    found_there = scenarios["cache"]
    assert found_there["cached"] > 1  # the second time: vllm-ascend issue 7452
