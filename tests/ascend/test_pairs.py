"""vllm-ascend's own code, from its wheel, gives the torch engine's log-odds as the plan starts it.

And without the plan it does not: what the plan prevents is there. The newest final pair and the
oldest that is known to be wrong; `make ascend` runs all of them.
"""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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
SHORT = 16
"""Documents beside the long ones: enough for several in a step, and several steps."""

Found = dict[str, dict[str, Any]]

pytestmark = [
    pytest.mark.full,  # 200 MB of wheels: `make ascend-pairs` keeps them, and `make test` runs it
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM's own requirements"),
    pytest.mark.timeout(1500),
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Found]]]:
    """What comes of the scenarios of each pair; the pairs run beside each other."""
    with prepared(("lexical",), short=SHORT) as content, ThreadPoolExecutor() as threads:
        yield {
            name: threads.submit(
                _found, _pair(name), content, tmp_path_factory.mktemp(f"ascend-{name}")
            )
            for name in WANTED
        }


def _pair(name: str) -> Pair:
    return next(one for one in PAIRS if one.name == name)


def _found(pair: Pair, content: dict[str, Any], logs: Path) -> Found:
    with folder_of(pair) as home:
        return tried(pair, home, content, WANTED[pair.name], logs)


def found(running: dict[str, Future[Found]], pair: str) -> Found:
    """What came of a pair's scenarios."""
    try:
        return running[pair].result()
    except UnavailableError as error:
        if REQUIRED in os.environ:
            raise
        pytest.skip(f"its wheels cannot be had: {error}")


@pytest.mark.parametrize("pair", WANTED)
def test_scores_are_right_as_the_plan_starts_it(running: Any, pair: str) -> None:
    made = found(running, pair)[PLAN.name]
    assert "error" not in made
    assert f"vllm-ascend {pair}" in made["version"]
    assert (made["device"], made["dtype"]) == ("npu", "float16")
    assert {name: made["became"][name] for name in made["asked"]} == made["asked"]
    assert max(differences(made).values()) <= NEAR
    assert outcome(made) == RIGHT, made


def test_prompts_in_chunks_are_written_over_without_the_plan(running: Any) -> None:
    """vLLM issue 48901: the host makes the next step ready while the device copies this one's."""
    made = found(running, NEWEST)[WAITING.name]
    assert "the host wrote into pinned memory" in made["error"]


def test_a_prefix_cache_hit_is_wrong_without_the_plan(running: Any) -> None:
    """vllm-ascend issue 7452; documents of one call hit each other's blocks already."""
    made = found(running, OLD)[POOLING.name]
    assert outcome(made) == WRONG
    assert made["cached"] > 1
