"""`qwen3-rerank evaluate`."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.commands.program import app
from qwen3_ascend_rerank.corpora import read_run
from qwen3_ascend_rerank.models.lexical import checkpoint_folder

VILLAGES = Path(__file__).parents[1] / "evaluation" / "villages"
PARTS = [
    *("--queries", str(VILLAGES / "queries.jsonl"), "--corpus", str(VILLAGES / "corpus.jsonl")),
    *("--qrels", str(VILLAGES / "qrels/test.tsv")),
]


@pytest.fixture(autouse=True)
def engine(lexical: Reranker) -> Reranker:
    """Everything shares the engine that this Reranker holds."""
    return lexical


def run(*arguments: str):
    return CliRunner().invoke(
        app, ["evaluate", "--model", "lexical", *arguments], env={"COLUMNS": "200"}
    )


def test_a_folder_with_bm25(tmp_path: Path) -> None:
    done = run(
        str(VILLAGES), "--top-k", "3", "--html", str(tmp_path / "new/r.html"),
        "--runs", str(tmp_path / "runs"), "--fusion", "weighted",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("villages: 9 queries, 14 documents")
    assert [line.split("  ")[0] for line in lines[2:4]] == ["BM25", "lexical, top 3"]
    assert "lexical (matches words; no language model)" in lines[-1]
    assert (tmp_path / "new/r.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    names = sorted(one.name for one in (tmp_path / "runs").iterdir())
    assert names[0] == "00-BM25.txt"
    assert names[-1] == "qrels.txt"
    assert set(read_run(tmp_path / "runs" / names[1])) <= {f"q{n}" for n in range(1, 10)}


def test_files_of_their_own_and_a_run_as_json() -> None:
    done = run(*PARTS, "--run", str(VILLAGES / "run.txt"), "--json", "--top-k", "2,4")
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert [one["k"] for one in figures["rankings"]] == [None, 2, 4]
    assert figures["first_stage"]["name"].endswith("run.txt")
    assert figures["measures"] == ["nDCG@10", "RR@10", "AP", "R@10", "P@10"]
    before, _, after = (one["measures"]["nDCG@10"] for one in figures["rankings"])
    assert after["gain"]["mean"] == pytest.approx(after["mean"] - before["mean"])
    assert figures["collection"]["queries"] == len(figures["queries"]) == 9


def test_the_prompt_of_the_published_figures() -> None:
    done = run(str(VILLAGES), "--top-k", "3", "--prompt", "published")
    assert done.exit_code == 0, done.output
    assert "lexical, published prompt, top 3" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give a folder, or all of --queries, --corpus and --qrels"),
        ([str(VILLAGES), *PARTS[:2]], "give a folder, or all of"),
        (["nowhere"], "nowhere is no folder; give a folder with corpus.jsonl"),
        ([str(VILLAGES), "--split", "dev"], "has no qrels/dev.tsv (it has qrels of test)"),
        ([str(VILLAGES), "--top-k", "ten"], "--top-k is 'ten'; give whole numbers"),
        ([str(VILLAGES), "--measures", "beauty"], "'beauty' is no measure"),
        ([str(VILLAGES), "--fusion", "magic"], "fusion is 'magic'"),
        ([str(VILLAGES), "--html", "."], ". is a folder; name a file for --html"),
        (
            [str(VILLAGES), "--runs", str(VILLAGES)],
            "villages holds files already; name a new folder",
        ),
        ([str(VILLAGES), "--run", "nowhere.txt"], "nowhere.txt cannot be read"),
        ([str(VILLAGES), "--cascade", "lexical"], "cascade has 'lexical'; give SMALL:KEEP"),
        (
            [str(VILLAGES), "--cascade", "lexical:2"],
            "--cascade lexical:2 has no model after lexical",
        ),
        ([str(VILLAGES), "--cascade", "./small:2"], "there is no model folder"),
        ([str(VILLAGES), "--metadata-fields", "color"], "names 'color', which no candidate has"),
    ],
)
def test_what_cannot_be_used(arguments: list[str], told: str) -> None:
    done = run(*arguments)
    assert done.exit_code != 0
    assert told in " ".join(done.stderr.replace("│", "").split())


def test_a_cascade_stands_beside_its_models(monkeypatch: pytest.MonkeyPatch) -> None:
    small = str(checkpoint_folder())
    done = run(
        str(VILLAGES), "--cascade", f"{small}:2", "--cascade", f"{small}:3", "--top-k", "2,3,4",
        "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    cascades = [one for one in figures["rankings"] if one["cascade"]]
    assert [(one["cascade"], one["k"]) for one in cascades] == [
        (f"{small}:2", 3), (f"{small}:2", 4), (f"{small}:3", 4),
    ]  # fmt: skip
    assert [one["name"] for one in figures["models"]] == [small, "lexical"]
    against = [(one["ranking"], one["against"]) for one in figures["comparisons"]]
    assert against[0] == (f"{small}:2 → lexical, top 3", "lexical, top 3")
    table = run(str(VILLAGES), "--cascade", f"{small}:2", "--top-k", "4")
    assert "side by side" in table.stdout


def test_a_cascade_with_the_other_prompt() -> None:
    small = str(checkpoint_folder())
    done = run(
        str(VILLAGES), "--cascade", f"{small}:2", "--top-k", "3", "--prompt", "published", "--json"
    )
    assert done.exit_code == 0, done.output
    last = json.loads(done.stdout)["rankings"][-1]
    assert last["name"] == f"{small}, published prompt:2 → lexical, published prompt, top 3"


def test_a_cascade_of_the_environment_is_none_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN3_RERANK_CASCADE", "lexical:2")
    monkeypatch.setenv("QWEN3_RERANK_METADATA_FIELDS", "title")
    done = run(str(VILLAGES), "--top-k", "3", "--json")
    assert done.exit_code == 0, done.output
    assert [one["cascade"] for one in json.loads(done.stdout)["rankings"]] == [None, None]


def test_fields_are_read_and_not_read() -> None:
    done = run(str(VILLAGES), "--metadata-fields", "title", "--top-k", "4", "--json")
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert [one["name"] for one in figures["rankings"]] == [
        "BM25", "lexical without title, top 4", "lexical with title, top 4",
    ]  # fmt: skip
    assert [one["metadata_fields"] for one in figures["models"]] == [[], ["title"]]
    assert len(figures["comparisons"]) == 1


def test_qrels_of_another_corpus_leave_nothing_behind(tmp_path: Path) -> None:
    shutil.copytree(VILLAGES, tmp_path / "own")
    with (tmp_path / "own/qrels/test.tsv").open("a") as file:
        file.write("q1\tpalace\t1\n")
    done = run(str(tmp_path / "own"), "--html", str(tmp_path / "r.html"))
    assert done.exit_code == 1
    assert "test.tsv names the document 'palace', which the corpus has not" in done.stderr
    (tmp_path / "run.txt").write_text("\n")
    done = run(str(VILLAGES), "--run", str(tmp_path / "run.txt"))
    assert "run.txt is an empty run" in done.stderr
    assert not (tmp_path / "r.html").exists()
