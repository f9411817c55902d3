"""`qwen3-rerank evaluate`: whether reranking helps on your data."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ..components.settings import RERANKER_FIELDS, RerankSettings
from ..components.stages import Stage, checked_cascade
from ..corpora import read_run
from ..errors import InvalidInputError
from ..evaluation import MEASURES, Evaluation, write_page
from ..evaluation import evaluate as evaluated
from ..evaluation.evaluate import TOP_K
from ..evaluation.page import shown_p, verdict
from ..evaluation.published import PublishedPrompt
from ..evaluation.report import checked_empty
from ..reranker import Reranker
from .collections import Corpus, QrelsFile, Queries, RunFile, collection_of
from .options import default, json_object, setting
from .report import print_json
from .screen import described_model, messages, one_line, output


class PromptChoice(str, Enum):
    """Which prompt the model is asked with."""

    card = "card"
    published = "published"


COLOURS = {"better": "green", "worse": "red"}


def evaluate(
    collection: Annotated[
        str | None,
        typer.Argument(
            help="A folder with corpus.jsonl, queries.jsonl and qrels/<split>.tsv, as BEIR has "
            "them; or ir_datasets:ID.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Which qrels of the folder.")] = "test",
    queries: Queries = None,
    corpus: Corpus = None,
    qrels: QrelsFile = None,
    run: RunFile = None,
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
    cascade: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SMALL:KEEP",
            help="Also ask each model only about what SMALL, a model or its URL, puts first. Can "
            "be given again.",
        ),
    ] = None,
    metadata_fields: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Have each model read documents with these fields before the text and without, "
            "e.g. title.",
            show_default=False,
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

    [dim]qwen3-rerank evaluate my-collection --model LARGE --cascade SMALL:20 --top-k 100[/]

    [dim]qwen3-rerank evaluate --queries q.tsv --corpus c.jsonl --qrels qrels.txt --json[/]

    A server's key is taken from QWEN3_RERANK_API_KEY alone, so that no list of processes shows it.
    """
    if html and html.is_dir():
        raise InvalidInputError(f"{html} is a folder; name a file for --html")
    if runs:
        checked_empty(runs)
    texts = collection_of(collection, split, queries, corpus, qrels)
    found = read_run(run) if run else None
    stages = [Stage.of(one) for one in checked_cascade(cascade) or ()]
    names: list[str | None] = [*model] if model else [None]
    if last := next((one for one in stages if one.model == names[-1]), None):
        raise InvalidInputError(
            f"--cascade {last} has no model after {last.model} that it could hand on to; give the "
            "large one as --model, after it"
        )
    settings = [
        RerankSettings(
            **({} if name is None else {"model": name}),
            base_url=base_url,
            engine=engine,
            tokenizer=tokenizer,
            instruction=instruction,
            max_length=max_length,
            engine_options=json_object("--engine-options", engine_options),
            metadata_fields=None,
            calibration=None,
            cascade=None,
        )
        for name in names
    ]
    with closing(_rerankers(settings, stages, prompt)) as rerankers:  # the last one, too
        evaluation = evaluated(
            texts,
            rerankers,
            found,
            run_name=run.name if run else "",
            top_k=_numbers(top_k),
            measures=measures.replace(",", " ").split(),
            fusions=fusion or [],
            cascades=[f"{_asked(one.model, prompt)}:{one.keep}" for one in stages],
            metadata_fields=metadata_fields,
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


def _rerankers(
    settings: list[RerankSettings], stages: list[Stage], prompt: PromptChoice
) -> Generator[tuple[str, Reranker]]:
    """One after the other, so that no two are in memory; small ones of cascades first."""
    models = {one.model for one in settings}
    given = {name: getattr(settings[0], name) for name in RERANKER_FIELDS}
    for name in dict.fromkeys(stage.model for stage in stages if stage.model not in models):
        yield from _asked_by(name, Stage(name, 1).reranker(given, None), prompt)
    for one in settings:
        (reranker,) = one.make_reranker().stages
        yield from _asked_by(one.model, reranker, prompt)


def _asked_by(
    name: str | None, reranker: Reranker, prompt: PromptChoice
) -> Generator[tuple[str, Reranker]]:
    """A model under its name, with the prompt that was chosen."""
    with reranker:
        told = _asked(name or reranker.start(timeout=None).model, prompt)
        if prompt is PromptChoice.card:
            yield told, reranker
            return
        with Reranker(
            PublishedPrompt(reranker),
            instruction=reranker.instruction,
            max_length=reranker.max_length,
        ) as asked_otherwise:
            yield told, asked_otherwise


def _asked(name: str, prompt: PromptChoice) -> str:
    """What the report calls a model."""
    return name if prompt is PromptChoice.card else f"{name}, published prompt"


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
    if figures["comparisons"]:
        console.print()
        console.print(_compared(figures))
    stage = figures["first_stage"]
    told = [
        f"{stage['relevant_found']:.1%} of the relevant are in the top {stage['depth']} of "
        + stage["name"],
        f"{stage['queries_missing']} queries have no candidates and count 0"
        * bool(stage["queries_missing"]),
        *dict.fromkeys(described_model(one.info.model) for one in evaluation.scored),
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
        table.add_row(
            ranking["name"],
            *_shown(gain),
            str(changed["helped"]),
            str(changed["hurt"]),
        )
    return table


def _compared(figures: dict[str, Any]) -> Table:
    """Rankings against others than the first stage: cascades, and fields."""
    leading, confidence = figures["measures"][0], f"{figures['statistics']['confidence']:.0%}"
    table = _empty(["side by side", "against", f"in {leading}", confidence, "p", "time"], 2)
    for one in figures["comparisons"]:
        gain, time = one["measures"][leading], one["time"]
        table.add_row(
            one["ranking"],
            one["against"],
            *_shown(gain),
            "" if time is None else f"x {time:.2f}",
        )
    return table


def _shown(gain: dict[str, Any]) -> list[Text | str]:
    """A gain, its interval, and p."""
    single = gain["low"] is None
    return [
        Text(f"{gain['mean']:+.3f}", COLOURS.get(verdict(gain), "")),
        "one query" if single else f"{gain['low']:+.3f} to {gain['high']:+.3f}",
        shown_p(gain["p"]),
    ]


def _empty(names: list[str], texts: int = 1) -> Table:
    """A table whose first columns are texts, which give way, and whose others are numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in names[:texts]:
        table.add_column(name, overflow="fold", min_width=14)
    for name in names[texts:]:
        table.add_column(name, justify="right", no_wrap=True)
    return table
