"""What a retriever found, as rows: a TREC run, with its queries and its corpus beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..corpora import CorpusDocument, iter_run, read_corpus, read_queries
from ..errors import InvalidInputError
from .sources import Row
from .tasks import Columns


@dataclass(frozen=True, slots=True)
class RunSource:
    """A run, whose rows are pairs: a document each, those of a query together, best first."""

    url: str
    size: int | None
    """In bytes."""
    queries: Mapping[str, str] = field(repr=False)
    corpus: Mapping[str, CorpusDocument] = field(repr=False)
    columns: Columns
    """What its fields are called."""

    def rows(self) -> Iterator[Row]:
        """Its rows; number counts them. One that names what there is not says so.

        Raises:
            InvalidInputError: the file, or a line of it, is none of a run.
        """
        number = 0
        for query, hits in iter_run(self.url):
            for document in hits:
                number += 1
                yield self._row(number, query, document)

    def _row(self, number: int, query: str, document: str) -> Row:
        names, error = self.columns, ""
        found = self.corpus.get(document)
        text = None if found is None else found.without(names.fields)
        if query not in self.queries:
            error = f"the queries have no {query!r}"
        elif text is None:
            error = f"the corpus has no {document!r}"
        known = {} if found is None else {"title": found.title, **found.metadata}
        fields = {
            **{name: known[name] for name in names.fields if name in known},
            names.id: query,
            names.query: self.queries.get(query),
            names.document_id: document,
            names.document: text,
        }
        return Row(self.url, number, fields, error)


@dataclass(frozen=True, slots=True)
class RunInput:
    """The files beside a run."""

    queries: str
    """Of the queries: JSON lines with an id and a text, or both with a tab between."""
    corpus: str
    """Of the documents: the same, and a title where there is one, which goes before the text."""

    def sources(self, places: Sequence[str], columns: Columns) -> list[RunSource]:
        """A source for each run.

        Raises:
            InvalidInputError: a file that is not there, or cannot be used.
        """
        for place in places:
            if not Path(place).is_file():
                raise InvalidInputError(
                    f"{place} is no file; with queries and a corpus the input is runs in TREC's "
                    "six columns, or JSON lines"
                )
        taken = {columns.id, columns.query, columns.document_id, columns.document}
        if own := [name for name in columns.fields if name in taken]:
            raise InvalidInputError(
                f"metadata_fields names {own[0]}, which is no field of a document where the input "
                "is a run; name fields of the corpus, or title"
            )
        queries, corpus = read_queries(self.queries), read_corpus(self.corpus)
        return [
            RunSource(
                str(Path(place).resolve()), Path(place).stat().st_size, queries, corpus, columns
            )
            for place in places
        ]
