"""One job: the requests of files, ranked in blocks; what is done already is not done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

from ..checks import checked_count
from ..errors import DocumentError, InvalidInputError, RerankError
from ..prompts import DEFAULT_INSTRUCTION
from ..prompts.request import RerankRequest
from ..reranker import Reranker
from ..results import RankedDocument, RerankResult
from ..trust import likeness
from .parts import Parts
from .sources import Source, find
from .tasks import Columns, Reject, Task, tasks

REQUESTS_A_BLOCK = 1000
INPUT_FAULTS = (InvalidInputError, DocumentError)
"""What is the fault of a row, and would be again; anything else ends the run."""


@dataclass(slots=True)
class BatchReport:
    """What a job came to."""

    requests: int = 0
    """Ranked, those of earlier runs included."""
    pairs: int = 0
    """Scored in this run."""
    rejects: int = 0
    """Rows that were not scored, those of earlier runs included."""
    blocks: int = 0
    blocks_before: int = 0
    """Those of earlier runs."""
    tokens: int = 0
    """Of prompts that were scored in this run."""
    truncated: int = 0
    """Documents of this run of which the model saw only the beginning."""
    seconds: float = 0.0
    """Of this run, loading included."""


@dataclass(slots=True)
class _Block:
    number: int
    rejects: list[Reject] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    waiting: int = 0
    """Requests of which the outcome is not there."""
    whole: bool = False
    """Whether all of its rows were read."""


def run_batch(
    reranker: Reranker,
    inputs: str | Sequence[str],
    output: str,
    *,
    columns: Columns | None = None,
    output_format: str = "jsonl",
    texts: bool = False,
    block: int = REQUESTS_A_BLOCK,
    on_block: Callable[[BatchReport], None] = lambda _: None,
) -> BatchReport:
    """Rank the requests of files into a folder, going on where an earlier run stopped.

    Args:
        reranker: what ranks; its settings stand in the manifest.
        inputs: files, folders, globs or URLs: JSON lines, CSV, TSV, Parquet, packed or not.
        output: a folder, or its URL: new, empty, or that of the same job.
        columns: what the columns of the input are called.
        output_format: ``jsonl``, a line a request; ``parquet`` or ``csv``, a row a pair.
        texts: whether the documents' texts stand in the results; JSON lines only.
        block: requests that are written at once.
        on_block: told after each block what the job has come to so far.

    Returns:
        What the job came to; `manifest.json` has the same.

    Raises:
        InvalidInputError: input that cannot be read, an output that cannot be written, or one of
            another job.
        RerankError: the engine failed. What was written stays, and the next run goes on from it.
    """
    began = time.perf_counter()
    sources = find([inputs] if isinstance(inputs, str) else inputs)
    columns = columns or Columns()
    parts = Parts(output, output_format)
    made_with = {
        **_settings(reranker),
        "inputs": [{"url": one.url, "bytes": one.size} for one in sources],
        "columns": asdict(columns),
        "block": checked_count("block", block),
        "format": output_format,
        "texts": texts,
    }
    parts.begin(made_with)
    report = BatchReport()
    for done in _blocks(reranker, parts, sources, columns, block, report, texts=texts):
        parts.write(done.number, done.results, done.rejects)
        report.blocks += 1
        report.rejects += len(done.rejects)
        report.requests += len(done.results)
        report.seconds = time.perf_counter() - began
        on_block(report)
    report.seconds = time.perf_counter() - began
    parts.conclude(asdict(report))
    return report


def _settings(reranker: Reranker) -> dict[str, Any]:
    names = ("model", "instruction", "max_length", "top_n", "threshold")
    return {
        name: value if isinstance(value, str | int | float | None) else type(value).__name__
        for name in names
        for value in (getattr(reranker, name),)
    }


def _settle_runtime(reranker: Reranker, parts: Parts) -> None:
    """Have what computes be what the job was begun with: the runtime by name, weights by answers.

    Raises:
        InvalidInputError: it is not.
        RerankError: the engine could not start.
    """
    info = reranker.start(timeout=None)
    names = ("engine", "version", "dtype", "max_length", "log_odds_exact")
    parts.demand("runs_on", {name: getattr(info, name) for name in names})
    result = reranker.rerank(
        likeness.QUERY,
        likeness.DOCUMENTS,
        instruction=DEFAULT_INSTRUCTION,
        top_n=None,
        threshold=None,
        timeout=None,
    )
    said = {one.index: one.log_odds for one in result}
    parts.demand_model([said[place] for place in sorted(said)], exact=info.log_odds_exact)


def _blocks(
    reranker: Reranker,
    parts: Parts,
    sources: Iterable[Source],
    columns: Columns,
    size: int,
    report: BatchReport,
    *,
    texts: bool,
) -> Iterator[_Block]:
    """Those that are not done, each when all of its outcomes are there."""
    open_blocks: dict[int, _Block] = {}

    def requests() -> Iterator[RerankRequest]:
        rows = chain.from_iterable(source.rows() for source in sources)
        current: _Block | None = None
        ready = False
        for task in tasks(rows, columns):
            number = task.number // size
            if current is None or current.number != number:
                if current is not None:
                    current.whole = True
                current = _Block(number)
                if parts.has(number):
                    report.blocks_before += 1
                    report.blocks += 1
                    refused, whole = parts.rejected(number)
                    report.rejects += refused
                    report.requests -= whole
                else:
                    open_blocks[number] = current
            if number not in open_blocks:
                report.requests += task.request is not None
                continue
            current.rejects += task.rejects
            if task.request is not None:
                if not ready:
                    _settle_runtime(reranker, parts)
                    ready = True
                current.waiting += 1
                yield _named(task)
        if current is not None:
            current.whole = True

    def finished() -> Iterator[_Block]:
        for number in sorted(open_blocks):
            if not open_blocks[number].whole or open_blocks[number].waiting:
                return
            yield open_blocks.pop(number)

    for outcome in reranker.rerank_many(requests()):
        task: Task = outcome.id
        own = open_blocks[task.number // size]
        own.waiting -= 1
        if outcome.result is not None:
            usage = outcome.result.usage
            report.pairs += usage.pairs_scored + usage.pairs_reused
            report.tokens += usage.prompt_tokens
            report.truncated += usage.documents_truncated
            own.results.append(_written(task, outcome.result, texts=texts))
        elif isinstance(outcome.error, INPUT_FAULTS):
            id_ = task.request.id if task.request else None
            own.rejects.append(Reject(task.file, task.row, str(outcome.error), id_, task.number))
        else:
            raise outcome.error or RerankError("no outcome")
        yield from finished()
    yield from finished()


def _named(task: Task) -> RerankRequest:
    asked = task.request
    assert asked is not None  # noqa: S101 - only such tasks are asked
    return RerankRequest(asked.query, asked.documents, task, instruction=asked.instruction)


def _written(task: Task, result: RerankResult, *, texts: bool) -> dict[str, Any]:
    ids = task.document_ids
    named_documents = any(id_ is not None for id_ in ids)

    def one(document: RankedDocument) -> dict[str, Any]:
        named = {"document_id": ids[document.index]} if named_documents else {}
        text = {"text": document.text} if texts else {}
        return {
            "index": task.places[document.index] if task.places else document.index,
            **named,
            "score": document.score,
            "log_odds": document.log_odds,
            "truncated": document.truncated,
            **text,
        }

    return {
        "request": task.number,
        "id": task.request.id if task.request else None,
        "query": result.query,
        "results": [one(document) for document in result],
    }
