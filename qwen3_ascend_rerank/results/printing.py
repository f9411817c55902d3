"""How ranked documents look: a table in a terminal, and one in a notebook."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from html import escape
from unicodedata import combining, east_asian_width

from .records import RankedDocument

ROWS = 50
"""Documents that are shown of a long result."""
TERMINAL = (100, 24)
"""Columns and lines where there is no terminal to ask."""
NARROWEST, WIDEST = 24, 160
"""Columns of a document's text, at least and at most."""
LONGEST_LOOK = 1000
"""Characters of a text that can matter on one line; the rest is not even looked at."""

TRUNCATED = "[truncated] "
"""Before the text of a document of which only the beginning was judged."""

_HEADER = ("rank", "index", "score", "log-odds", "document")
_LINE = "{:>4}  {:>5}  {:>6}  {:>8}  {}"
_NUMBER = "padding:2px 8px;text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums"
_TEXT = "padding:2px 8px;text-align:left"
_BAR = "linear-gradient(to right,rgba(86,180,233,.45) {share:.1%},transparent {share:.1%})"
"""Behind a score, as far as it goes: a blue through which the page's own ink can be read."""


def display_width(text: str) -> int:
    """Columns that `text` takes in a terminal: two for a wide character, none for an accent."""
    return sum(map(_columns, text))


def one_line(text: str, columns: int) -> str:
    """`text` on one line of at most `columns`, with nothing in it that could steer a terminal."""
    words = " ".join(text[:LONGEST_LOOK].split())
    shown = "".join(filter(str.isprintable, words))
    if len(text) <= LONGEST_LOOK and display_width(shown) <= columns:
        return shown
    room = columns - 1  # for the ellipsis
    for place, character in enumerate(shown):
        room -= _columns(character)
        if room < 0:
            return shown[:place].rstrip() + "…"
    return shown + "…"


def excerpt(document: RankedDocument) -> str:
    """The text that the score is of, behind what a reader should know of it."""
    place = "" if document.span is None else "[{:,}–{:,}] ".format(*document.span)
    stage = "" if document.stage is None else f"[stage {document.stage}] "
    return f"{stage}{TRUNCATED if document.truncated else ''}{place}{document.passage}"


def as_text(query: str, documents: Sequence[RankedDocument], remarks: Sequence[str]) -> str:
    """A table as wide as the terminal, aligned for wide characters too; `remarks` stand below."""
    numbers = len(_LINE.format(*_HEADER[:-1], ""))
    wide = shutil.get_terminal_size(TERMINAL).columns - numbers
    columns = max(NARROWEST, min(wide, WIDEST))
    lines = [one_line(query, numbers + columns), _LINE.format(*_HEADER)]
    for cells, document in _rows(documents):
        lines.append(_LINE.format(*cells, one_line(excerpt(document), columns)))
    return "\n".join([*lines, _closing(documents, remarks)])


def as_html(query: str, documents: Sequence[RankedDocument], remarks: Sequence[str]) -> str:
    """A table that takes its colours from the page, light or dark; every text is escaped."""
    *numbers, last = _HEADER
    header = "".join(f'<th style="{_NUMBER}">{name}</th>' for name in numbers)
    rows = "".join(_html_row(cells, document) for cells, document in _rows(documents))
    # The classes keep MathJax from reading "$5 or $6" as a formula.
    return (
        '<div class="tex2jax_ignore mathjax_ignore">'
        f"<p><b>{escape(one_line(query, WIDEST))}</b></p>"
        f'<table><thead><tr>{header}<th style="{_TEXT}">{last}</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
        f"<p><small>{escape(_closing(documents, remarks))}</small></p></div>"
    )


def _html_row(cells: tuple[str, ...], document: RankedDocument) -> str:
    rank, index, score, log_odds = cells
    bar = f"{_NUMBER};background:{_BAR.format(share=document.score)}"
    numbers = ((rank, _NUMBER), (index, _NUMBER), (score, bar), (log_odds, _NUMBER))
    row = "".join(f'<td style="{style}">{cell}</td>' for cell, style in numbers)
    return f'<tr>{row}<td style="{_TEXT}">{escape(one_line(excerpt(document), WIDEST))}</td></tr>'


def _rows(documents: Sequence[RankedDocument]) -> Iterator[tuple[tuple[str, ...], RankedDocument]]:
    for rank, one in enumerate(documents[:ROWS], 1):
        yield (str(rank), str(one.index), f"{one.score:.4f}", f"{one.log_odds:.2f}"), one


def _closing(documents: Sequence[RankedDocument], remarks: Sequence[str]) -> str:
    """How many there are, what the table leaves out, and the remarks."""
    count, truncated = len(documents), sum(one.truncated for one in documents)
    counts = {
        f"{count} document{'s' * (count != 1)}": True,
        f"{count - ROWS} not shown": count > ROWS,
        f"{truncated} truncated": truncated > 0,
    }
    return " · ".join([*(said for said, holds in counts.items() if holds), *remarks])


def _columns(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1
