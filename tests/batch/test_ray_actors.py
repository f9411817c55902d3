"""Actors of Ray, each with a copy of the model; with Ray itself where that is installed."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from qwen3_ascend_rerank import EngineDeadError, InvalidInputError, Reranker
from qwen3_ascend_rerank.batch import BatchReport, RayActors, run_batch
from qwen3_ascend_rerank.errors import MissingDependencyError
from tests.support.batches import NOT_NICE, questions, reproducible, same_output, write

BLOCK = 4
REQUESTS = [*questions(30), {"query": "bad"}, *questions(29)]


def test_numbers_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="least is 3 and count is 2"):
        RayActors(2, least=3)
    with pytest.raises(InvalidInputError, match="count is 0"):
        RayActors(0)


def test_without_ray_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    file = write(tmp_path / "in.jsonl", REQUESTS[:1])
    with Reranker("lexical") as reranker, pytest.raises(MissingDependencyError, match=r"\[ray\]"):
        run_batch(reranker, file, str(tmp_path / "out"), workers=RayActors(1))


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")
class TestOnRay:
    @pytest.fixture(scope="class", autouse=True)
    def _cluster(self) -> Iterator[None]:
        ray = pytest.importorskip("ray")
        pytest.importorskip("ray.data")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(*NOT_NICE)
            ray.init(num_cpus=2, include_dashboard=False, object_store_memory=200_000_000)
            yield
            ray.shutdown()

    @pytest.fixture(scope="class")
    def alone(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("alone")
        file = write(folder / "in.jsonl", REQUESTS)
        with reproducible() as reranker:
            run_batch(reranker, file, str(folder / "out"), block=BLOCK)
        return folder

    # Two take all of the cores, and none is left for what reads.
    @pytest.mark.parametrize(
        "actors",
        [RayActors(1), RayActors(2), RayActors(3, least=1, cpus=0.5)],
        ids=["one", "two", "one to three"],
    )
    def test_the_output_is_that_of_one_process(
        self, alone: Path, tmp_path: Path, actors: RayActors
    ) -> None:
        report = ran(alone, tmp_path, actors)
        assert (report.requests, report.rejects, report.blocks) == (59, 1, 15)
        same_output(tmp_path, alone / "out")

    def test_a_killed_actor_is_replaced_and_nothing_is_lost_or_twice(
        self, alone: Path, tmp_path: Path
    ) -> None:
        killed: list[int] = []

        def kill(report: BatchReport) -> None:
            if len(killed) < 3 and (running := actor_processes()):
                os.kill(running[0], signal.SIGKILL)
                killed.append(running[0])

        report = ran(alone, tmp_path, RayActors(2), kill)
        assert killed
        assert (report.requests, report.blocks_before) == (59, 0)
        same_output(tmp_path, alone / "out")

    def test_a_run_goes_on_with_other_workers(self, alone: Path, tmp_path: Path) -> None:
        class StopError(Exception):
            pass

        def stop(report: BatchReport) -> None:
            if report.blocks == 5:
                raise StopError

        with pytest.raises(StopError):
            ran(alone, tmp_path, RayActors(2), stop)
        with reproducible() as reranker:
            report = run_batch(reranker, str(alone / "in.jsonl"), str(tmp_path), block=BLOCK)
        assert report.blocks_before >= 5
        same_output(tmp_path, alone / "out")

    def test_a_model_that_cannot_load_is_named(self, alone: Path, tmp_path: Path) -> None:
        with Reranker(str(tmp_path / "nothing")) as reranker:
            with pytest.raises(Exception, match="nothing"):
                run_batch(
                    reranker, str(alone / "in.jsonl"), str(tmp_path / "out"), workers=RayActors(1)
                )

    def test_a_block_that_kills_every_actor_ends_the_job(self, alone: Path, tmp_path: Path) -> None:
        def kill_all(report: BatchReport) -> None:
            raise AssertionError("no block can be done")

        class Deadly(Reranker):
            def start(self, timeout: Any = None) -> Any:
                os._exit(1)

        with Deadly("lexical") as reranker, pytest.raises(EngineDeadError, match="the same block"):
            run_batch(
                reranker,
                str(alone / "in.jsonl"),
                str(tmp_path),
                block=BLOCK,
                workers=RayActors(1),
                on_block=kill_all,
            )


def ran(folder: Path, out: Path, actors: RayActors, on_block: Any = lambda _: None) -> BatchReport:
    with reproducible() as reranker:
        return run_batch(
            reranker,
            str(folder / "in.jsonl"),
            str(out),
            block=BLOCK,
            workers=actors,
            on_block=on_block,
        )


def actor_processes() -> list[int]:
    every = psutil.process_iter(["pid", "cmdline"])
    return [one.pid for one in every if "MapWorker" in " ".join(one.info["cmdline"] or ())]
