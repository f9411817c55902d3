"""`qwen3-rerank rank`: one query and its passages, or a file of requests."""

from __future__ import annotations

import time
from enum import Enum
from typing import Annotated

import typer

from ..components.settings import RerankSettings
from ..prompts.request import checked_query
from .inputs import STANDARD_INPUT, InputFormat, Passage, read_passages, read_texts
from .options import default, json_object, setting
from .report import as_dict, print_json, print_table
from .requests import rank_requests
from .screen import described_model, print_error, waiting


class OutputFormat(str, Enum):
    """How results are written."""

    table = "table"
    json = "json"
    jsonl = "jsonl"


def rank(
    query: Annotated[str | None, typer.Argument(help="What is asked.", show_default=False)] = None,
    documents: Annotated[
        list[str] | None,
        typer.Argument(help="Passages; - reads them from standard input.", show_default=False),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Passages, one a line; in .jsonl a string, or an object with a text and "
            "anything else. Can be given again.",
        ),
    ] = None,
    requests: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Requests, one a line: {query, documents} and, where wanted, id, top_n, "
            "threshold, instruction, long_documents. A line of JSON comes out for each, in order.",
        ),
    ] = None,
    output_format: Annotated[
        OutputFormat | None,
        typer.Option("--format", help="How to print: table if not given; requests always jsonl."),
    ] = None,
    input_format: Annotated[
        InputFormat, typer.Option(help="How passages are written; auto goes by the file's name.")
    ] = InputFormat.auto,
    keep_going: Annotated[
        bool,
        typer.Option("--keep-going", help="Print a bad request's error in its place, and go on."),
    ] = False,
    model: Annotated[str | None, setting("model")] = default("model"),
    base_url: Annotated[str | None, setting("base_url")] = default("base_url"),
    engine: Annotated[str, setting("engine")] = default("engine"),
    tokenizer: Annotated[str | None, setting("tokenizer")] = default("tokenizer"),
    instruction: Annotated[str, setting("instruction")] = default("instruction"),
    max_length: Annotated[int, setting("max_length")] = default("max_length"),
    top_n: Annotated[int | None, setting("top_n")] = default("top_n"),
    threshold: Annotated[float | None, setting("threshold")] = default("threshold"),
    long_documents: Annotated[str, setting("long_documents")] = default("long_documents"),
    passage_tokens: Annotated[int | None, setting("passage_tokens")] = default("passage_tokens"),
    passage_overlap: Annotated[int, setting("passage_overlap")] = default("passage_overlap"),
    passage_limit: Annotated[int, setting("passage_limit")] = default("passage_limit"),
    timeout: Annotated[float | None, setting("timeout")] = default("timeout"),
    engine_options: Annotated[str, setting("engine_options")] = "{}",
    metadata_fields: Annotated[str | None, setting("metadata_fields")] = default("metadata_fields"),
    calibration: Annotated[str | None, setting("calibration")] = default("calibration"),
    cascade: Annotated[str | None, setting("cascade")] = default("cascade"),
) -> None:
    """Rank passages for a query, best first.

    [dim]qwen3-rerank rank "capital of China" "Bread needs flour." "Beijing is it."[/]

    [dim]qwen3-rerank rank "capital of China" --file passages.txt --top-n 5[/]

    [dim]qwen3-rerank rank --requests requests.jsonl > results.jsonl[/]

    [dim]qwen3-rerank rank --base-url http://127.0.0.1:8000 "capital of China" "Beijing is it."[/]

    A server's key is taken from QWEN3_RERANK_API_KEY alone, so that no list of processes shows it.
    """
    settings = RerankSettings(
        model=model,
        base_url=base_url,
        engine=engine,
        tokenizer=tokenizer,
        instruction=instruction,
        max_length=max_length,
        top_n=top_n,
        threshold=threshold,
        long_documents=long_documents,
        passage_tokens=passage_tokens,
        passage_overlap=passage_overlap,
        passage_limit=passage_limit,
        timeout=timeout,
        engine_options=json_object("--engine-options", engine_options),
        metadata_fields=metadata_fields,
        calibration=calibration,
        cascade=cascade,
    )
    if requests is not None:
        if query is not None or documents or file:
            raise typer.BadParameter("--requests brings its own queries and documents")
        if output_format not in (None, OutputFormat.jsonl):
            raise typer.BadParameter("--requests prints JSON lines; leave --format out")
        _rank_requests(settings, requests, keep_going)
    else:
        if query is None:
            raise typer.BadParameter("give a QUERY, or --requests PATH")
        passages = _passages(documents or [], file or [], input_format)
        _rank_once(settings, query, passages, output_format or OutputFormat.table)


def _passages(documents: list[str], files: list[str], form: InputFormat) -> list[Passage]:
    if not documents and not files:
        raise typer.BadParameter("give passages: as arguments, by --file, or - to read them")
    if [*documents, *files].count(STANDARD_INPUT) > 1:
        raise typer.BadParameter("standard input (-) can be read only once")
    passages: list[Passage] = []
    for document in documents:
        given = document != STANDARD_INPUT
        passages += [Passage(document)] if given else read_passages(document, form)
    for path in files:
        passages += read_passages(path, form)
    return passages


def _rank_once(
    settings: RerankSettings, query: str, passages: list[Passage], form: OutputFormat
) -> None:
    checked_query(query)  # before anything is loaded
    model, loading = described_model(settings.model), None
    with settings.make_reranker() as reranker:
        if settings.timeout is None:  # else loading counts, too
            began = time.perf_counter()
            with waiting(f"loading {model}"):
                reranker.start()
            loading = time.perf_counter() - began
        with waiting(f"{model} · {len(passages)} passages"):
            result = reranker.rerank(query, read_texts(passages, settings))
    if form is OutputFormat.table:
        print_table(result, len(passages), loading)
    elif form is OutputFormat.json:
        print_json(as_dict(result, passages), indent=2)
    else:
        for place, document in enumerate(as_dict(result, passages)["documents"], 1):
            print_json({"rank": place, **document})


def _rank_requests(settings: RerankSettings, source: str, keep_going: bool) -> None:
    with settings.make_reranker() as reranker:
        failed = rank_requests(reranker, source, settings, keep_going=keep_going)
    if failed:
        print_error(f"{failed} requests failed; their lines say why")
        raise typer.Exit(1)
