"""A collection as the command line is given one: a folder, files of its own, or an id."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..corpora import Collection, read_collection, read_corpus, read_qrels, read_queries
from ..corpora.ir_datasets import PREFIX, load_collection

PANEL = "The collection in files of its own"

Queries = Annotated[
    Path | None,
    typer.Option(help="JSON lines, or id and text with a tab.", rich_help_panel=PANEL),
]
Corpus = Annotated[
    Path | None,
    typer.Option(help="JSON lines, or id and text with a tab.", rich_help_panel=PANEL),
]
QrelsFile = Annotated[
    Path | None, typer.Option(help="TREC, BEIR or JSON lines.", rich_help_panel=PANEL)
]
RunFile = Annotated[
    Path | None,
    typer.Option(
        help="What a first stage found, as TREC has runs or as JSON lines; not given: BM25.",
        show_default=False,
    ),
]


def collection_of(
    place: str | None,
    split: str,
    queries: Path | None,
    corpus: Path | None,
    qrels: Path | None,
) -> Collection:
    """The collection in a folder, in three files, or that `ir_datasets` has.

    Raises:
        typer.BadParameter: neither a place nor all files are given, or both.
        RerankError: it cannot be read.
    """
    if place and not (queries or corpus or qrels):
        return load_collection(place) if place.startswith(PREFIX) else read_collection(place, split)
    if place or not (queries and corpus and qrels):
        raise typer.BadParameter("give a folder, or all of --queries, --corpus and --qrels")
    return Collection(
        read_queries(queries), read_corpus(corpus), read_qrels(qrels), corpus.name, str(qrels)
    )
