"""Where rows come from: files of JSON lines, CSV or Parquet, wherever fsspec finds them."""

from __future__ import annotations

import codecs
import csv
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidInputError, MissingDependencyError

ROWS_AT_ONCE = 1024
"""Of a Parquet file that are in memory at once."""
PACKED = (".gz", ".bz2", ".xz", ".zst")


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it was read."""

    file: str
    number: int
    """Of the row in its file, from 1; in text files that of its line."""
    fields: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    """Why it cannot be used, whatever its fields are; empty where it may be."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file."""

    url: str
    size: int | None
    """In bytes, where that is known."""
    kind: str

    def rows(self) -> Iterator[Row]:
        """Its rows, one after the other.

        Raises:
            InvalidInputError: the file cannot be read at all.
        """
        import fsspec

        try:
            with fsspec.open(self.url, "rb", compression="infer") as file:
                yield from KINDS[self.kind](self.url, file)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InvalidInputError(f"{self.url} cannot be read: {reason}") from error


def find(places: Sequence[str]) -> list[Source]:
    """The files that `places` name, in the order of their names within each place.

    Args:
        places: files, folders, globs; paths or URLs that fsspec knows.

    Raises:
        InvalidInputError: there is no file, or one of a kind that cannot be read.
    """
    import fsspec

    found = []
    for place in places:
        try:
            system, path = fsspec.core.url_to_fs(place)
            if system.isdir(path):
                names = [one for one in system.find(path) if _kind_of(one) and not _hidden(one)]
            elif any(sign in path for sign in "*?["):
                names = system.glob(path)
            else:
                names = [path] if system.exists(path) else []
            sizes = [system.info(name).get("size") for name in names]
        except ImportError as error:
            raise MissingDependencyError(
                f"{place} needs a package that is not installed: {error}"
            ) from error
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"{place} cannot be read: {error}") from error
        if not names:
            raise InvalidInputError(
                f"{place} names no file; give files of {', '.join(SUFFIXES)}, a folder of them, a "
                "glob, or a URL that fsspec knows"
            )
        for name, size in zip(names, sizes, strict=True):
            kind = _kind_of(name)
            if kind is None:
                raise InvalidInputError(
                    f"{name} is of no kind that is read; give {', '.join(SUFFIXES)}, packed or not"
                )
            local = "file" in (system.protocol, *system.protocol)
            found.append(Source(name if local else system.unstrip_protocol(name), size, kind))
    return found


def _kind_of(name: str) -> str | None:
    lower = name.lower()
    for packed in PACKED:
        lower = lower.removesuffix(packed)
    return next((kind for suffix, kind in SUFFIXES.items() if lower.endswith(suffix)), None)


def _hidden(name: str) -> bool:
    return name.rsplit("/", 1)[-1].startswith((".", "_"))


def _json_lines(url: str, file: Any) -> Iterator[Row]:
    for number, raw in enumerate(file, 1):
        line = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
        if not line.strip():
            continue
        try:
            fields = json.loads(line.decode())
        except UnicodeDecodeError as error:
            yield Row(url, number, error=f"not UTF-8 (byte 0x{line[error.start]:02x})")
            continue
        except (ValueError, RecursionError) as error:
            yield Row(url, number, error=f"not JSON: {error}")
            continue
        if isinstance(fields, dict):
            yield Row(url, number, fields)
        else:
            yield Row(url, number, error=f"no JSON object but {type(fields).__name__}")


def _csv(url: str, file: Any, *, delimiter: str = ",") -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)
    with io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="") as text:
        rows = csv.reader(text, delimiter=delimiter)
        names: list[str] = []
        while True:
            try:
                values = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(url, rows.line_num, error=f"no CSV: {error}")
                continue
            if not values:
                continue
            if not names:
                names = values
            elif any("\udc80" <= sign <= "\udcff" for value in values for sign in value):
                yield Row(url, rows.line_num, error="not UTF-8")
            elif len(values) != len(names):
                yield Row(url, rows.line_num, error=f"{len(values)} fields instead of {len(names)}")
            else:
                yield Row(url, rows.line_num, dict(zip(names, values, strict=True)))


def _tsv(url: str, file: Any) -> Iterator[Row]:
    return _csv(url, file, delimiter="\t")


def _parquet(url: str, file: Any) -> Iterator[Row]:
    arrow = pyarrow()
    try:
        table = arrow.parquet.ParquetFile(file)
        number = 0
        for batch in table.iter_batches(batch_size=ROWS_AT_ONCE):
            for place in range(batch.num_rows):
                number += 1
                try:
                    (fields,) = batch.slice(place, 1).to_pylist()
                except UnicodeDecodeError as error:
                    yield Row(url, number, error=f"not UTF-8: {error.reason}")
                else:
                    yield Row(url, number, fields)
    except arrow.ArrowException as error:
        raise InvalidInputError(f"{url} cannot be read as Parquet: {error}") from error


def pyarrow() -> Any:
    """The package, with its Parquet.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(
            "Parquet needs pyarrow: pip install 'qwen3-ascend-rerank[batch]', or use .jsonl"
        ) from error
    return pyarrow


KINDS: dict[str, Callable[[str, Any], Iterator[Row]]] = {
    "jsonl": _json_lines,
    "csv": _csv,
    "tsv": _tsv,
    "parquet": _parquet,
}
SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
