"""A cascade: who judges what, in which order it comes back, and that nothing is lost unsaid."""

import asyncio
import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_ascend_rerank import (
    CascadeReranker,
    DocumentError,
    EngineError,
    InvalidInputError,
    QueryTooLongError,
    Reranker,
    RerankerClosedError,
    RerankTimeoutError,
)
from qwen3_ascend_rerank.results import probability
from qwen3_ascend_rerank.testing import FakeEngine

QUERY = "capital of China"
PASSAGES = [
    "Bread needs flour.",
    "Beijing is China's capital.",
    "The sea is blue.",
    "China is big.",
]


def first(_query: str, document: str) -> float:
    """What a small model says of "3 -1": 3."""
    return float(document.split()[0])


def second(_query: str, document: str) -> float:
    """What a large model says of "3 -1": -1."""
    return float(document.split()[1])


def texts(pairs: list[tuple[float, float]]) -> list[str]:
    return [f"{small} {large}" for small, large in pairs]


def cascade(keep: int, **options: Any) -> CascadeReranker:
    small, large = Reranker(FakeEngine(first)), Reranker(FakeEngine(second))
    return CascadeReranker([(small, keep), large], **options)


# -- order -----------------------------------------------------------------------------------------

VALUES = st.sampled_from([-4.0, -1.0, 0.0, 0.5, 3.0])


@given(
    pairs=st.lists(st.tuples(VALUES, VALUES), max_size=12),
    keep=st.integers(1, 14),
    top_n=st.none() | st.integers(1, 14),
    threshold=st.none() | st.sampled_from([0.0, 0.3, 0.5, 0.99]),
)
@settings(max_examples=100)
def test_what_was_handed_on_comes_first_by_the_last_scores_and_the_rest_below(
    pairs: list[tuple[float, float]], keep: int, top_n: int | None, threshold: float | None
) -> None:
    with cascade(keep) as reranker:
        result = reranker.rerank(QUERY, texts(pairs), top_n=top_n, threshold=threshold)
    places = range(len(pairs))
    handed_on = sorted(places, key=lambda place: -pairs[place][0])[:keep]
    best = sorted(sorted(handed_on), key=lambda place: -pairs[place][1])
    rest = [
        place for place in sorted(places, key=lambda place: -pairs[place][0]) if place not in best
    ]
    if threshold is not None:
        best = [place for place in best if probability(pairs[place][1]) >= threshold]
        rest = []
    assert [one.index for one in result] == [*best, *rest][:top_n]
    assert all(one.log_odds == pairs[one.index][(one.stage or 0) - 1] for one in result)
    assert [one.stage for one in result] == ([2] * len(best) + [1] * len(rest))[:top_n]


def test_three_stages_come_back_one_below_the_other() -> None:
    stages = [Reranker(FakeEngine(by)) for by in (first, second, first)]
    with CascadeReranker([(stages[0], 3), (stages[1], 1), stages[2]]) as reranker:
        result = reranker.rerank(QUERY, ["4 1", "3 2", "2 3", "1 9"])
    assert [(one.index, one.stage) for one in result] == [(2, 3), (1, 2), (0, 2), (3, 1)]
    assert [(one.judged, one.handed_on) for one in result.stages] == [(4, 3), (3, 1), (1, 0)]


def test_no_document_is_lost_where_more_are_wanted_than_are_handed_on() -> None:
    with cascade(2) as reranker:
        result = reranker.rerank(QUERY, texts([(n, -n) for n in range(6)]), top_n=4)
    assert [(one.index, one.stage) for one in result] == [(4, 2), (5, 2), (3, 1), (2, 1)]
    assert "[stage 1]" in str(result)
    assert "stage 1 judged 6 · stage 2 judged 2" in str(result)


@pytest.mark.parametrize("keep", [4, 100])
def test_where_all_are_handed_on_it_is_the_large_model_alone(keep: int) -> None:
    engine = FakeEngine(lambda *_: pytest.fail("it is asked"))
    with (
        Reranker("lexical", max_length=4096) as large,
        CascadeReranker([(Reranker(engine), keep), copy.copy(large)]) as both,
    ):
        alone, together = large.rerank(QUERY, PASSAGES), both.rerank(QUERY, PASSAGES)
        assert [(one.index, one.log_odds) for one in together] == [
            (one.index, one.log_odds) for one in alone
        ]
        assert both.score(QUERY, PASSAGES) == large.score(QUERY, PASSAGES)
        assert (together.stages[0].judged, together.stages[0].handed_on) == (0, 4)


def test_scores_are_all_of_the_last_stage() -> None:
    with cascade(1) as reranker:
        pairs = [(3.0, -1.0), (2.0, 0.5)]
        right = [probability(large) for _, large in pairs]
        assert reranker.score(QUERY, texts(pairs)) == right
        assert asyncio.run(reranker.ascore(QUERY, texts(pairs))) == right
        assert reranker.score_pairs([(QUERY, text) for text in texts(pairs)]) == right


# -- cost ------------------------------------------------------------------------------------------


def test_each_stage_says_what_it_took() -> None:
    with cascade(2) as reranker:
        result = reranker.rerank(QUERY, [*texts([(n, n) for n in range(5)]), "4 4"])
    small, large = result.stages
    assert (small.usage.pairs_scored, small.usage.pairs_reused) == (5, 1)
    assert (large.model, large.engine, large.usage.pairs_scored) == ("fake", "fake", 1)
    both = small.usage + large.usage
    assert result.usage.prompt_tokens == both.prompt_tokens
    assert result.usage.pairs_scored == both.pairs_scored
    assert result.to_dict()["stages"][0]["judged"] == 6


def test_many_requests_go_through_all_stages() -> None:
    requests = [(QUERY, texts([(n, -n) for n in range(count)])) for count in (0, 1, 5)]
    with cascade(2) as reranker:
        outcomes = [one.unwrap() for one in reranker.rerank_many(requests)]
        assert [[one.index for one in result] for result in outcomes] == [[], [0], [3, 4, 2, 1, 0]]

        async def run() -> list[int]:
            return [len(one.unwrap()) async for one in reranker.arerank_many(requests)]

        assert asyncio.run(run()) == [0, 1, 5]


# -- one stage fails -------------------------------------------------------------------------------


def test_a_stage_that_fails_is_named() -> None:
    broken = Reranker(FakeEngine(error=RuntimeError("card on fire")))
    with CascadeReranker([(Reranker(FakeEngine(first)), 1), broken]) as reranker:
        with pytest.raises(
            EngineError, match=r"stage 2 of 2, FakeEngine: .* card on fire"
        ) as caught:
            reranker.rerank(QUERY, ["1 1", "2 2"])
        assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_document_that_fails_is_that_of_the_caller() -> None:
    class Picky(FakeEngine):
        async def score(self, batch: Any) -> list[float]:
            raise DocumentError(0, "cannot be read")

    with CascadeReranker([(Reranker(FakeEngine(first)), 1), Reranker(Picky())]) as reranker:
        with pytest.raises(DocumentError, match=r"documents\[2\] cannot be read \(stage 2 of 2"):
            reranker.rerank(QUERY, ["1 1", "2 2", "3 3"])


def test_a_query_too_long_for_a_stage_says_which() -> None:
    small = Reranker(FakeEngine(first), max_length=200)
    with CascadeReranker([(small, 1), Reranker(FakeEngine(second))]) as reranker:
        with pytest.raises(QueryTooLongError, match="stage 1 of 2, FakeEngine: max_length is 200"):
            reranker.rerank("why " * 300, ["1 1", "2 2"])


def test_times_out_as_a_whole_and_by_a_stage() -> None:
    slow = Reranker(FakeEngine(first, seconds=30))
    with CascadeReranker([(slow, 1), Reranker(FakeEngine(second))]) as reranker:
        with pytest.raises(RerankTimeoutError, match=r"timeout of 0.05 seconds"):
            reranker.rerank(QUERY, ["1 1", "2 2"], timeout=0.05)
        slow.timeout = 0.1
        with pytest.raises(RerankTimeoutError, match=r"stage 1 of 2, FakeEngine: .* 0.1 seconds"):
            reranker.rerank(QUERY, ["1 1", "2 2"])


# -- its life --------------------------------------------------------------------------------------


def test_closing_it_closes_the_stages() -> None:
    engines = [FakeEngine(first), FakeEngine(second)]
    small, large = map(Reranker, engines)
    reranker = CascadeReranker([(small, 1), large])
    assert reranker.info is None
    assert reranker.start().model == "FakeEngine → FakeEngine"
    assert reranker.info is not None
    reranker.close()
    assert all(engine.closed for engine in engines)
    for one in (reranker, small):
        with pytest.raises(RerankerClosedError):
            one.rerank(QUERY, ["1 1"])


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))]
)
def test_copies_outlive_it(duplicate: Callable[[CascadeReranker], CascadeReranker]) -> None:
    with CascadeReranker(
        [(Reranker("lexical", max_length=600), 2), Reranker("lexical")], top_n=3
    ) as one:
        twin = duplicate(one)
        right = one.rerank(QUERY, PASSAGES).texts
    with twin:
        assert repr(twin) == repr(one)
        assert twin.rerank(QUERY, PASSAGES).texts == right


def test_options_can_change_and_nothing_else() -> None:
    with cascade(1, top_n=1) as reranker:
        reranker.top_n = 2
        assert len(reranker.rerank(QUERY, ["1 1", "2 2", "3 3"])) == 2
        with pytest.raises(InvalidInputError, match="threshold is 2"):
            reranker.threshold = 2
        with pytest.raises(InvalidInputError, match="keeps is no setting of CascadeReranker"):
            reranker.keeps = 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], r"stages\[0\] is None"),
        ("small", "stages is 'small'"),
        (lambda small, large: [large], "there is one stage, which needs no cascade"),
        (lambda small, large: [small, large], r"stages\[0\] is Reranker"),
        (lambda small, large: [(small, 0), large], r"keep of stages\[0\] is 0"),
        (lambda small, large: [(small, 2), (large, 1)], r"stages\[1\] is \(Reranker"),
        (lambda small, large: [(small, 2), small], r"stages\[1\] is a Reranker that stands before"),
        (lambda small, large: [(small, 2), (copy.copy(small), 2), large], "hands on 2 of the 2"),
        (lambda small, large: [("lexical", 2), large], r"stages\[0\] is \('lexical', 2\)"),
    ],
)
def test_stages_that_are_none_are_refused(stages: Any, message: str) -> None:
    given = stages(Reranker("lexical"), Reranker("lexical")) if callable(stages) else stages
    with pytest.raises(InvalidInputError, match=message):
        CascadeReranker(given)


def test_stages_that_do_not_agree_need_a_word() -> None:
    small, large = Reranker("lexical", instruction="Find numbers"), Reranker("lexical")
    with pytest.raises(
        InvalidInputError, match="different instruction, 'Find numbers' and .*; pass"
    ):
        CascadeReranker([(small, 2), large])
    assert CascadeReranker([(small, 2), large], instruction="Find it").instruction == "Find it"
