"""Jobs that are killed at random moments: is what they leave that of a job that was not?

The lexical model on the torch engine, with one thread and `reproducible`, so that outputs can be
compared byte by byte. Each life of a job ends by SIGKILL at a random moment, while it loads or
after a random number of blocks, until there were `--times` of them; a job that was done before is
followed by another.

    python -m benchmarks.batch_kills                  all ways but those on Ray
    python -m benchmarks.batch_kills run-on-ray actor

run             a job in one process is killed
worker          of two processes with a copy of the model, one is; that ends the run
run-of-two      the run that has those two is; they must end by themselves
actor           of two actors of Ray one is; another takes its place, and the run goes on
run-on-ray      the run that has those two is
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.batch import LocalProcesses, RayActors, run_batch
from qwen3_ascend_rerank.batch.job import Workers

from .batch_jobs import ENVIRONMENT, requests

BLOCK = 10
BAD = {"id": "bad", "query": "no documents"}
WORKERS: dict[str, Workers | None] = {
    "one process": None,
    "two processes": LocalProcesses(2),
    "two actors": RayActors(2),
}
LINGERING = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Of Ray's own: they look but once a minute whether what they belong to is still there."""
PATIENCE = 300.0
"""Seconds, after which what should have happened never will."""


@dataclass(frozen=True)
class Way:
    """What is killed."""

    workers: str
    victim: str = ""
    """In the command of the processes of which one is killed; empty, or none yet: the run."""
    goes_on: bool = False
    """Whether the run does, once one of them was."""


WAYS = {
    "run": Way("one process"),
    "worker": Way("two processes", "spawn_main"),
    "run-of-two": Way("two processes"),
    "actor": Way("two actors", "MapWorker", goes_on=True),
    "run-on-ray": Way("two actors"),
}


def job(file: str, out: str, workers: str) -> None:
    """Run a job in this process."""
    options = {"reproducible": True}
    with Reranker("lexical", engine="torch", engine_options=options) as reranker:
        run_batch(reranker, file, out, block=BLOCK, workers=WORKERS[workers])


def begun(file: Path, out: Path, workers: str) -> psutil.Popen:
    """A job in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.batch_kills", "--job"]
    return psutil.Popen(
        [*command, str(file), str(out), workers],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@dataclass
class Killing:
    """Jobs whose runs are killed in one way, one after the other, each until it is done."""

    way: Way
    file: Path
    folder: Path
    times: int
    chance: random.Random
    outs: list[Path] = field(default_factory=list)
    kills: int = 0
    runs: int = 0
    stayed: int = 0
    """Processes of a run that had not ended some time after it."""

    def __post_init__(self) -> None:
        """See how long a run takes that is left alone."""
        began, out = time.perf_counter(), self.folder / "timed"
        run = begun(self.file, out, self.way.workers)
        until(lambda: parts(out) > 0 or not alive(run))
        self.loading = time.perf_counter() - began
        self._done(run)
        self.blocks = parts(out)
        self.a_block = (time.perf_counter() - began - self.loading) / self.blocks

    def whole(self) -> dict[str, Any]:
        """Kill as often as was said, and have every job done."""
        done = True
        while self.kills < self.times or not done:
            if done:
                self.outs.append(self.folder / f"out-{len(self.outs)}")
            run = begun(self.file, self.outs[-1], self.way.workers)
            self.runs += 1
            others = self._killed(run, self.outs[-1])
            done = self._done(run)
            self.stayed += len(remaining(others))
        return {
            "kills": self.kills,
            "jobs": len(self.outs),
            "runs": self.runs,
            "processes_that_stayed": self.stayed,
            "loading_seconds": round(self.loading, 1),
            "seconds_a_block": round(self.a_block, 3),
        }

    def _killed(self, run: psutil.Popen, out: Path) -> list[psutil.Process]:
        """Kill during this run; what it had started by then."""
        others: list[psutil.Process] = []
        while self.kills < self.times and not self._ends_before_the_moment(run, out):
            before = parts(out)
            others = family(run)
            victims = [one for one in others if self.way.victim in command_of(one)]
            victim = self.chance.choice(victims) if self.way.victim and victims else run
            victim.kill()
            self.kills += 1
            if victim is run or not self.way.goes_on:
                break
            until(lambda seen=before: parts(out) > seen or not alive(run))
        return others

    def _ends_before_the_moment(self, run: psutil.Popen, out: Path) -> bool:
        """Whether the run has ended when the next moment has come."""
        # A life does its part of the job, on the average; so the kills are all over it.
        more = self.chance.randint(0, max(1, math.ceil(2 * self.blocks / self.times)))
        if not more:
            return ends_within(run, self.chance.uniform(0, self.loading))
        wanted = parts(out) + more
        until(lambda: parts(out) >= wanted or not alive(run))
        return ends_within(run, self.chance.uniform(0, self.a_block))

    def _done(self, run: psutil.Popen) -> bool:
        return bool(run.wait(PATIENCE) == 0)


def ends_within(run: psutil.Popen, seconds: float) -> bool:
    """Whether a run has ended when so much time has passed."""
    try:
        run.wait(seconds)
    except psutil.TimeoutExpired:
        return False
    return True


def parts(out: Path) -> int:
    """How many blocks are written."""
    return len(list(out.glob("part-*")))


def family(run: psutil.Popen) -> list[psutil.Process]:
    """What a run has started, and what that has."""
    try:
        return list(run.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def command_of(process: psutil.Process) -> str:
    """As `ps` shows it; empty where it has ended."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def alive(process: psutil.Process) -> bool:
    """Whether it still computes."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def until(happens: Callable[[], bool]) -> None:
    """Wait."""
    end = time.monotonic() + PATIENCE
    while not happens():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


def remaining(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those of a run that has ended that do not end after it; they are killed now."""
    for process in processes:
        if command_of(process).startswith(LINGERING):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    _, left = psutil.wait_procs(processes, timeout=PATIENCE)
    for process in left:
        process.kill()
    return left


def compared(out: Path, whole: Path, expected: set[Any]) -> dict[str, Any]:
    """What is wrong with the output of a job, beside that of another and the ids of the input."""
    files = {
        folder: {
            file.name: file.read_bytes()
            for pattern in ("part-*", "rejects-*")
            for file in folder.glob(pattern)
        }
        for folder in (out, whole)
    }
    lines = [
        json.loads(line)
        for name, content in files[out].items()
        if name.startswith("part-")
        for line in content.decode().splitlines()
    ]
    counted = Counter(line["id"] for line in lines)
    done = [json.loads((each / "manifest.json").read_text())["done"] for each in (out, whole)]
    counts = [{name: one[name] for name in ("requests", "rejects", "blocks")} for one in done]
    return {
        "missing": len(expected - counted.keys()),
        "twice": sum(count > 1 for count in counted.values()),
        "differs": files[out] != files[whole],
        "counts_differ": counts[0] != counts[1],
    }


def main() -> None:
    """Kill jobs in the ways that are named, and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("ways", nargs="*", default=["run", "worker", "run-of-two"])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pairs", type=int, default=4000)
    options = parser.parse_args()
    if options.job:
        job(*options.job)
        return
    if unknown := set(options.ways) - WAYS.keys():
        parser.error(f"no way {', '.join(unknown)}; there are {', '.join(WAYS)}")
    with tempfile.TemporaryDirectory() as folder:
        file, whole = Path(folder) / "in.jsonl", Path(folder) / "whole"
        asked = list(requests(options.pairs))
        ids = {one["id"] for one in asked}
        asked.insert(len(asked) // 2, BAD)
        file.write_text("".join(json.dumps(one) + "\n" for one in asked), encoding="utf-8")
        job(str(file), str(whole), "one process")
        for name in options.ways:
            place = Path(folder) / name
            place.mkdir()
            chance = random.Random(f"{options.seed} {name}")
            killing = Killing(WAYS[name], file, place, options.times, chance)
            told = killing.whole()
            wrong = [compared(out, whole, ids) for out in killing.outs]
            found = {each: max(one[each] for one in wrong) for each in wrong[0]}
            print(json.dumps({"way": name, **told, **found}), flush=True)


if __name__ == "__main__":
    main()
