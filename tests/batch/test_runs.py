"""TREC runs in, with their queries and their corpus, and out."""

import gzip
import json
from pathlib import Path

import pytest

from qwen3_ascend_rerank import InvalidInputError, Reranker
from qwen3_ascend_rerank.batch import Columns, LocalProcesses, RunInput, run_batch
from qwen3_ascend_rerank.corpora import read_run
from qwen3_ascend_rerank.testing import FakeEngine
from tests.support.batches import lines

CORPUS = {"d1": "a", "d2": "a river", "d3": "the sea", "d4": "the moon over the sea"}
RUN = """\
q1 Q0 d1 1 9.5 bm25
q1 Q0 d4 2 9.1 bm25
q1 Q0 d9 3 9.0 bm25
q2 Q0 d2 1 3 bm25
q2 Q0 d3 2 2 bm25
q7 Q0 d3 1 2 bm25
"""


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    (tmp_path / "queries.tsv").write_text("q1\tmoon\nq2\tsea\n")
    with gzip.open(tmp_path / "corpus.jsonl.gz", "wt") as file:
        for id_, text in CORPUS.items():
            title = "A title" if id_ == "d2" else ""
            more = {"year": 1999} if id_ == "d3" else {}
            file.write(json.dumps({"_id": id_, "title": title, "text": text, **more}) + "\n")
    (tmp_path / "bm25.run").write_text(RUN)
    return tmp_path


def ran(folder: Path, **options: object) -> Path:
    beside = RunInput(str(folder / "queries.tsv"), str(folder / "corpus.jsonl.gz"))
    out = folder / "out"
    with Reranker(FakeEngine(lambda _, document: float(len(document)))) as reranker:
        run_batch(reranker, str(folder / "bm25.run"), str(out), run=beside, **options)
    return out


def test_a_run_becomes_a_run_of_the_same_documents(beir: Path) -> None:
    out = ran(beir, output_format="trec", block=1)
    parts = sorted(out.glob("part-*.trec"))
    whole = beir / "reranked.run"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert len(parts) == 3
    assert whole.read_text().splitlines()[0] == "q1 Q0 d4 1 21 qwen3-ascend-rerank"
    assert {query: list(hits) for query, hits in read_run(whole).items()} == {
        "q1": ["d4", "d1"],
        "q2": ["d2", "d3"],  # whose title counts
    }


def read_by(folder: Path, fields: tuple[str, ...]) -> set[str]:
    beside = RunInput(str(folder / "queries.tsv"), str(folder / "corpus.jsonl.gz"))
    read: set[str] = set()
    engine = FakeEngine(lambda _, document: float(read.add(document) or 0))
    with Reranker(engine) as reranker:
        run_batch(
            reranker, str(folder / "bm25.run"), str(folder / "read"), run=beside,
            columns=Columns(fields=fields),
        )  # fmt: skip
    return read


def test_fields_of_the_corpus_are_read_before_the_text(beir: Path) -> None:
    assert "title: A title\n\na river" in read_by(beir, ("title",))


def test_a_title_that_is_not_named_stays_with_the_text(beir: Path) -> None:
    read = read_by(beir, ("year",))
    assert {"A title a river", "year: 1999\n\nthe sea"} <= read


def test_a_field_that_is_a_runs_own_is_refused(beir: Path) -> None:
    with pytest.raises(InvalidInputError, match="metadata_fields names id, which is no field"):
        read_by(beir, ("title", "id"))
    assert not list((beir / "read").glob("part-*"))


def test_what_a_run_names_and_nobody_has_is_refused_by_name(beir: Path) -> None:
    out = ran(beir)
    found = [(one["row"], one["id"], one["reason"]) for one in lines(out, "rejects-*.jsonl")]
    assert found == [
        (3, "q1", "the corpus has no 'd9'"),
        (6, "q7", "the queries have no 'q7'"),
    ]
    assert [one["id"] for one in lines(out)] == ["q1", "q2"]
    assert [each["document_id"] for each in lines(out)[0]["results"]] == ["d4", "d1"]


def test_a_job_of_another_corpus_is_refused(beir: Path) -> None:
    ran(beir)
    with gzip.open(beir / "corpus.jsonl.gz", "at") as file:
        file.write('{"_id": "d5", "text": "more"}\n')
    with pytest.raises(InvalidInputError, match="was begun with run"):
        ran(beir)


@pytest.mark.parametrize(
    ("content", "told"),
    [("", "is an empty run"), ("q1 Q0 d1 1 9.5\n", "columns"), ("q1 Q0 d1 1 high x\n", "high")],
)
def test_what_is_no_run_is_named(beir: Path, content: str, told: str) -> None:
    (beir / "bm25.run").write_text(content)
    with pytest.raises(InvalidInputError, match=told):
        ran(beir)


def test_a_run_goes_to_other_processes_too(beir: Path) -> None:
    beside = RunInput(str(beir / "queries.tsv"), str(beir / "corpus.jsonl.gz"))
    with Reranker("lexical") as reranker:
        report = run_batch(
            reranker,
            str(beir / "bm25.run"),
            str(beir / "out"),
            run=beside,
            block=1,
            workers=LocalProcesses(1),
        )
    assert (report.requests, report.rejects, report.pairs) == (2, 2, 4)
    assert [each["document_id"] for each in lines(beir / "out")[0]["results"]] == ["d4", "d1"]
