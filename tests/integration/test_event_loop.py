"""Two hundred concurrent calls through either integration leave the caller's event loop free."""

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("langchain_qwen3_ascend_rerank")
pytest.importorskip("llama_index.postprocessor.qwen3_ascend_rerank")

from langchain_core.documents import Document
from langchain_qwen3_ascend_rerank import Qwen3AscendRerank as Compressor
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.qwen3_ascend_rerank import Qwen3AscendRerank as Postprocessor

from qwen3_ascend_rerank import Reranker

TEXT = "Beijing is the capital of China."
LIMIT = 0.020
"""Seconds of the processor that a step of the loop may take, at the 99th percentile."""
TOGETHER = 10
"""Calls that begin in one step of the loop."""
SHARE = 0.1
"""Of the time that all calls take: by how much a timer may be late at the 99th percentile."""

Call = Callable[[str], Coroutine[Any, Any, object]]


def langchain() -> tuple[AbstractAsyncContextManager[Any], Call]:
    compressor = Compressor(model="lexical")
    documents = [Document(TEXT)]
    return compressor, lambda query: compressor.ainvoke({"query": query, "documents": documents})


def llama_index() -> tuple[AbstractAsyncContextManager[Any], Call]:
    postprocessor = Postprocessor(model="lexical")
    nodes = [NodeWithScore(node=TextNode(text=TEXT))]
    return postprocessor, lambda query: postprocessor.apostprocess_nodes(nodes, query_str=query)


@dataclass(frozen=True)
class Lag:
    """99th percentiles, in seconds, while 200 calls run."""

    late: float
    """How late a timer was: also where the loop waited, and where another program ran."""
    step: float
    """What the loop's thread computed between two looks at the timer."""
    took: float
    """All calls."""


async def lag(component: AbstractAsyncContextManager[Any], call: Call) -> Lag:
    late, steps = [], []

    async def heartbeat() -> None:
        while True:
            due, spent = time.perf_counter() + 0.005, time.thread_time()
            await asyncio.sleep(0.005)
            late.append(time.perf_counter() - due)
            steps.append(time.thread_time() - spent)

    async with component as started:
        await started.astart()
        beating = asyncio.create_task(heartbeat())
        await asyncio.sleep(0.05)
        began = time.perf_counter()
        calls = []
        for n in range(200):
            calls.append(asyncio.create_task(call(f"capital of China {n}")))
            if n % TOGETHER == 0:  # what 200 calls take to begin is no one call's fault
                await asyncio.sleep(0)
        await asyncio.gather(*calls)
        beating.cancel()
    return Lag(percentile(late), percentile(steps), time.perf_counter() - began)


def percentile(values: list[float]) -> float:
    assert len(values) > 20
    return sorted(values)[int(len(values) * 0.99)]


@pytest.mark.parametrize("integration", [langchain, llama_index])
def test_two_hundred_calls_at_once_do_not_hold_up_the_event_loop(integration: Any) -> None:
    # The machine may have other work: a loop that is really held up is so each time.
    seen = []
    with Reranker("lexical") as loaded:
        loaded.start()
        for _ in range(5):
            gc.collect()  # which in a process as large as this one takes longer than the limit
            seen.append(asyncio.run(lag(*integration())))
            if seen[-1].step < LIMIT and seen[-1].late < SHARE * seen[-1].took:
                return
    pytest.fail(f"the loop was held up: {seen}")
