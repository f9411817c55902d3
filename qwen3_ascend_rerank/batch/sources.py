"""Where rows come from: files of JSON lines, CSV or Parquet, wherever fsspec finds them."""

from __future__ import annotations

import codecs
import csv
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidInputError, MissingDependencyError

ROWS_AT_ONCE = 1024
"""Of a Parquet file that are in memory at once."""
GLOB = re.compile(r"(?:([^*?[]*)/)?[^/*?[]*[*?[]")
"""A glob, and the folder below which it looks."""
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

        # fsspec's own way with .zst stops without a word where a frame ends, or the file too early.
        zstd = self.url.lower().endswith(".zst")
        try:
            with fsspec.open(self.url, "rb", compression=None if zstd else "infer") as file:
                yield from KINDS[self.kind](self.url, _unpacked(file) if zstd else file)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise InvalidInputError(f"{self.url} cannot be read: {reason}") from error


def _unpacked(file: Any) -> io.BufferedReader:
    """What is in a file of Zstandard, however many frames it has."""
    return io.BufferedReader(pyarrow().CompressedInputStream(file, "zstd"))


def find(places: Sequence[str], *, apart_from: str | None = None) -> list[Source]:
    """The files that `places` name, in the order of their names within each place.

    Of a folder those of a kind that can be read; what is hidden, or in a hidden folder, by a name
    that begins with a dot or an underscore, is left out, and by a glob too.

    Args:
        places: files, folders, globs; paths or URLs that fsspec knows.
        apart_from: a folder whose files are none of them, even if it is in one of `places`.

    Raises:
        InvalidInputError: there is no file, or one of a kind that cannot be read, or one twice.
    """
    import fsspec

    found: dict[str, Source] = {}
    for place in places:
        try:
            system, path = fsspec.core.url_to_fs(place)
            other = _path_on(system, apart_from)
            if system.isdir(path):
                names = [one for one in system.find(path) if _kind_of(one)]
                names = _of_the_input(names, path, other)
            elif match := GLOB.match(path):
                names = _of_the_input(system.glob(path), match[1] or "", other)
                names = [one for one in names if not system.isdir(one)]
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
            url = name if local else system.unstrip_protocol(name)
            if url in found:
                raise InvalidInputError(f"{url} is given twice; name it once")
            found[url] = Source(url, size, kind)
    return [*found.values()]


def _path_on(system: Any, place: str | None) -> str | None:
    """Of a place, where it is on this file system."""
    import fsspec

    there, path = fsspec.core.url_to_fs(place) if place else (None, "")
    return path.rstrip("/") if there == system else None


def _kind_of(name: str) -> str | None:
    lower = name.lower()
    for packed in PACKED:
        lower = lower.removesuffix(packed)
    return next((kind for suffix, kind in SUFFIXES.items() if lower.endswith(suffix)), None)


def _of_the_input(names: Iterable[str], folder: str, output: str | None) -> list[str]:
    """Those that are not hidden below `folder`, nor in the output, where that is below it."""
    inside = output if output and output.startswith(f"{folder}/") else None
    return [
        name
        for name in names
        if not any(part.startswith((".", "_")) for part in name.removeprefix(folder).split("/"))
        and not (inside and name.startswith(f"{inside}/"))
    ]


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
        rows = csv.reader(text, delimiter=delimiter, strict=True)
        names: list[str] | None = None
        nameless = ""
        while True:
            fault, first = "", rows.line_num + 1
            values: list[str] = []
            try:
                values = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                lines = f"lines {first} to {rows.line_num}: " if rows.line_num > first else ""
                fault = f"no CSV: {lines}{error} (within quotes, a quote is doubled)"
            if not values and not fault:
                continue
            if any("\udc80" <= sign <= "\udcff" for value in values for sign in value):
                fault = "not UTF-8"
            if names is None:
                names = [one if values.count(one) == 1 else f"{one} (twice)" for one in values]
                nameless = fault and f"the first row, which names the columns: {fault}"
            elif fault or nameless:
                yield Row(url, rows.line_num, error=nameless or fault)
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
                    yield Row(url, number, {name: _text(one) for name, one in fields.items()})
    except arrow.ArrowException as error:
        raise InvalidInputError(f"{url} cannot be read as Parquet: {error}") from error


def _text(value: Any) -> Any:
    """As text what some writers of Parquet put down as bytes, where it is text."""
    if isinstance(value, list):
        return [_text(one) for one in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    return value


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
            "Parquet and .zst need pyarrow: pip install 'qwen3-ascend-rerank[batch]', or use .jsonl"
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
