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

SHOWN = 30
"""Columns that are named where one is missing, and characters of each."""
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


def tasks(rows: Iterable[Row], columns: Columns, *, for_run: bool = False) -> Iterator[Task]:
    """The requests in `rows`, in order.

    A row with the column of documents is a request; of rows with one document each, those that
    follow each other with the same id, or the same query where there is none, are one. What cannot
    be read among them parts none.

    Args:
        rows: of the input.
        columns: what they are called.
        for_run: whether the results become a run, which has each id once and no white space in it.
    """
    queries: set[str] | None = set() if for_run else None
    for number, together in enumerate(_together(rows, columns)):
        if _is_pair(together[0], columns):
            task = _of_pairs(number, together, columns, for_run=for_run)
        else:
            task = _of_row(number, together[0], columns)
        if queries is not None and task.request is not None:
            try:
                _named_once(number if task.id is None else task.id, queries, columns.id)
            except InvalidInputError as error:
                task.rejects.append(Reject(task.file, task.row, str(error), task.id))
                task.request = None
        yield task


def _together(rows: Iterable[Row], columns: Columns) -> Iterator[list[Row]]:
    """The rows of each request."""
    pairs: list[Row] = []
    group: object = None
    for row in rows:
        if pairs and (not row.fields or (_is_pair(row, columns) and _group(row, columns) == group)):
            pairs.append(row)
            continue
        if pairs:
            yield pairs
            pairs = []
        if _is_pair(row, columns):
            pairs, group = [row], _group(row, columns)
        else:
            yield [row]
    if pairs:
        yield pairs


def _is_pair(row: Row, columns: Columns) -> bool:
    return columns.documents not in row.fields and columns.document in row.fields


def _group(row: Row, columns: Columns) -> object:
    id_, query, instruction = map(row.fields.get, (columns.id, columns.query, columns.instruction))
    return (repr(query), repr(instruction)) if id_ is None else repr(id_)


def _named_once(id_: Any, taken: set[str], name: str) -> None:
    """Check an id of a run."""
    text = str(id_)
    if len(text.split()) != 1 or text != text.strip():
        raise InvalidInputError(f"{name} is {described(id_)}; in a run it has no white space")
    if text in taken:
        raise InvalidInputError(
            f"{name} {text} is there before, and a run has it once; sort the rows by it, keep one, "
            "or use another format"
        )
    taken.add(text)


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


def _of_pairs(number: int, rows: list[Row], columns: Columns, *, for_run: bool) -> Task:
    task = Task(number, rows[0].file, rows[0].number)
    texts: list[str] = []
    names: set[str] = set()
    first: Row | None = None
    """That can be used."""
    for place, row in enumerate(rows):
        id_, document_id = map(row.fields.get, (columns.id, columns.document_id))
        try:
            fields = _fields(row)
            _text(fields, columns.query)
            if first:
                _demand_same(fields, first, (columns.query, columns.instruction))
            text = _document(fields[columns.document], columns.document, columns.fields)
            if for_run:
                known = place if document_id is None else document_id
                _named_once(known, names, columns.document_id)
        except InvalidInputError as error:
            task.rejects.append(Reject(row.file, row.number, str(error), id_))
            continue
        first = first or row
        texts.append(with_fields(text, fields, columns.fields))
        task.places.append(place)
        task.document_ids.append(document_id)
    if first:
        query, id_ = first.fields[columns.query], first.fields.get(columns.id)
        task.request = RerankRequest(query, texts, id_, **_instruction(first.fields, columns))
    return task


def _fields(row: Row) -> Mapping[str, Any]:
    if row.error:
        raise InvalidInputError(row.error)
    return row.fields


def _demand_same(fields: Mapping[str, Any], first: Row, names: Iterable[str]) -> None:
    for name in names:
        if fields.get(name) != first.fields.get(name):
            raise InvalidInputError(
                f"the id is that of row {first.number}, and the {name} is another one; give it an "
                "id of its own"
            )


def _missing(name: str, fields: Mapping[str, Any]) -> InvalidInputError:
    shown = [one if len(one) <= SHOWN else f"{one[:SHOWN]}..." for one in [*fields][:SHOWN]]
    more = f" and {len(fields) - len(shown)} more" if len(fields) > len(shown) else ""
    return InvalidInputError(f"no column {name}; there are {', '.join(shown) or 'none'}{more}")


def _text(fields: Mapping[str, Any], name: str) -> str:
    if name not in fields:
        raise _missing(name, fields)
    value = fields[name]
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(f"{name} is {described(value)}; it takes a text that is not empty")
    return _whole(value, name)


def _documents(fields: Mapping[str, Any], name: str, read: Sequence[str]) -> list[str]:
    if name not in fields:
        raise _missing(name, fields)
    value = fields[name]
    if isinstance(value, str):  # in CSV
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
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
