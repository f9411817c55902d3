"""From rows to requests: a list of documents in each row, or a document in each, row after row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..checks import described
from ..errors import InvalidInputError
from ..prompts.fields import with_fields
from ..prompts.request import RerankRequest
from .sources import Row

TEXT_FIELDS = ("text", "page_content", "content")
"""Where the text of a document that is an object is looked for, in this order."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns, or fields, of the input are called."""

    query: str = "query"
    documents: str = "documents"
    """A list of documents; in CSV as JSON."""
    document: str = "document"
    """One document, in rows of pairs."""
    id: str = "id"
    """What tells requests from others; may be missing."""
    document_id: str = "document_id"
    """What tells a pair's document from others; may be missing."""
    instruction: str = "instruction"
    """May be missing."""
    fields: tuple[str, ...] = ()
    """What of a document that is an object, or of a pair's row, is read before its text."""

    def to_dict(self) -> dict[str, Any]:
        """As a manifest has it; what is not used is left out."""
        kept = asdict(self)
        return {**kept, "fields": list(self.fields)} if kept.pop("fields") else kept


@dataclass(frozen=True, slots=True)
class Reject:
    """Rows that were not scored, and why."""

    file: str
    row: int
    """Of the first, in its file, from 1."""
    reason: str
    id: Any = None
    request: int | None = None
    """The number of the request, where all of it was refused when it was asked."""


@dataclass(slots=True)
class Task:
    """One request, and where it came from."""

    number: int
    """Among all requests of the job, from 0; it counts those that are refused too."""
    file: str
    row: int
    request: RerankRequest | None = None
    places: list[int] = field(default_factory=list)
    """Of the documents among the rows of pairs; empty where a row has them all."""
    document_ids: list[Any] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    """Of its rows."""

    @property
    def id(self) -> Any:
        """That of the request."""
        return self.request.id if self.request else None


def tasks(rows: Iterable[Row], columns: Columns) -> Iterator[Task]:
    """The requests in `rows`, in order.

    A row with the column of documents is a request; of rows with one document each, those that
    follow each other with the same id, or the same query where there is none, are one.
    """
    number = 0
    pairs: list[Row] = []

    def collected() -> Iterator[Task]:
        nonlocal number
        if pairs:
            yield _of_pairs(number, list(pairs), columns)
            number += 1
            pairs.clear()

    for row in rows:
        if columns.documents not in row.fields and columns.document in row.fields:
            if pairs and _group(pairs[-1], columns) != _group(row, columns):
                yield from collected()
            pairs.append(row)
            continue
        yield from collected()
        yield _of_row(number, row, columns)
        number += 1
    yield from collected()


def _group(row: Row, columns: Columns) -> object:
    id_, query = row.fields.get(columns.id), row.fields.get(columns.query)
    return repr(query) if id_ is None else (repr(id_),)


def _of_row(number: int, row: Row, columns: Columns) -> Task:
    task = Task(number, row.file, row.number)
    id_ = row.fields.get(columns.id)
    try:
        fields = _fields(row)
        task.request = RerankRequest(
            _text(fields, columns.query),
            _documents(fields, columns.documents, columns.fields),
            id_,
            **_instruction(fields, columns),
        )
    except InvalidInputError as error:
        task.rejects.append(Reject(row.file, row.number, str(error), id_))
    return task


def _of_pairs(number: int, rows: list[Row], columns: Columns) -> Task:
    first = rows[0]
    task = Task(number, first.file, first.number)
    texts, query, id_ = [], "", first.fields.get(columns.id)
    for place, row in enumerate(rows):
        try:
            fields = _fields(row)
            asked = _same(_text(fields, columns.query), query, first)
            text = _document(fields[columns.document], columns.document, columns.fields)
            texts.append(with_fields(text, row.fields, columns.fields))
            query = asked
            task.places.append(place)
            task.document_ids.append(row.fields.get(columns.document_id))
        except InvalidInputError as error:  # noqa: PERF203 - each row has its own
            task.rejects.append(Reject(row.file, row.number, str(error), id_))
    if texts:
        task.request = RerankRequest(query, texts, id_, **_instruction(first.fields, columns))
    return task


def _fields(row: Row) -> Mapping[str, Any]:
    if row.error:
        raise InvalidInputError(row.error)
    return row.fields


def _same(query: str, before: str, first: Row) -> str:
    if before and query != before:
        raise InvalidInputError(
            f"the id is that of row {first.number}, and the query is another one; give it an id "
            "of its own"
        )
    return query


def _text(fields: Mapping[str, Any], name: str) -> str:
    if name not in fields:
        raise InvalidInputError(f"no column {name}; there are {', '.join(fields) or 'none'}")
    value = fields[name]
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(f"{name} is {described(value)}; it takes a text that is not empty")
    return _whole(value, name)


def _documents(fields: Mapping[str, Any], name: str, read: Sequence[str]) -> list[str]:
    if name not in fields:
        raise InvalidInputError(f"no column {name}; there are {', '.join(fields) or 'none'}")
    value = fields[name]
    if isinstance(value, str):  # in CSV
        try:
            value = json.loads(value)
        except ValueError:
            raise InvalidInputError(f"{name} is {described(value)}; it takes a list") from None
    if not isinstance(value, list):
        raise InvalidInputError(f"{name} is {described(value)}; it takes a list")
    if not value:
        raise InvalidInputError(f"{name} is empty")
    return [_document(each, f"{name}[{index}]", read) for index, each in enumerate(value)]


def _document(value: Any, name: str, read: Sequence[str]) -> str:
    metadata: Mapping[str, Any] = {}
    if isinstance(value, Mapping):
        metadata = value
        value = next((value[one] for one in TEXT_FIELDS if one in value), value)
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} is {described(value)}; it takes a text")
    return _whole(with_fields(value, metadata, read), name)


def _whole(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{name} has half a character at {error.start} (a lone surrogate)"
        ) from None
    return text


def _instruction(fields: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    value = fields.get(columns.instruction)
    return {} if value in (None, "") else {"instruction": value}
