"""One job: the requests of files, ranked in blocks; what is done already is not done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ..checks import checked_count
from ..reranker import CascadeReranker, Ranker, Reranker
from .blocks import CHARACTERS, BlockReading, RankedBlock
from .maker import Maker
from .parts import Parts
from .ranking import rank_blocks
from .runs import RunInput
from .sources import find
from .tasks import Columns

REQUESTS_A_BLOCK = 1000


class Workers(Protocol):
    """Where blocks are ranked."""

    def rank(
        self,
        reranker: Ranker,
        reading: BlockReading,
        check: Callable[[tuple[Maker, ...]], object],
        *,
        texts: bool,
    ) -> Iterator[RankedBlock]:
        """What comes of the blocks of `reading`, in any order.

        Args:
            reranker: what ranks, or what copies of it are made from.
            reading: what to rank; blocks that were written come back as they are.
            check: told who scores, before a block of theirs is handed on; raises where that must
                not be.
            texts: whether the documents' texts stand in the results.

        Raises:
            RerankError: an engine failed, or `check` refused it.
        """
        ...


class ThisProcess:
    """The Reranker itself ranks."""

    def rank(
        self,
        reranker: Ranker,
        reading: BlockReading,
        check: Callable[[tuple[Maker, ...]], object],
        *,
        texts: bool,
    ) -> Iterator[RankedBlock]:
        """See `Workers`; in order."""
        return rank_blocks(reranker, reading.blocks(), check, texts=texts)


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
    ranking_seconds: float = 0.0
    """Of them, those since the first engine was ready."""

    @property
    def pairs_a_second(self) -> float:
        """Of this run, loading left out."""
        return self.pairs / self.ranking_seconds if self.ranking_seconds else 0.0


def run_batch(
    reranker: Ranker,
    inputs: str | Sequence[str],
    output: str,
    *,
    columns: Columns | None = None,
    run: RunInput | None = None,
    output_format: str = "jsonl",
    texts: bool = False,
    block: int = REQUESTS_A_BLOCK,
    workers: Workers | None = None,
    on_block: Callable[[BatchReport], None] = lambda _: None,
) -> BatchReport:
    """Rank the requests of files into a folder, going on where an earlier run stopped.

    Args:
        reranker: what ranks; its settings stand in the manifest.
        inputs: files, folders, globs or URLs: JSON lines, CSV, TSV, Parquet, packed or not.
        output: a folder, or its URL: new, empty, or that of the same job.
        columns: what the columns of the input are called.
        run: where the texts are, where the input is TREC runs, which have only ids.
        output_format: ``jsonl``, a line a request; ``parquet`` or ``csv``, a row a pair; ``trec``,
            a run.
        texts: whether the documents' texts stand in the results; JSON lines only.
        block: requests that are written at once; fewer where their texts are long.
        workers: where they are ranked: `LocalProcesses`, `RayActors`; None: here.
        on_block: told after each block what the job has come to so far.

    Returns:
        What the job came to; `manifest.json` has the same.

    Raises:
        InvalidInputError: input that cannot be read, an output that cannot be written, or one of
            another job.
        RerankError: the engine failed. What was written stays, and the next run goes on from it.
    """
    began = time.perf_counter()
    places = [inputs] if isinstance(inputs, str) else inputs
    columns = columns or Columns()
    sources = run.sources(places, columns) if run else find(places, apart_from=output)
    size = checked_count("block", block)
    parts = Parts(output, output_format)
    parts.begin(
        {
            **_settings(reranker),
            "inputs": [{"url": one.url, "bytes": one.size} for one in sources],
            "columns": columns.to_dict(),
            "run": run and _described(run),
            "block": size,
            "block_characters": CHARACTERS,
            "format": output_format,
            "texts": texts,
        }
    )
    report = BatchReport()
    reading = BlockReading(sources, columns, size, parts.written, for_run=output_format == "trec")
    ready: float | None = None
    ranking = (workers or ThisProcess()).rank(reranker, reading, parts.demand_makers, texts=texts)
    for ranked in ranking:
        if ranked.written is None:
            parts.write(ranked.number, ranked.results, ranked.rejects)
        _count(ranked, parts, report)
        now = time.perf_counter()
        if ready is None and ranked.pairs:
            ready = now - ranked.seconds
        report.seconds = now - began
        report.ranking_seconds = 0.0 if ready is None else now - ready
        if ranked.written is None:
            on_block(report)
    report.seconds = time.perf_counter() - began
    parts.conclude(asdict(report))
    return report


def _described(run: RunInput) -> dict[str, Any]:
    return {
        name: {"url": str(file.resolve()), "bytes": file.stat().st_size}
        for name, file in (("queries", Path(run.queries)), ("corpus", Path(run.corpus)))
    }


def _settings(ranker: Ranker) -> dict[str, Any]:
    """What decides a result: of a cascade, of each of its stages."""
    if isinstance(ranker, CascadeReranker):
        own = {name: getattr(ranker, name) for name in ("instruction", "top_n", "threshold")}
        stages = [_settings_of_one(stage) for stage in ranker.stages]
        return {"stages": stages, "keep": list(ranker.keep), **own}
    (reranker,) = ranker.stages
    return _settings_of_one(reranker)


def _settings_of_one(reranker: Reranker) -> dict[str, Any]:
    names = ["model", "instruction", "max_length", "top_n", "threshold"]
    if reranker.long_documents != "truncate":
        names += ["long_documents", "passage_tokens", "passage_overlap", "passage_limit"]
    if reranker.calibration is not None:
        names.append("calibration")
    return {
        name: value if isinstance(value, str | int | float | dict | None) else type(value).__name__
        for name in names
        for value in (getattr(reranker, name),)
    }


def _count(ranked: RankedBlock, parts: Parts, report: BatchReport) -> None:
    report.blocks += 1
    if ranked.written is not None:
        rejects, refused = parts.rejected(ranked.number)
        report.blocks_before += 1
        report.requests += ranked.written - refused
        report.rejects += rejects
        return
    report.requests += len(ranked.results)
    report.rejects += len(ranked.rejects)
    report.pairs += ranked.pairs
    report.tokens += ranked.tokens
    report.truncated += ranked.truncated
