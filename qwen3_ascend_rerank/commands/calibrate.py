"""`qwen3-rerank calibrate`: P(relevant) and a threshold, from labels of your own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ..calibration import (
    CalibrationReport,
    JudgedPair,
    Proposal,
    examine,
    judged_pairs,
    read_labels,
    scored,
)
from ..components.settings import RerankSettings
from ..corpora import read_run
from ..corpora.ir_datasets import PREFIX
from ..errors import InvalidInputError
from ..evaluation import bm25
from .collections import PANEL as COLLECTION
from .collections import Corpus, QrelsFile, Queries, RunFile, collection_of
from .options import default, json_object, setting
from .screen import counted, described_model, output, waiting


def calibrate(
    labels: Annotated[
        str | None,
        typer.Argument(
            help="Judged pairs, one a line of JSON: {query, text, label}; or a collection, as "
            "evaluate takes it.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Which qrels of a folder.", rich_help_panel=COLLECTION)
    ] = "test",
    queries: Queries = None,
    corpus: Corpus = None,
    qrels: QrelsFile = None,
    run: RunFile = None,
    top_k: Annotated[
        int,
        typer.Option(
            min=1,
            help="Documents of each query of a collection; what nobody has judged counts as not "
            "relevant.",
            rich_help_panel=COLLECTION,
        ),
    ] = 20,
    to: Annotated[Path, typer.Option("--output", help="Where the calibration is written.")] = Path(
        "calibration.json"
    ),
    method: Annotated[
        str, typer.Option(help="platt does with few labels, isotonic wants a thousand.")
    ] = "platt",
    least: Annotated[
        float, typer.Option(help="Lowest label that counts as relevant; true is 1.")
    ] = 1.0,
    precision: Annotated[
        float | None, typer.Option(help="Propose the threshold that keeps this precision.")
    ] = None,
    recall: Annotated[
        float | None, typer.Option(help="Propose the threshold that keeps this recall.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw how reliable scores are, before and after.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write all figures as JSON.")] = None,
    model: Annotated[str | None, setting("model")] = default("model"),
    base_url: Annotated[str | None, setting("base_url")] = default("base_url"),
    engine: Annotated[str, setting("engine")] = default("engine"),
    tokenizer: Annotated[str | None, setting("tokenizer")] = default("tokenizer"),
    instruction: Annotated[str, setting("instruction")] = default("instruction"),
    max_length: Annotated[int, setting("max_length")] = default("max_length"),
    engine_options: Annotated[str, setting("engine_options")] = "{}",
) -> None:
    """Fit P(relevant) to your labels, and propose a threshold.

    [dim]qwen3-rerank calibrate labels.jsonl --precision 0.9 --picture reliability.png[/]

    [dim]qwen3-rerank calibrate my-collection --run found.txt --top-k 20[/]

    What is written is for this model and this instruction; `Reranker(calibration=…)` takes it.
    """
    if precision is not None and recall is not None:
        raise typer.BadParameter("give --precision or --recall, not both")
    aim, wanted = ("precision", precision) if precision is not None else ("recall", recall)
    parts = (split, queries, corpus, qrels)
    rows = _rows(labels, parts, run, top_k, least)
    settings = RerankSettings(
        model=model,
        base_url=base_url,
        engine=engine,
        tokenizer=tokenizer,
        instruction=instruction,
        max_length=max_length,
        engine_options=json_object("--engine-options", engine_options),
        calibration=None,
        cascade=None,  # one model's scores are calibrated
    )
    with (
        settings.make_reranker() as reranker,
        waiting(f"{described_model(settings.model)} · {counted(len(rows), 'pair')}"),
    ):
        labelled = scored(rows, reranker)
    found = examine(
        labelled, method=method, aim=None if wanted is None else aim, wanted=wanted or 0.0
    )
    _write(to, found.calibration.to_dict())
    if report is not None:
        _write(report, found.to_dict())
    if picture is not None:
        from ..pictures import plot_reliability

        plot_reliability(found.bins_before, found.bins_after).savefig(picture)
    for line in lines(found, len(set(labelled.queries))):
        output().print(Text(line), soft_wrap=True)
    output().print(Text(f"written: {to}"), soft_wrap=True)


def _rows(
    labels: str | None,
    parts: tuple[str, Path | None, Path | None, Path | None],
    run: Path | None,
    top_k: int,
    least: float,
) -> list[JudgedPair]:
    """From a file of pairs, or from a collection and what a retriever found in it."""
    if labels and not Path(labels).is_dir() and not labels.startswith(PREFIX):
        if run or any(parts[1:]):
            raise typer.BadParameter(
                f"{labels} is no folder, and the other files are a collection's; give one of them"
            )
        return read_labels(labels, least=least)
    collection = collection_of(labels, *parts)
    found = read_run(run) if run else bm25(collection, top_k)
    return judged_pairs(collection, found, top_k, least=least)


def _write(file: Path, content: object) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be written: {error.strerror}") from None


def lines(found: CalibrationReport, queries: int) -> list[str]:
    """What was found, in words."""
    made = found.calibration
    errors = f"{found.error_before:.3f} before, {found.error_after:.3f} after"
    labels = f"{counted(made.pairs, 'pair')} of {queries} queries, {made.relevant} relevant"
    told = [
        f"{labels} · {described_model(made.model)}",
        f"expected calibration error on halves that were not fitted: {errors}",
    ]
    return told + ([_proposed(found.proposal)] if found.proposal else [])


def _proposed(one: Proposal) -> str:
    return (
        f"for {one.aim} {one.wanted:g}: --threshold {one.threshold:.4g}, with precision "
        f"{one.precision:.3f} and recall {one.recall:.3f} here; {one.aim} on queries not seen: "
        f"{one.unseen.low:.3f} to {one.unseen.high:.3f}"
    )
