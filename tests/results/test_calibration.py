"""A calibration is applied as it was fitted, for what it was fitted for, without scikit-learn."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_rerank import DEFAULT_INSTRUCTION, InvalidInputError, Reranker
from qwen3_ascend_rerank.results import Calibration, probability
from qwen3_ascend_rerank.results.calibration import calibration_of

PLATT = Calibration("platt", "lexical", DEFAULT_INSTRUCTION, slope=0.5, intercept=-1.0)
KNOTS = ((-2.0, 0.1), (0.0, 0.1), (2.0, 0.7))
ISOTONIC = Calibration("isotonic", "lexical", DEFAULT_INSTRUCTION, knots=KNOTS)
TEXTS = ["Bread needs flour.", "Beijing is the capital of China.", "China is large."]
QUERY = "capital of China"


def test_platt_is_a_logistic_function() -> None:
    assert PLATT.relevance(4.0) == probability(1.0)


@pytest.mark.parametrize(
    ("log_odds", "relevance"),
    [(-9, 0.1), (-2, 0.1), (-1, 0.1), (0, 0.1), (1, 0.4), (2, 0.7), (9, 0.7)],
)
def test_isotonic_goes_through_its_knots(log_odds: float, relevance: float) -> None:
    assert ISOTONIC.relevance(log_odds) == pytest.approx(relevance)


@pytest.mark.parametrize("made", [PLATT, ISOTONIC])
def test_a_file_gives_the_same_again(made: Calibration, tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(made.to_dict()))
    assert calibration_of(str(file)) == calibration_of(file) == made


@pytest.mark.parametrize("made", [PLATT, ISOTONIC])
def test_relevance_stands_beside_the_score_and_changes_nothing(
    made: Calibration, lexical: Reranker
) -> None:
    with Reranker("lexical", calibration=made) as reranker:
        found = reranker.rerank(QUERY, TEXTS)
    plain = lexical.rerank(QUERY, TEXTS)
    assert found.scores == plain.scores
    assert [one.relevance for one in found] == [made.relevance(one.log_odds) for one in plain]
    assert [one.relevance for one in plain] == [None] * 3


def test_another_instruction_is_refused_at_once_and_in_a_call() -> None:
    with pytest.raises(InvalidInputError, match="calibration is for the instruction"):
        Reranker("lexical", calibration=PLATT, instruction="Another.")
    with Reranker("lexical", calibration=PLATT) as reranker:
        with pytest.raises(InvalidInputError, match=r"not for 'Another\.'; calibrate for that one"):
            reranker.rerank(QUERY, TEXTS, instruction="Another.")


def test_another_model_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="for the model lexical, not for Qwen/Qwen3"):
        Reranker("Qwen/Qwen3-Reranker-0.6B", calibration=PLATT)


@pytest.mark.parametrize(
    "model",
    ["Qwen/Qwen3-Reranker-0.6B", "/models/Qwen3-Reranker-0.6B/", "hub/Qwen3-Reranker-0___6B"],
)
def test_a_model_may_be_named_by_hub_or_folder(model: str) -> None:
    Calibration("platt", "Qwen/Qwen3-Reranker-0.6B", "").check_model(model)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("no JSON", "cannot be read"),
        ("[]", "holds no JSON object"),
        ('{"slope": 1}', "no calibration of a form that is known"),
        (json.dumps(PLATT.to_dict() | {"slope": -1}), "does not rise"),
        (json.dumps(PLATT.to_dict() | {"slope": "1"}), "does not rise"),
        (json.dumps(PLATT.to_dict() | {"method": "other"}), "cannot be used"),
        (json.dumps(ISOTONIC.to_dict() | {"knots": []}), "does not rise"),
        (json.dumps(ISOTONIC.to_dict() | {"knots": [[0, 0.9], [1, 0.1]]}), "does not rise"),
        (json.dumps(ISOTONIC.to_dict() | {"knots": [[0], 1]}), "calibrate anew"),
    ],
)
def test_what_is_no_calibration_is_refused(content: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(content)
    with pytest.raises(InvalidInputError, match=told):
        Reranker("lexical", calibration=file)


@pytest.mark.parametrize("given", ["none.json", 7])
def test_what_is_no_file_is_told_of(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="calibration"):
        Reranker("lexical", calibration=given)


def test_applying_needs_no_library() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = sys.modules['numpy'] = None;"
        "from qwen3_ascend_rerank.results.calibration import calibration_of;"
        f"print(calibration_of({ISOTONIC.to_dict()!r}).relevance(1.0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(0.4)
