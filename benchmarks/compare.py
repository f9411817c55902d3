"""Every way to run Qwen3-Reranker side by side: one run, one machine, the same prompts.

Each way runs in a process of its own and is asked in turn, so that one is busy at a time; so many
as `--alive` says are in memory at once, TorchEngine always among them. Interrupted, it writes what
there is.

    python -m benchmarks.compare                                  # the 0.6B geometry, 16 passages
    python -m benchmarks.compare --profile full --output results  # lengths and counts; hours
    python -m benchmarks.compare --profile 10x200,100x200 --patience 120  # fewer slow rounds
    python -m benchmarks.compare --only official,torch-engine --rounds 7
    python -m benchmarks.compare --device cuda --geometry 4B --count 100
"""

from __future__ import annotations

import argparse
import json
import math
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

from benchmarks.comparison import report, roofline
from benchmarks.comparison.contenders import CONTENDERS, Setup
from benchmarks.comparison.processes import LeftOutError, Worker
from benchmarks.comparison.report import Sample
from benchmarks.comparison.workload import GEOMETRIES, Cell, Workload, random_model
from qwen3_ascend_rerank.commands.bench.machine import describe
from qwen3_ascend_rerank.models import tokenizer_file
from qwen3_ascend_rerank.prompts import load_tokenizer

ANCHOR = "torch-engine"
"""In every group, and so asked the same several times."""
FORGETTING = 20
"""Other queries, after which it does not know the prefixes of the group before any more."""
PROFILE = "10x50,100x50,10x200,100x200,10x1000,100x1000"
"""The full one: numbers of passages, and tokens of each."""
TUNING_TOKENS = 3000
"""About so many tokens are scored to find a contender's best settings on a CPU."""
DEFAULT = [name for name in CONTENDERS if name != "torch-compiled"]
"""The other needs a compiler, and a minute to start."""
CPU_ALONE = "vllm-all-cores"
"""Elsewhere it is the same as the one before it."""
ENDING = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 130
"""Status of a program that Ctrl-C ended, as shells have it."""
PAUSE_SECONDS = 0.5
"""After an answer: its threads may spin for a moment before they sleep."""


@dataclass
class Comparison:
    """What is asked of whom, and what was found."""

    setup: Setup
    cells: Sequence[Cell]
    rounds: int
    patience: float
    """Seconds; a cell that took longer in a group gets no further round there."""
    workload: Workload
    log: TextIO
    """Takes what the contenders print."""
    samples: list[Sample] = field(default_factory=list)
    settings: dict[tuple[str, Cell], str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def run(self, names: Sequence[str], alive: int) -> None:
        """Compare `names`, of which `alive` are loaded at once."""
        with ExitStack() as stack:
            if (anchor := self._load(ANCHOR, stack)) is None:
                return
            for number, group in enumerate(groups(names, alive)):
                with ExitStack() as inner:
                    loaded = [self._load(name, inner) for name in group]
                    workers = [anchor, *filter(None, loaded)]
                    try:
                        self._measure(number, workers)
                    except LeftOutError as why:
                        say(f"{CONTENDERS[ANCHOR].label} ended; what there is: {why}")
                        self.left_out[ANCHOR] = str(why)
                        return

    def _load(self, name: str, stack: ExitStack) -> Worker | None:
        say(f"{CONTENDERS[name].label} loads")
        warm_up = self.workload.request(Cell(20, 20, 2), seed=0)
        try:
            worker = Worker(name, self.setup, (warm_up.query, warm_up.documents), self.log)
        except LeftOutError as why:
            say(f"{CONTENDERS[name].label} is left out: {why}")
            self.left_out[name] = str(why)
            return None
        stack.callback(worker.close)
        return worker

    def _measure(self, group: int, workers: list[Worker]) -> None:
        """Ask `workers`, the anchor first among them, without which there is nothing to compare."""
        anchor = workers[0]
        say("matrix products alone")
        limit = roofline.measured(self.setup)
        for number in range(FORGETTING):
            request = self.workload.request(Cell(1, 1, 1), seed=-2 - number)
            anchor.ask(request.query, request.documents)
        for cell in self.cells:
            for worker in [*workers]:
                self._or_leave_out(workers, worker, lambda one, cell=cell: self._tune(one, cell))
            began = time.monotonic()
            for number in range(self.rounds):
                if number and time.monotonic() - began > self.patience:
                    break
                turn = number % len(workers)
                for worker in [*workers[turn:], *workers[:turn]]:
                    place = (group, cell, number, limit)
                    self._or_leave_out(
                        workers, worker, lambda one, place=place: self._ask(one, *place)
                    )

    def _or_leave_out(
        self, workers: list[Worker], worker: Worker, asking: Callable[[Worker], None]
    ) -> None:
        try:
            asking(worker)
        except LeftOutError as why:
            if worker is workers[0]:
                raise
            say(f"{CONTENDERS[worker.name].label} is left out from here on: {why}")
            self.left_out[worker.name] = str(why)
            workers.remove(worker)

    def _tune(self, worker: Worker, cell: Cell) -> None:
        most = TUNING_TOKENS // cell.high if self.setup.device == "cpu" else cell.count
        count = min(cell.count, max(4, most))
        if (worker.name, cell) not in self.settings:
            request = self.workload.request(Cell(cell.low, cell.high, count), seed=-1)
            found = worker.tune(request.query, request.documents)
            self.settings[worker.name, cell] = found

    def _ask(
        self, worker: Worker, group: int, cell: Cell, number: int, limit: roofline.Limit
    ) -> None:
        request = self.workload.request(cell, seed=1 + number)
        answer = worker.ask(request.query, request.documents)
        sample = Sample(
            worker.name,
            group,
            cell,
            number,
            request.tokens,
            answer.seconds,
            answer.memory,
            answer.log_odds,
            limit,
        )
        self.samples.append(sample)
        say(f"{cell}, round {number + 1}: {worker.name} {sample.rate:,.0f} tokens/s")
        time.sleep(PAUSE_SECONDS)


def groups(names: Sequence[str], alive: int) -> Iterator[list[str]]:
    """The contenders beside the anchor, in groups that fit into memory with it; at least one."""
    others = [name for name in CONTENDERS if name in names and name != ANCHOR]
    size = max(1, alive - 1)
    for start in range(0, max(1, len(others)), size):
        yield others[start : start + size]


def say(what: str) -> None:
    """Progress, on standard error."""
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    """Compare, and print Markdown; status 1 if a contender's scores are wrong."""
    given = _arguments()
    for one in ENDING:  # a shell has what is in the background ignore the first
        signal.signal(one, _interrupt)
    dtype = given.dtype or ("float32" if given.device == "cpu" else "bfloat16")
    model = given.model or random_model(given.tokenizer, given.geometry, dtype, given.device)
    file = tokenizer_file(model)
    workload = Workload(load_tokenizer(file), file)
    low, high = (tokens - workload.overhead() for tokens in given.tokens)
    cells = given.profile or [Cell(low, high, given.count)]
    if min(cell.low for cell in cells) < 1:
        raise SystemExit(f"--tokens: a prompt alone takes {workload.overhead()}; give more")
    given.output.mkdir(parents=True, exist_ok=True)
    with (given.output / "compare.log").open("w", encoding="utf-8") as log:
        setup = Setup(model, given.device, dtype)
        comparison = Comparison(setup, cells, given.rounds, given.patience, workload, log)
        names = [one for one in given.only if given.device == "cpu" or one != CPU_ALONE]
        status = 0
        try:
            comparison.run(names, given.alive)
        except KeyboardInterrupt:
            say("interrupted; what there is:")
            status = INTERRUPTED
    if not comparison.samples:
        raise SystemExit(f"nothing to compare with; see {given.output / 'compare.log'}")
    sys.exit(_write(comparison, given.output) or status)


def _interrupt(*_: object) -> None:
    """Once: a second time would leave contenders behind."""
    for one in ENDING:
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


def _write(comparison: Comparison, output: Path) -> bool:
    """Print and save everything; whether a contender is wrong."""
    samples = comparison.samples
    made = {
        cell: report.lines(samples, ANCHOR, comparison.settings, cell, comparison.setup.dtype)
        for cell in comparison.cells
    }
    tables = {cell: rows for cell, rows in made.items() if rows}
    names = [name for name in CONTENDERS if any(one.name == name for one in samples)]
    growths = {name: found for name in names if (found := report.growth(samples, name))}
    lengths = [one.tokens / one.cell.count for one in samples]
    shapes = roofline.read_shapes(comparison.setup.folder)
    paper = shapes.on_paper(sum(lengths) / len(lengths))
    text = "\n\n".join(
        [
            *(report.markdown(rows, cell) for cell, rows in tables.items()),
            *_notes(comparison, growths, paper),
        ]
    )
    print(text)
    (output / "compare.md").write_text(text + "\n", encoding="utf-8")
    saved = {
        "machine": describe(),
        "model": str(comparison.setup.folder),
        "device": comparison.setup.device,
        "dtype": comparison.setup.dtype,
        "on_paper": dict(paper),
        "growth": growths,
        "left_out": comparison.left_out,
        "tables": {str(cell): [asdict(row) for row in rows] for cell, rows in tables.items()},
        "samples": [report.as_dict(one) for one in samples],
    }
    dumped = json.dumps(saved, ensure_ascii=False, indent=1, default=str)
    (output / "compare.json").write_text(dumped + "\n", encoding="utf-8")
    for number, (cell, rows) in enumerate(tables.items()):
        report.draw(rows, cell, output / f"compare-{number}.svg")
    if len(tables) > 1:
        report.draw_profile(tables, output / "profile.svg")
    return any(row.wrong for rows in tables.values() for row in rows)


def _notes(
    comparison: Comparison,
    growths: dict[str, dict[str, float]],
    paper: list[tuple[str, float]],
) -> Iterator[str]:
    limits = sorted({one.limit for one in comparison.samples})
    rounds = 1 + max(one.round for one in comparison.samples)
    yield (
        f"Up to {rounds} rounds on {_where(comparison.setup.device)}, "
        f"{comparison.setup.dtype}. "
        f"The model's matrix products alone, on {limits[0].rows} rows before each group of ways: "
        f"{_span_of([one.gflops for one in limits])} GFLOP/s, which is "
        f"{_span_of([one.tokens_per_second for one in limits])} tokens/s."
    )
    yield "On paper, at the assumed peak: " + "; ".join(
        f"{name}: {rate:,.0f} tokens/s" for name, rate in paper
    )
    for name, found in growths.items():
        listed = ", ".join(f"{value:.2f} at {length} tokens" for length, value in found.items())
        yield f"{CONTENDERS[name].label}: time grows with the documents to the power of {listed}"
    for name, why in comparison.left_out.items():
        yield f"{CONTENDERS[name].label} is left out: {why}"


def _span_of(values: Sequence[float]) -> str:
    low, high = f"{min(values):,.0f}", f"{max(values):,.0f}"
    return low if low == high else f"{low}-{high}"


def _where(device: str) -> str:
    if device == "cpu":
        machine = describe()
        return f"{machine['cpu']}, {machine['cores']} cores"
    import torch

    return f"one {getattr(torch, device).get_device_name()}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", type=_names, default=DEFAULT, metavar="A,B", help=(
        f"some of {', '.join(CONTENDERS)}; {ANCHOR} is always there; "
        "not given: all but torch-compiled"
    ))  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--patience", type=float, default=math.inf, metavar="SECONDS", help=(
        "passages of one kind that took a group of ways longer get no further round"
    ))  # fmt: skip
    parser.add_argument("--alive", type=int, default=3, help="contenders in memory at once")
    parser.add_argument("--profile", type=_cells, metavar="full|COUNTxTOKENS,...", help=(
        f"several kinds of requests, such as 10x50,100x200; full: {PROFILE}"
    ))  # fmt: skip
    parser.add_argument("--count", type=int, default=16, help="passages of a query (no profile)")
    parser.add_argument(
        "--tokens",
        type=_span,
        default=(126, 250),
        metavar="LOW-HIGH",
        help="tokens of a whole prompt (no profile)",
    )
    parser.add_argument("--device", choices=("cpu", "cuda", "npu"), default="cpu")
    parser.add_argument(
        "--dtype",
        choices=list(report.TOLERANCES),
        help="not given: float32 on a CPU, else bfloat16",
    )
    parser.add_argument("--model", type=Path, help="a folder; not given: random weights")
    parser.add_argument(
        "--geometry", choices=list(GEOMETRIES), default="0.6B", help="of the random weights"
    )
    parser.add_argument(
        "--tokenizer", type=Path, help="tokenizer.json for those; not given: from dashscope"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("compare"), help="folder for table, JSON, pictures, log"
    )
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in CONTENDERS]:
        raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; use {', '.join(CONTENDERS)}")
    return names


def _cells(text: str) -> list[Cell]:
    found = []
    for one in (PROFILE if text == "full" else text).split(","):
        numbers = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", one)
        if not numbers:
            raise argparse.ArgumentTypeError(f"{one!r}; give passages and tokens, such as 10x50")
        count, length = map(int, numbers.groups())
        found.append(Cell(length, length, count))
    return found


def _span(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    if not (low.isdecimal() and (high or low).isdecimal() and int(low) <= int(high or low)):
        raise argparse.ArgumentTypeError(f"{text!r}; give two numbers such as 126-250")
    return int(low), int(high or low)


if __name__ == "__main__":
    main()
