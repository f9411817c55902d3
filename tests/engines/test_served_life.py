"""A served model's client withdraws what is cancelled, leaves nothing, and serves every loop."""

import asyncio
import gc
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from qwen3_ascend_rerank import (
    DEFAULT_INSTRUCTION,
    EngineError,
    Reranker,
    RerankerClosedError,
    RerankTimeoutError,
)
from qwen3_ascend_rerank.bridge.loop import submit
from qwen3_ascend_rerank.engines.served import lanes
from qwen3_ascend_rerank.engines.served.engine import ServedEngine
from qwen3_ascend_rerank.engines.startup import open_tokenizer
from qwen3_ascend_rerank.prompts import build_batch
from tests.support import faults
from tests.support.dialects import VLLM
from tests.support.oracle import by_length
from tests.support.processes import wait_until
from tests.support.served import DOCUMENTS, QUERY, client, found, is_right
from tests.support.stand_in import FOR_EVER, StandIn

UNHURRIED = {"request_timeout": 120, "patience": 30, "attempts": 8}
SLOW = 60
"""Seconds that a server takes for an answer which nobody waits for."""


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn(VLLM()) as stand_in:
        yield stand_in


@pytest.fixture
def reranker(server: StandIn) -> Iterator[Reranker]:
    with client(server, engine_options=UNHURRIED) as reranker:
        reranker.start()
        server.requests.clear()
        yield reranker


def all_abandoned(server: StandIn) -> bool:
    return bool(server.scored) and all(one.abandoned for one in server.scored)


def test_a_cancelled_call_hangs_up(reranker: Reranker, server: StandIn) -> None:
    server.misbehave(faults.slow(SLOW), times=FOR_EVER)

    async def give_up() -> None:
        call = asyncio.create_task(reranker.arerank(QUERY, DOCUMENTS))
        await asyncio.to_thread(wait_until, lambda: bool(server.scored))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(give_up())
    assert wait_until(lambda: all_abandoned(server))
    server.behave()
    assert is_right(found(reranker))


def test_a_call_out_of_time_hangs_up(reranker: Reranker, server: StandIn) -> None:
    server.misbehave(faults.slow(SLOW), times=FOR_EVER)
    with pytest.raises(RerankTimeoutError):
        found(reranker, timeout=0.2)
    assert wait_until(lambda: all_abandoned(server))


def test_close_ends_calls_in_flight(server: StandIn) -> None:
    with client(server, engine_options=UNHURRIED) as reranker, ThreadPoolExecutor(8) as threads:
        reranker.start()
        server.requests.clear()
        server.misbehave(faults.slow(SLOW), times=FOR_EVER)
        calls = [threads.submit(found, reranker) for _ in range(8)]
        assert wait_until(lambda: len(server.scored) == 8)
        began = time.monotonic()
        reranker.close()
        for call in calls:
            with pytest.raises(RerankerClosedError):
                call.result(SLOW)
        assert time.monotonic() - began < SLOW
        assert wait_until(lambda: all_abandoned(server))


def test_a_call_that_waits_for_its_retry_is_closed_too(server: StandIn) -> None:
    with (
        client(server, engine_options={"patience": 60}) as reranker,
        ThreadPoolExecutor(1) as one,
    ):
        reranker.start()
        server.misbehave(faults.status(429, retry_after="30"), times=FOR_EVER)
        server.requests.clear()
        call = one.submit(found, reranker)
        assert wait_until(lambda: bool(server.scored))
        time.sleep(0.1)
        began = time.monotonic()
        reranker.close()
        with pytest.raises(RerankerClosedError):
            call.result(SLOW)
        assert time.monotonic() - began < 25


async def _tasks() -> set[str]:
    return {repr(task.get_coro()) for task in asyncio.all_tasks() - {asyncio.current_task()}}


def test_nothing_is_left_after_close(server: StandIn) -> None:
    def use() -> None:
        with client(server, engine_options=UNHURRIED) as reranker:
            assert is_right(found(reranker))
            server.misbehave(faults.broken("half", "reset"))
            assert is_right(found(reranker))
            server.misbehave(faults.slow(SLOW))
            with pytest.raises(RerankTimeoutError):
                found(reranker, timeout=0.1)
        assert wait_until(lambda: server.connections == 0)

    use()
    gc.collect()
    process = psutil.Process()
    before = (process.num_fds(), threading.active_count(), submit(_tasks()).result(60))
    for _ in range(5):
        use()
    gc.collect()
    assert (process.num_fds(), threading.active_count(), submit(_tasks()).result(60)) == before


def test_a_reranker_that_nobody_closes_leaves_nothing_either(server: StandIn) -> None:
    reranker = client(server)
    assert is_right(found(reranker))
    del reranker
    gc.collect()
    assert wait_until(lambda: server.connections == 0)


def test_a_start_that_fails_leaves_nothing(server: StandIn) -> None:
    server.misbehave(faults.page(404), times=FOR_EVER, on=("",))
    for _ in range(3):
        with pytest.raises(Exception, match="127.0.0.1"):
            client(server).start()
    gc.collect()
    assert wait_until(lambda: server.connections == 0)


def test_threads_and_loops_share_one_client(reranker: Reranker, server: StandIn) -> None:
    server.misbehave(faults.broken("half", "reset"), faults.status(503), times=5)

    async def in_a_loop() -> list[bool]:
        async def ask() -> bool:
            result = await reranker.arerank(QUERY, DOCUMENTS)
            return is_right({one.text: one.log_odds for one in result})

        return await asyncio.gather(*(ask() for _ in range(20)))

    with ThreadPoolExecutor(8) as threads:
        loops = [threads.submit(asyncio.run, in_a_loop()) for _ in range(4)]
        calls = [threads.submit(found, reranker) for _ in range(80)]
        assert all(all(loop.result(30)) for loop in loops)
        assert all(is_right(call.result(30)) for call in calls)


def test_no_more_requests_are_in_flight_than_wanted(server: StandIn) -> None:
    options = {"concurrency": 3, "documents_per_request": 2, "request_timeout": 60}
    with client(server, engine_options=options) as reranker, ThreadPoolExecutor(16) as threads:
        reranker.start()
        assert wait_until(lambda: server.connections <= 1)
        server.requests.clear()
        server.most_at_once = 0
        server.misbehave(faults.slow(0.02), times=FOR_EVER)
        calls = [threads.submit(found, reranker) for _ in range(16)]
        assert all(is_right(call.result(30)) for call in calls)
        assert server.most_at_once == 3
        assert server.connections <= 3
    assert max(len(one.json["input"]) for one in server.scored) <= 2


def test_connections_are_kept_for_the_next_calls_and_closed_when_they_are_idle(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the client, before the server does: nothing is left half closed."""
    monkeypatch.setattr(lanes, "KEPT_SECONDS", 3.0)
    options = {**UNHURRIED, "recheck": 3600.0}
    with client(server, engine_options=options) as reranker, ThreadPoolExecutor(8) as threads:
        reranker.start()
        server.misbehave(faults.slow(0.5), times=16)
        for _ in range(2):
            calls = [threads.submit(found, reranker) for _ in range(8)]
            assert all(call.result(30) for call in calls)
        used = {one.connection for one in server.scored[-8:]}
        assert used <= {one.connection for one in server.scored[-16:-8]}
        assert wait_until(lambda: server.connections == 0)
        waiting = [one.status for one in psutil.Process().net_connections("tcp")]
        assert psutil.CONN_CLOSE_WAIT not in waiting
        assert is_right(found(reranker))


def test_a_closed_engine_ends_what_runs_at_once_and_says_so(server: StandIn) -> None:
    server.dialect = VLLM(compute=by_length)

    async def run() -> None:
        engine = ServedEngine("lexical", base_url=[server.url], **UNHURRIED)
        await engine.start()
        server.misbehave(faults.slow(60), times=FOR_EVER)
        tokenizer = open_tokenizer("lexical")
        documents = [f"{number} moons" for number in range(200)]
        batches = [
            build_batch(tokenizer, DEFAULT_INSTRUCTION, QUERY, some, 512)
            for some in (documents, DOCUMENTS)
        ]
        calls = [asyncio.create_task(engine.score(batch)) for batch in batches]
        await asyncio.to_thread(wait_until, lambda: len(server.scored) > 8)
        await engine.aclose()
        done, _ = await asyncio.wait(calls, timeout=30)
        assert len(done) == 2
        for call in calls:
            with pytest.raises(EngineError, match="closed"):
                await call
        with pytest.raises(EngineError, match="closed"):
            await engine.score(batches[1])
        await asyncio.sleep(0)
        assert not asyncio.all_tasks() - {asyncio.current_task()}

    asyncio.run(run())
    assert wait_until(lambda: all(one.abandoned or one.answered for one in server.scored))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_asks_by_connections_of_its_own(reranker: Reranker, server: StandIn) -> None:
    assert is_right(found(reranker))
    child = os.fork()
    if not child:
        try:
            os._exit(0 if is_right(found(reranker, timeout=20)) else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert is_right(found(reranker))
