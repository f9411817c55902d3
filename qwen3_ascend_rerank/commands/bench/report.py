"""From outcomes to numbers: the rows of `vllm bench serve`, and JSON with its names."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from .load import Cost, Outcome

TITLE = " Rerank Benchmark Result "
WIDTH = 50
Row = tuple[str, str, str]
ROWS: tuple[Row | str, ...] = (
    ("Successful requests:", "completed", ""),
    ("Failed requests:", "failed", ""),
    ("Maximum request concurrency:", "max_concurrency", ""),
    ("Request rate configured (RPS):", "request_rate", ".2f"),
    ("Benchmark duration (s):", "duration", ".2f"),
    ("Total input tokens:", "total_input_tokens", ""),
    ("Request throughput (req/s):", "request_throughput", ".2f"),
    ("Input throughput (inputs/s):", "input_sequence_throughput", ".2f"),
    ("Total token throughput (tok/s):", "total_token_throughput", ".2f"),
    "End-to-end Latency",
    ("Mean E2EL (ms):", "mean_e2el_ms", ".2f"),
    ("Median E2EL (ms):", "median_e2el_ms", ".2f"),
    ("P99 E2EL (ms):", "p99_e2el_ms", ".2f"),
)
"""Label, name in the JSON and format of each row, as vLLM 0.30 prints it; a text is a heading."""
COLUMNS: tuple[Row, ...] = (
    ("concurrency", "max_concurrency", ""),
    ("failed", "failed", ""),
    ("req/s", "request_throughput", ".2f"),
    ("tok/s", "total_token_throughput", ",.0f"),
    ("mean ms", "mean_e2el_ms", ",.1f"),
    ("median ms", "median_e2el_ms", ",.1f"),
    ("P99 ms", "p99_e2el_ms", ",.1f"),
)
"""The same for the columns of a sweep."""


@dataclass
class Run:
    """One measurement, filled in while it goes on, so that it can be cut short."""

    max_concurrency: int | None = None
    request_rate: float | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    duration: float = 0.0
    """Seconds from the beginning to the latest end of a request."""
    _began: float = field(default_factory=time.perf_counter)

    def record(self, outcome: Outcome) -> None:
        """Add a request that has ended."""
        self.outcomes.append(outcome)
        self.duration = time.perf_counter() - self._began

    @property
    def errors(self) -> list[Exception]:
        """Why requests failed."""
        return [one.answer for one in self.outcomes if isinstance(one.answer, Exception)]

    def figures(self) -> dict[str, Any]:
        """The numbers by their names in vLLM's JSON; only successful requests count in them."""
        done = [one for one in self.outcomes if isinstance(one.answer, Cost)]
        answers = [one.answer for one in done if isinstance(one.answer, Cost)]
        milliseconds = [one.seconds * 1000 for one in done]
        tokens = sum(answer.tokens for answer in answers)
        documents = sum(answer.documents for answer in answers)
        return {
            "max_concurrency": self.max_concurrency,
            "request_rate": self.request_rate,
            "duration": self.duration,
            "completed": len(done),
            "failed": len(self.outcomes) - len(done),
            "total_input_tokens": tokens,
            "total_input_sequences": documents,
            "request_throughput": _rate(len(done), self.duration),
            "input_sequence_throughput": _rate(documents, self.duration),
            "total_token_throughput": _rate(tokens, self.duration),
            "mean_e2el_ms": statistics.fmean(milliseconds) if done else 0.0,
            "median_e2el_ms": percentile(milliseconds, 50),
            "p99_e2el_ms": percentile(milliseconds, 99),
        }

    def as_dict(self) -> dict[str, Any]:
        """`figures`, and every request: seconds, tokens, documents, and its error if it failed."""
        return {**self.figures(), "requests": [_request(one) for one in self.outcomes]}


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` percent lie, between neighbours by their distance.

    The same as numpy's default; 0 where there are no values.
    """
    if not values:
        return 0.0
    ordered = sorted(values)
    place = (len(ordered) - 1) * share / 100
    below = ordered[math.floor(place)]
    return below + (ordered[math.ceil(place)] - below) * (place - math.floor(place))


def table(run: Run) -> str:
    """The table that `vllm bench serve` prints."""
    figures = run.figures()
    lines = [f"{TITLE:=^{WIDTH}}"]
    for row in ROWS:
        if isinstance(row, str):
            lines.append(f"{row:-^{WIDTH}}")
        elif figures[row[1]] is not None:
            lines.append(f"{row[0]:<40} {figures[row[1]]:<10{row[2]}}")
    return "\n".join([*lines, "=" * WIDTH])


def sweep_table(runs: Sequence[Run]) -> Table:
    """A line for each run."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name, _, _ in COLUMNS:
        made.add_column(name, justify="right", no_wrap=True)
    for run in runs:
        figures = run.figures()
        made.add_row(*(format(figures[name], form) for _, name, form in COLUMNS))
    return made


def error_lines(runs: Sequence[Run]) -> list[str]:
    """What failed: each kind of error, how often, and what the first of its kind says."""
    errors = [error for run in runs for error in run.errors]
    kinds = Counter(type(error).__name__ for error in errors)
    first = {type(error).__name__: str(error) for error in reversed(errors)}
    return [f"{count} × {kind}: {first[kind]}" for kind, count in kinds.most_common()]


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds else 0.0


def _request(outcome: Outcome) -> dict[str, Any]:
    answer = outcome.answer
    if isinstance(answer, Exception):
        return {"seconds": outcome.seconds, "error": f"{type(answer).__name__}: {answer}"}
    return {"seconds": outcome.seconds, "tokens": answer.tokens, "documents": answer.documents}
