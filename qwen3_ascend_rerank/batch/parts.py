"""The folder of a job: parts that are whole or not there, what was refused, and the manifest.

    manifest.json           what the job is made with; written first, counts added at the end
    part-00000.jsonl        the requests of a block, in order
    rejects-00000.jsonl     what of a block was not scored, and why; none where all was

A part is written aside and then put in its place, after the rejects of its block: where the part
is, the block is done.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..corpora import run_lines
from ..errors import InvalidInputError, MissingDependencyError
from ..trust.likeness import same_model
from .maker import Maker
from .sources import pyarrow
from .tasks import Reject

FORMATS = ("jsonl", "parquet", "csv", "trec")
MANIFEST = "manifest.json"
TAG = "qwen3-ascend-rerank"
"""The name of our runs in their last column."""
COLUMNS = {
    "request": "int64",
    "id": "string",
    "query": "string",
    "rank": "int32",
    "index": "int32",
    "document_id": "string",
    "score": "float64",
    "log_odds": "float64",
    "truncated": "bool",
    "passage_start": "int64",
    "passage_end": "int64",
    "relevance": "float64",
    "stage": "int32",
}
"""Of a result, in rows of pairs, and their types in Parquet. JSON lines nest what follows query."""
OF_REQUEST = ("request", "id", "query")
_PART = re.compile(r"part-(\d+)\.(\w+)")


class Parts:
    """The folder, wherever fsspec finds it."""

    def __init__(self, place: str, kind: str) -> None:
        """Make the folder, unless it is there.

        Raises:
            InvalidInputError: `kind` is none of `FORMATS`, or the folder cannot be made.
        """
        import fsspec

        if kind not in FORMATS:
            raise InvalidInputError(f"format is {kind!r}; use one of {', '.join(FORMATS)}")
        if kind == "parquet":
            pyarrow()
        self.place, self.kind = place, kind
        self._manifest: dict[str, Any] = {}
        try:
            self._system, self._path = fsspec.core.url_to_fs(place)
            self._system.makedirs(self._path, exist_ok=True)
            self._names = {
                name.rsplit("/", 1)[-1] for name in self._system.ls(self._path, detail=False)
            }
        except ImportError as error:
            raise MissingDependencyError(f"{place} needs a package: {error}") from error
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"{place} cannot be written: {error}") from error

    def begin(self, made_with: Mapping[str, Any]) -> None:
        """Begin a job here, or go on with the one that was begun with the same settings.

        Raises:
            InvalidInputError: another job was begun here, or the folder holds other files.
        """
        if MANIFEST in self._names:
            self._manifest = self._read_manifest()
        elif others := sorted(name for name in self._names if not name.startswith(".")):
            raise InvalidInputError(
                f"{self.place} holds {others[0]} and no {MANIFEST}: it is no job's; give a "
                "folder that is new or empty"
            )
        self.demand("made_with", made_with)

    def demand(self, section: str, facts: Mapping[str, Any]) -> None:
        """Write `facts` into a section of the manifest, or compare them with what stands there.

        Raises:
            InvalidInputError: something else stands there.
        """
        now = json.loads(_json(facts))
        before = self._manifest.get(section)
        if before is None:
            self._save(section, now)
        elif not isinstance(before, dict):
            raise InvalidInputError(f"{self.place}/{MANIFEST} is damaged; give another folder")
        elif different := _difference(before, now):
            name, was, is_ = different
            raise InvalidInputError(
                f"{self.place} was begun with {name} {was}, and it is {is_} now; give what it was, "
                "or another folder"
            )

    def demand_makers(self, makers: Sequence[Maker]) -> None:
        """Write who scores, stage by stage, or compare it with who scored before.

        Raises:
            InvalidInputError: another runtime, or another model under whatever name.
        """
        for number, maker in enumerate(makers, 1):
            stage = f"stage_{number}_" if len(makers) > 1 else ""
            self.demand(f"{stage}runs_on", maker.runs_on)
            before = self._manifest.get(f"{stage}model_says")
            if before is None:
                self._save(f"{stage}model_says", list(maker.says))
            elif not same_model(before, maker.says, exact=maker.exact):
                which = f" in stage {number}" if stage else ""
                raise InvalidInputError(
                    f"{self.place} was begun with a model{which} that answers otherwise, whatever "
                    "it is called: other weights, or another precision; give the same, or another "
                    "folder"
                )

    def conclude(self, counts: Mapping[str, Any]) -> None:
        """Write that all is done, and what came of it."""
        self._save("done", dict(counts))

    def _read_manifest(self) -> dict[str, Any]:
        try:
            found = json.loads(self._system.cat_file(f"{self._path}/{MANIFEST}"))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise InvalidInputError(f"{self.place}/{MANIFEST} is damaged; give another folder")
        return found

    def _save(self, section: str, value: Any) -> None:
        self._manifest[section] = value
        self._write(MANIFEST, _json(self._manifest))

    @property
    def written(self) -> frozenset[int]:
        """Numbers of the blocks that are done."""
        matches = (_PART.fullmatch(name) for name in self._names)
        return frozenset(int(one[1]) for one in matches if one and one[2] == self.kind)

    def write(self, block: int, results: Sequence[dict[str, Any]], rejects: list[Reject]) -> None:
        """Write a block: what was refused, then the results."""
        if rejects:
            lines = "".join(_line(asdict(each)) for each in rejects)
            self._write(_rejects(block), lines.encode(errors="backslashreplace"))
        self._write(self._part(block), WRITERS[self.kind](results))

    def rejected(self, block: int) -> tuple[int, int]:
        """Of a block that is done: what was refused, and whole requests among it."""
        if _rejects(block) not in self._names:
            return 0, 0
        lines = self._system.cat_file(f"{self._path}/{_rejects(block)}").splitlines()
        return len(lines), sum(json.loads(line)["request"] is not None for line in lines)

    def _part(self, block: int) -> str:
        return f"part-{block:05d}.{self.kind}"

    def _write(self, name: str, content: bytes) -> None:
        path, aside = f"{self._path}/{name}", f"{self._path}/.{name}.writing"
        try:
            self._system.pipe_file(aside, content)
            self._system.mv(aside, path)
        except OSError as error:
            raise InvalidInputError(f"{self.place}/{name} cannot be written: {error}") from error
        self._names.add(name)


def _rejects(block: int) -> str:
    return f"rejects-{block:05d}.jsonl"


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str, str] | None:
    for name in sorted(before.keys() | now.keys()):
        was, is_ = before.get(name), now.get(name)
        if was != is_:
            return name, json.dumps(was, ensure_ascii=False), json.dumps(is_, ensure_ascii=False)
    return None


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True).encode()


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str) + "\n"


def _json_lines(results: Sequence[dict[str, Any]]) -> bytes:
    return "".join(map(_line, results)).encode(errors="backslashreplace")


def _rows(results: Sequence[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for result in results:
        for rank, one in enumerate(result["results"], 1):
            row = {name: result.get(name) for name in OF_REQUEST} | one | {"rank": rank}
            yield {name: row.get(name) for name in COLUMNS}


def _csv(results: Sequence[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(_rows(results))
    return text.getvalue().encode(errors="backslashreplace")


def _parquet(results: Sequence[dict[str, Any]]) -> bytes:
    arrow = pyarrow()
    schema = arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in COLUMNS.items()])
    rows = [
        {
            name: str(value) if COLUMNS[name] == "string" and value is not None else value
            for name, value in row.items()
        }
        for row in _rows(results)
    ]
    sink = io.BytesIO()
    arrow.parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), sink)
    return sink.getvalue()


def _trec(results: Sequence[dict[str, Any]]) -> bytes:
    lines: list[str] = []
    for result in results:
        query = result["request"] if result["id"] is None else result["id"]
        hits: dict[str, float] = {}
        for one in result["results"]:
            id_ = one.get("document_id")
            hits[str(one["index"] if id_ is None else id_)] = one["log_odds"]
        lines += run_lines(str(query), hits, TAG)
    return "".join(lines).encode()


WRITERS = {"jsonl": _json_lines, "csv": _csv, "parquet": _parquet, "trec": _trec}
