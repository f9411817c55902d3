"""Collections of the package ir_datasets, by their ids: ``ir_datasets:beir/scifact/test``.

They are read through that package, which fetches them where they are not on this machine yet.

Source: https://ir-datasets.com
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import InvalidInputError, MissingDependencyError
from .records import Collection, CorpusDocument, Qrels

PREFIX = "ir_datasets:"
PARTS = {"queries": "queries", "docs": "documents", "qrels": "judgements"}
TITLES = ("title",)
TEXTS = ("text", "body", "abstract")
"""Where a document's title and text are, in this order; else all that `default_text` gives is its
text."""


def load_collection(name: str) -> Collection:
    """Queries, documents and judgements of a data set.

    Args:
        name: its id, with ``ir_datasets:`` before it or not. Documents are fetched from its own
            store as they are asked for.

    Raises:
        MissingDependencyError: ir_datasets is not installed.
        InvalidInputError: there is no such data set, it lacks one of the three, or it cannot be
            fetched.
    """
    id_ = name.removeprefix(PREFIX)
    try:
        import ir_datasets
    except ImportError as error:
        raise MissingDependencyError(
            f"{name} needs ir_datasets, which cannot be imported ({error}); "
            'pip install "qwen3-ascend-rerank[ir-datasets]"'
        ) from error
    try:
        dataset = ir_datasets.load(id_)
    except KeyError:
        raise InvalidInputError(
            f"ir_datasets has no {id_!r}; https://ir-datasets.com lists what it has"
        ) from None
    if missing := [told for part, told in PARTS.items() if not getattr(dataset, f"has_{part}")()]:
        raise InvalidInputError(
            f"{id_} of ir_datasets has no {' and no '.join(missing)}; name a subset that has, such "
            "as beir/scifact/test"
        )
    try:
        queries = {query.query_id: query.default_text() for query in dataset.queries_iter()}
        qrels: Qrels = {}
        for row in dataset.qrels_iter():
            qrels.setdefault(row.query_id, {})[row.doc_id] = int(row.relevance)
        corpus = StoredCorpus(dataset)
    except Exception as error:  # of its own kinds, and of whatever fetches
        raise InvalidInputError(
            f"{id_} of ir_datasets cannot be read: {type(error).__name__}: {error}"
        ) from error
    return Collection(queries, corpus, qrels, id_, f"the qrels of {id_}")


class StoredCorpus(Mapping[str, CorpusDocument]):
    """The documents of a data set, in the store that ir_datasets keeps of them."""

    def __init__(self, dataset: Any) -> None:
        """Open the store; where there is none yet, ir_datasets makes it, which may take long."""
        self._dataset = dataset
        self._store = dataset.docs_store()

    def __getitem__(self, id_: str) -> CorpusDocument:
        return _document(self._store.get(id_))

    def __contains__(self, id_: object) -> bool:
        try:
            self._store.get(id_)
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        return (document.doc_id for document in self._dataset.docs_iter())

    def __len__(self) -> int:
        count = self._dataset.docs_count()
        return sum(1 for _ in self) if count is None else int(count)

    def values(self) -> Any:
        """All documents, as they lie in the store."""
        return map(_document, self._dataset.docs_iter())


def _document(given: Any) -> CorpusDocument:
    fields = given._asdict()
    id_ = fields.pop("doc_id")
    title, text = (
        next((name for name in names if isinstance(fields.get(name), str)), None)
        for names in (TITLES, TEXTS)
    )
    if text is None:
        return CorpusDocument(id_, given.default_text())
    more = fields.pop("metadata", None)
    kept = {name: value for name, value in fields.items() if name not in (title, text)}
    kept |= more if isinstance(more, Mapping) else {}
    return CorpusDocument(id_, fields[text], fields[title] if title else "", kept)
