"""`qwen3-rerank bench`: how fast an engine or a server answers."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ...components.settings import RerankSettings
from ...errors import InvalidInputError
from ...models import tokenizer_file
from ..options import default, json_object, setting
from ..screen import described_model, messages, output, print_error, waiting
from .load import Arrivals
from .machine import describe
from .measure import Course, measure
from .picture import ENDINGS, check_matplotlib, draw
from .report import Run, error_lines, sweep_table, table
from .workload import random_requests, read_requests

COUNT = 100
"""How many requests are asked where neither an option nor a file says."""


def bench(
    requests: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Your own requests, one a line: {query, documents}, as for rank. Not given: "
            "random ones.",
        ),
    ] = None,
    random_input_len: Annotated[
        int,
        typer.Option(min=2, help="Tokens of a random query and a random document together."),
    ] = 200,
    documents: Annotated[int, typer.Option(min=1, help="Documents of a random request.")] = 10,
    seed: Annotated[int, typer.Option(help="Equal seeds draw equal requests.")] = 0,
    num_requests: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Requests to ask; not given: each of PATH once, or {COUNT} random ones.",
            show_default=False,
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Requests under way at once; not given: 1.", show_default=False),
    ] = None,
    request_rate: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Requests a second, however many are under way.", show_default=False
        ),
    ] = None,
    arrivals: Annotated[
        Arrivals, typer.Option(help="How requests come at --request-rate.")
    ] = Arrivals.poisson,
    warm_up: Annotated[
        int, typer.Option(min=0, help="Random requests beforehand, not counted.")
    ] = 2,
    sweep: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,…", help="Several concurrencies, one after another.", show_default=False
        ),
    ] = None,
    output_file: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Everything as JSON.", show_default=False),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=f"Latency against throughput of a sweep ({', '.join(ENDINGS)}).",
            show_default=False,
        ),
    ] = None,
    model: Annotated[str | None, setting("model")] = default("model"),
    base_url: Annotated[str | None, setting("base_url")] = default("base_url"),
    engine: Annotated[str, setting("engine")] = default("engine"),
    tokenizer: Annotated[str | None, setting("tokenizer")] = default("tokenizer"),
    instruction: Annotated[str, setting("instruction")] = default("instruction"),
    max_length: Annotated[int, setting("max_length")] = default("max_length"),
    timeout: Annotated[float | None, setting("timeout")] = default("timeout"),
    engine_options: Annotated[str, setting("engine_options")] = "{}",
    cascade: Annotated[str | None, setting("cascade")] = default("cascade"),
) -> None:
    """Measure speed: requests and tokens a second, and how long an answer takes.

    The table has the rows of `vllm bench serve`, to be read side by side with it. A request is one
    query with its documents; tokens are those of whole prompts. Exit status 1 if a request failed.
    A server's key is taken from QWEN3_RERANK_API_KEY alone, so that no list of processes shows it.

    [dim]qwen3-rerank bench --model lexical --concurrency 4[/]

    [dim]qwen3-rerank bench --requests requests.jsonl --request-rate 5 --output run.json[/]

    [dim]qwen3-rerank bench --sweep 1,2,4,8 --picture sweep.png[/]

    [dim]qwen3-rerank bench --base-url http://127.0.0.1:8000 --concurrency 8[/]
    """
    loads = _loads(concurrency, request_rate, sweep)
    _check_files(output_file, picture, sweep is not None)
    settings = RerankSettings(
        model=model,
        base_url=base_url,
        engine=engine,
        tokenizer=tokenizer,
        instruction=instruction,
        max_length=max_length,
        timeout=timeout,
        cache_size=0,  # a score that is remembered measures nothing
        engine_options=json_object("--engine-options", engine_options),
        cascade=cascade,
    )
    own = read_requests(requests) if requests else []
    course = Course(loads, num_requests or len(own) or COUNT, warm_up, arrivals, seed)
    if own and course.count * len(loads) > len(own):
        messages().print(
            f"{len(own)} requests are asked several times over; an engine with a prefix cache "
            "answers a repeated one faster",
            style="dim",
        )
    workload = (
        {"requests": requests}
        if own
        else {"random_input_len": random_input_len, "documents": documents}
    )

    with settings.make_reranker() as reranker:
        began = time.perf_counter()
        with waiting(f"{described_model(settings.model)} starts"):
            info = reranker.start()
        start_seconds = time.perf_counter() - began
        drawn = random_requests(
            tokenizer_file(settings.tokenizer or info.tokenizer), random_input_len, documents, seed
        )
        asked = itertools.cycle(own) if own else drawn
        runs, interrupted = measure(reranker, course, asked, drawn)

    title = f"{described_model(info.model)} · {info.engine} on {info.device}"
    _print(runs, title, swept=sweep is not None)
    if output_file:
        report = {
            "config": {**workload, **asdict(course), "instruction": settings.instruction},
            "engine": asdict(info),
            "start_seconds": start_seconds,
            "machine": describe(),
            "interrupted": interrupted,
            "runs": [run.as_dict() for run in runs],
        }
        text = json.dumps(report, ensure_ascii=False, indent=1, default=str)
        output_file.write_text(text + "\n", encoding="utf-8")
    if picture and runs:
        draw([run.figures() for run in runs], title, picture)
    if interrupted:
        raise KeyboardInterrupt  # the program ends as Ctrl-C ends it
    if any(run.errors for run in runs):
        raise typer.Exit(1)


def _loads(
    concurrency: int | None, request_rate: float | None, sweep: str | None
) -> list[int | float]:
    given = [one for one in (concurrency, request_rate, sweep) if one is not None]
    if len(given) > 1:
        raise typer.BadParameter("give one of --concurrency, --request-rate and --sweep")
    if sweep is None:
        return [concurrency or 1 if request_rate is None else request_rate]
    levels = [part.strip() for part in sweep.split(",")]
    if not all(level.isdecimal() and int(level) for level in levels):
        raise typer.BadParameter(f"--sweep is {sweep!r}; give whole numbers such as 1,2,4,8")
    return [int(level) for level in levels]


def _check_files(output_file: Path | None, picture: Path | None, swept: bool) -> None:
    """Find out now, and not after the work, what cannot be written."""
    for file in filter(None, (output_file, picture)):
        if file.is_dir() or not file.parent.is_dir():
            raise InvalidInputError(f"{file} cannot be written; name a file in an existing folder")
    if picture:
        if not swept:
            raise typer.BadParameter("--picture shows a sweep; give --sweep 1,2,4,8 too")
        if picture.suffix.lower() not in ENDINGS:
            raise typer.BadParameter(f"--picture is {picture}; end it in {', '.join(ENDINGS)}")
        check_matplotlib()


def _print(runs: list[Run], title: str, *, swept: bool) -> None:
    console = output()
    console.print(title, style="bold")
    if swept:
        console.print(sweep_table(runs))
    else:
        for run in runs:
            console.print(table(run), markup=False, soft_wrap=True)
    for line in error_lines(runs):
        print_error(line)
