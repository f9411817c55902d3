"""The model's judgement and the retriever's, made one."""

import pytest

from qwen3_ascend_rerank import InvalidInputError
from qwen3_ascend_rerank.results.fusion import Fusion, reciprocal_ranks, weighted


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
