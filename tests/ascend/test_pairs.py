"""vllm-ascend's own code, from its wheel, gives the torch engine's log-odds as the plan starts it.

And without the plan it does not: what the plan prevents is there. The newest final pair and the
oldest that is known to be wrong; `make ascend` runs all of them.
"""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from .matrix import NEAR, differences, outcome, prepared, tried
from .pairs import PAIRS, Pair, UnavailableError, folder_of
from .scenarios import CHUNKS, DIES, RIGHT, WRONG, Scenario

REQUIRED = "ASCEND_REQUIRED"
"""The variable that makes it a failure that wheels cannot be had."""
NEWEST, OLD = "0.23.0", "0.13.0"
PLAN = Scenario("plan")
WAITING = Scenario(
    "chunks",
    options=CHUNKS,
    without="a step in which no prompt ends does not wait",
    expected=DIES,
)
POOLING = Scenario(
    "cache",
    options={
        "enable_prefix_caching": True,
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": 2048,
    },
    without="attention of pooling models does not read",
    expected=WRONG,
)
WANTED = {NEWEST: [PLAN, WAITING], OLD: [PLAN, POOLING]}

pytestmark = [
    pytest.mark.full,  # minutes for each pair, and hundreds of megabytes of wheels
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM's own requirements"),
    pytest.mark.timeout(1500),
]


@pytest.fixture(scope="module")
def content() -> Iterator[dict[str, Any]]:
    with prepared(("lexical",)) as made:
        yield made


@pytest.fixture(scope="module", params=WANTED)
def found(
    request: pytest.FixtureRequest,
    content: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Pair, dict[str, dict[str, Any]]]:
    """What came of the scenarios of one pair."""
    pair = next(one for one in PAIRS if one.name == request.param)
    logs: Path = tmp_path_factory.mktemp(f"ascend-{pair.name}")
    try:
        with folder_of(pair) as home:
            return pair, tried(pair, home, content, WANTED[pair.name], logs)
    except UnavailableError as error:
        if REQUIRED in os.environ:
            raise
        pytest.skip(f"its wheels cannot be had: {error}")


def test_scores_are_right_as_the_plan_starts_it(found: Any) -> None:
    pair, scenarios = found
    made = scenarios[PLAN.name]
    assert "error" not in made
    assert f"vllm-ascend {pair.vllm_ascend}" in made["version"]
    assert (made["device"], made["dtype"]) == ("npu", "float16")
    assert {name: made["became"][name] for name in made["asked"]} == made["asked"]
    assert max(differences(made).values()) <= NEAR
    assert outcome(made) == RIGHT, made


def test_prompts_in_chunks_are_written_over_without_the_plan(found: Any) -> None:
    """vLLM issue 48901: the host makes the next step ready while the device copies this one's."""
    pair, scenarios = found
    if pair.name != NEWEST:
        pytest.skip("attention is wrong too")
    assert "the host wrote into pinned memory" in scenarios[WAITING.name]["error"]


def test_a_prefix_cache_hit_is_wrong_without_the_plan(found: Any) -> None:
    """vllm-ascend issue 7452; documents of one call hit each other's blocks already."""
    pair, scenarios = found
    if pair.name != OLD:
        pytest.skip("the fault is mended")
    assert outcome(scenarios[POOLING.name]) == WRONG
    assert scenarios[POOLING.name]["cached"] > 1
