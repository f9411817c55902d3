"""Passages and requests from files and standard input: UTF-8, one a line, whatever the locale."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, cast

from ..batch.tasks import TEXT_FIELDS
from ..components.settings import RerankSettings
from ..errors import DocumentError, EngineError, InvalidInputError, RerankTimeoutError
from ..prompts.fields import with_fields

STANDARD_INPUT = "-"
JSON_LINES = (".jsonl", ".ndjson")
OPTION_FIELDS = ("top_n", "threshold", "instruction", "long_documents")
"""What a request can set for itself."""


class InputFormat(str, Enum):
    """How passages are written in a file."""

    auto = "auto"
    text = "text"
    jsonl = "jsonl"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file; decoded later, so that a bad line never stops the reading of others."""

    source: str
    number: int
    raw: bytes

    @contextmanager
    def named(self) -> Iterator[None]:
        """Errors about what this line holds say which line it is."""
        source = "standard input" if self.source == STANDARD_INPUT else self.source
        try:
            yield
        except (InvalidInputError, EngineError, RerankTimeoutError) as error:
            kind = EngineError if isinstance(error, DocumentError) else type(error)
            raise kind(f"{source} line {self.number}: {error}") from error

    def text(self) -> str:
        """The line as text.

        Raises:
            InvalidInputError: it is not UTF-8.
        """
        try:
            return self.raw.decode().strip()
        except UnicodeDecodeError as error:
            raise InvalidInputError(
                f"not UTF-8 (byte 0x{self.raw[error.start]:02x}); save the file as UTF-8"
            ) from None

    def json(self) -> Any:
        """The JSON value that the line holds.

        Raises:
            InvalidInputError: it is not UTF-8, or not JSON.
        """
        text = self.text()
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise InvalidInputError(f"not JSON: {error.msg} (column {error.colno})") from None
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"not usable JSON: {error}") from None


@dataclass(frozen=True, slots=True)
class Passage:
    """A text to rank, and what came with it."""

    text: str
    extra: dict[str, Any] | None = None
    """The other fields of its JSON object; None if it was no object."""


def read_texts(passages: Sequence[Passage], settings: RerankSettings) -> list[str]:
    """What is scored of each passage: its text, behind the fields that the settings name."""
    fields = cast("list[str] | None", settings.metadata_fields)
    return [with_fields(one.text, one.extra or {}, fields) for one in passages]


@dataclass(frozen=True, slots=True)
class RankRequest:
    """One line of a file of requests."""

    query: str
    passages: list[Passage]
    options: dict[str, Any]
    """What holds for this request alone."""
    extra: dict[str, Any]
    """The other fields of the line, without its id."""


def read_lines(source: str) -> Iterator[Line]:
    """The lines of a file, or of standard input for ``-``; blank ones are left out.

    Raises:
        InvalidInputError: the file cannot be read.
    """
    standard = source == STANDARD_INPUT
    try:
        with nullcontext(sys.stdin.buffer) if standard else Path(source).open("rb") as file:
            for number, raw in enumerate(file, 1):
                line = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
                if line.strip():
                    yield Line(source, number, line)
    except OSError as error:
        raise InvalidInputError(f"{source} cannot be read: {error.strerror}") from None


def read_passages(source: str, form: InputFormat = InputFormat.auto) -> Iterator[Passage]:
    """The passages in a file or in standard input.

    Raises:
        InvalidInputError: the file cannot be read, or a line of it holds no passage.
    """
    if form is InputFormat.auto:
        form = InputFormat.jsonl if source.lower().endswith(JSON_LINES) else InputFormat.text
    for line in read_lines(source):
        with line.named():
            yield Passage(line.text()) if form is InputFormat.text else parse_passage(line.json())


def parse_passage(value: object, name: str = "the passage") -> Passage:
    """A passage from a JSON value: a string, or an object with a text and anything else.

    Raises:
        InvalidInputError: it is neither; `name` says in the error which one.
    """
    if isinstance(value, str):
        return Passage(value)
    if not isinstance(value, dict):
        raise InvalidInputError(f"{name} is {_kind(value)}; give a string or an object")
    field = next((field for field in TEXT_FIELDS if field in value), None)
    if field is None:
        raise InvalidInputError(f"{name} has no text; name it {', '.join(TEXT_FIELDS)}")
    if not isinstance(value[field], str):
        raise InvalidInputError(f"{name} has {_kind(value[field])} as {field}; give a string")
    return Passage(value[field], {key: value[key] for key in value if key != field})


def parse_request(value: object) -> RankRequest:
    """A request from a JSON value.

    Raises:
        InvalidInputError: it is no request; whether its query and its options can be used is for
            the Reranker to say.
    """
    if not isinstance(value, dict):
        raise InvalidInputError(f"the request is {_kind(value)}; give an object")
    if missing := [name for name in ("query", "documents") if name not in value]:
        raise InvalidInputError(f"the request has no {' and no '.join(missing)}")
    if not isinstance(value["documents"], list):
        raise InvalidInputError(f"documents is {_kind(value['documents'])}; give an array")
    known = {"id", "query", "documents", *OPTION_FIELDS}
    return RankRequest(
        query=value["query"],
        passages=[
            parse_passage(document, f"documents[{index}]")
            for index, document in enumerate(value["documents"])
        ],
        options={name: value[name] for name in OPTION_FIELDS if name in value},
        extra={name: value[name] for name in value if name not in known},
    )


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")
