"""A small call beside a huge one, on a vLLM that is reduced to what matters: queue and batches.

In the time of a clockwork: what a real one shows on a busy machine is mostly the machine.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from statistics import mean
from types import SimpleNamespace
from typing import Any

import pytest

from qwen3_ascend_rerank.engines import EngineInfo
from qwen3_ascend_rerank.engines.vllm import VLLMEngine, library
from qwen3_ascend_rerank.prompts import PromptBatch
from tests.support.clockwork import Clockwork

BATCH, TOKENS = 2000, 100
"""Tokens of a batch, and of a prompt."""


class LLM:
    """Computes what has waited for longest, a batch after the other; prompts come one by one."""

    def __init__(self, handing_over: float) -> None:
        """Of a second, which a batch takes, `handing_over` goes by before all of it is there."""
        self._handing_over = handing_over / (BATCH / TOKENS)
        self._queue: deque[asyncio.Future[None]] = deque()
        self._door, self._came = asyncio.Lock(), asyncio.Event()
        scheduler = SimpleNamespace(max_num_batched_tokens=BATCH)
        parallel = SimpleNamespace(data_parallel_size=1, pipeline_parallel_size=1)
        self.vllm_config = SimpleNamespace(scheduler_config=scheduler, parallel_config=parallel)

    async def encode(self, *_: Any) -> AsyncIterator[Any]:
        async with self._door:
            await asyncio.sleep(self._handing_over)
        answer = asyncio.get_running_loop().create_future()
        self._queue.append(answer)
        self._came.set()
        yield await answer

    async def compute(self) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), 20))]
                await asyncio.sleep(0.02 + 0.049 * len(batch))
                for each in batch:
                    each.done() or each.set_result(None)


def prompts(count: int) -> PromptBatch:
    ids, texts = [[1] * (TOKENS - 2)] * count, [""] * count
    return PromptBatch([1], ids, [1], "", "", texts, [False] * count)


async def seconds(engine: VLLMEngine, count: int) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await engine.score(prompts(count))
    return loop.time() - began


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> VLLMEngine:
    made = VLLMEngine("lexical")
    made._parameters = SimpleNamespace(clone=lambda: None)
    made._info = EngineInfo("lexical", "vllm", "vllm", "cpu", "float32", 300, "")
    monkeypatch.setattr(library, "numbers", lambda *_: [0.0])
    return made


@pytest.mark.parametrize("handing_over", [0.01, 0.2])
def test_takes_little_longer_than_alone_and_costs_the_huge_one_little(
    engine: VLLMEngine, handing_over: float
) -> None:
    async def run() -> tuple[float, float, float, float]:
        engine._llm = llm = LLM(handing_over)
        computing = asyncio.create_task(llm.compute())
        engine._turns.limit = 10**9
        without_limit = await seconds(engine, 600)
        engine._turns.limit = library.tokens_under_way(llm, "cpu")
        alone, whole = await seconds(engine, 10), await seconds(engine, 600)
        huge = asyncio.create_task(seconds(engine, 1500))
        beside = []
        for phase in range(20):
            await asyncio.sleep(phase / 10)
            beside.append(await seconds(engine, 10))
        assert not huge.done()
        huge.cancel(), computing.cancel()
        await asyncio.gather(huge, computing, return_exceptions=True)
        return alone, mean(beside), without_limit, whole

    loop = Clockwork()
    try:
        alone, beside, without_limit, whole = loop.run_until_complete(run())
    finally:
        loop.close()
    assert beside / alone < 4
    assert without_limit / whole > 0.95
