"""To files, each whole or not there at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO
from uuid import uuid4

from ..errors import InvalidInputError, RerankError
from .records import CorpusDocument, Qrels, falling


def write_queries(file: str | os.PathLike[str], queries: Mapping[str, str]) -> None:
    """Queries as JSON lines.

    Raises:
        InvalidInputError: the file cannot be written.
    """
    with replaced(file) as text:
        for id_, query in queries.items():
            _json(text, {"_id": id_, "text": query})


def write_corpus(file: str | os.PathLike[str], documents: Iterable[CorpusDocument]) -> None:
    """Documents as JSON lines.

    Raises:
        InvalidInputError: the file cannot be written.
    """
    with replaced(file) as text:
        for one in documents:
            _json(text, {"_id": one.id, "title": one.title, "text": one.text, **one.metadata})


def write_qrels(file: str | os.PathLike[str], qrels: Qrels) -> None:
    """Grades in BEIR's three columns for a name that ends in .tsv, else in TREC's four.

    Raises:
        InvalidInputError: the file cannot be written; an id with white space in it.
    """
    beir = Path(file).suffix == ".tsv"
    with replaced(file) as text:
        if beir:
            text.write("query-id\tcorpus-id\tscore\n")
        for query, grades in qrels.items():
            for document, grade in grades.items():
                pair = (_id(query), _id(document))
                cells = (*pair, grade) if beir else (pair[0], 0, pair[1], grade)
                text.write(("\t" if beir else " ").join(map(str, cells)) + "\n")


def write_run(
    file: str | os.PathLike[str],
    run: Mapping[str, Mapping[str, float]] | Iterable[tuple[str, Mapping[str, float]]],
    tag: str,
) -> None:
    """A run in TREC's six columns, in the order that it has; `falling` makes it everyone's.

    Args:
        file: where to; what was there is replaced when all is written.
        run: each query's documents and scores, best first; or an iterable of such pairs.
        tag: the last column, which names the run; no white space.

    Raises:
        InvalidInputError: the file cannot be written; an id with white space in it.
    """
    items = run.items() if isinstance(run, Mapping) else run
    with replaced(file) as text:
        for query, hits in items:
            text.writelines(run_lines(query, hits, tag))


def run_lines(query: str, hits: Mapping[str, float], tag: str) -> Iterator[str]:
    """The lines of one query in a run.

    Raises:
        InvalidInputError: an id with white space in it.
    """
    scores = falling(hits.values())
    for rank, (document, score) in enumerate(zip(hits, scores, strict=True), 1):
        yield f"{_id(query)} Q0 {_id(document)} {rank} {score:.9g} {_id(tag)}\n"


@contextmanager
def replaced(file: str | os.PathLike[str]) -> Iterator[TextIO]:
    """A text that takes the place of `file` when all of it is written, and never before.

    Raises:
        InvalidInputError: it cannot be written.
    """
    place = Path(file)
    beside = place.with_name(f".{place.name}.{uuid4().hex}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w", encoding="utf-8", newline="\n") as text:
            yield text
        beside.replace(place)
    except RerankError:  # some are also OSErrors, and not about this file
        raise
    except OSError as error:
        raise InvalidInputError(f"{place} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            beside.unlink()


def _json(text: TextIO, fields: Mapping[str, object]) -> None:
    text.write(json.dumps(fields, ensure_ascii=False) + "\n")


def _id(name: str) -> str:
    if not name or any(map(str.isspace, name)):
        raise InvalidInputError(
            f"{name!r} cannot stand in a file with columns; give ids without white space"
        )
    return name
