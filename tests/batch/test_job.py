"""Jobs: everything once, in order, and on from where a run stopped."""

import asyncio
import csv
import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_ascend_rerank import (
    DEFAULT_INSTRUCTION,
    CascadeReranker,
    EngineError,
    InvalidInputError,
    Reranker,
)
from qwen3_ascend_rerank.batch import BatchReport, LocalProcesses, run_batch
from qwen3_ascend_rerank.prompts import PromptBatch
from qwen3_ascend_rerank.results.calibration import Calibration
from qwen3_ascend_rerank.testing import FakeEngine
from tests.support.batches import lines, write
from tests.support.processes import wait_until


def by_length(query: str, document: str) -> float:
    return len(document) - 20.0


@pytest.fixture
def ranker() -> Any:
    with Reranker(FakeEngine(by_length)) as reranker:
        yield reranker


def some(count: int) -> list[dict[str, Any]]:
    chance = random.Random(count)
    return [
        {"id": f"q{n}", "query": f"query {n}", "documents": ["x" * chance.randint(1, 40)] * 2}
        for n in range(count)
    ]


@settings(max_examples=25, deadline=None)
@given(count=st.integers(0, 12), block=st.integers(1, 5))
def test_every_request_is_there_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, count: int, block: int
) -> None:
    folder = tmp_path_factory.mktemp("job")
    file = write(folder / "in.jsonl", some(count))
    with Reranker(FakeEngine(by_length)) as reranker:
        report = run_batch(reranker, file, str(folder / "out"), block=block)
        alone = [reranker.rerank(one["query"], one["documents"]).scores for one in some(count)]
    found = lines(folder / "out")
    assert [one["id"] for one in found] == [f"q{n}" for n in range(count)]
    assert [[each["score"] for each in one["results"]] for one in found] == alone
    assert (report.requests, report.pairs) == (count, 2 * count)
    assert report.blocks == -(-count // block)


def test_what_is_refused_is_kept_with_its_reason_and_its_row(
    tmp_path: Path, ranker: Reranker
) -> None:
    bad = [{"query": "q"}, {"query": "word " * 9000, "documents": ["a"], "id": "long"}]
    file = write(tmp_path / "in.jsonl", [*some(2), *bad, *some(1)])
    for report in (run_batch(ranker, file, str(tmp_path / "out"), block=2) for _ in range(2)):
        assert (report.requests, report.rejects, report.blocks) == (3, 2, 3)
    missing, long = lines(tmp_path / "out", "rejects-*.jsonl")
    assert (missing["row"], missing["request"]) == (3, None)
    assert (long["row"], long["id"], long["request"]) == (4, "long", 3)
    assert "no column documents" in missing["reason"]
    assert "query" in long["reason"]


def test_pairs_say_which_row_and_which_document(tmp_path: Path, ranker: Reranker) -> None:
    rows = [
        {"id": 1, "query": "q", "document": text, "document_id": f"d{len(text)}"}
        for text in ("a", "bbb", "")
    ]
    rows[1]["document"] = None
    report = run_batch(
        ranker, write(tmp_path / "in.jsonl", rows), str(tmp_path / "out"), texts=True
    )
    (one,) = lines(tmp_path / "out")
    assert [(each["index"], each["document_id"], each["text"]) for each in one["results"]] == [
        (0, "d1", "a"),
        (2, "d0", ""),
    ]
    assert (report.pairs, report.rejects) == (2, 1)


def test_csv_and_parquet_have_a_row_a_pair(tmp_path: Path, ranker: Reranker) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    file = write(tmp_path / "in.jsonl", some(3))
    for kind in ("csv", "parquet"):
        run_batch(ranker, file, str(tmp_path / kind), output_format=kind, block=2)
    with (tmp_path / "csv" / "part-00000.csv").open(newline="") as opened:
        written = list(csv.DictReader(opened))
    assert [(row["id"], row["rank"]) for row in written] == [
        ("q0", "1"),
        ("q0", "2"),
        ("q1", "1"),
        ("q1", "2"),
    ]
    tables = [pq.read_table(tmp_path / "parquet" / f"part-0000{n}.parquet") for n in (0, 1)]
    assert tables[0].schema == tables[1].schema
    assert [row["score"] for row in tables[0].to_pylist()] == [
        float(row["score"]) for row in written
    ]


def test_a_run_has_each_id_once(tmp_path: Path, ranker: Reranker) -> None:
    rows = [
        {"id": query, "query": f"query {query}", "document": "a" * n, "document_id": document}
        for n, (query, document) in enumerate(
            [("q1", "d1"), ("q1", "d1"), ("q1", None), ("q2", "d1"), ("q1", "d2")]
        )
    ]
    file, out = write(tmp_path / "in.jsonl", rows), tmp_path / "out"
    report = run_batch(ranker, file, str(out), output_format="trec", block=1)
    assert (report.requests, report.rejects) == (2, 2)
    cells = [
        line.split() for file in sorted(out.glob("part*")) for line in file.read_text().splitlines()
    ]
    assert [(query, document) for query, _, document, *_ in cells] == [
        ("q1", "2"),
        ("q1", "d1"),
        ("q2", "d1"),
    ]


def test_a_folder_may_hold_its_own_output(tmp_path: Path, ranker: Reranker) -> None:
    write(tmp_path / "in.jsonl", some(3))
    for before in (0, 2):
        report = run_batch(ranker, str(tmp_path), str(tmp_path / "out"), block=2)
        assert (report.requests, report.blocks_before) == (3, before)


def test_a_calibrated_job_says_how_relevant_and_goes_on_with_no_other_calibration(
    tmp_path: Path,
) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    file, out = write(tmp_path / "in.jsonl", some(2)), str(tmp_path / "out")
    fitted = Calibration("platt", "fake", DEFAULT_INSTRUCTION, slope=0.5, intercept=1.0)
    with Reranker(FakeEngine(by_length), calibration=fitted.to_dict()) as reranker:
        run_batch(reranker, file, out)
        run_batch(reranker, file, str(tmp_path / "table"), output_format="parquet")
    for one in (each for line in lines(tmp_path / "out") for each in line["results"]):
        assert one["relevance"] == fitted.relevance(one["log_odds"])
    (row, *_) = pq.read_table(tmp_path / "table" / "part-00000.parquet").to_pylist()
    assert row["relevance"] == fitted.relevance(row["log_odds"])
    other = replace(fitted, slope=0.6)
    with Reranker(FakeEngine(by_length), calibration=other.to_dict()) as reranker:
        with pytest.raises(InvalidInputError, match="was begun with calibration"):
            run_batch(reranker, file, out)


def test_a_finished_job_asks_no_engine(tmp_path: Path, ranker: Reranker) -> None:
    file = write(tmp_path / "in.jsonl", some(5))
    run_batch(ranker, file, str(tmp_path / "out"), block=2)

    class Never(FakeEngine):
        async def start(self) -> None:
            raise AssertionError

    with Reranker(Never()) as reranker:
        model = reranker._settings()["model"]
        assert model is not None
        reranker.__dict__["model"] = ranker.model
        report = run_batch(reranker, file, str(tmp_path / "out"), block=2)
    assert (report.requests, report.pairs, report.blocks_before) == (5, 0, 3)


def test_an_engine_that_fails_ends_the_run_and_the_next_goes_on(tmp_path: Path) -> None:
    file, out = write(tmp_path / "in.jsonl", some(20)), str(tmp_path / "out")

    class Failing(FakeEngine):
        async def score(self, batch: PromptBatch) -> list[float]:
            if batch.query == "query 11":
                raise RuntimeError("a kernel")
            return await super().score(batch)

    with Reranker(Failing(by_length)) as reranker, pytest.raises(EngineError, match="a kernel"):
        run_batch(reranker, file, out, block=3)
    assert len(lines(tmp_path / "out")) == 9
    engine = FakeEngine(by_length)
    with Reranker(engine) as reranker:
        reranker.__dict__["model"] = Failing(by_length)  # of the same kind for the manifest
        report = run_batch(reranker, file, out, block=3)
    assert [one["id"] for one in lines(tmp_path / "out")] == [f"q{n}" for n in range(20)]
    assert (report.blocks, report.blocks_before, report.pairs) == (7, 3, 22)
    asked = {query for query, _ in engine.pairs if query.startswith("query ")}
    assert asked == {f"query {n}" for n in range(9, 20)}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"block": 3}, "was begun with block 2, and it is 3 now"),
        ({"output_format": "csv"}, 'was begun with format "jsonl", and it is "csv" now'),
        ({"texts": True}, "was begun with texts false, and it is true now"),
        ({"instruction": "Find it"}, 'with instruction "Given a web'),
        ({"top_n": 1}, "was begun with top_n null, and it is 1 now"),
        ({"more": 1}, "was begun with inputs"),
    ],
)
def test_another_job_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    file, out = write(tmp_path / "in.jsonl", some(3)), str(tmp_path / "out")
    how: dict[str, Any] = {"block": 2} | {
        name: change[name] for name in ("block", "texts", "output_format") if name in change
    }
    settings_ = {name: change[name] for name in ("instruction", "top_n") if name in change}
    with Reranker(FakeEngine(by_length)) as reranker:
        run_batch(reranker, file, out, block=2)
    write(tmp_path / "in.jsonl", some(3 + change.get("more", 0)))
    with Reranker(FakeEngine(by_length), **settings_) as reranker:
        with pytest.raises(InvalidInputError) as caught:
            run_batch(reranker, file, out, **how)
    assert told in str(caught.value)


def test_another_runtime_is_refused(tmp_path: Path) -> None:
    file, out = write(tmp_path / "in.jsonl", some(3)), str(tmp_path / "out")
    with Reranker(FakeEngine(by_length)) as reranker:
        run_batch(reranker, file, out, block=2)
    (tmp_path / "out" / "part-00001.jsonl").unlink()
    with Reranker(FakeEngine(by_length, max_length=100)) as reranker:
        with pytest.raises(InvalidInputError, match="begun with max_length 8192, and it is 100"):
            run_batch(reranker, file, out, block=2)


def test_other_weights_of_the_same_name_are_refused(tmp_path: Path) -> None:
    file, out = write(tmp_path / "in.jsonl", some(3)), str(tmp_path / "out")
    with Reranker(FakeEngine(by_length)) as reranker:
        run_batch(reranker, file, out, block=2)
    (tmp_path / "out" / "part-00001.jsonl").unlink()
    with Reranker(FakeEngine(lambda *pair: by_length(*pair) * 1.1)) as reranker:
        with pytest.raises(InvalidInputError, match="a model that answers otherwise"):
            run_batch(reranker, file, out, block=2)


def test_a_folder_of_other_things_and_a_damaged_manifest_are_refused(
    tmp_path: Path, ranker: Reranker
) -> None:
    file = write(tmp_path / "in.jsonl", some(1))
    with pytest.raises(InvalidInputError, match=r"holds in.jsonl and no manifest.json"):
        run_batch(ranker, file, str(tmp_path))
    run_batch(ranker, file, str(tmp_path / "out"))
    (tmp_path / "out" / "manifest.json").write_text("{")
    with pytest.raises(InvalidInputError, match=r"manifest.json is damaged"):
        run_batch(ranker, file, str(tmp_path / "out"))
    with pytest.raises(InvalidInputError, match="format is 'xml'; use one of jsonl"):
        run_batch(ranker, file, str(tmp_path / "new"), output_format="xml")


def test_an_output_may_be_a_url(ranker: Reranker, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    file = write(tmp_path / "in.jsonl", some(3))
    for _ in range(2):
        run_batch(ranker, file, "memory://jobs/one", block=2)
    names = sorted(fsspec.filesystem("memory").ls("/jobs/one", detail=False))
    assert [name.rsplit("/", 1)[-1] for name in names] == [
        "manifest.json",
        "part-00000.jsonl",
        "part-00001.jsonl",
    ]


PROGRAM = """
import sys, time
from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.batch import run_batch
from qwen3_ascend_rerank.testing import FakeEngine

engine = FakeEngine(lambda query, document: len(document) - 20.0, seconds=0.01)
with Reranker(engine) as reranker:
    run_batch(reranker, sys.argv[1], sys.argv[2], block=5)
"""


def wait_for_a_part(out: Path, run: subprocess.Popen[bytes]) -> None:
    before = len(list(out.glob("part-*")))
    assert wait_until(lambda: len(list(out.glob("part-*"))) > before or run.poll() == 0)


def test_runs_that_are_killed_at_any_moment_add_up_to_one(tmp_path: Path) -> None:
    file = write(tmp_path / "in.jsonl", [*some(150), {"query": "bad"}, *some(150)])
    whole = tmp_path / "whole"
    with Reranker(FakeEngine(by_length)) as reranker:
        run_batch(reranker, file, str(whole), block=5)
    out, chance = tmp_path / "out", random.Random(7)
    command = [sys.executable, "-c", PROGRAM, file, str(out)]
    for _ in range(4):
        run = subprocess.Popen(command)
        wait_for_a_part(out, run)
        time.sleep(chance.random() / 10)
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert subprocess.run(command, timeout=120, check=False).returncode == 0
    for names in ("part-*.jsonl", "rejects-*.jsonl"):
        assert lines(out, names) == lines(whole, names)


def test_the_caller_is_told_after_each_block(tmp_path: Path, ranker: Reranker) -> None:
    told: list[tuple[int, int]] = []

    def tell(report: BatchReport) -> None:
        told.append((report.blocks, report.requests))

    file = write(tmp_path / "in.jsonl", some(5))
    run_batch(ranker, file, str(tmp_path / "out"), block=2, on_block=tell)
    assert told == [(1, 2), (2, 4), (3, 5)]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_where_the_best_passage_is_stands_in_the_results(tmp_path: Path, kind: str) -> None:
    engine = FakeEngine(lambda _, text: 5.0 if "needle" in text else -5.0)
    text = "".join(f"straw {number} " for number in range(900)) + "needle"
    file = write(tmp_path / "in.jsonl", [{"query": "needle?", "documents": [text, "hay"]}])
    out = tmp_path / "out"
    with Reranker(engine, max_length=200, long_documents="max_passage") as reranker:
        run_batch(reranker, file, str(out), output_format=kind)
    if kind == "jsonl":
        best, other = lines(out)[0]["results"]
        assert "passage_start" not in other
    else:
        best, other = csv.DictReader((out / "part-00000.csv").read_text().splitlines())
        assert other["passage_start"] == ""
    assert "needle" in text[int(best["passage_start"]) : int(best["passage_end"])]
    with Reranker(engine, max_length=200) as reranker:
        with pytest.raises(InvalidInputError, match="begun with long_documents"):
            run_batch(reranker, file, str(out), output_format=kind)


class TestACascade:
    """Its first stage is sure of what is short, its last of what has a needle."""

    def stages(self, keep: int = 2, *, first: float = -1.0) -> CascadeReranker:
        small = Reranker(FakeEngine(lambda _, text: first * len(text)))
        large = Reranker(FakeEngine(lambda _, text: 5.0 if "needle" in text else -5.0))
        return CascadeReranker([(small, keep), large])

    @pytest.fixture
    def file(self, tmp_path: Path) -> str:
        documents = ["hay " * 9, "a needle", "hay", "a needle in " + "hay " * 20]
        rows = [{"id": n, "query": f"needle {n}?", "documents": documents} for n in range(5)]
        return write(tmp_path / "in.jsonl", rows)

    def test_ranks_files_and_says_whose_score_it_is(self, tmp_path: Path, file: str) -> None:
        with self.stages() as cascade:
            report = run_batch(cascade, file, str(tmp_path / "out"), block=2)
            alone = cascade.rerank("needle 0?", json.loads(read_first(file))["documents"])
        assert (report.requests, report.pairs) == (5, 5 * (4 + 2))
        for line in lines(tmp_path / "out"):
            found = [(one["index"], one["stage"], one["score"]) for one in line["results"]]
            assert found == [(one.index, one.stage, one.score) for one in alone]
            assert found[0][:2] == (1, 2)

    # 9 are more documents than by which models are known: the first stage has to be asked itself.
    @pytest.mark.parametrize("keep", [2, 9])
    def test_goes_on_with_the_same_stages_alone(self, tmp_path: Path, file: str, keep: int) -> None:
        out = tmp_path / "out"
        with self.stages(keep) as cascade:
            run_batch(cascade, file, str(out), block=2)
        (out / "part-00001.jsonl").unlink()
        with self.stages(keep, first=-1.1) as cascade:
            with pytest.raises(InvalidInputError, match="in stage 1 that answers otherwise"):
                run_batch(cascade, file, str(out), block=2)
        with self.stages(3) as cascade, pytest.raises(InvalidInputError, match="begun with keep"):
            run_batch(cascade, file, str(out), block=2)
        with self.stages(keep) as cascade:
            report = run_batch(cascade, file, str(out), block=2)
        assert (report.blocks, report.blocks_before) == (3, 2)

    def test_runs_in_one_process(self, tmp_path: Path, file: str) -> None:
        with self.stages() as cascade, pytest.raises(InvalidInputError, match="one process"):
            run_batch(cascade, file, str(tmp_path / "out"), workers=LocalProcesses(2))


def read_first(file: str) -> str:
    return Path(file).read_text().splitlines()[0]


def test_the_speed_is_that_of_ranking(tmp_path: Path) -> None:
    class Slow(FakeEngine):
        async def start(self) -> None:
            await asyncio.sleep(0.5)
            await super().start()

    told: list[BatchReport] = []
    file = write(tmp_path / "in.jsonl", [{"query": "bad"}, *some(2)])
    with Reranker(Slow(by_length)) as reranker:
        report = run_batch(
            reranker,
            file,
            str(tmp_path / "out"),
            block=1,
            on_block=lambda r: told.append(replace(r)),
        )
        again = run_batch(reranker, file, str(tmp_path / "out"), block=1)
    assert report.seconds - report.ranking_seconds >= 0.5
    assert report.pairs_a_second == report.pairs / report.ranking_seconds
    assert [one.pairs_a_second > 0 for one in told] == [False, True, True]
    assert (again.pairs, again.pairs_a_second) == (0, 0.0)
