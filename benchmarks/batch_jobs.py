"""Jobs of many pairs: their memory, their speed beside a plain loop, and what more workers give.

Requests of short texts, no two alike, ranked by the lexical model on the torch engine with one
thread each. Every run is a process of its own. Its time counts from the first block that is
written, since loading is not what is measured: whole, to the last block; and steady, after a
quarter of the blocks, when every worker has begun, and without the last ones, when some have no
more to do. Ratios are medians of rounds that alternate. Beside each steady figure stands how much
of the processors other programs had meanwhile: a round is worth what its machine was quiet.

    python -m benchmarks.batch_jobs memory --pairs 100000     peak memory, beside 1,000 pairs
    python -m benchmarks.batch_jobs loop                      beside threads that call rerank
    python -m benchmarks.batch_jobs processes                 two processes beside one
    python -m benchmarks.batch_jobs ray                       two actors beside one; needs Ray
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.batch import BatchReport, LocalProcesses, RayActors, run_batch

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
"""Ray's workers would step back for whatever else the machine does."""
WORDS = ("bread", "capital", "city", "flour", "moon", "old", "river", "runs", "sea", "北京", "首都")
DOCUMENTS, BLOCK = 20, 20
CALLERS = 32
"""Requests under way at once in the plain loop; `rerank_many` has about as many of this length."""
WORKERS = {
    "here": None,
    "one process": LocalProcesses(1),
    "two processes": LocalProcesses(2),
    "one actor": RayActors(1),
    "two actors": RayActors(2),
}
PARTS = {
    "processes": ("one process", "two processes"),
    "ray": ("one actor", "two actors"),
}


def requests(pairs: int) -> Iterator[dict[str, Any]]:
    """Enough of them for so many pairs."""
    chance = random.Random(0)
    for number in range(-(-pairs // DOCUMENTS)):
        documents = [
            " ".join(chance.choices(WORDS, k=chance.randint(4, 12))) for _ in range(DOCUMENTS)
        ]
        query = f"{number} {' '.join(chance.choices(WORDS, k=4))}"
        yield {"id": number, "query": query, "documents": documents}


def written(folder: Path, pairs: int) -> Path:
    """A file with them."""
    file = folder / f"{pairs}.jsonl"
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(one) + "\n" for one in requests(pairs))
    return file


def job(file: str, out: str, workers: str) -> dict[str, Any]:
    """Run a job in this process: pairs a second, and the peak of memory."""
    with Path(file).open(encoding="utf-8") as lines:
        blocks = -(-sum(1 for _ in lines) // BLOCK)
    first, last = blocks // 4, blocks - 3
    ended: list[tuple[float, int]] = []
    spent: list[tuple[float, float]] = []

    def note(report: BatchReport) -> None:
        ended.append((time.perf_counter(), report.pairs))
        if len(ended) - 1 in (first, last):
            spent.append(processor_time())

    with Reranker("lexical", engine="torch") as reranker:
        run_batch(reranker, file, out, block=BLOCK, workers=WORKERS[workers], on_block=note)
    return {
        "pairs_a_second": rate(ended),
        "steady": rate([ended[first], ended[last]]),
        "others": others(*spent, ended[last][0] - ended[first][0]),
        "peak_mib": round(_peak() / 2**20),
        "pairs": ended[-1][1],
    }


def rate(ended: list[tuple[float, int]]) -> float:
    """Pairs a second between the first and the last of these moments."""
    (began, before), (end, pairs) = ended[0], ended[-1]
    return round((pairs - before) / (end - began), 1)


def processor_time() -> tuple[float, float]:
    """Seconds that all programs, and this one with what it started, have computed."""
    times = psutil.cpu_times()
    own = 0.0
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        try:
            user, system, *_ = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        own += user + system
    return sum(times) - times.idle - times.iowait, own


def others(before: tuple[float, float], after: tuple[float, float], seconds: float) -> float:
    """The part of the processors that other programs had, from 0 to 1."""
    every, own = after[0] - before[0], after[1] - before[1]
    return round(max(0.0, every - own) / seconds / (os.cpu_count() or 1), 3)


def loop(file: str) -> dict[str, Any]:
    """Threads that call `rerank`, each for a request of the file."""
    with Path(file).open(encoding="utf-8") as lines, Reranker("lexical", engine="torch") as one:
        asked = [json.loads(line) for line in lines]
        first, rest = asked[:BLOCK], asked[BLOCK:]

        def rank(request: dict[str, Any]) -> str:
            result = one.rerank(request["query"], request["documents"])
            rows = [(each.index, each.score, each.log_odds) for each in result]
            return json.dumps({"id": request["id"], "results": rows})

        with ThreadPoolExecutor(CALLERS) as callers, Path(os.devnull).open("w") as out:
            out.writelines(callers.map(rank, first))
            began = time.perf_counter()
            out.writelines(callers.map(rank, rest))
            seconds = time.perf_counter() - began
    return {"pairs_a_second": round(len(rest) * DOCUMENTS / seconds, 1)}


def _peak() -> int:
    """Of the resident memory of this process, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return int(psutil.Process().memory_info().rss)


def apart(what: str, *arguments: str) -> dict[str, Any]:
    """`job` or `loop` in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.batch_jobs", "--only", what]
    environment = os.environ | ENVIRONMENT
    done = subprocess.run(  # noqa: S603 - this file
        [*command, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(part: str, folder: Path, pairs: int, rounds: int) -> dict[str, Any]:
    """The figures of a part."""
    file = str(written(folder, pairs))
    places = (str(folder / f"out-{number}") for number in range(1000))
    if part == "memory":
        few = apart("job", str(written(folder, 1000)), next(places), "here")
        return {"1,000 pairs": few, f"{pairs:,} pairs": apart("job", file, next(places), "here")}
    measures = ("pairs_a_second",) if part == "loop" else ("pairs_a_second", "steady")
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(rounds):
        if part == "loop":
            runs.setdefault("loop", []).append(apart("loop", file))
        for workers in PARTS.get(part, ("here",)):
            runs.setdefault(workers, []).append(apart("job", file, next(places), workers))
    others = {
        name: [one["others"] for one in of_name if "others" in one]
        for name, of_name in runs.items()
    }
    return {**{measure: _compared(runs, measure) for measure in measures}, "others": others}


def _compared(runs: dict[str, list[dict[str, Any]]], measure: str) -> dict[str, Any]:
    found = {name: [one[measure] for one in of_name] for name, of_name in runs.items()}
    one, other = found.values()
    ratios = [round(mine / base, 3) for base, mine in zip(one, other, strict=True)]
    return {**found, "ratios": ratios, "median": median(ratios)}


def main() -> None:
    """Measure a part, and print it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("part", nargs="?", choices=("memory", "loop", *PARTS))
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.only:
        what, *arguments = options.only
        print(json.dumps(job(*arguments) if what == "job" else loop(*arguments)))
        return
    if options.part is None:
        parser.error("say which part")
    with tempfile.TemporaryDirectory() as folder:
        found = measured(options.part, Path(folder), options.pairs, options.rounds)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
