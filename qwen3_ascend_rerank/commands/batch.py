"""`qwen3-rerank batch`: files of requests in, a folder of results out."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer
from rich.text import Text

from ..batch import BatchReport, Columns, LocalProcesses, RayActors, RunInput, run_batch
from ..batch.job import REQUESTS_A_BLOCK, Workers
from ..components.settings import RerankSettings
from . import screen
from .options import default, json_object, setting
from .screen import counted, messages, print_error

INPUT = "What the columns of the input are called"
WHERE = "Where blocks are ranked"
COLUMNS = Columns()


class BatchFormat(str, Enum):
    """How results are written."""

    jsonl = "jsonl"
    parquet = "parquet"
    csv = "csv"
    trec = "trec"


class BatchDevice(str, Enum):
    """What Ray places an actor by."""

    auto = "auto"
    npu = "npu"
    gpu = "gpu"
    cpu = "cpu"


def batch(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT... OUTPUT",
            help="Files, folders, globs or URLs that fsspec knows, of .jsonl, .csv, .tsv or "
            ".parquet, packed or not; then the folder for the results.",
        ),
    ],
    output_format: Annotated[
        BatchFormat,
        typer.Option("--format", help="jsonl: a line a request; trec: a run; else a row a pair."),
    ] = BatchFormat.jsonl,
    texts: Annotated[
        bool, typer.Option("--texts", help="Write the documents' texts too; jsonl only.")
    ] = False,
    block: Annotated[
        int, typer.Option(help="Requests that are written at once.")
    ] = REQUESTS_A_BLOCK,
    query_column: Annotated[str, typer.Option(rich_help_panel=INPUT)] = COLUMNS.query,
    documents_column: Annotated[
        str, typer.Option(rich_help_panel=INPUT, help="A list of documents; in CSV as JSON.")
    ] = COLUMNS.documents,
    document_column: Annotated[
        str,
        typer.Option(
            rich_help_panel=INPUT,
            help="One document; rows that follow each other with the same id, or the same query "
            "where there is none, are one request.",
        ),
    ] = COLUMNS.document,
    id_column: Annotated[
        str, typer.Option(rich_help_panel=INPUT, help="Of a request; may be missing.")
    ] = COLUMNS.id,
    document_id_column: Annotated[
        str, typer.Option(rich_help_panel=INPUT, help="Of a pair's document; may be missing.")
    ] = COLUMNS.document_id,
    instruction_column: Annotated[
        str, typer.Option(rich_help_panel=INPUT, help="Of a request; may be missing.")
    ] = COLUMNS.instruction,
    queries: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=INPUT,
            metavar="FILE",
            help="Texts of the queries by their ids, where INPUT is a TREC run.",
        ),
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=INPUT,
            metavar="FILE",
            help="Texts of the documents by their ids, where INPUT is a TREC run.",
        ),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=WHERE,
            min=1,
            help="Processes on this machine, each with a copy of the model on cards of its own; "
            "with --ray, actors. Not given: one, here.",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=WHERE,
            metavar="auto|ADDRESS",
            help="Rank on a Ray cluster: at this address; auto: that which is found here, else one "
            "of this machine alone.",
        ),
    ] = None,
    min_replicas: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=WHERE,
            min=1,
            help="With --ray: actors that there are in any case; more are started as blocks wait, "
            "up to --replicas. Not given: as many as --replicas.",
        ),
    ] = None,
    device: Annotated[
        BatchDevice,
        typer.Option(
            rich_help_panel=WHERE,
            help="With --ray: what an actor is placed by; auto: what is plugged in here.",
        ),
    ] = BatchDevice.auto,
    cpus: Annotated[
        float,
        typer.Option(
            rich_help_panel=WHERE, min=0, help="With --ray: CPU cores that an actor is given."
        ),
    ] = 1.0,
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
    metadata_fields: Annotated[str | None, setting("metadata_fields")] = default("metadata_fields"),
    calibration: Annotated[str | None, setting("calibration")] = default("calibration"),
    cascade: Annotated[str | None, setting("cascade")] = default("cascade"),
    engine_options: Annotated[str, setting("engine_options")] = "{}",
) -> None:
    """Rank whole files, in blocks; the same command goes on where it was stopped.

    [dim]qwen3-rerank batch requests.jsonl results[/]

    [dim]qwen3-rerank batch 'pairs/*.parquet' results --format parquet --top-n 10[/]

    [dim]qwen3-rerank batch --base-url http://a:8000,http://b:8000 requests.jsonl results[/]

    [dim]qwen3-rerank batch bm25.run results --queries q.jsonl --corpus c.jsonl --format trec[/]

    [dim]qwen3-rerank batch --replicas 8 requests.jsonl results[/]

    [dim]qwen3-rerank batch --ray auto --min-replicas 2 --replicas 64 's3://pairs/*' s3://ranked[/]
    """
    if len(places) < 2:
        raise typer.BadParameter("give at least one INPUT, and OUTPUT, a folder, after it")
    if texts and output_format is not BatchFormat.jsonl:
        raise typer.BadParameter("--texts is for --format jsonl")
    if (queries is None) != (corpus is None):
        raise typer.BadParameter("a run has only ids: give both --queries and --corpus")
    run = RunInput(queries, corpus) if queries is not None and corpus is not None else None
    *inputs, output = places
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
        engine_options=json_object("--engine-options", engine_options),
        metadata_fields=metadata_fields,
        calibration=calibration,
        cascade=cascade,
    )
    workers: Workers | None = None
    if ray is not None:
        address = None if ray == "auto" else ray
        workers = RayActors(replicas or 1, min_replicas, address, device.value, cpus=cpus)
    elif min_replicas is not None or device is not BatchDevice.auto or cpus != 1:
        raise typer.BadParameter("--min-replicas, --device and --cpus are for --ray")
    elif replicas is not None and replicas > 1:
        workers = LocalProcesses(replicas)
    columns = Columns(
        query_column,
        documents_column,
        document_column,
        id_column,
        document_id_column,
        instruction_column,
        tuple(settings.metadata_fields or ()),
    )
    console = messages()

    def tell(report: BatchReport) -> None:
        line = (
            f"{counted(report.blocks, 'block')}: {counted(report.requests, 'request')}, "
            f"{counted(report.rejects, 'row')} refused, {report.pairs_a_second:,.0f} pairs/s"
        )
        console.print(Text(line, "dim"))

    try:
        with settings.make_reranker() as reranker:
            report = run_batch(
                reranker,
                inputs,
                output,
                columns=columns,
                run=run,
                output_format=output_format.value,
                texts=texts,
                block=block,
                workers=workers,
                on_block=tell,
            )
    except KeyboardInterrupt:
        print_error("stopped; the same command goes on with the block that was under way")
        raise
    screen.output().print(_summary(report, output), soft_wrap=True)
    if report.rejects:
        were = "was" if report.rejects == 1 else "were"
        refused = (
            f"{counted(report.rejects, 'row')} {were} refused; {output}/rejects-*.jsonl say why"
        )
        console.print(Text(refused, "yellow"), soft_wrap=True)


def _summary(report: BatchReport, output: str) -> Text:
    earlier = f", {report.blocks_before} of them before" if report.blocks_before else ""
    return Text(
        f"{counted(report.requests, 'request')} in {counted(report.blocks, 'block')}{earlier} in "
        f"{output}; now {counted(report.pairs, 'pair')}, {counted(report.tokens, 'token')}, "
        f"{counted(report.truncated, 'document')} truncated, {report.seconds:.1f} s"
    )
