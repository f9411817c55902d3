"""Many requests: lines of JSON in, lines of JSON out, in the same order and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from ..components.settings import RerankSettings
from ..errors import EngineError, InvalidInputError, RerankTimeoutError
from ..reranker import Ranker
from .inputs import Line, parse_request, read_lines, read_texts
from .report import as_dict, print_json
from .screen import messages, output

IN_FLIGHT = 8
"""Requests that are with the engine at once: enough to keep it busy, few enough for any memory."""


def rank_requests(
    reranker: Ranker, source: str, settings: RerankSettings, *, keep_going: bool = False
) -> int:
    """Print one line of JSON for each request in `source`, in order.

    Args:
        reranker: what ranks.
        source: a file of requests, one a line, or ``-``.
        settings: which fields of a document are read before its text.
        keep_going: print the error of a request in its place instead of raising it.

    Returns:
        How many requests failed.

    Raises:
        RerankError: the first request that failed, after the results of those before it.
    """
    failed = 0
    with _progress(source) as advance:
        for answer in _answers(reranker, read_lines(source), settings, keep_going):
            print_json(answer)
            advance()
            failed += "error" in answer
    return failed


def _answers(
    reranker: Ranker, lines: Iterable[Line], settings: RerankSettings, keep_going: bool
) -> Iterator[dict[str, Any]]:
    waiting: deque[Future[dict[str, Any]]] = deque()
    pool = ThreadPoolExecutor(IN_FLIGHT)
    try:
        for line in lines:
            waiting.append(pool.submit(_answer, reranker, line, settings, keep_going))
            while waiting and (len(waiting) == IN_FLIGHT or waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Without waiting: what is still with the engine ends when the Reranker is closed.
        pool.shutdown(wait=False, cancel_futures=True)


def _answer(
    reranker: Ranker, line: Line, settings: RerankSettings, keep_going: bool
) -> dict[str, Any]:
    name: Any = line.number
    try:
        with line.named():
            value = line.json()
            name = value.get("id", name) if isinstance(value, dict) else name
            return {"id": name, **_ranked(reranker, value, settings)}
    except (InvalidInputError, EngineError, RerankTimeoutError) as error:
        if not keep_going:
            raise
        return {"id": name, "error": str(error)}


def _ranked(reranker: Ranker, value: object, settings: RerankSettings) -> dict[str, Any]:
    request = parse_request(value)
    if request.passages:
        reranker.start(timeout=None)  # so that no request pays for the loading with its own
    result = reranker.rerank(
        request.query, read_texts(request.passages, settings), **request.options
    )
    extra = {"extra": request.extra} if request.extra else {}
    return {**as_dict(result, request.passages), **extra}


@contextmanager
def _progress(source: str) -> Iterator[Callable[[], None]]:
    """A bar on standard error, where a person watches it and the results go elsewhere."""
    console = messages()
    if not console.is_terminal or output().is_terminal:
        yield lambda: None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Standard output stays as it is: rich would send it through the bar's own console.
    with Progress(*columns, console=console, redirect_stdout=False, transient=True) as progress:
        task = progress.add_task("", total=_count(source))
        yield lambda: progress.advance(task)


def _count(source: str) -> int | None:
    """How many requests a file holds; None where counting them would use them up."""
    if not Path(source).is_file():
        return None
    return sum(1 for _ in read_lines(source))
