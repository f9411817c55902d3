"""The model's judgement and the retriever's, made one."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_ascend_rerank import CascadeReranker, InvalidInputError, Reranker
from qwen3_ascend_rerank.evaluation.rankings import reranked
from qwen3_ascend_rerank.results.fusion import (
    Fusion,
    checked_scores,
    fused,
    reciprocal_ranks,
    weighted,
)
from qwen3_ascend_rerank.testing import FakeEngine


def test_weighted_is_the_mean_of_both_on_one_scale() -> None:
    assert weighted([-4.0, 0.0, 4.0], [30.0, 20.0, 10.0], 0.75) == [0.25, 0.5, 0.75]
    assert weighted([-4.0, 0.0, 4.0], [30.0, 20.0, 10.0], 1.0) == [0.0, 0.5, 1.0]
    assert weighted([-4.0, 0.0, 4.0], [30.0, 20.0, 10.0], 0.0) == [1.0, 0.5, 0.0]


def test_equal_numbers_weigh_nothing() -> None:
    assert weighted([2.0, 2.0], [1.0, 3.0], 0.5) == [0.0, 0.5]
    assert weighted([], [], 0.5) == []
    assert weighted([7.0], [7.0], 0.5) == [0.0]


def test_reciprocal_ranks_are_those_of_the_paper() -> None:
    scores = reciprocal_ranks([0.1, 5.0, -2.0], [10.0, 1.0, 5.0])
    assert scores == pytest.approx([1 / 62 + 1 / 61, 1 / 61 + 1 / 63, 1 / 63 + 1 / 62])
    assert reciprocal_ranks([1.0, 1.0], [1.0, 1.0], 0) == pytest.approx([2.0, 1.0])


@pytest.mark.parametrize(
    ("text", "kind", "number"),
    [("rrf", "rrf", 60), ("rrf:10", "rrf", 10), ("weighted:0.3", "weighted", 0.3)],
)
def test_fusions_from_their_names(text: str, kind: str, number: float) -> None:
    fusion = Fusion.of(text)
    assert fusion == Fusion(kind, number) == Fusion.of(str(fusion)) == Fusion.of(fusion)
    both = ([1.0, 2.0], [2.0, 1.0])
    direct = reciprocal_ranks(*both, number) if kind == "rrf" else weighted(*both, number)
    assert fusion.scores(*both) == direct


@pytest.mark.parametrize(
    "given", ["", "magic", "rrf:x", "rrf:-1", "weighted", "weighted:2", "weighted:nan", 3]
)
def test_what_is_no_fusion(given: object) -> None:
    with pytest.raises(InvalidInputError, match=r"fusion is .*; give rrf, rrf:CONSTANT or"):
        Fusion.of(given)


# -- a result in the fused order -------------------------------------------------------------------

FORMS = ["rrf", "rrf:0", "weighted:0", "weighted:0.5", "weighted:1"]
NUMBERS = st.integers(-3, 3).map(float)  # with ties


@settings(deadline=None)
@given(pairs=st.lists(st.tuples(NUMBERS, NUMBERS), max_size=8), form=st.sampled_from(FORMS))
def test_the_order_is_the_one_that_an_evaluation_measures(
    pairs: list[tuple[float, float]], form: str
) -> None:
    texts = [str(place) for place in range(len(pairs))]
    with Reranker(FakeEngine(lambda _, text: pairs[int(text)][0])) as reranker:
        result = reranker.rerank("q", texts)
    retrieved = [score for _, score in pairs]
    found = fused(result, retrieved, Fusion.of(form))
    run = {"q": {text: score for text, (_, score) in zip(texts, pairs, strict=True)}}
    log_odds = {"q": {text: value for text, (value, _) in zip(texts, pairs, strict=True)}}
    measured = reranked(run, log_odds, len(texts) or 1, Fusion.of(form))
    assert found.texts == list(measured["q"])
    assert {one.index: one.score for one in found} == {one.index: one.score for one in result}


def test_threshold_and_top_n_come_after_the_order() -> None:
    with Reranker(FakeEngine(lambda _, text: float(text))) as reranker:
        result = reranker.rerank("q", ["-1", "2", "1", "0"])
    fusion = Fusion.of("weighted:0")
    found = fused(result, [4.0, 1.0, 3.0, 2.0], fusion, threshold=0.5, top_n=2)
    assert found.texts == ["1", "0"]


def test_of_a_cascade_only_the_order_is_fused_and_the_last_stage_alone_reaches_a_threshold() -> (
    None
):
    small = Reranker(FakeEngine(lambda _, text: float(text) + 100))
    with CascadeReranker([(small, 2), Reranker(FakeEngine(lambda _, text: -float(text)))]) as both:
        result = both.rerank("q", ["3", "1", "2"])
    assert result.texts == ["2", "3", "1"]
    assert fused(result, [1.0, 3.0, 2.0], Fusion.of("rrf:0")).texts == ["2", "1", "3"]
    assert fused(result, [1.0, 3.0, 2.0], Fusion.of("rrf"), threshold=0.0).texts == ["2", "3"]
    with pytest.raises(InvalidInputError, match="cannot be compared; use rrf"):
        fused(result, [1.0, 3.0, 2.0], Fusion.of("weighted:0.5"))


@pytest.mark.parametrize("score", [None, "1", math.inf, math.nan, False])
def test_a_score_that_is_none_is_named(score: Any) -> None:
    with pytest.raises(InvalidInputError, match="and document 1 has .* as 'score'; have"):
        checked_scores([1, score], "'score'")
    assert checked_scores([1, np.float32(2)], "'score'") == [1.0, 2.0]
