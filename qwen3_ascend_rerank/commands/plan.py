"""`qwen3-rerank plan`: how many cards a job takes, and how long."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ..batch.sizing import SIZES, Sizing, Speed, checked_amount, measured, stated
from ..checks import checked_share
from ..errors import InvalidInputError
from .screen import counted, output

ONE_OF = "How fast a card is: one of these"


def plan(
    pairs: Annotated[
        str,
        typer.Option(help="Pairs of a query and a document: 1e6, 250k, 10M.", show_default=False),
    ],
    tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of a pair's prompt; about 60 are the template's.")
    ] = 512,
    hours: Annotated[
        float | None, typer.Option(min=0.001, help="Time there is; 24 if --cards is not given.")
    ] = None,
    cards: Annotated[int | None, typer.Option(min=1, help="Cards there are.")] = None,
    spare: Annotated[
        float, typer.Option(min=0, max=0.95, help="Part of the time to keep free.")
    ] = 0.2,
    bench: Annotated[
        Path | None,
        typer.Option(rich_help_panel=ONE_OF, help="What `bench --output FILE` measured on one."),
    ] = None,
    tokens_per_second: Annotated[
        str | None, typer.Option(rich_help_panel=ONE_OF, help="Prompt tokens a second of one.")
    ] = None,
    peak: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=ONE_OF,
            min=0.001,
            help="Its stated dense peak in TFLOPS, with --size and --share.",
        ),
    ] = None,
    size: Annotated[
        str, typer.Option(help=f"Of the model, with --peak: {', '.join(SIZES)}.")
    ] = "0.6B",
    share: Annotated[
        float, typer.Option(help="Part of the peak that is reached, with --peak: an assumption.")
    ] = 0.4,
) -> None:
    """Say how many cards a job takes, or how long, and how that was reckoned.

    [dim]qwen3-rerank plan --pairs 10M --tokens 300 --hours 24 --bench run.json[/]

    [dim]qwen3-rerank plan --pairs 10M --tokens 300 --cards 4 --peak 280 --size 4B[/]
    """
    job = Sizing(
        checked_amount("--pairs", pairs),
        tokens,
        _speed(bench, tokens_per_second, peak, size, share, tokens),
        spare,
    )
    for line in lines(job, hours if hours or cards else 24, cards):
        output().print(Text(line), soft_wrap=True)


def _speed(
    bench: Path | None,
    tokens_per_second: str | None,
    peak: float | None,
    size: str,
    share: float,
    tokens: int,
) -> Speed:
    if sum(one is not None for one in (bench, tokens_per_second, peak)) != 1:
        raise InvalidInputError(
            "give one of --bench, --tokens-per-second and --peak: how fast a card is"
        )
    if bench is not None:
        return measured(bench)
    if peak is not None:
        return stated(peak, checked_share("--share", share), size, tokens)
    given = checked_amount("--tokens-per-second", tokens_per_second or "")
    return Speed(given, "as given")


def lines(job: Sizing, hours: float | None, cards: int | None) -> list[str]:
    """The answer, and the arithmetic before it."""
    told = [
        f"{job.pairs:,.0f} pairs x {job.tokens:,} tokens = {job.pairs * job.tokens:,.0f} tokens",
        f"one card: {job.speed.tokens:,.0f} tokens a second ({job.speed.source})",
        f"kept free: {job.spare:.0%}, so {job.seconds / 3600:,.1f} hours on one card",
    ]
    if cards is not None:
        told.append(f"{counted(cards, 'card')}: {job.hours(cards):,.1f} hours")
    if hours is not None:
        need = job.cards(hours)
        told.append(
            f"within {hours:g} hours: {counted(need, 'card')}, {job.hours(need):,.1f} hours"
        )
    return told
