"""A document, a collection, a run: as they are in memory."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..errors import InvalidInputError
from ..prompts.fields import with_fields

Run: TypeAlias = dict[str, dict[str, float]]
"""What a retriever found: of each query's id the documents' ids with their scores, best first."""
Qrels: TypeAlias = dict[str, dict[str, int]]
"""What is relevant: of each query's id the documents' ids with their grades; relevant from 1 on."""


@dataclass(frozen=True, slots=True)
class CorpusDocument:
    """A document of a corpus."""

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Its other fields."""

    @property
    def whole(self) -> str:
        """Title and text with a space between, as BEIR and mteb give them to a model."""
        return f"{self.title} {self.text}".strip() if self.title else self.text

    def without(self, fields: Sequence[str]) -> str:
        """What is read without `fields`: `whole`, or the text where the title is one of them."""
        return self.text if "title" in fields else self.whole

    def behind(self, fields: Sequence[str]) -> str:
        """Those of `fields` that it has, a line each, and below them what is left."""
        return with_fields(self.without(fields), {"title": self.title, **self.metadata}, fields)


@dataclass(frozen=True)
class Collection:
    """Queries, the documents that are searched, and which of them are relevant."""

    queries: Mapping[str, str]
    """The texts of the queries by their ids."""
    corpus: Mapping[str, CorpusDocument]
    """The documents by their ids."""
    qrels: Qrels
    name: str = "the collection"
    qrels_name: str = "qrels"
    """What errors call them: their file, where there is one."""

    def __post_init__(self) -> None:
        """See that they belong together.

        Raises:
            InvalidInputError: the qrels name a query or a document that is not there.
        """
        self.check(self.qrels_name, self.qrels)

    def check(self, name: str, rows: Mapping[str, Iterable[str]]) -> None:
        """See that all queries and documents which `rows` name are there.

        Args:
            name: of the file with `rows`, for the error.
            rows: of each query's id the ids of documents; a run, or qrels.

        Raises:
            InvalidInputError: some are not; the first is named.
        """
        _refuse(name, "query", [one for one in rows if one not in self.queries], "queries")
        documents = dict.fromkeys(one for ids in rows.values() for one in ids)
        _refuse(name, "document", [one for one in documents if one not in self.corpus], "corpus")


def _refuse(name: str, what: str, unknown: list[str], place: str) -> None:
    if unknown:
        others = f" (nor {len(unknown) - 1} others that it names)" if len(unknown) > 1 else ""
        have = "have" if place == "queries" else "has"
        raise InvalidInputError(
            f"{name} names the {what} {unknown[0]!r}, which the {place} {have} not{others}; give "
            f"the {place} that it was made for, or take these rows out of it"
        )


def falling(scores: Iterable[float]) -> list[float]:
    """Scores that fall from each to the next, so that every reader of a run has the same order.

    Programs that read runs sort by score, and where two are equal one has the smaller id first and
    another the greater. A score that does not fall becomes the next smaller float32, since
    trec_eval reads that many digits.

    Args:
        scores: of the documents of one query in the order that is meant.
    """
    found: list[float] = []
    for score in scores:
        single = _single(score)
        if found and single >= found[-1]:
            single = _below(found[-1])
        found.append(single)
    return found


def _single(score: float) -> float:
    """The float32 that is nearest."""
    return float(struct.unpack("<f", struct.pack("<f", score))[0])


def _below(single: float) -> float:
    """The next smaller float32."""
    if single == 0:
        return -math.ldexp(1.0, -149)
    (bits,) = struct.unpack("<i", struct.pack("<f", single))
    return float(struct.unpack("<f", struct.pack("<i", bits + (1 if single < 0 else -1)))[0])
