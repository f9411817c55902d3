"""Several processes, each with a copy of the model."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from qwen3_ascend_rerank import EngineDeadError, InvalidInputError, Reranker
from qwen3_ascend_rerank.batch import BatchReport, LocalProcesses, run_batch
from qwen3_ascend_rerank.batch.processes import _environments
from qwen3_ascend_rerank.runtime import detect
from qwen3_ascend_rerank.testing import FakeEngine
from tests.support.batches import questions, reproducible, same_output, write
from tests.support.processes import wait_until


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    file = write(folder / "in.jsonl", [*questions(12), {"query": "bad"}, *questions(11)])
    with reproducible() as reranker:
        run_batch(reranker, file, str(folder / "out"), block=4)
    return folder


def ran(folder: Path, out: Path, on_block: Callable[[BatchReport], None]) -> BatchReport:
    with reproducible() as reranker:
        return run_batch(
            reranker,
            str(folder / "in.jsonl"),
            str(out),
            block=4,
            workers=LocalProcesses(2),
            on_block=on_block,
        )


def test_a_process_that_is_killed_ends_the_run_and_the_next_makes_it_whole(
    alone: Path, tmp_path: Path
) -> None:
    ended: list[int] = []

    def kill_one(report: BatchReport) -> None:
        if not ended:
            ended.extend(child.pid for child in children())
            os.kill(ended[0], signal.SIGKILL)

    with pytest.raises(EngineDeadError, match="the same job goes on from it"):
        ran(alone, tmp_path, kill_one)
    assert len(ended) == 2
    assert not any(psutil.pid_exists(pid) for pid in ended)
    report = ran(alone, tmp_path, lambda _: None)
    assert (report.requests, report.rejects, report.blocks) == (23, 1, 6)
    assert report.blocks_before >= 1
    same_output(tmp_path, alone / "out")


def test_a_run_that_is_interrupted_ends_its_own_processes_and_no_others(
    alone: Path, tmp_path: Path
) -> None:
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    other.start()
    own: list[int] = []

    def interrupt(report: BatchReport) -> None:
        own.extend(child.pid for child in children() if child.pid != other.pid)
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            ran(alone, tmp_path, interrupt)
        assert own
        assert wait_until(lambda: not any(psutil.pid_exists(pid) for pid in own))
        assert other.is_alive()
    finally:
        other.kill()
        other.join()


def children() -> list[psutil.Process]:
    """Those with a model; multiprocessing has one that keeps count of what they share."""
    found = psutil.Process().children()
    return [one for one in found if "spawn_main" in " ".join(one.cmdline())]


def test_what_cannot_be_copied_is_refused(tmp_path: Path, alone: Path) -> None:
    file, out = str(alone / "in.jsonl"), str(tmp_path / "out")
    with Reranker(FakeEngine()) as reranker:
        with pytest.raises(InvalidInputError, match="model is FakeEngine, which cannot be copied"):
            run_batch(reranker, file, out, workers=LocalProcesses(2))
    with Reranker(base_url="http://127.0.0.1:1") as reranker:
        with pytest.raises(InvalidInputError, match="servers have processes of their own"):
            run_batch(reranker, file, str(tmp_path / "other"), workers=LocalProcesses(2))
    with pytest.raises(InvalidInputError, match="count is 0"):
        LocalProcesses(0)


class TestEachProcess:
    def test_has_cards_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        machine = detect.Machine("npu", 4, vllm="0.23.0", vllm_platform="npu")
        monkeypatch.setattr("qwen3_ascend_rerank.batch.processes.detect", lambda: machine)
        monkeypatch.delenv("ASCEND_RT_VISIBLE_DEVICES", raising=False)
        two = {"tensor_parallel_size": 2}
        for engine, options, count, cards in (
            ("vllm", {}, 3, ["0", "1", "2"]),
            ("vllm", two, 2, ["0,1", "2,3"]),
            ("torch", {}, 2, ["0", "1"]),
        ):
            reranker = Reranker("some/model", engine=engine, engine_options=options)
            shares = _environments(reranker, count)
            assert [one["ASCEND_RT_VISIBLE_DEVICES"] for one in shares] == cards
        with pytest.raises(InvalidInputError, match="3 replicas of 2 need 6 NPUs and 4"):
            _environments(Reranker("some/model", engine="vllm", engine_options=two), 3)

    def test_has_its_part_of_the_cores(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
        with Reranker("lexical") as reranker:
            assert _environments(reranker, 2) == [{"OMP_NUM_THREADS": "4"}] * 2
            assert _environments(reranker, 9) == [{"OMP_NUM_THREADS": "1"}] * 9
