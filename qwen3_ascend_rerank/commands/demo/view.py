"""How the demo looks."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ...models.lexical import NAME as LEXICAL
from ...reranker import DEFAULT_MODEL
from ..screen import one_line, output, score_line, whole
from .trial import Trial

WIDEST = 130
"""Columns of a table at most: longer lines are hard to read."""
BESIDE, BELOW = 5, 3
"""Passages of each ranking that are shown, where they stand side by side or one below the other."""
ROOM_FOR_TWO = 110
"""Columns from which two passages side by side still say what they are about."""
GOLD = "★"


def introduce(passages: Sequence[str], questions: int, model: str) -> None:
    """Say what is about to be seen."""
    english = sum(passage.isascii() for passage in passages)
    console = output()
    console.print(
        f"{english} English and {len(passages) - english} Chinese passages, {questions} questions."
        f"\nBM25 finds passages, [bold]{escape(model)}[/] puts them in order; "
        f"{GOLD} marks the one that answers.\n"
        "The questions were chosen so that BM25 finds most answers, but not first: this shows what "
        "reranking does, not how often it is needed."
    )
    if model == LEXICAL:
        console.print(
            f"{LEXICAL} is a small embedded model that matches words; it is no language model.\n"
            f"The real one: make demo MODEL={DEFAULT_MODEL}",
            style="dim",
        )


def show(trial: Trial, passages: Sequence[str], number: int) -> None:
    """One question, its passages before and after, and whether the doors agree."""
    console = output()
    console.print()
    console.print(Text(f"{number}. {trial.question.text}", "bold"))
    answer = Table.grid(padding=(0, 1))
    answer.add_row(Text(GOLD, "green"), whole(passages[trial.question.gold], "green"))
    console.print(answer)
    width = min(console.width, WIDEST)
    tables = _beside(trial, passages) if width >= ROOM_FOR_TWO else _below(trial, passages)
    for table in tables:
        table.width = width
        console.print(table)
    console.print(_verdict(trial))


def conclude(trials: Sequence[Trial], seconds: float) -> None:
    """The demo in three lines."""
    count, doors = len(trials), list(trials[0].doors)
    before = sum(trial.place(trial.before) == 1 for trial in trials)
    after = sum(trial.place(trial.after) == 1 for trial in trials)
    agreed = sum(trial.agreed for trial in trials)
    summary = Table.grid(padding=(0, 2))
    summary.add_row(
        "answer in first place", f"before {before}/{count}, after [bold]{after}/{count}[/]"
    )
    summary.add_row("same order and scores", f"{agreed}/{count} by {', '.join(doors)}")
    summary.add_row("time", f"{count * len(doors)} rankings in {seconds:.1f} s")
    console = output()
    console.print()
    console.print(summary)


def _beside(trial: Trial, passages: Sequence[str]) -> list[Table]:
    """Both rankings in one table."""
    table = _empty("BM25", "reranked")
    ranks = zip(trial.before[:BESIDE], trial.after[:BESIDE], strict=True)
    for rank, ((old, bm25), (new, score)) in enumerate(ranks, 1):
        table.add_row(
            Text(str(rank), "dim"),
            Text(f"{bm25:.2f}", "dim"),
            *_passage(passages[old], old == trial.question.gold),
            score_line(score),
            *_passage(passages[new], new == trial.question.gold),
        )
    return [table]


def _below(trial: Trial, passages: Sequence[str]) -> list[Table]:
    """Each ranking in a table of its own."""
    scores = {
        "BM25": [(index, Text(f"{bm25:.2f}", "dim")) for index, bm25 in trial.before],
        "reranked": [(index, score_line(score)) for index, score in trial.after],
    }
    tables = []
    for name, ranking in scores.items():
        table = _empty(name)
        for rank, (index, score) in enumerate(ranking[:BELOW], 1):
            place, gold = Text(str(rank), "dim"), index == trial.question.gold
            table.add_row(place, score, *_passage(passages[index], gold))
        tables.append(table)
    return tables


def _empty(*names: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column()
    for name in names:
        table.add_column("score", justify="right", width=6)
        table.add_column(width=1)
        table.add_column(name, no_wrap=True, ratio=1)
    return table


def _passage(text: str, gold: bool) -> tuple[Text, Text]:
    style = "bold green" if gold else ""
    return Text(GOLD if gold else "", style), one_line(text, style)


def _verdict(trial: Trial) -> Text:
    before, after = trial.place(trial.before), trial.place(trial.after)
    doors = ", ".join(trial.doors)
    agree = (f"{doors} agree", "dim") if trial.agreed else (f"{doors} disagree", "bold red")
    return Text.assemble(
        (f"{GOLD} {before or 'not found'} → {after or 'not found'}", "green"),
        ("  ·  ", "dim"),
        agree,
    )
