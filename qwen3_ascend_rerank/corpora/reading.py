"""Queries, qrels and runs, each in the forms in which the field has them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError
from .corpus import read_corpus
from .lines import TextLine, is_json_lines, lines_of
from .records import Collection, Qrels, Run

QUERY_ID = ("query_id", "query-id", "qid")
DOCUMENT_ID = ("document_id", "corpus_id", "corpus-id", "doc_id", "docid")
GRADE = ("relevance", "grade", "score")
"""Fields of qrels and runs in JSON lines, each looked for in this order."""
TREC_QRELS, BEIR_QRELS, TREC_RUN = 4, 3, 6
"""Columns."""


def read_collection(folder: str | os.PathLike[str], split: str = "test") -> Collection:
    """A folder as BEIR has it: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/<split>.tsv``.

    Args:
        folder: where these are, packed by gzip or not.
        split: which of the qrels.

    Raises:
        InvalidInputError: a file is missing or cannot be used, or the qrels name a query or a
            document that is not there.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InvalidInputError(f"{place} is no folder; {_LAYOUT}")
    qrels = _found(place, f"qrels/{split}.tsv", f"qrels/{split}.jsonl")
    return Collection(
        queries=read_queries(_found(place, "queries.jsonl", "queries.tsv")),
        corpus=read_corpus(_found(place, "corpus.jsonl", "corpus.tsv")),
        qrels=read_qrels(qrels),
        name=place.resolve().name,
        qrels_name=str(qrels),
    )


_LAYOUT = "give a folder with corpus.jsonl, queries.jsonl and qrels/test.tsv, as BEIR has it"


def _found(folder: Path, *names: str) -> Path:
    for name in names:
        for file in (folder / name, folder / f"{name}.gz"):
            if file.is_file():
                return file
    there = sorted(file.name.split(".")[0] for file in (folder / "qrels").glob("*.*"))
    splits = f" (it has qrels of {', '.join(there)})" if there and "qrels" in names[0] else ""
    raise InvalidInputError(f"{folder} has no {names[0]}{splits}; {_LAYOUT}")


def read_queries(file: str | os.PathLike[str]) -> dict[str, str]:
    """The texts of queries by their ids.

    Args:
        file: JSON lines with an id and a text, or rows of both with a tab between.

    Raises:
        InvalidInputError: the file, or a line of it, cannot be used; an id is there twice.
    """
    queries: dict[str, str] = {}
    for line in lines_of(file):
        if is_json_lines(file):
            fields = line.json()
            id_ = line.first(fields, ("_id", "id", *QUERY_ID), "id")
            text = line.first(fields, ("text", "query"), "text")
        else:
            id_, tab, text = line.text().partition("\t")
            if not tab:
                raise line.error("one column; give id and text with a tab between")
        if not text.strip():
            raise line.error(f"the query {id_!r} has an empty text")
        if id_ in queries:
            raise line.error(f"the query {id_!r} is there twice; give each an id of its own")
        queries[id_] = text
    if not queries:
        raise InvalidInputError(f"{file} holds no query; give a file with one a line")
    return queries


def read_qrels(file: str | os.PathLike[str]) -> Qrels:
    """Which documents are relevant.

    Args:
        file: TREC's four columns, BEIR's three with a heading, or JSON lines with `QUERY_ID`,
            `DOCUMENT_ID` and `GRADE`.

    Raises:
        InvalidInputError: the file, or a line of it, cannot be used; a pair has two grades.
    """
    qrels: Qrels = {}
    for line in lines_of(file):
        if is_json_lines(file):
            fields = line.json()
            query, document = _ids(line, fields)
            given = next((fields[name] for name in GRADE if name in fields), None)
        else:
            cells = _cells(line, BEIR_QRELS)
            if len(cells) == TREC_QRELS:
                query, _, document, given = cells
            elif len(cells) == BEIR_QRELS:
                query, document, given = cells
            else:
                raise line.error(
                    f"{len(cells)} columns; give TREC's four (query 0 document grade) or BEIR's "
                    "three (query document grade)"
                )
            if line.number == 1 and given in GRADE:
                continue  # the heading
        grade = _grade(line, given)
        grades = qrels.setdefault(query, {})
        if grades.setdefault(document, grade) != grade:
            raise line.error(
                f"document {document!r} has the grade {grade} for query {query!r}, and "
                f"{grades[document]} in a line before; keep one of them"
            )
    if not qrels:
        raise InvalidInputError(f"{file} holds no judgement; give a file with one a line")
    return qrels


def read_run(file: str | os.PathLike[str]) -> Run:
    """What a retriever found, each query's documents by falling score.

    Of equal scores the one that stands first in the file is first; ranks are not looked at.

    Args:
        file: TREC's six columns, or JSON lines with `QUERY_ID`, `DOCUMENT_ID` and a score.

    Raises:
        InvalidInputError: the file, or a line of it, cannot be used; a query has a document twice;
            there is no line.
    """
    run: Run = {}
    for line in lines_of(file):
        query, document, score = _hit(line)
        _add(line, run.setdefault(query, {}), query, document, score)
    if not run:
        raise _no_run(file)
    return {query: _sorted(hits) for query, hits in run.items()}


def iter_run(file: str | os.PathLike[str]) -> Iterator[tuple[str, dict[str, float]]]:
    """`read_run`, one query after the other: no more than one is in memory.

    Raises:
        InvalidInputError: as `read_run`; or the lines of a query are not together.
    """
    current: str | None = None
    hits: dict[str, float] = {}
    seen: set[str] = set()
    for line in lines_of(file):
        query, document, score = _hit(line)
        if query != current:
            if query in seen:
                raise line.error(
                    f"query {query!r} comes a second time; sort the file by its queries"
                )
            if current is not None:
                yield current, _sorted(hits)
            seen.add(query)
            current, hits = query, {}
        _add(line, hits, query, document, score)
    if current is None:
        raise _no_run(file)
    yield current, _sorted(hits)


def _hit(line: TextLine) -> tuple[str, str, float]:
    if is_json_lines(line.file):
        fields = line.json()
        return *_ids(line, fields), _score(line, fields.get("score"))
    cells = _cells(line, TREC_RUN)
    if len(cells) != TREC_RUN:
        raise line.error(
            f"{len(cells)} columns; give TREC's six (query Q0 document rank score tag)"
        )
    query, _, document, _, score, _ = cells
    return query, document, _score(line, score)


def _add(line: TextLine, hits: dict[str, float], query: str, document: str, score: float) -> None:
    if document in hits:
        raise line.error(f"document {document!r} is there twice for query {query!r}; keep one")
    hits[document] = score


def _sorted(hits: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(hits.items(), key=lambda hit: -hit[1]))


def _no_run(file: str | os.PathLike[str]) -> InvalidInputError:
    return InvalidInputError(
        f"{file} is an empty run; give a file with a line for each document that was found"
    )


def _cells(line: TextLine, columns: int) -> list[str]:
    """Between tabs where that makes as many as are expected, else between spaces."""
    text = line.text()
    cells = text.split("\t")
    return cells if len(cells) == columns else text.split()


def _ids(line: TextLine, fields: Mapping[str, Any]) -> tuple[str, str]:
    return line.first(fields, QUERY_ID, "query"), line.first(fields, DOCUMENT_ID, "document")


def _grade(line: TextLine, given: Any) -> int:
    try:
        number = math.nan if isinstance(given, bool) else float(given)
    except (TypeError, ValueError):
        number = math.nan
    if not number.is_integer():
        raise line.error(f"grade is {given!r}; give a whole number, 0: not relevant")
    return int(number)


def _score(line: TextLine, given: Any) -> float:
    try:
        score = math.nan if isinstance(given, bool) else float(given)
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise line.error(f"score is {given!r}; give a finite number")
    return score
