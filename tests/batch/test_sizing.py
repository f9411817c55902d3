"""The arithmetic of cards and hours."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.comparison.workload import GEOMETRIES
from qwen3_ascend_rerank import InvalidInputError
from qwen3_ascend_rerank.batch.sizing import SIZES, Sizing, Speed, checked_amount, measured, stated


@pytest.mark.parametrize(
    ("size", "weights"), [("0.6B", 440_401_920), ("4B", 3_633_315_840), ("8B", 6_945_767_424)]
)
def test_weights_are_those_of_the_linear_layers(size: str, weights: int) -> None:
    assert SIZES[size].weights == weights


def test_the_sizes_are_those_that_are_measured() -> None:
    for size, config in GEOMETRIES.items():
        geometry = SIZES[size]
        assert geometry.layers == config["num_hidden_layers"]
        assert geometry.intermediate == config["intermediate_size"]


def test_a_peak_gives_what_the_page_on_speed_says() -> None:
    assert stated(280, 1, "0.6B", 512).tokens == pytest.approx(298_000, rel=1e-3)
    assert stated(989.5, 1, "0.6B", 512).tokens == pytest.approx(1_050_000, rel=5e-3)


@given(
    pairs=st.floats(1, 1e12),
    tokens=st.integers(1, 8192),
    speed=st.floats(1, 1e7),
    hours=st.floats(0.01, 1e4),
)
def test_the_cards_are_the_fewest_that_finish(
    pairs: float, tokens: int, speed: float, hours: float
) -> None:
    job = Sizing(pairs, tokens, Speed(speed, ""), 0.2)
    cards = job.cards(hours)
    assert job.hours(cards) <= hours * (1 + 1e-9)
    assert cards == 1 or job.hours(cards - 1) > hours * (1 - 1e-9)


def test_the_best_run_counts(tmp_path: Path) -> None:
    runs = [
        {"completed": 3, "total_token_throughput": 10.5},
        {"completed": 3, "total_token_throughput": 20.0},
        {"completed": 0, "total_token_throughput": 99.0},
    ]
    engine = {"model": "lexical", "engine": "torch", "device": "cpu"}
    (tmp_path / "run.json").write_text(json.dumps({"runs": runs, "engine": engine}))
    found = measured(tmp_path / "run.json")
    assert found.tokens == 20
    assert found.source == "measured: lexical, torch on cpu, the best of 3 runs"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"runs": []}', '{"runs": [{}], "engine": {}}'])
def test_what_is_no_measurement_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InvalidInputError, match=r"run.json is no result of `qwen3-rerank bench"):
        measured(tmp_path / "run.json")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        measured(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("text", "amount"),
    [("7", 7), ("1e6", 1e6), ("250k", 250e3), ("10M", 10e6), ("2B", 2e9), ("1,000", 1000)],
)
def test_amounts_are_written_as_people_do(text: str, amount: float) -> None:
    assert checked_amount("--pairs", text) == amount


@pytest.mark.parametrize("text", ["", "many", "0", "-3", "nan", "inf", "k", "3x"])
def test_what_is_no_amount_is_named(text: str) -> None:
    with pytest.raises(InvalidInputError, match="--pairs is "):
        checked_amount("--pairs", text)
