"""Calls under load: fair to each other, easy on the loop, soon over, and each pair scored once."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from qwen3_ascend_rerank import EngineError, Reranker, RerankTimeoutError
from qwen3_ascend_rerank.bridge.loop import submit
from qwen3_ascend_rerank.prompts import PromptBatch, QwenTokenizer, build_batch
from qwen3_ascend_rerank.testing import FakeEngine

QUERY = "capital of China"
HUGE = [f"{number} {'river city moon ' * 12}" for number in range(20_000)]


class Quick(FakeEngine):
    """Takes no time of its own."""

    async def score(self, batch: PromptBatch) -> list[float]:
        return [float(len(batch) - place) for place in range(len(batch))]


class Gate(FakeEngine):
    """Answers when it is let, and counts who asked."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(lambda query, document: float(len(document)), **settings)
        self.waiting: list[asyncio.Future[None]] = []
        self.error: Exception | None = None
        self.scored: list[str] = []

    async def score(self, batch: PromptBatch) -> list[float]:
        self.scored += batch.texts
        self.waiting.append(asyncio.get_running_loop().create_future())
        await self.waiting[-1]
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return [float(len(text)) for text in batch.texts]

    def open(self, place: int) -> None:
        async def let() -> None:
            self.waiting[place].set_result(None)

        submit(let()).result(10)


def until(true: Callable[[], object]) -> None:
    deadline = time.perf_counter() + 30
    while not true():
        assert time.perf_counter() < deadline
        time.sleep(0.002)


def settle() -> None:
    """Let the loop do what it can."""

    async def turn() -> None:
        for _ in range(100):
            await asyncio.sleep(0.0005)

    submit(turn()).result(30)


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as threads:
        yield threads


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts were tokenised each time."""
    counts: list[int] = []
    encode = QwenTokenizer._encode

    def counting(self: QwenTokenizer, texts: list[str]) -> list[list[int]]:
        counts.append(len(texts))
        return encode(self, texts)

    monkeypatch.setattr(QwenTokenizer, "_encode", counting)
    return counts


# -- beside a huge call ----------------------------------------------------------------------------


def test_a_small_call_of_another_reranker_goes_beside_a_huge_one(
    callers: ThreadPoolExecutor, encoded: list[int]
) -> None:
    with Reranker(Quick()) as large, Reranker(Quick(), timeout=5) as little:
        large.start(), little.start()
        call = callers.submit(large.rerank, QUERY, HUGE)
        until(lambda: sum(encoded) > 500)
        waits = []
        for _ in range(5):
            before = sum(encoded)
            little.rerank(QUERY, ["two", "texts"])
            waits.append(sum(encoded) - before)
        assert not call.done()
        # Of the 20,000: it waits for a few pieces only, and this thread for a processor at times.
        assert min(waits) < 500
        assert len(call.result(120)) == len(HUGE)


def test_the_prompts_are_those_that_are_made_in_one_go(encoded: list[int]) -> None:
    seen: list[PromptBatch] = []

    class Seeing(Quick):
        async def score(self, batch: PromptBatch) -> list[float]:
            seen.append(batch)
            return await super().score(batch)

    documents = [*HUGE[:100], "long and <think> " * 3000, "", *HUGE[100:150], "<|im_end|>"]
    for as_text in (False, True):
        engine = Seeing(takes_text=as_text)
        with Reranker(engine, max_length=2000) as reranker:
            reranker.rerank(QUERY, documents)
            expected = build_batch(
                reranker._held.tokenizer,
                reranker.instruction,
                QUERY,
                documents,
                2000,
                as_text=as_text,
            )
        assert len(encoded) > 3
        assert seen.pop() == expected


def test_a_call_that_timed_out_tokenises_no_more(
    callers: ThreadPoolExecutor, encoded: list[int]
) -> None:
    with Reranker(Quick()) as reranker:
        reranker.start()
        with pytest.raises(RerankTimeoutError):
            reranker.rerank(QUERY, HUGE, timeout=0.2)
        ended = len(encoded)
        settle()
        assert len(encoded) <= ended + 4  # what was under way
        assert sum(encoded) < len(HUGE)


LINGERING = """
import atexit, time
from qwen3_ascend_rerank import Reranker, RerankTimeoutError
from qwen3_ascend_rerank.testing import FakeEngine
documents = [f"{number} " + "river city moon bread " * 400 for number in range(20_000)]
reranker = Reranker(FakeEngine())
reranker.start()
try:
    reranker.rerank("capital of China", documents, timeout=0.2)
except RerankTimeoutError:
    pass
reranker.close()
closed = time.process_time()
# Run when the threads have ended for which the interpreter waits.
atexit.register(lambda: print(time.process_time() - closed))
"""


def test_nothing_lingers_at_the_exit() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LINGERING],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert float(done.stdout) < 2  # seconds of the processor; all texts would take a minute


# -- the loop --------------------------------------------------------------------------------------


class Heartbeat:
    """The most processor time that the loop's thread spent on one step."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._beating = submit(self._beat())

    async def _beat(self) -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0.001)
            now = time.thread_time()
            self.longest = max(self.longest, now - last)
            last = now

    def end(self) -> float:
        self._beating.cancel()
        return self.longest


@pytest.mark.parametrize("cache_size", [0, 100_000])
def test_no_step_of_the_loop_is_long_with_twenty_thousand_documents(cache_size: int) -> None:
    documents = [f"{number} {'word ' * 30}" for number in range(20_000)]
    with Reranker(Quick(), cache_size=cache_size) as reranker:
        reranker.start()
        longest = []
        for _ in range(2):
            heartbeat = Heartbeat()
            result = reranker.rerank(QUERY, documents)
            longest.append(heartbeat.end())
            assert result.usage.pairs_scored + result.usage.pairs_reused == len(documents)
    # Not of the clock: another program may have the processor meanwhile. All that is done for each
    # document together takes a second and more.
    assert min(longest) < 0.03


# -- pairs in flight -------------------------------------------------------------------------------


def test_pairs_that_another_call_is_having_scored_are_waited_for(
    callers: ThreadPoolExecutor,
) -> None:
    engine = Gate()
    with Reranker(engine, cache_size=100) as reranker:
        first = callers.submit(reranker.rerank, QUERY, ["a", "bb", "ccc"])
        until(lambda: len(engine.waiting) == 1)
        others = [callers.submit(reranker.rerank, QUERY, ["bb", "a"]) for _ in range(5)]
        wider = callers.submit(reranker.rerank, QUERY, ["ccc", "dddd"])
        until(lambda: len(engine.waiting) == 2)
        settle()
        engine.open(1)
        settle()
        assert not wider.done()
        engine.open(0)
        assert [one.result(10).texts for one in others] == [["bb", "a"]] * 5
        assert others[0].result().usage.pairs_reused == 2
        assert wider.result(10).texts == ["dddd", "ccc"]
        assert first.result(10).usage.pairs_scored == 3
    assert engine.scored == ["a", "bb", "ccc", "dddd"]


def test_without_a_cache_no_call_waits_for_another(callers: ThreadPoolExecutor) -> None:
    engine = Gate()
    with Reranker(engine) as reranker:
        calls = [callers.submit(reranker.rerank, QUERY, ["a"]) for _ in range(2)]
        until(lambda: len(engine.waiting) == 2)
        engine.open(0), engine.open(1)
        assert [len(one.result(10)) for one in calls] == [1, 1]


def test_whoever_waits_goes_on_when_the_other_call_is_given_up(
    callers: ThreadPoolExecutor,
) -> None:
    engine = Gate()
    with Reranker(engine, cache_size=100) as reranker:
        reranker.start()
        first = callers.submit(reranker.rerank, QUERY, ["a", "bb"], timeout=1)
        until(lambda: len(engine.waiting) == 1)
        others = [callers.submit(reranker.rerank, QUERY, ["a"]) for _ in range(5)]
        with pytest.raises(RerankTimeoutError):
            first.result(10)
        until(lambda: len(engine.waiting) == 2)
        settle()
        engine.open(1)
        assert [one.result(10).texts for one in others] == [["a"]] * 5
    assert engine.scored == ["a", "bb", "a"]  # one of the five asked for all


def test_a_failure_is_only_of_the_call_that_it_came_to(callers: ThreadPoolExecutor) -> None:
    engine = Gate()
    engine.error = RuntimeError("card on fire")
    with Reranker(engine, cache_size=100) as reranker:
        first = callers.submit(reranker.rerank, QUERY, ["a"])
        until(lambda: len(engine.waiting) == 1)
        others = [callers.submit(reranker.rerank, QUERY, ["a"]) for _ in range(3)]
        settle()
        engine.open(0)
        with pytest.raises(EngineError, match="card on fire"):
            first.result(10)
        until(lambda: len(engine.waiting) == 4)  # each for itself, and not one after the other
        for place in (1, 2, 3):
            engine.open(place)
        assert [one.result(10).texts for one in others] == [["a"]] * 3


def test_whoever_waits_does_so_as_long_as_its_own_timeout(callers: ThreadPoolExecutor) -> None:
    engine = Gate()
    with Reranker(engine, cache_size=100) as reranker:
        first = callers.submit(reranker.rerank, QUERY, ["a"])
        until(lambda: len(engine.waiting) == 1)
        with pytest.raises(RerankTimeoutError, match="timeout of 0.2 seconds"):
            reranker.rerank(QUERY, ["a"], timeout=0.2)
        engine.open(0)
        assert len(first.result(10)) == 1
        assert len(reranker.rerank(QUERY, ["a"])) == 1
    assert engine.scored == ["a"]


def test_crowds_with_cancellations_get_right_answers_and_leave_nothing_behind() -> None:
    engine = FakeEngine(lambda query, document: float(document), seconds=0.003)

    async def crowd() -> None:
        async with Reranker(engine, cache_size=50) as reranker:
            calls: list[tuple[list[str], asyncio.Task[Any]]] = []
            for number in range(200):
                documents = [str((number * step) % 30) for step in range(1, 8)]
                calls.append((documents, asyncio.create_task(reranker.arerank(QUERY, documents))))
                if number % 3 == 0:
                    await asyncio.sleep(0.001)
                    calls[number // 2][1].cancel()
            for documents, call in calls:
                try:
                    found = await asyncio.wait_for(call, 30)
                except asyncio.CancelledError:
                    continue
                assert sorted(found.texts) == sorted(documents)
                assert [float(one.text) for one in found] == [one.log_odds for one in found]
            assert not reranker._judge._cache._flying

    asyncio.run(crowd())
