"""One measurement after another on a Reranker, until they are done or Ctrl-C ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ...reranker import Ranker
from ..inputs import RankRequest
from ..screen import messages
from .load import Arrivals, Cost, Outcome, Record, closed_loop, gaps, open_loop
from .report import Run


@dataclass(frozen=True, slots=True)
class Course:
    """What is measured."""

    loads: Sequence[int | float]
    """One measurement each: an int is a concurrency, a float a rate in requests a second."""
    count: int
    """Requests of each."""
    warm_up: int
    """Requests before the first, not counted."""
    arrivals: Arrivals
    """How requests come at a rate."""
    seed: int
    """Of the arrivals."""


def measure(
    reranker: Ranker,
    course: Course,
    requests: Iterator[RankRequest],
    spare: Iterator[RankRequest],
) -> tuple[list[Run], bool]:
    """Carry out `course`.

    Args:
        reranker: what is measured.
        course: how.
        requests: what is asked; each measurement goes on where the last one stopped.
        spare: what warms up.

    Returns:
        The runs, and whether Ctrl-C cut them short.
    """
    runs: list[Run] = []
    try:
        _run(reranker, 1, islice(spare, course.warm_up), course, lambda _: None)
        for load in course.loads:
            with _progress(load, course.count) as advance:
                run = Run(
                    max_concurrency=load if isinstance(load, int) else None,
                    request_rate=load if isinstance(load, float) else None,
                )
                runs.append(run)
                _run(
                    reranker,
                    load,
                    islice(requests, course.count),
                    course,
                    _each(run.record, advance),
                )
    except KeyboardInterrupt:
        return [run for run in runs if run.outcomes], True
    return runs, False


def _run(
    reranker: Ranker,
    load: float,
    requests: Iterator[RankRequest],
    course: Course,
    record: Record,
) -> None:
    async def ask(request: RankRequest) -> Cost:
        texts = [passage.text for passage in request.passages]
        result = await reranker.arerank(request.query, texts, **request.options)
        return Cost(result.usage.prompt_tokens, len(texts))

    if isinstance(load, int):
        asyncio.run(closed_loop(ask, requests, load, record))
    else:
        asyncio.run(open_loop(ask, requests, gaps(course.arrivals, load, course.seed), record))


def _each(*functions: Callable[[Outcome], None]) -> Record:
    def record(outcome: Outcome) -> None:
        for function in functions:
            function(outcome)

    return record


@contextmanager
def _progress(load: float, count: int) -> Iterator[Record]:
    """A bar on standard error, where a person watches it."""
    console = messages()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        redirect_stdout=False,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        name = f"concurrency {load}" if isinstance(load, int) else f"{load:g} requests/s"
        task = progress.add_task(name, total=count)
        yield lambda _: progress.advance(task)
