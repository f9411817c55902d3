"""Files line by line, packed by gzip or not; an error says in which line of which file."""

from __future__ import annotations

import codecs
import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..checks import described
from ..errors import InvalidInputError

JSON_LINES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line of a file, not decoded yet."""

    file: Path
    number: int
    """From 1."""
    offset: int
    """Of its first byte in the file."""
    raw: bytes

    def error(self, what: str) -> InvalidInputError:
        """An error that says which line it is about."""
        return InvalidInputError(f"{self.file} line {self.number}: {what}")

    def text(self) -> str:
        """The line without its end.

        Raises:
            InvalidInputError: it is not UTF-8.
        """
        try:
            return self.raw.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            byte = self.raw[error.start]
            raise self.error(f"not UTF-8 (byte 0x{byte:02x}); save the file as UTF-8") from None

    def json(self) -> dict[str, Any]:
        """The JSON object that the line holds.

        Raises:
            InvalidInputError: it holds none.
        """
        try:
            value = json.loads(self.text())
        except (json.JSONDecodeError, RecursionError) as error:
            raise self.error(f"not JSON: {error}; give one JSON object a line") from None
        if not isinstance(value, dict):
            raise self.error(f"{described(value)} is no JSON object; give one a line")
        return value

    def first(self, fields: Mapping[str, Any], names: tuple[str, ...], what: str) -> str:
        """The text, or whole number as text, of the first of `names` that is there.

        Raises:
            InvalidInputError: none of them is there, or it is neither.
        """
        name = next((name for name in names if name in fields), None)
        if name is None:
            raise self.error(
                f"no {what}; name the field {' or '.join(names)} (there are "
                f"{', '.join(fields) or 'none'})"
            )
        value = fields[name]
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise self.error(f"{name} is {described(value)}; give a text")
        return value


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked.

    Raises:
        InvalidInputError: it cannot be read.
    """
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as bytes_:
            yield cast("BinaryIO", bytes_)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError(f"{file} cannot be read: {reason}") from error


def lines_of(file: str | os.PathLike[str]) -> Iterator[TextLine]:
    """The lines of a file that are not blank.

    Raises:
        InvalidInputError: it cannot be read.
    """
    path, offset = Path(file), 0
    with opened(path) as bytes_:
        for number, raw in enumerate(bytes_, 1):
            line = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
            if line.strip():
                yield TextLine(path, number, offset + len(raw) - len(line), line)
            offset += len(raw)


def is_json_lines(file: str | os.PathLike[str]) -> bool:
    """Whether its name says that it holds JSON lines."""
    return Path(file).name.lower().removesuffix(".gz").endswith(JSON_LINES)
