"""`qwen3-rerank selfcheck`."""

import json
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from qwen3_ascend_rerank.commands.program import app
from qwen3_ascend_rerank.models.lexical import checkpoint_folder
from qwen3_ascend_rerank.trust.answers import LEXICAL_ANSWERS
from tests.support.models import write_original


def test_a_right_runtime_passes() -> None:
    done = CliRunner().invoke(app, ["selfcheck", "--engine", "torch", "--max-length", "1024"])
    assert done.exit_code == 0
    assert "lexical on the torch engine" in done.stdout
    assert "wrong" not in done.stdout


@pytest.mark.parametrize("columns", [80, 120])
def test_every_answer_can_be_told_from_the_others(columns: int) -> None:
    options = ["--engine", "torch", "--max-length", "1024"]
    done = CliRunner().invoke(app, ["selfcheck", *options], env={"COLUMNS": str(columns)})
    lines = done.stdout.splitlines()
    assert max(map(cell_len, lines)) <= columns
    rows = [line for line in lines if line.startswith("ok ")]
    checked = re.search(r"^(\d+) of \1 right", done.stdout, re.MULTILINE)
    assert checked is not None
    assert len(rows) == int(checked[1])
    place = next(line.index("asked") for line in lines if "  asked" in line)
    said = "".join(line[place:].strip() for line in lines)
    for query, documents in LEXICAL_ANSWERS.items():
        for document in documents:
            pair = f"{query!r} and {document!r}"
            assert pair.replace(" ", "") in said.replace(" ", "")


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
