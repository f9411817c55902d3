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


# -- a collection, and what a retriever found in it ------------------------------------------------


@pytest.fixture
def collection(labels: Path, tmp_path: Path) -> Path:
    """The same pairs as a folder and a run: what is not relevant, nobody has judged."""
    rows = [json.loads(line) for line in labels.read_text().splitlines()]
    queries = list(dict.fromkeys(row["query"] for row in rows))
    (tmp_path / "own/qrels").mkdir(parents=True)
    files = {"queries.jsonl": [], "corpus.jsonl": [], "qrels/test.tsv": ["q\td\tscore"]}
    run = []
    for number, query in enumerate(queries):
        files["queries.jsonl"].append(json.dumps({"_id": f"q{number}", "text": query}))
    for place, row in enumerate(rows):
        query = f"q{queries.index(row['query'])}"
        files["corpus.jsonl"].append(json.dumps({"_id": f"d{place}", "text": row["text"]}))
        run.append(f"{query} Q0 d{place} 1 {-place} found")
        if row["label"]:
            files["qrels/test.tsv"].append(f"{query}\td{place}\t1")
    for name, texts in files.items():
        (tmp_path / "own" / name).write_text("\n".join(texts) + "\n")
    (tmp_path / "own/run.txt").write_text("\n".join(run) + "\n")
    return tmp_path / "own"


def test_a_collection_gives_the_same_as_its_pairs(
    labels: Path, collection: Path, tmp_path: Path
) -> None:
    outputs = [tmp_path / "pairs.json", tmp_path / "collection.json"]
    parts = [
        *("--queries", collection / "queries.jsonl", "--corpus", collection / "corpus.jsonl"),
        *("--qrels", collection / "qrels/test.tsv", "--run", collection / "run.txt"),
    ]
    for given, output in zip(([labels], parts), outputs, strict=True):
        done = run(*given, "--model", "lexical", "--output", output)
        assert done.exit_code == 0, done.output
        assert "48 pairs of 12 queries, 24 relevant · lexical" in done.stdout
    first, second = (json.loads(output.read_text()) for output in outputs)
    numbers = [(one.pop("slope"), one.pop("intercept")) for one in (first, second)]
    assert first == second
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-4)  # pairs in batches of their own


def test_a_folder_alone_has_bm25_and_as_many_as_wanted(collection: Path, tmp_path: Path) -> None:
    done = run(
        collection, "--model", "lexical", "--top-k", "4", "--output", tmp_path / "c.json",
        "--run", collection / "run.txt",
    )  # fmt: skip
    assert "48 pairs of 12 queries, 24 relevant" in done.stdout
    done = run(collection, "--model", "lexical", "--top-k", "6", "--output", tmp_path / "c.json")
    assert done.exit_code == 0, done.output
    assert "72 pairs of 12 queries" in done.stdout


def test_files_that_do_not_belong_together_are_refused(
    labels: Path, collection: Path, tmp_path: Path
) -> None:
    output = tmp_path / "c.json"
    (tmp_path / "other.txt").write_text("q1 Q0 nowhere 1 1 found\n")
    for arguments, told in (
        ([labels, "--run", collection / "run.txt"], "is no folder, and the other files are a"),
        ([], "give a folder, or all of --queries, --corpus and --qrels"),
        ([collection, "--run", tmp_path / "other.txt"], "the run names the document 'nowhere'"),
        ([collection, "--split", "dev"], "has no qrels/dev.tsv"),
    ):
        done = run(*arguments, "--model", "lexical", "--output", output)
        assert done.exit_code != 0
        assert told in " ".join(done.stderr.replace("│", "").split())
    assert not output.exists()
