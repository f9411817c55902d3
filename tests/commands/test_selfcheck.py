"""`qwen3-rerank selfcheck`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qwen3_ascend_rerank.commands.program import app
from qwen3_ascend_rerank.lexical import checkpoint_folder
from tests.support.models import write_original


def test_a_right_runtime_passes() -> None:
    done = CliRunner().invoke(app, ["selfcheck", "--engine", "torch", "--max-length", "1024"])
    assert done.exit_code == 0
    assert "lexical on the torch engine" in done.stdout
    assert "wrong" not in done.stdout


def test_the_outcome_can_be_read_by_programs() -> None:
    options = ["--engine", "torch", "--max-length", "1024", "--format", "json"]
    done = CliRunner().invoke(app, ["selfcheck", *options])
    checks = json.loads(done.stdout)["lexical"]["checks"]
    assert len(checks) > 10
    assert all(check["passed"] for check in checks)


def test_a_model_that_answers_wrongly_fails(qwen_file: Path, tmp_path: Path) -> None:
    checkpoint_folder()
    model = write_original(tmp_path / "Qwen3-Reranker-0.6B", qwen_file, tied=True)
    options = ["--engine", "torch", "--max-length", "1024", "--model", str(model)]
    done = CliRunner().invoke(app, ["selfcheck", *options])
    assert done.exit_code == 1
    assert "wrong" in done.stdout
    assert "template missing or doubled" in " ".join(done.stdout.split())


@pytest.mark.parametrize("options", [["--engine", "tpu"], ["--model", "./nowhere"]])
def test_what_cannot_be_checked_is_an_error(options: list[str]) -> None:
    done = CliRunner().invoke(app, ["selfcheck", "--engine", "torch", *options])
    assert done.exit_code == 1
    assert "error:" in done.stderr
