"""P(relevant) fits pairs that it has not seen, and a threshold keeps what it promises."""

import math
import random
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

from qwen3_ascend_rerank import InvalidInputError, Reranker
from qwen3_ascend_rerank.calibration import (
    Labelled,
    examine,
    fit,
    propose,
    read_labels,
    scored,
)
from qwen3_ascend_rerank.calibration.report import expected_calibration_error
from qwen3_ascend_rerank.results import probability

NAMED = {"model": "lexical", "instruction": "Find it."}


def pairs(count: int, seed: int = 0) -> Labelled:
    """Pairs whose P(relevant) is known: sigmoid(log-odds / 2 - 2)."""
    drawn = random.Random(seed)
    log_odds = [drawn.gauss(2, 4) for _ in range(count)]
    relevant = [drawn.random() < probability(one / 2 - 2) for one in log_odds]
    return Labelled(log_odds, relevant, [f"q{n // 8}" for n in range(count)], "lexical", "Find it.")


def test_platt_finds_the_truth() -> None:
    labelled = pairs(8000)
    made = fit(labelled.log_odds, labelled.relevant, **NAMED)
    assert made.slope == pytest.approx(0.5, abs=0.05)
    assert made.intercept == pytest.approx(-2, abs=0.2)
    assert (made.model, made.pairs, made.relevant) == ("lexical", 8000, sum(labelled.relevant))


def test_isotonic_comes_near_the_truth() -> None:
    labelled = pairs(8000)
    made = fit(labelled.log_odds, labelled.relevant, method="isotonic", **NAMED)
    for one in (-2.0, 2.0, 4.0, 6.0):
        assert made.relevance(one) == pytest.approx(probability(one / 2 - 2), abs=0.1)


def test_labels_that_scores_separate_stay_finite() -> None:
    made = fit([-3.0] * 20 + [3.0] * 20, [False] * 20 + [True] * 20, **NAMED)
    assert 0.9 < made.relevance(3.0) < 1
    assert math.isfinite(made.slope)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_the_error_falls_on_halves_that_were_not_fitted(method: str) -> None:
    found = examine(pairs(2000), method=method)
    assert found.error_before > 0.2
    assert found.error_after < 0.05
    assert sum(one.pairs for one in found.bins_after) == 2000
    assert all(one.likely.low <= one.observed <= one.likely.high for one in found.bins_after)


def test_the_error_is_what_its_source_says() -> None:
    # two bins: |0.05 - 0.5| of two pairs, |0.95 - 1| of one
    assert expected_calibration_error([0.05, 0.05, 0.95], [True, False, True]) == pytest.approx(
        (2 * 0.45 + 0.05) / 3
    )


@pytest.mark.parametrize(("aim", "wanted"), [("precision", 0.8), ("recall", 0.9)])
def test_a_threshold_keeps_its_promise_on_pairs_not_seen(aim: str, wanted: float) -> None:
    labelled, unseen = pairs(1600, seed=1), pairs(20_000, seed=2)
    one = propose(labelled.log_odds, labelled.relevant, labelled.queries, aim=aim, wanted=wanted)
    assert getattr(one, aim) >= wanted
    assert one.threshold == probability(one.log_odds)
    reached = [value >= one.log_odds for value in unseen.log_odds]
    hits = sum(a and b for a, b in zip(reached, unseen.relevant, strict=True))
    value = hits / (sum(reached) if aim == "precision" else sum(unseen.relevant))
    assert one.unseen.low <= value <= one.unseen.high
    assert one.unseen.high - one.unseen.low < 0.25


def test_equal_scores_pass_together() -> None:
    log_odds = [2.0] * 20 + [1.0] * 20
    relevant = [True] * 20 + [True] * 10 + [False] * 10
    one = propose(log_odds, relevant, wanted=0.9)
    assert (one.log_odds, one.precision, one.recall) == (2.0, 1.0, 20 / 30)


# -- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relevant", "told"),
    [
        ([True] * 40, r"all of the labels say relevant \(40 pairs\); label some that are not"),
        ([False] * 40, "all of the labels say not relevant"),
        ([True] * 9 + [False] * 31, "have 9 pairs that are relevant, which is too few"),
        ([], "have 0 pairs"),
        ([False] * 20 + [True] * 20, "scores do not rise where the labels do"),
    ],
)
@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_labels_that_teach_nothing_are_refused(
    relevant: list[bool], told: str, method: str
) -> None:
    with pytest.raises(InvalidInputError, match=told):
        fit([-float(n) for n in range(len(relevant))], relevant, method=method, **NAMED)


def test_a_half_without_one_kind_is_refused() -> None:
    # all that is relevant belongs to one query, and so to one half
    labelled = Labelled(
        [float(n) for n in range(40)],
        [n >= 20 for n in range(40)],
        ["one" if n >= 20 else f"q{n % 4}" for n in range(40)],
        "lexical",
        "",
    )
    with pytest.raises(InvalidInputError, match="half of the queries .* not relevant"):
        examine(labelled)


def test_one_query_is_no_sample() -> None:
    labelled = pairs(80)
    alone = Labelled(labelled.log_odds, labelled.relevant, ["q"] * 80, "lexical", "")
    with pytest.raises(InvalidInputError, match="all of one query"):
        examine(alone)


def test_a_precision_out_of_reach_is_told_with_the_highest() -> None:
    with pytest.raises(InvalidInputError, match=r"the highest is 0\.\d{3}"):
        propose([1.0] * 30 + [0.0] * 30, [True, False, False] * 20, wanted=0.99)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("nothing", "line 2 is no JSON object"),
        ('{"query": "q", "label": 1}', "line 2 has no query and text"),
        ('{"query": "q", "text": "t", "label": "yes"}', "has the label 'yes'"),
    ],
)
def test_a_line_that_is_no_label_is_named(line: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text('{"query": "q", "text": "t", "label": true}\n' + line)
    with pytest.raises(InvalidInputError, match=told):
        read_labels(file)


def test_grades_count_from_the_least_on(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text("".join(f'{{"query": "q", "passage": "t", "grade": {n}}}\n' for n in range(4)))
    assert [one.relevant for one in read_labels(file, least=2)] == [False, False, True, True]


def test_scored_pairs_keep_their_labels(tmp_path: Path, lexical: Reranker) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text(
        '{"query": "capital of China", "text": "Bread needs flour.", "label": 0}\n'
        '{"query": "flour", "text": "Bread needs flour.", "label": 1}\n'
        '{"query": "capital of China", "text": "Beijing is the capital of China.", "label": 1}\n'
    )
    found = scored(read_labels(file), lexical)
    assert found.model == "lexical"
    for value, relevant in zip(found.log_odds, found.relevant, strict=True):
        assert (value > 0) == relevant
