"""`qwen3-rerank batch`."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qwen3_ascend_rerank.commands.program import app

REQUESTS = [
    {
        "id": 1,
        "query": "capital of China",
        "documents": ["Bread", "Beijing is the capital."],
    },
    {"id": 2, "query": "moon", "documents": []},
    {"id": 3, "query": "moon", "documents": ["the moon", "the sea"]},
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    text = "".join(json.dumps(one) + "\n" for one in REQUESTS)
    (tmp_path / "in.jsonl").write_text(text)
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, ["batch", *arguments], env={"COLUMNS": "200"})


def test_ranks_files_and_goes_on_with_them(place: Path) -> None:
    done = run("in.jsonl", "out", "--model", "lexical", "--top-n", "1")
    assert done.exit_code == 0
    assert "1 block: 2 requests, 1 row refused" in done.stderr
    assert re.search(r"[1-9]\d* pairs/s", done.stderr)  # loading left out
    assert "1 row was refused; out/rejects-*.jsonl say why" in done.stderr
    written = [
        json.loads(line) for line in (place / "out/part-00000.jsonl").read_text().splitlines()
    ]
    assert [(one["id"], one["results"][0]["index"], len(one["results"])) for one in written] == [
        (1, 1, 1),
        (3, 0, 1),
    ]
    again = run("in.jsonl", "out", "--model", "lexical", "--top-n", "1")
    assert "2 requests in 1 block, 1 of them before in out; now 0 pairs" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["in.jsonl"], "give at least one INPUT, and OUTPUT"),
        (["in.jsonl", "out", "--texts", "--format", "csv"], "--texts is for --format jsonl"),
        (["none.jsonl", "out", "--model", "lexical"], "none.jsonl names no file"),
        (["in.jsonl", ".", "--model", "lexical"], "holds in.jsonl and no manifest.json"),
        (["in.jsonl", "out", "--block", "0", "--model", "lexical"], "block is 0"),
        (["in.jsonl", "out", "--model", "lexical", "--top-n", "0"], "top_n"),
    ],
)
def test_what_cannot_be_done_is_one_line(place: Path, arguments: list[str], told: str) -> None:
    done = run(*arguments)
    assert done.exit_code != 0
    assert told in done.stderr
    assert "Traceback" not in done.output
