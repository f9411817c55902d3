"""What is tried on a pair, in a process in which it is installed; see `matrix.py`.

    python -m tests.ascend.trial FILE

The file has documents, what they should score, and scenarios (`scenarios.py`). Prints for each a
line of JSON that begins with ``{"trial"``: what was asked, what vllm-ascend made of it, and how far
each call's log-odds lie from the expected ones. Everything else that is printed is vLLM's.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qwen3_ascend_rerank import EngineError, Reranker, RerankTimeoutError
from qwen3_ascend_rerank.engines.vllm import VLLMEngine
from qwen3_ascend_rerank.models import Checkpoint
from qwen3_ascend_rerank.runtime import plan
from qwen3_ascend_rerank.runtime.detect import Machine
from qwen3_ascend_rerank.runtime.plan import Plan
from tests.support.pairs import log_odds

from .scenarios import EVERY

HEADING = "== scenario: "
"""How a scenario's part of the log begins."""
LENGTH = 1000
"""Tokens of the longest prompt."""
OPTIONS: dict[str, Any] = {
    "enforce_eager": True,  # graphs are the card's
    "dtype": "float16",
    "gpu_memory_utilization": 0.5,
    "max_num_seqs": 256,
}
ASKED = {
    "max_model_len": ("model_config", "max_model_len"),
    "enable_prefix_caching": ("cache_config", "enable_prefix_caching"),
    "enable_chunked_prefill": ("scheduler_config", "enable_chunked_prefill"),
    "max_num_batched_tokens": ("scheduler_config", "max_num_batched_tokens"),
}
"""Settings that a plan may ask for, and where vLLM's configuration has them in the end."""
BEFORE = {"enable_chunked_prefill": "chunked_prefill_enabled"}
"""What older releases call them there."""


def scores(
    model: str, expected: dict[str, list[float]], documents: list[str], options: dict[str, Any]
) -> dict[str, Any]:
    """Calls of every kind, each compared with what is expected."""
    found: dict[str, Any] = {}
    queries = list(expected)

    def compare(name: str, query: str) -> None:
        answers = log_odds(made, query, documents)
        found[name] = max(abs(a - b) for a, b in zip(answers, expected[query], strict=True))

    engine = NotingEngine(model, max_length=LENGTH, **{**OPTIONS, **options})
    with Reranker(engine, max_length=LENGTH) as made:
        info = made.start()
        found |= {"version": info.version, "device": info.device, "dtype": info.dtype}
        found |= {"asked": engine.asked, "became": engine.became()}
        found |= {"cache_block": info.cache_block}
        compare("cold", queries[0])
        compare("cached", queries[0])
        compare("another query", queries[1])
        compare("first again", queries[0])
        _together(*(lambda q=q: compare(f"two callers, {q}", q) for q in queries))
        try:
            made.rerank(queries[1], [f"{one} {n}" for n, one in enumerate(documents)], timeout=0.01)
            found["cancelled"] = "was not"
        except RerankTimeoutError:
            compare("after a cancelled call", queries[1])
    return found


class RefusedError(EngineError):
    """The plan does not let the engine start."""


class NotingEngine(VLLMEngine):
    """Remembers what the plan asked for."""

    asked: dict[str, Any]

    def _plan(self, machine: Machine, checkpoint: Checkpoint) -> Plan:
        chip = os.environ.get("ASCEND_STAND_IN_CHIP", "Ascend910B4")  # as npu-smi would say
        card = dataclasses.replace(machine, platform="npu", devices=1, chip=chip)
        try:
            made = super()._plan(card, checkpoint)
        except EngineError as error:
            raise RefusedError(str(error)) from error
        self.asked = {name: value for name, value in made.settings.items() if name in ASKED}
        return made

    def became(self) -> dict[str, Any]:
        """What the same settings, and others that matter, are in vllm-ascend's hands."""
        found = {}
        for name, (part, attribute) in ASKED.items():
            holder = getattr(self._llm.vllm_config, part)
            known = attribute if hasattr(holder, attribute) else BEFORE[name]
            found[name] = getattr(holder, known)
        return found


def without(fault: str) -> None:
    """Leave the rows out whose fault has these words: what happens without them?"""
    kept = tuple(row for row in plan.HAZARDS if fault != EVERY and fault not in row.fault)
    if len(kept) == len(plan.HAZARDS):
        raise SystemExit(f"no hazard row has the words {fault!r}")
    plan.HAZARDS = kept  # type: ignore[misc]


def _together(*works: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run(
    scenario: dict[str, Any], documents: list[str], expected: Any, folders: dict[str, str]
) -> dict[str, Any]:
    """What came of a scenario: the scenario itself, and what was found or raised."""
    rows, variables, begun = plan.HAZARDS, dict(os.environ), time.monotonic()
    os.environ.update(scenario["environ"])
    try:
        if scenario["without"]:
            without(scenario["without"])
        found = scores(
            folders[scenario["model"]], expected[scenario["model"]], documents, scenario["options"]
        )
    except RefusedError as error:
        found = {"refused": str(error)}
    except EngineError as error:
        found = {"error": str(error)}
    finally:
        plan.HAZARDS = rows  # type: ignore[misc]
        for name in os.environ.keys() - variables.keys():
            del os.environ[name]
    named = {"trial": scenario["name"], "model": scenario["model"]}
    return {**named, "seconds": round(time.monotonic() - begun), **found}


def main() -> None:
    content = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for scenario in content["scenarios"]:
        print(f"\n{HEADING}{scenario['name']}", file=sys.stderr, flush=True)
        found = run(scenario, content["documents"], content["expected"], content["models"])
        print(f"\n{json.dumps(found)}", flush=True)


if __name__ == "__main__":
    main()
