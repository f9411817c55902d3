"""`qwen3-rerank evaluate`: whether reranking helps on your data."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ..components.settings import RerankSettings
from ..corpora import (
    Collection,
    read_collection,
    read_corpus,
    read_qrels,
    read_queries,
    read_run,
)
from ..errors import InvalidInputError
from ..evaluation import MEASURES, Evaluation, write_page
from ..evaluation import evaluate as evaluated
from ..evaluation.evaluate import TOP_K
from ..evaluation.page import shown_p, verdict
from ..evaluation.published import PublishedPrompt
from ..evaluation.report import checked_empty
from ..reranker import Reranker
from .options import default, json_object, setting
from .report import print_json
from .screen import described_model, messages, one_line, output

PARTS = "The collection in files of its own, instead of FOLDER"


class PromptChoice(str, Enum):
    """Which prompt the model is asked with."""

    card = "card"
    published = "published"


COLOURS = {"better": "green", "worse": "red"}


def evaluate(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="corpus.jsonl, queries.jsonl and qrels/<split>.tsv, as BEIR has them.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Which qrels of FOLDER.")] = "test",
    queries: Annotated[
        Path | None,
        typer.Option(help="JSON lines, or id and text with a tab.", rich_help_panel=PARTS),
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(help="JSON lines, or id and text with a tab.", rich_help_panel=PARTS),
    ] = None,
    qrels: Annotated[
        Path | None, typer.Option(help="TREC, BEIR or JSON lines.", rich_help_panel=PARTS)
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            help="What a first stage found, as TREC has runs or as JSON lines; not given: BM25.",
            show_default=False,
        ),
    ] = None,
    top_k: Annotated[
        str,
        typer.Option(metavar="K,K,…", help="How many documents of each query are reranked."),
    ] = ",".join(map(str, TOP_K)),
    measures: Annotated[
        str,
        typer.Option(metavar="NAMES", help="As ir-measures has them; the first one leads."),
    ] = " ".join(MEASURES),
    fusion: Annotated[
        list[str] | None,
        typer.Option(
            help="Count the first stage's score too: rrf, weighted:WEIGHT, or weighted to have "
            "the weight chosen. Can be given again.",
        ),
    ] = None,
    prompt: Annotated[
        PromptChoice,
        typer.Option(
            help="card: the model card's, as everywhere; published: the one with which the "
            "authors' figures were made, for comparison; not for servers that take only text."
        ),
    ] = PromptChoice.card,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1, help="Judged queries, drawn at random; not given: all.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds draw equal samples.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all figures as JSON instead of the table.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A report with pictures.", show_default=False),
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Every ranking as a TREC run, with qrels.txt; a new folder.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Hub id, folder or lexical; given again: models side by side.", show_default=False
        ),
    ] = None,
    base_url: Annotated[str | None, setting("base_url")] = default("base_url"),
    engine: Annotated[str, setting("engine")] = default("engine"),
    tokenizer: Annotated[str | None, setting("tokenizer")] = default("tokenizer"),
    instruction: Annotated[str, setting("instruction")] = default("instruction"),
    max_length: Annotated[int, setting("max_length")] = default("max_length"),
    engine_options: Annotated[str, setting("engine_options")] = "{}",
) -> None:
    """Measure whether reranking helps on your data: by model, by how many, and at what cost.

    [dim]qwen3-rerank evaluate my-collection --html report.html[/]

    [dim]qwen3-rerank evaluate my-collection --run bm25.txt --top-k 20,100 --fusion weighted[/]

    [dim]qwen3-rerank evaluate --queries q.tsv --corpus c.jsonl --qrels qrels.txt --json[/]

    A server's key is taken from QWEN3_RERANK_API_KEY alone, so that no list of processes shows it.
    """
    if html and html.is_dir():
        raise InvalidInputError(f"{html} is a folder; name a file for --html")
    if runs:
        checked_empty(runs)
    collection = _collection(folder, split, queries, corpus, qrels)
    found = read_run(run) if run else None
    names: list[str | None] = [*model] if model else [None]
    settings = [
        RerankSettings(
            **({} if name is None else {"model": name}),
            base_url=base_url,
            engine=engine,
            tokenizer=tokenizer,
            instruction=instruction,
            max_length=max_length,
            engine_options=json_object("--engine-options", engine_options),
        )
        for name in names
    ]
    evaluation = evaluated(
        collection,
        _rerankers(settings, prompt),
        found,
        run_name=run.name if run else "",
        top_k=_numbers(top_k),
        measures=measures.replace(",", " ").split(),
        fusions=fusion or [],
        sample=sample,
        seed=seed,
        progress=messages().is_terminal,
    )
    figures = evaluation.to_dict()
    if html:
        write_page(html, figures)
    if runs:
        evaluation.write_runs(runs)
    if as_json:
        print_json(figures, indent=1)
    else:
        _print(evaluation, figures)


def _collection(
    folder: Path | None,
    split: str,
    queries: Path | None,
    corpus: Path | None,
    qrels: Path | None,
) -> Collection:
    if folder and not (queries or corpus or qrels):
        return read_collection(folder, split)
    if folder or not (queries and corpus and qrels):
        raise typer.BadParameter("give FOLDER, or all of --queries, --corpus and --qrels")
    return Collection(
        read_queries(queries), read_corpus(corpus), read_qrels(qrels), corpus.name, str(qrels)
    )


def _rerankers(
    settings: list[RerankSettings], prompt: PromptChoice
) -> Iterator[tuple[str, Reranker]]:
    """One after the other, so that no two are in memory."""
    for one in settings:
        with one.make_reranker() as reranker:
            name = str(one.model or reranker.start(timeout=None).model)
            if prompt is PromptChoice.card:
                yield name, reranker
                continue
            asked_otherwise = Reranker(
                PublishedPrompt(reranker), instruction=one.instruction, max_length=one.max_length
            )
            with asked_otherwise:
                yield f"{name}, published prompt", asked_otherwise


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise typer.BadParameter(f"--top-k is {text!r}; give whole numbers such as 10,20,50")
    return [int(part) for part in parts]


def _print(evaluation: Evaluation, figures: dict[str, Any]) -> None:
    console, collection = output(), figures["collection"]
    counts = f"{collection['queries']:,} queries, {collection['documents']:,} documents"
    console.print(one_line(f"{collection['name']}: {counts}", "bold"))
    console.print(_quality(figures))
    console.print()
    console.print(_gains(figures))
    stage = figures["first_stage"]
    told = [
        f"{stage['relevant_found']:.1%} of the relevant are in the top {stage['depth']} of "
        + stage["name"],
        f"{stage['queries_missing']} queries have no candidates and count 0"
        * bool(stage["queries_missing"]),
        *(described_model(one.info.model) for one in evaluation.scored),
    ]
    console.print(Text("; ".join(filter(None, told)), "dim"))


def _quality(figures: dict[str, Any]) -> Table:
    """What each ranking reaches, and how long it takes."""
    queries = figures["collection"]["queries"]
    table = _empty(["ranking", *figures["measures"], "tokens/query", "ms/query"])
    for ranking in figures["rankings"]:
        cells = [f"{ranking['measures'][one]['mean']:.3f}" for one in figures["measures"]]
        if cost := ranking["cost"]:
            tokens, milliseconds = cost["tokens"] / queries, 1000 * cost["seconds"] / queries
            cells += [f"{tokens:,.0f}", f"{milliseconds:,.1f}"]
        table.add_row(ranking["name"], *cells)
    return table


def _gains(figures: dict[str, Any]) -> Table:
    """What each ranking gains in the leading measure, and how sure that is."""
    leading, confidence = figures["measures"][0], f"{figures['statistics']['confidence']:.0%}"
    table = _empty([f"gain in {leading}", "mean", confidence, "p", "helped", "hurt"])
    for ranking in figures["rankings"][1:]:
        gain, changed = ranking["measures"][leading]["gain"], ranking["changed"]
        single = gain["low"] is None
        interval = "one query" if single else f"{gain['low']:+.3f} to {gain['high']:+.3f}"
        table.add_row(
            ranking["name"],
            Text(f"{gain['mean']:+.3f}", COLOURS.get(verdict(gain), "")),
            interval,
            shown_p(gain["p"]),
            str(changed["helped"]),
            str(changed["hurt"]),
        )
    return table


def _empty(names: list[str]) -> Table:
    first, *others = names
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, overflow="fold", min_width=14)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
