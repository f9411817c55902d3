"""Results as JSON and as a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from ..results import RankedDocument, RerankResult
from ..results.printing import excerpt
from .inputs import Passage
from .screen import described_model, one_line, output, score_line


def as_dict(result: RerankResult, passages: Sequence[Passage]) -> dict[str, Any]:
    """`RerankResult.to_dict()`, each document with what came with it as `extra`."""
    documents = [_with_extra(document, passages[document.index]) for document in result]
    return {**result.to_dict(), "documents": documents}


def print_json(value: object, *, indent: int | None = None) -> None:
    """Print `value` at once, for whoever reads along."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=indent) + "\n")
    sys.stdout.flush()


def print_table(result: RerankResult, given: int, loading: float | None = None) -> None:
    """Print the ranking for a person to read.

    Args:
        result: the ranking.
        given: how many passages there were.
        loading: seconds until the model was there; None: they are among the seconds of `result`.
    """
    console = output()
    console.print(one_line(result.query, "bold"))
    if result:
        console.print(_table(result))
    console.print(_summary(result, given, loading), style="dim")


def _table(result: RerankResult) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("rank", "index", "score"):
        table.add_column(name, justify="right", no_wrap=True)  # the text gives way, not these
    table.add_column("text")
    for rank, document in enumerate(result, 1):
        index = Text(str(document.index), "dim")
        text = one_line(excerpt(document))
        table.add_row(str(rank), index, score_line(document.score), text)
    return table


def _summary(result: RerankResult, given: int, loading: float | None) -> str:
    usage = result.usage
    parts = [f"{len(result)} of {given} passages", described_model(result.model)]
    if usage.documents_truncated:
        parts.append(f"{usage.documents_truncated} truncated to fit")
    if usage.passages_scored:
        parts.append(f"{usage.passages_scored} passages of long ones scored")
    if loading is None:
        return " · ".join([*parts, f"{usage.seconds:.2f} s with loading"])
    return " · ".join([*parts, f"loaded in {loading:.2f} s, scored in {usage.seconds:.2f} s"])


def _with_extra(document: RankedDocument, passage: Passage) -> dict[str, Any]:
    extra = {} if passage.extra is None else {"extra": passage.extra}
    before = len(document.text) - len(passage.text)  # fields that were read, too
    span = None if document.span is None else [max(0, place - before) for place in document.span]
    return {**asdict(document), "text": passage.text, "span": span, **extra}
