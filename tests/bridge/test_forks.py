"""Forked children of a process that is at work: each scores, or says clearly why not."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.bridge.forks import in_child, renewed_in_child
from qwen3_ascend_rerank.bridge.loop import submit
from qwen3_ascend_rerank.engines import shared
from qwen3_ascend_rerank.errors import RerankError
from qwen3_ascend_rerank.results.cache import Flight, Judgement, ScoreCache
from qwen3_ascend_rerank.testing import FakeEngine

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
QUERY = "capital of China"
SECONDS = 30


def in_a_child(work: Callable[[], bool]) -> int:
    """Fork, and have the child exit with 0 where `work` says yes."""
    child = os.fork()
    if child:
        return child
    signal.alarm(SECONDS)  # a child that hangs ends by this signal
    right = False
    try:
        right = work()
    finally:
        os._exit(0 if right else 1)


def outcome(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def by_length(query: str, document: str) -> float:
    return len(document) - 20.0


@contextmanager
def under_load(reranker: Reranker, threads: int = 4) -> Iterator[None]:
    """Calls without end from several threads."""
    stop = threading.Event()

    def work(number: int) -> None:
        for call in range(10**9):
            if stop.is_set():
                return
            reranker.rerank(QUERY, [f"{number} {call % 7} {one}" for one in range(40)])

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def scores_or_says_why(reranker: Reranker) -> bool:
    try:
        found = reranker.rerank(QUERY, ["a", "bb", "0 0 0"], timeout=SECONDS / 2)
        again = reranker.rerank(QUERY, ["bb", "a"], timeout=SECONDS / 2)
        right = found[0].index == 2 and again[0].index == 0
        reranker.close()
    except RerankError:
        return True
    return right


def forks_under_load(count: int, cache_size: int) -> list[int]:
    with Reranker(FakeEngine(by_length), cache_size=cache_size) as reranker:
        reranker.rerank(QUERY, ["a"])
        with under_load(reranker):
            outcomes = []
            for _ in range(count):
                time.sleep(random.random() * 0.02)
                outcomes.append(outcome(in_a_child(lambda: scores_or_says_why(reranker))))
        assert len(reranker.rerank(QUERY, ["a"])) == 1  # the parent is as it was
    return outcomes


def test_children_forked_at_any_moment_score() -> None:
    assert forks_under_load(12, cache_size=100) == [0] * 12


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("cache_size", [0, 100, 100_000])
def test_two_hundred_children_forked_at_any_moment_score(cache_size: int) -> None:
    assert forks_under_load(200, cache_size) == [0] * 200


def test_a_child_may_use_a_cache_whose_lock_was_held() -> None:
    cache = ScoreCache(10)
    keys = cache.keys(["i", "q"], ["a"])
    cache.keep(Flight(), {keys[0]: Judgement(1.0, False)})
    with cache._lock:
        child = in_a_child(lambda: keys[0] in cache.look_up(keys, Flight()).known)
    assert outcome(child) == 0


def test_a_child_shares_no_engine_with_its_parent_whatever_was_held() -> None:
    """Neither the parent's engine, whose loop stayed behind, nor a lock that nobody gives back."""
    engine = FakeEngine(by_length)
    with Reranker(engine) as reranker:
        reranker.start()
        with shared._lock:
            child = in_a_child(lambda: scores_anew(engine))
        assert outcome(child) == 0
        assert engine.starts == 1


def scores_anew(engine: FakeEngine) -> bool:
    # In a thread, as for most Rerankers: a lock that lets its owner in again lets no other in.
    found: list[int] = []

    def work() -> None:
        with Reranker(engine) as another:
            found.append(another.rerank(QUERY, ["a", "bb"], timeout=SECONDS / 2)[0].index)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(SECONDS / 2)
    return found == [1] and engine.starts == 2


def test_a_child_may_close_while_its_parents_call_is_in_flight() -> None:
    def close() -> bool:
        reranker.close()
        return True

    with Reranker(FakeEngine(seconds=1)) as reranker:
        reranker.start()
        call = threading.Thread(target=reranker.rerank, args=(QUERY, ["a"]))
        call.start()
        deadline = time.perf_counter() + 10
        while not reranker._calls._running and time.perf_counter() < deadline:
            time.sleep(0.001)
        assert outcome(in_a_child(close)) == 0
        call.join()


def test_whoever_asks_is_made_anew_in_a_child_and_whoever_is_gone_is_not() -> None:
    class Owner:
        times = 0

    def again(owner: Owner) -> None:
        Owner.times += 1

    class_wide = []
    in_child(lambda: class_wide.append(1))
    owner, gone = Owner(), Owner()
    renewed_in_child(owner, again)
    renewed_in_child(gone, again)
    del gone
    assert outcome(in_a_child(lambda: Owner.times == 1 and class_wide == [1])) == 0
    assert (Owner.times, class_wide) == (0, [])


def test_a_child_has_a_loop_of_its_own() -> None:
    async def answer() -> int:
        return os.getpid()

    assert submit(answer()).result(10) == os.getpid()
    assert outcome(in_a_child(lambda: submit(answer()).result(10) == os.getpid())) == 0
