"""`qwen3-rerank doctor`: what is wrong here, why it matters, and what to do about it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Annotated

import typer

from ... import engines
from ...components.settings import ENVIRONMENT_PREFIX, RerankSettings
from ...doctor import Diagnosis, Host, Target, examine, gravest, look
from ...engines import EngineSpec, choose_engine
from ...engines.served.address import checked_api_key, checked_urls
from ...models.lexical import NAME as LEXICAL
from ..options import default, json_object, setting
from ..report import print_json
from ..screen import waiting
from .trust import proven, remembered
from .view import as_dict, print_diagnoses


def doctor(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Also load this model where it would run and prove its scores, as `selfcheck` "
            "does; lexical needs no download. With --url: what must be served there.",
            show_default=False,
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            "--base-url",
            metavar="URL",
            envvar=f"{ENVIRONMENT_PREFIX}BASE_URL",
            show_envvar=False,
            help="Examine the server at this address instead of this machine; several with commas "
            f"between them. Its key comes from {ENVIRONMENT_PREFIX}API_KEY.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[str, setting("engine")] = default("engine"),
    tokenizer: Annotated[str | None, setting("tokenizer")] = default("tokenizer"),
    max_length: Annotated[int, setting("max_length")] = default("max_length"),
    engine_options: Annotated[str, setting("engine_options")] = "{}",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Say what is installed and plugged in, what would be set, and what is wrong.

    Looks at NPUs, CANN, packages and whether they pair, settings and known faults, and at the
    model cache; loads nothing without --model. With --url at a server: version, template, who may
    ask it, whether its scores are right, and how long they take. Exit status 1 if there is a
    problem, 0 if there are only notes and warnings.

    [dim]qwen3-rerank doctor[/]

    [dim]qwen3-rerank doctor --model Qwen/Qwen3-Reranker-0.6B[/]

    [dim]qwen3-rerank doctor --url http://localhost:8000[/]
    """
    settings = RerankSettings(
        **({} if model is None else {"model": model}),
        base_url=url,
        engine=engine,
        tokenizer=tokenizer,
        max_length=max_length,
        engine_options=json_object("--engine-options", engine_options),
    )
    with waiting("looking"):
        diagnoses = (
            list(_machine(settings, prove_it=model is not None))
            if url is None
            else asyncio.run(_servers(settings, url))
        )
    if as_json:
        print_json(as_dict(diagnoses), indent=2)
    else:
        print_diagnoses(diagnoses)
    if gravest(diagnoses) == "problem":
        raise typer.Exit(1)


def _machine(settings: RerankSettings, *, prove_it: bool) -> Iterator[Diagnosis]:
    host = look()
    spec = _spec(settings, host)
    model = None if spec.model == LEXICAL else spec.model
    target = Target.of(host, model, spec.name, spec.max_length, spec.options)
    yield from examine(host, model, target)
    if prove_it:
        yield from proven(spec)
    elif host.npu_smi.outcome != "hung":  # else it would be asked again
        yield remembered(spec)


def _spec(settings: RerankSettings, host: Host) -> EngineSpec:
    engine = settings.engine
    if engine == "auto" and settings.model != LEXICAL:
        engine = host.machine.best_engine  # what choose_engine() would ask npu-smi for again
    return EngineSpec(
        choose_engine(engine, settings.model),
        settings.model,
        settings.max_length,
        settings.tokenizer,
        settings.engine_options,
    )


async def _servers(settings: RerankSettings, url: str) -> list[Diagnosis]:
    # Whatever a start warns of is among the findings.
    logging.getLogger(engines.__name__).addHandler(logging.NullHandler())
    urls = checked_urls(url)
    spec = EngineSpec(
        choose_engine(settings.engine, served=True),
        settings.model,
        settings.max_length,
        settings.tokenizer,
        settings.engine_options,
        urls,
        checked_api_key(settings.api_key),
    )
    engine = spec.make()  # refuses options that cannot be used, and says what is not installed
    await engine.aclose()
    from . import server

    return [diagnosis for each in urls for diagnosis in await server.examine(spec, each)]
