"""Two hundred concurrent calls through either integration leave the caller's event loop free."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
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
"""Seconds by which a timer may be late at the 99th percentile, on a machine that is free."""

Call = Callable[[str], Coroutine[Any, Any, object]]

IDLE_LOOP = """
import asyncio, sys, time

async def beat():
    while True:
        due = time.perf_counter() + 0.005
        await asyncio.sleep(0.005)
        print(time.perf_counter() - due, flush=True)

asyncio.run(beat())
"""


def langchain() -> tuple[AbstractAsyncContextManager[Any], Call]:
    compressor = Compressor(model="lexical")
    documents = [Document(TEXT)]
    return compressor, lambda query: compressor.ainvoke({"query": query, "documents": documents})


def llama_index() -> tuple[AbstractAsyncContextManager[Any], Call]:
    postprocessor = Postprocessor(model="lexical")
    nodes = [NodeWithScore(node=TextNode(text=TEXT))]
    return postprocessor, lambda query: postprocessor.apostprocess_nodes(nodes, query_str=query)


async def lag(component: AbstractAsyncContextManager[Any], call: Call) -> float:
    """The 99th percentile of the loop's lag in seconds while 200 calls run."""
    measured: list[float] = []

    async def heartbeat() -> None:
        while True:
            due = time.perf_counter() + 0.005
            await asyncio.sleep(0.005)
            measured.append(time.perf_counter() - due)

    async with component as started:
        await started.astart()
        beating = asyncio.create_task(heartbeat())
        await asyncio.sleep(0.05)
        calls = [asyncio.create_task(call(f"capital of China {n}")) for n in range(200)]
        done, _ = await asyncio.wait(calls, timeout=3)  # a slow machine need not finish
        beating.cancel()
    assert done
    await asyncio.gather(*calls, return_exceptions=True)
    assert len(measured) > 50
    return percentile(measured)


def percentile(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


@contextmanager
def idle_process() -> Iterator[Callable[[], float]]:
    """Another process whose loop does nothing: by how much the machine itself is late."""
    with subprocess.Popen([sys.executable, "-c", IDLE_LOOP], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it has started

        def late() -> float:
            process.kill()
            output, _ = process.communicate()
            return percentile([float(line) for line in output.splitlines() if line])

        yield late


@pytest.mark.parametrize("integration", [langchain, llama_index])
def test_two_hundred_calls_at_once_do_not_hold_up_the_event_loop(integration: Any) -> None:
    # The machine may have other work: a loop that is really held up is so each time.
    seen = []
    with Reranker("lexical") as loaded:
        loaded.start()
        for _ in range(3):
            with idle_process() as machine:
                ours = asyncio.run(lag(*integration()))
                seen.append((ours, machine()))
            if ours < LIMIT + seen[-1][1]:
                return
    pytest.fail(f"99th percentiles of the lag, and of the machine's own: {seen} seconds")
