"""Collections by the ids of ir_datasets, with its own classes and its own registry."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from qwen3_ascend_rerank import InvalidInputError, Reranker
from qwen3_ascend_rerank.commands.program import app
from qwen3_ascend_rerank.corpora import read_collection
from qwen3_ascend_rerank.corpora.ir_datasets import load_collection

VILLAGES = Path(__file__).parents[1] / "evaluation" / "villages"


class Page(NamedTuple):
    """As the data sets of BEIR have documents."""

    doc_id: str
    text: str
    title: str

    def default_text(self) -> str:
        return f"{self.title} {self.text}"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """ir_datasets with `villages` among its data sets."""
    ir_datasets = pytest.importorskip("ir_datasets")
    from ir_datasets.datasets.base import Dataset
    from ir_datasets.formats import JsonlDocs, JsonlQueries, TrecQrels
    from ir_datasets.util.download import LocalDownload

    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path))
    names = {"doc_id": "_id", "text": "text", "title": "title"}
    docs = JsonlDocs(
        LocalDownload(VILLAGES / "corpus.jsonl"), Page, names,
        docstore_path=str(tmp_path / "docs.pklz4"),
    )  # fmt: skip
    queries = JsonlQueries(
        LocalDownload(VILLAGES / "queries.jsonl"), mapping={"query_id": "_id", "text": "text"}
    )
    judged = tmp_path / "qrels.txt"
    grades = read_collection(VILLAGES).qrels
    judged.write_text(
        "".join(f"{q} 0 {d} {grade}\n" for q, row in grades.items() for d, grade in row.items())
    )
    qrels = TrecQrels(LocalDownload(judged), {0: "not", 1: "relevant", 2: "very"})
    registered = ir_datasets.registry._registered
    monkeypatch.setitem(registered, "villages/test", Dataset(docs, queries, qrels))
    monkeypatch.setitem(registered, "villages", Dataset(docs, queries))
    return ir_datasets


pytestmark = pytest.mark.full


@pytest.mark.usefixtures("package")
def test_a_data_set_is_the_same_collection_as_its_files() -> None:
    files, found = read_collection(VILLAGES), load_collection("ir_datasets:villages/test")
    assert found.name == "villages/test"
    assert found.queries == files.queries
    assert found.qrels == files.qrels
    assert len(found.corpus) == len(files.corpus)
    assert [one.id for one in found.corpus.values()] == list(found.corpus) == list(files.corpus)
    for id_, document in files.corpus.items():
        assert (found.corpus[id_].title, found.corpus[id_].text) == (document.title, document.text)
    assert "palace" not in found.corpus


@pytest.mark.usefixtures("package")
def test_the_command_line_takes_the_id(lexical: Reranker) -> None:
    commands = {"evaluate": ["--top-k", "3"], "calibrate": ["--output", "/nowhere/c.json"]}
    done = {
        name: CliRunner().invoke(
            app, [name, "ir_datasets:villages/test", "--model", "lexical", *more]
        )
        for name, more in commands.items()
    }
    assert "villages/test: 9 queries, 14 documents" in done["evaluate"].stdout
    assert "too few to learn from" in done["calibrate"].stderr


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ir_datasets:hamlets", "ir_datasets has no 'hamlets'"),
        ("ir_datasets:villages", "villages of ir_datasets has no judgements; name a subset"),
    ],
)
def test_what_it_has_not_is_said(name: str, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        load_collection(name)


def test_what_cannot_be_fetched_is_said(package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = package.load("villages/test")

    def offline() -> Any:
        raise OSError("no route to host")

    monkeypatch.setattr(dataset, "queries_iter", offline, raising=False)
    with pytest.raises(InvalidInputError, match="cannot be read: OSError: no route to host"):
        load_collection("ir_datasets:villages/test")
