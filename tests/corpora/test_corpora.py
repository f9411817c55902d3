"""Collections from files and to files, and what is said of files that cannot be used."""

import gzip
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from qwen3_ascend_rerank import InvalidInputError, MissingDependencyError, RerankTimeoutError
from qwen3_ascend_rerank.corpora import (
    Collection,
    CorpusDocument,
    falling,
    iter_run,
    read_collection,
    read_corpus,
    read_qrels,
    read_queries,
    read_run,
    write_corpus,
    write_qrels,
    write_queries,
    write_run,
)
from qwen3_ascend_rerank.corpora.ir_datasets import load_collection
from qwen3_ascend_rerank.corpora.writing import replaced

DOCUMENTS = [
    CorpusDocument("d1", "Snow falls\nin winter.", "Snow", {"year": 2021}),
    CorpusDocument("d2", "北京是中国的首都。"),
    CorpusDocument("d3", "Bread needs flour."),
]


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "corpus.jsonl", DOCUMENTS)
    write_queries(tmp_path / "queries.jsonl", {"q1": "中国的首都", "q2": "flour"})
    write_qrels(tmp_path / "qrels/test.tsv", {"q1": {"d2": 2, "d3": 0}, "q2": {"d3": 1}})
    return tmp_path


def written(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


def test_a_folder_as_beir_has_it_comes_back_as_it_was_written(beir: Path) -> None:
    collection = read_collection(beir)
    assert collection.queries == {"q1": "中国的首都", "q2": "flour"}
    assert list(collection.corpus.values()) == DOCUMENTS
    assert collection.corpus["d1"].whole == "Snow Snow falls\nin winter."
    assert collection.corpus["d2"].whole == "北京是中国的首都。"
    assert collection.qrels == {"q1": {"d2": 2, "d3": 0}, "q2": {"d3": 1}}
    assert (beir / "qrels/test.tsv").read_text().startswith("query-id\tcorpus-id\tscore\nq1\td2\t2")


def test_packed_files_are_read_too(beir: Path) -> None:
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        file = beir / name
        (beir / f"{name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert dict(read_collection(beir).corpus) == {one.id: one for one in DOCUMENTS}


def test_qrels_of_another_split_and_of_none(beir: Path) -> None:
    write_qrels(beir / "qrels/dev.tsv", {"q2": {"d1": 1}})
    assert read_collection(beir, "dev").qrels == {"q2": {"d1": 1}}
    with pytest.raises(InvalidInputError, match=r"has no qrels/train\.tsv \(it has qrels of dev,"):
        read_collection(beir, "train")
    (beir / "queries.jsonl").unlink()
    with pytest.raises(InvalidInputError, match=r"has no queries\.jsonl; give a folder with"):
        read_collection(beir)


def test_files_of_trec(tmp_path: Path) -> None:
    qrels = written(tmp_path / "q.txt", "q1 0 d1 1\nq1 0\td2  -1\n\nq2 0 d3 3\n")
    assert read_qrels(qrels) == {"q1": {"d1": 1, "d2": -1}, "q2": {"d3": 3}}
    run = written(tmp_path / "run.txt", "q2 Q0 d9 1 3.5 x\nq1 Q0 a 1 1 x\nq1 Q0 b 2 2e1 x\n")
    assert read_run(run) == {"q2": {"d9": 3.5}, "q1": {"b": 20.0, "a": 1.0}}
    assert [list(hits) for hits in read_run(run).values()] == [["d9"], ["b", "a"]]
    assert dict(iter_run(run)) == read_run(run)


def test_json_lines_under_several_names(tmp_path: Path) -> None:
    corpus = written(tmp_path / "c.jsonl", '{"docid": 7, "contents": "x", "title": null, "n": 1}\n')
    assert read_corpus(corpus)["7"] == CorpusDocument("7", "x", metadata={"n": 1})
    run = written(tmp_path / "r.jsonl", '{"qid": "q", "docid": 7, "score": 1.5}\n')
    assert read_run(run) == {"q": {"7": 1.5}}
    qrels = written(tmp_path / "q.jsonl", '{"query_id": "q", "corpus_id": "7", "grade": 1}\n')
    assert read_qrels(qrels) == {"q": {"7": 1}}


def test_rows_with_tabs(tmp_path: Path) -> None:
    corpus = written(tmp_path / "c.tsv", "1\ta text\n2\tanother\tits title\n")
    assert [one.whole for one in read_corpus(corpus).values()] == ["a text", "its title another"]
    assert read_queries(written(tmp_path / "q.tsv", "q 1\twhy?\n")) == {"q 1": "why?"}


def test_equal_scores_keep_the_order_of_the_file_for_every_reader(tmp_path: Path) -> None:
    run = written(tmp_path / "run", "".join(f"q Q0 {one} {n} 1 x\n" for n, one in enumerate("bca")))
    assert list(read_run(run)["q"]) == ["b", "c", "a"]
    write_run(tmp_path / "again", read_run(run), "again")
    assert list(read_run(tmp_path / "again")["q"]) == ["b", "c", "a"]
    scores = [hit for hits in read_run(tmp_path / "again").values() for hit in hits.values()]
    assert scores == sorted(set(scores), reverse=True)


@pytest.mark.parametrize(
    "scores",
    [[3.0, 3.0, 3.0], [0.0, 0.0, -0.0], [-1.0, -1.0, 5.0], [1e-45, 0, 0], [16777217.0] * 3],
)
def test_scores_fall_as_32_bits_tell_them_apart(scores: list[float]) -> None:
    numpy = pytest.importorskip("numpy")
    made = falling(scores)
    assert [float(numpy.float32(f"{one:.9g}")) for one in made] == made
    assert all(later < earlier for earlier, later in itertools.pairwise(made))
    assert made == pytest.approx(
        [min(scores[: place + 1]) for place in range(len(scores))], rel=1e-6
    )


def test_scores_that_fall_stay_what_they_are() -> None:
    assert falling([2.5, 1.0, -3.0]) == [2.5, 1.0, -3.0]


REFUSED_QRELS = {
    "q1 0 d1 high\n": r"line 1: grade is 'high'; give a whole number",
    "q1 0 d1 0.5\n": r"line 1: grade is '0\.5'",
    "q1 d1 high\n": r"line 1: grade is 'high'",
    "q1 0 d1 1\nq1 0 d1 2\n": r"line 2: document 'd1' has the grade 2 for query 'q1', and 1 in a",
    "q1 d1\n": r"line 1: 2 columns; give TREC's four",
    "\n": r"holds no judgement; give",
}
REFUSED_RUNS = {
    "": r"is an empty run; give",
    "\n \n": r"is an empty run; give",
    "q1 Q0 d1 1 nan x\n": r"line 1: score is 'nan'; give a finite number",
    "q1 Q0 d1 1 - x\n": r"line 1: score is '-'",
    "q1 Q0 d1 1 2 x\nq1 Q0 d1 2 1 x\n": r"line 2: document 'd1' is there twice for query 'q1'",
    "q1 0 d1 1\n": r"line 1: 4 columns; give TREC's six",
}
REFUSED_CORPORA = {
    '{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\n': r"line 2: the document 'a' is there",
    '{"text": "x"}\n': r"line 1: no id; name the field _id or id .* \(there are text\)",
    '{"_id": "a", "body": "x"}\n': r"line 1: no text; name the field text",
    '{"_id": "a", "text": ["x"]}\n': r"line 1: text is \['x'\] \(list\); give a text",
    '{"_id": "a", "text": "x", "title": 1}\n': r"line 1: title of document 'a' is no text",
    '{"_id": "a"\n': r"line 1: not JSON: .*; give one JSON object a line",
    "[1]\n": r"line 1: \[1\] \(list\) is no JSON object",
    "": r"holds no document; give",
}
REFUSED_QUERIES = {
    '{"_id": "a", "text": " "}\n': r"line 1: the query 'a' has an empty text",
    '{"_id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n': r"line 2: the query 'a' is there",
    "": r"holds no query; give",
}


@pytest.mark.parametrize(("text", "says"), REFUSED_QRELS.items())
def test_qrels_that_cannot_be_used(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{tmp_path}/q.txt {says}"):
        read_qrels(written(tmp_path / "q.txt", text))


@pytest.mark.parametrize(("text", "says"), REFUSED_RUNS.items())
def test_runs_that_cannot_be_used(tmp_path: Path, text: str, says: str) -> None:
    file = written(tmp_path / "r.txt", text)
    for read in (read_run, lambda file: list(iter_run(file))):
        with pytest.raises(InvalidInputError, match=f"^{tmp_path}/r.txt {says}"):
            read(file)


@pytest.mark.parametrize(("text", "says"), REFUSED_CORPORA.items())
def test_corpora_that_cannot_be_used(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{tmp_path}/c.jsonl {says}"):
        read_corpus(written(tmp_path / "c.jsonl", text))


@pytest.mark.parametrize(("text", "says"), REFUSED_QUERIES.items())
def test_queries_that_cannot_be_used(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{tmp_path}/q.jsonl {says}"):
        read_queries(written(tmp_path / "q.jsonl", text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="nowhere cannot be read: No such file"):
        read_run(tmp_path / "nowhere")
    (tmp_path / "r.gz").write_bytes(gzip.compress(b"q Q0 d 1 1 x\n")[:-9])
    with pytest.raises(InvalidInputError, match="r.gz cannot be read: Compressed file ended"):
        read_run(tmp_path / "r.gz")
    (tmp_path / "q.tsv").write_bytes(b"q1\tfine\nq2\t\xff\n")
    with pytest.raises(InvalidInputError, match=r"q.tsv line 2: not UTF-8 \(byte 0xff\)"):
        read_queries(tmp_path / "q.tsv")


def test_qrels_that_name_what_is_not_there(beir: Path) -> None:
    write_qrels(beir / "qrels/test.tsv", {"q1": {"d2": 1, "d8": 1, "d9": 0}})
    with pytest.raises(
        InvalidInputError,
        match=r"qrels/test\.tsv names the document 'd8', which the corpus has not "
        r"\(nor 1 others that it names\); give the corpus that it was made for",
    ):
        read_collection(beir)
    write_qrels(beir / "qrels/test.tsv", {"q7": {"d2": 1}})
    with pytest.raises(InvalidInputError, match="names the query 'q7', which the queries have not"):
        read_collection(beir)


def test_a_run_of_another_collection(beir: Path) -> None:
    collection = read_collection(beir)
    collection.check("run.txt", {"q1": ["d1", "d2"]})
    with pytest.raises(InvalidInputError, match="run.txt names the document 'x'"):
        collection.check("run.txt", {"q1": ["x"]})


def test_runs_are_read_query_by_query_where_their_lines_are_together(tmp_path: Path) -> None:
    file = written(tmp_path / "r", "q1 Q0 a 1 1 x\nq2 Q0 a 1 1 x\nq1 Q0 b 2 0 x\n")
    assert read_run(file) == {"q1": {"a": 1.0, "b": 0.0}, "q2": {"a": 1.0}}
    reading = iter_run(file)
    assert next(reading) == ("q1", {"a": 1.0})
    with pytest.raises(InvalidInputError, match="line 3: query 'q1' comes a second time"):
        list(reading)


def test_a_corpus_stays_in_its_file(tmp_path: Path) -> None:
    """As memory of a process of its own: 20,000 documents of 5,000 characters are 100 MB."""
    write_corpus(
        tmp_path / "c.jsonl", (CorpusDocument(f"d{n}", f"{n} " * 1000) for n in range(20_000))
    )
    assert (tmp_path / "c.jsonl").stat().st_size > 90_000_000
    code = (
        "import resource, sys; from qwen3_ascend_rerank.corpora import read_corpus\n"
        "most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = most(); corpus = read_corpus(sys.argv[1])\n"
        "assert corpus['d19999'].text.startswith('19999 19999') and len(corpus) == 20000\n"
        "print((most() - before) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "c.jsonl"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 20


def test_a_corpus_that_changes_while_it_is_used(tmp_path: Path) -> None:
    write_corpus(tmp_path / "c.jsonl", DOCUMENTS)
    corpus = read_corpus(tmp_path / "c.jsonl")
    write_corpus(tmp_path / "c.jsonl", reversed(DOCUMENTS))
    with pytest.raises(InvalidInputError, match=r"c\.jsonl has changed since it was read"):
        corpus["d2"]
    with pytest.raises(KeyError):
        corpus["d4"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "run.txt"
    write_run(file, {"q": {"a": 1.0}}, "one")

    def failing() -> object:
        yield "q", {"b": 1.0}
        raise RerankTimeoutError("too slow")

    with pytest.raises(RerankTimeoutError, match="too slow"):
        write_run(file, failing(), "two")
    with pytest.raises(InvalidInputError, match="'two words' cannot stand in a file with columns"):
        write_run(file, {"q": {"two words": 1.0}}, "two")
    assert [one.name for one in tmp_path.iterdir()] == ["run.txt"]
    assert file.read_text() == "q Q0 a 1 1 one\n"
    with pytest.raises(InvalidInputError, match="run.txt/below cannot be written: File exists"):
        with replaced(file / "below"):
            pass


def test_a_collection_is_made_in_memory_too() -> None:
    corpus = {one.id: one for one in DOCUMENTS}
    assert len(Collection({"q": "x"}, corpus, {"q": {"d1": 1}}).corpus) == 3
    with pytest.raises(InvalidInputError, match="^qrels names the document 'd4'"):
        Collection({"q": "x"}, corpus, {"q": {"d4": 1}})


def test_a_byte_order_mark_is_no_part_of_an_id(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_bytes(
        b"\xef\xbb\xbf" + json.dumps({"_id": "a", "text": "x"}).encode()
    )
    assert read_corpus(tmp_path / "c.jsonl")["a"].text == "x"


def test_without_the_package_it_is_said_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(MissingDependencyError, match=r"rerank\[ir-datasets\]"):
        load_collection("ir_datasets:beir/scifact/test")
