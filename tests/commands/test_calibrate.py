"""`qwen3-rerank calibrate`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.commands.program import app
from tests.support.labels import write_labels

pytest.importorskip("sklearn")


def run(*arguments: str | Path):
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "labels.jsonl")


def test_writes_what_a_reranker_takes(labels: Path, tmp_path: Path) -> None:
    output, picture, report = (tmp_path / one for one in ("c.json", "r.png", "report.json"))
    done = run(
        labels, "--model", "lexical", "--output", output, "--precision", "0.9",
        "--picture", picture, "--report", report,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "48 pairs of 12 queries, 24 relevant · lexical" in done.stdout
    assert "expected calibration error on halves that were not fitted" in done.stdout
    assert "for precision 0.9: --threshold" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert json.loads(report.read_text())["proposal"]["wanted"] == 0.9
    with Reranker("lexical", calibration=output) as reranker:
        first = reranker.rerank("how is Bread made", ["Bread is made by hand."])[0]
    assert first.relevance is not None
    assert first.relevance > 0.5


def test_one_kind_of_label_is_one_line(labels: Path, tmp_path: Path) -> None:
    done = run(labels, "--model", "lexical", "--least", "2", "--output", tmp_path / "c.json")
    assert done.exit_code == 1
    assert "all of the labels say not relevant" in done.stderr
    assert not (tmp_path / "c.json").exists()
