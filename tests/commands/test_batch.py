"""`qwen3-rerank batch`."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qwen3_ascend_rerank import Reranker
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


def test_a_cascade_ranks_files(place: Path) -> None:
    done = run("in.jsonl", "out", "--model", "lexical", "--cascade", "lexical:1")
    assert done.exit_code == 0, done.output
    written = [
        json.loads(line) for line in (place / "out/part-00000.jsonl").read_text().splitlines()
    ]
    assert [[row["stage"] for row in one["results"]] for one in written] == [[2, 1], [2, 1]]
    again = run("in.jsonl", "out", "--model", "lexical")
    assert again.exit_code == 1
    assert "out" in again.stderr


def test_a_run_reads_the_fields_of_its_corpus(place: Path) -> None:
    (place / "q.tsv").write_text("q1\tbread\n")
    (place / "c.jsonl").write_text('{"_id": "d1", "title": "Bread", "text": "flour"}\n')
    (place / "bm25.run").write_text("q1 Q0 d1 1 1 bm25\n")
    scores = []
    for number, fields in enumerate(([], ["--metadata-fields", "title"])):
        files = ["--queries", "q.tsv", "--corpus", "c.jsonl"]
        done = run("bm25.run", f"out{number}", *files, "--model", "lexical", *fields)
        assert done.exit_code == 0, done.output
        (line,) = (place / f"out{number}/part-00000.jsonl").read_text().splitlines()
        scores.append(json.loads(line)["results"][0]["score"])
    with Reranker("lexical") as reranker:
        assert scores == pytest.approx(
            reranker.score("bread", ["Bread flour", "title: Bread\n\nflour"])
        )
