"""`qwen3-rerank selfcheck`: does this machine compute right scores?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from enum import Enum
from itertools import groupby
from operator import attrgetter
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ..bridge.loop import submit
from ..components.settings import RerankSettings
from ..engines import EngineSpec, choose_engine
from ..engines.startup import examine, probe
from ..models.lexical import NAME as LEXICAL
from ..trust import Check, Report
from .options import default, json_object, setting
from .report import print_json
from .screen import one_line, output, waiting, whole

_SIGN, _NUMBER = 7, 17
"""Columns of a table, for what is in them in most rows."""


class Format(str, Enum):
    """How the outcome is written."""

    table = "table"
    json = "json"


def selfcheck(
    model: Annotated[str, setting("model")] = LEXICAL,
    engine: Annotated[str, setting("engine")] = default("engine"),
    tokenizer: Annotated[str | None, setting("tokenizer")] = default("tokenizer"),
    max_length: Annotated[int, setting("max_length")] = default("max_length"),
    engine_options: Annotated[str, setting("engine_options")] = "{}",
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.table,
) -> None:
    """Prove that scores are right here: this card, these versions, these settings.

    The lexical model, whose answers are known, is loaded in the runtime and asked; then, if one is
    named, the model itself. The outcome is remembered, and a runtime that failed is not used. Exit
    status 1 if anything failed.

    [dim]qwen3-rerank selfcheck --engine vllm[/]

    [dim]qwen3-rerank selfcheck --model Qwen/Qwen3-Reranker-0.6B[/]
    """
    settings = RerankSettings(
        model=model,
        engine=engine,
        tokenizer=tokenizer,
        max_length=max_length,
        engine_options=json_object("--engine-options", engine_options),
    )
    spec = EngineSpec(
        choose_engine(settings.engine),
        settings.model,
        settings.max_length,
        settings.tokenizer,
        settings.engine_options,
    )
    reports = prove(spec)
    if form is Format.json:
        print_json({name: asdict(report) for name, report in reports.items()}, indent=2)
    else:
        for name, report in reports.items():
            _print(f"{name} on the {spec.name} engine", report)
    if any(report.failures for report in reports.values()):
        raise typer.Exit(1)


def prove(spec: EngineSpec) -> dict[str, Report]:
    """Have the runtime of `spec` show what it can: with the lexical model, then with its own."""
    with waiting(f"{LEXICAL} on the {spec.name} engine"):
        reports = {LEXICAL: submit(probe(spec)).result()}
    if spec.model not in (None, LEXICAL) and not reports[LEXICAL].failures:
        with waiting(f"{spec.model} on the {spec.name} engine"):
            reports[str(spec.model)] = submit(examine(spec)).result()
    return reports


def _print(title: str, report: Report) -> None:
    console = output()
    console.print(one_line(title, "bold"))
    for name, checks in groupby(report.checks, key=attrgetter("name")):
        console.print(one_line(name))
        console.print(_table(checks))
    passed = sum(check.passed for check in report.checks)
    console.print(f"{passed} of {len(report.checks)} right · {report.tokens:,} tokens", style="dim")
    for fault in dict.fromkeys(check.fault for check in report.failures):
        console.print(Text(fault, "red"))
    for fault in dict.fromkeys(check.fault for check in report.warnings):
        console.print(Text(fault, "yellow"))


def _table(checks: Iterable[Check]) -> Table:
    """Checks of one kind; what was asked tells them apart, so it is shown whole."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", width=_SIGN, no_wrap=True)
    for name in ("expected", "found"):
        table.add_column(name, width=_NUMBER)
    table.add_column("asked", ratio=1)
    for check in checks:
        failed = Text("wrong", "bold red") if check.refuses else Text("unusual", "yellow")
        sign = Text("ok", "green") if check.passed else failed
        table.add_row(sign, *map(whole, (check.expected, check.found, check.asked)))
    return table
