"""Many requests in one call, and many queries in one list of pairs."""

import asyncio
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_ascend_rerank import (
    EngineError,
    InvalidInputError,
    Reranker,
    RerankerClosedError,
    RerankOutcome,
    RerankRequest,
    RerankTimeoutError,
    SelfcheckError,
)
from qwen3_ascend_rerank.prompts import PromptBatch
from qwen3_ascend_rerank.results import probability
from qwen3_ascend_rerank.testing import FakeEngine
from tests.support.processes import wait_until

TEXTS = st.sampled_from(["a", "bb", "ccc", "dddd", "capital", "moon"])


def by_both(query: str, document: str) -> float:
    return len(document) - len(query) / 8


@pytest.fixture(scope="module")
def ranker() -> Iterator[Reranker]:
    with Reranker(FakeEngine(by_both)) as reranker:
        yield reranker


class Seeing(FakeEngine):
    """An engine that keeps what it was asked."""

    def __init__(self, seconds: float = 0) -> None:
        super().__init__(by_both, seconds=seconds)
        self.asked: list[PromptBatch] = []

    async def score(self, batch: PromptBatch) -> list[float]:
        self.asked.append(batch)
        return await super().score(batch)


# -- pairs -----------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), max_size=20))
def test_pairs_are_scored_in_the_order_in_which_they_are_passed(
    ranker: Reranker, pairs: list[tuple[str, str]]
) -> None:
    assert ranker.score_pairs(pairs) == [probability(by_both(*pair)) for pair in pairs]


def test_pairs_of_a_query_share_its_prompts_wherever_they_stand() -> None:
    engine = Seeing()
    with Reranker(engine) as reranker:
        reranker.score_pairs([("a", "1"), ("b", "22"), ("a", "333"), ("b", "22")])
    assert sorted(len(batch) for batch in engine.asked) == [1, 2]


def test_pairs_for_asyncio() -> None:
    async def run() -> list[float]:
        async with Reranker("lexical") as reranker:
            return await reranker.ascore_pairs([("moon", "the moon"), ("sea", "bread")])

    near, far = asyncio.run(run())
    assert near > 0.5 > far


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ("ab", "pairs is 'ab' (str); pass a list of pairs (query, document)"),
        (3, "pairs is 3 (int)"),
        ([("a", "b"), "ab"], "pairs[1] is 'ab' (str)"),
        ([("a", "b", "c")], "pairs[0] is ('a', 'b', 'c') (tuple)"),
        ([("a", None)], "pairs[0] has None (NoneType) as its document; pass a str"),
        ([("a", "b"), (" ", "b")], "pairs[1]: query is empty"),
    ],
)
def test_pairs_that_cannot_be_used_are_named(ranker: Reranker, pairs: Any, told: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        ranker.score_pairs(pairs)
    assert told in str(caught.value)


def test_pairs_take_the_options_of_a_call() -> None:
    with Reranker(FakeEngine(by_both, seconds=60)) as reranker:
        with pytest.raises(RerankTimeoutError):
            reranker.score_pairs([("a", "b")], timeout=0.1)
        with pytest.raises(InvalidInputError, match="instruction"):
            reranker.score_pairs([("a", "b")], instruction="")


# -- many requests ---------------------------------------------------------------------------------


def asked(outcome: RerankOutcome) -> list[tuple[int, float]]:
    return [(one.index, one.log_odds) for one in outcome.unwrap()]


@settings(max_examples=30, deadline=None)
@given(
    requests=st.lists(st.tuples(TEXTS, st.lists(TEXTS, max_size=4)), max_size=12),
    tokens=st.sampled_from([1, 200, 100_000]),
    ordered=st.booleans(),
)
def test_each_request_has_the_outcome_that_it_has_alone(
    ranker: Reranker, requests: list[tuple[str, list[str]]], tokens: int, ordered: bool
) -> None:
    outcomes = list(ranker.rerank_many(requests, tokens_in_flight=tokens, ordered=ordered))
    if ordered:
        assert [one.index for one in outcomes] == list(range(len(requests)))
    outcomes.sort(key=lambda one: one.index)
    assert [asked(one) for one in outcomes] == [
        [(each.index, each.log_odds) for each in ranker.rerank(*request)] for request in requests
    ]


def test_a_request_is_given_in_three_forms_and_sets_what_it_likes(ranker: Reranker) -> None:
    documents = ["a", "bbb", "bb"]
    requests = [
        ("q", documents),
        {"query": "q", "documents": documents, "id": 7, "top_n": 1},
        RerankRequest("q", iter(documents), id="last", top_n=None, threshold=0.9),
    ]
    outcomes = list(ranker.rerank_many(requests, top_n=2))
    assert [one.id for one in outcomes] == [None, 7, "last"]
    assert [[each.index for each in one.unwrap()] for one in outcomes] == [[1, 2], [1], [1]]


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("ab", "the request is 'ab' (str); pass a RerankRequest, a mapping, or a pair"),
        ({"query": "q"}, "the request has no documents"),
        ({}, "the request has no query and no documents"),
        ({"query": "q", "documents": [], "topn": 3}, "topn is no field of a request; did you mean"),
        (("", ["a"]), "query is empty"),
        (("q", "text"), "documents is 'text' (str)"),
        (("q", ["a", None]), "documents[1] is None"),
        ({"query": "q", "documents": ["a"], "top_n": 0}, "top_n is 0"),
        (("long " * 9000, ["a"]), "query"),
    ],
)
def test_a_request_that_cannot_be_used_is_an_outcome_and_the_others_go_on(
    ranker: Reranker, bad: Any, told: str
) -> None:
    first, second, third = ranker.rerank_many([("q", ["a"]), bad, ("q", ["b"])])
    assert told in str(second.error)
    assert (second.index, second.result) == (1, None)
    assert first.error is third.error is None
    with pytest.raises(InvalidInputError):
        second.unwrap()


def test_an_engine_that_fails_once_costs_one_outcome() -> None:
    class Failing(FakeEngine):
        async def score(self, batch: PromptBatch) -> list[float]:
            if batch.query == "bad":
                raise RuntimeError("a kernel")
            return await super().score(batch)

    with Reranker(Failing(by_both)) as reranker:
        outcomes = list(reranker.rerank_many([("q", ["a"]), ("bad", ["a"]), ("q", ["b"])]))
    assert [type(one.error) for one in outcomes] == [type(None), EngineError, type(None)]


def test_options_that_cannot_be_used_are_said_before_anything_is_read(ranker: Reranker) -> None:
    for wrong in ({"top_n": 0}, {"topn": 3}, {"tokens_in_flight": 0}, {"ordered": "yes"}):
        with pytest.raises(InvalidInputError, match=next(iter(wrong))):
            ranker.rerank_many(iter(()), **wrong)


def test_an_engine_that_cannot_start_ends_the_call() -> None:
    class Wrong(FakeEngine):
        async def start(self) -> None:
            raise SelfcheckError("wrong scores")

    with Reranker(Wrong(by_both)) as reranker, pytest.raises(SelfcheckError):
        list(reranker.rerank_many([("q", []), ("q", ["a"])]))
    with Reranker(Wrong(by_both)) as reranker:
        assert [len(one.unwrap()) for one in reranker.rerank_many([("q", []), ("q", [])])] == [0, 0]


def test_the_start_is_on_no_requests_time() -> None:
    class Slow(FakeEngine):
        async def start(self) -> None:
            await asyncio.sleep(0.5)
            await super().start()

    with Reranker(Slow(by_both), timeout=0.4) as reranker:
        (outcome,) = reranker.rerank_many([("q", ["a"])])
    assert outcome.error is None


def test_a_timeout_is_of_each_request() -> None:
    with Reranker(FakeEngine(by_both, seconds=60)) as reranker:
        outcomes = list(reranker.rerank_many([("q", ["a"])] * 3, timeout=0.1))
    assert [type(one.error) for one in outcomes] == [RerankTimeoutError] * 3


def test_closing_ends_it() -> None:
    with Reranker(FakeEngine(by_both, seconds=60)) as reranker:
        outcomes = reranker.rerank_many([("q", ["a"])] * 3)
        closing = threading.Timer(
            0.05,
            lambda: wait_until(lambda: len(reranker._calls._running) == 3) and reranker.close(),
        )
        closing.start()
        with pytest.raises(RerankerClosedError):
            next(outcomes)
        closing.join()


def test_leaving_early_ends_what_is_under_way() -> None:
    engine = Seeing(seconds=0.05)
    with Reranker(engine) as reranker:
        for outcome in reranker.rerank_many((f"q{n}", ["a"]) for n in range(10**9)):
            if outcome.index == 5:
                break
        assert wait_until(lambda: not reranker._calls._running)


def test_many_are_under_way_at_once() -> None:
    with Reranker(FakeEngine(by_both, seconds=0.3)) as reranker:
        reranker.start()
        began = time.perf_counter()
        list(reranker.rerank_many([(f"q{n}", ["a"]) for n in range(40)]))
        assert time.perf_counter() - began < 40 * 0.3 / 2


def test_memory_is_bounded_however_slowly_outcomes_are_taken() -> None:
    text = "words and more of them " * 100

    class Forgetful(FakeEngine):
        async def score(self, batch: PromptBatch) -> list[float]:
            return [0.0] * len(batch)

    with Reranker(Forgetful()) as reranker:
        reranker.start()
        requests = ((f"q{n}", [f"{n} {text}"] * 3) for n in range(1500))
        tracemalloc.start()
        try:
            for outcome in reranker.rerank_many(requests, tokens_in_flight=20_000):
                outcome.unwrap()
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 6e6  # all of the requests at once are 10 MB of text, and their ids as much again


class TestAsync:
    def test_outcomes_come_while_the_next_request_is_waited_for(self) -> None:
        async def run() -> list[int]:
            seen: asyncio.Queue[int] = asyncio.Queue()

            async def requests() -> AsyncIterator[Any]:
                for number in range(5):
                    yield f"q{number}", ["a"]
                    assert await asyncio.wait_for(seen.get(), 20) == number

            got = []
            async with Reranker(FakeEngine(by_both)) as reranker:
                async for outcome in reranker.arerank_many(requests()):
                    got.append(outcome.index)
                    seen.put_nowait(outcome.index)
            return got

        assert asyncio.run(run()) == [0, 1, 2, 3, 4]

    def test_an_ordinary_iterable_does_as_well(self) -> None:
        async def run() -> list[Any]:
            async with Reranker("lexical") as reranker:
                requests: list[Any] = [("moon", ["sea", "moon"]), "bad", ("sea", ["sea", "moon"])]
                many = reranker.arerank_many(requests, ordered=False)
                return sorted([one async for one in many], key=lambda one: one.index)

        first, bad, third = asyncio.run(run())
        assert (first.unwrap()[0].index, third.unwrap()[0].index) == (1, 0)
        assert isinstance(bad.error, InvalidInputError)

    def test_leaving_early_ends_what_is_under_way(self) -> None:
        async def run() -> bool:
            async with Reranker(FakeEngine(by_both, seconds=0.05)) as reranker:
                many = reranker.arerank_many((f"q{n}", ["a"]) for n in range(10**9))
                async for _ in many:
                    break
                await many.aclose()  # type: ignore[attr-defined]
                return await asyncio.to_thread(wait_until, lambda: not reranker._calls._running)

        assert asyncio.run(run())


def test_progress_is_told_on_standard_error(
    ranker: Reranker, capsys: pytest.CaptureFixture[str]
) -> None:
    list(ranker.rerank_many([("q", ["a", "b"]), "bad"], progress=True))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "2/2" in printed.err
    assert "2 pairs" in printed.err
    assert "1 failed" in printed.err
