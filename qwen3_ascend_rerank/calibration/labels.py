"""Pairs that a person has judged, and their log-odds."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checks import is_number
from ..corpora import Collection, Run
from ..errors import InvalidInputError
from ..reranker import Ranker

TEXTS = ("text", "document", "passage", "content", "page_content")
LABELS = ("label", "relevant", "relevance", "grade")
"""Names that a row's text and its label may have."""


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """One judged pair."""

    query: str
    text: str
    relevant: bool


@dataclass(frozen=True, slots=True)
class Labelled:
    """Judged pairs with their log-odds; all three have one length."""

    log_odds: Sequence[float]
    relevant: Sequence[bool]
    queries: Sequence[str]
    """Whose pairs they are: those of one query depend on each other, and are kept together."""
    model: str
    """The model that scored them."""
    instruction: str
    """The instruction under which they were scored."""

    def __len__(self) -> int:
        return len(self.log_odds)


def read_labels(file: str | Path, *, least: float = 1) -> list[JudgedPair]:
    """Judged pairs from a file of JSON lines: objects with a query, a text and a label.

    Args:
        file: where they are.
        least: the lowest label that counts as relevant; true is 1, false 0.

    Raises:
        InvalidInputError: the file cannot be read, or a line of it is no judged pair.
    """
    try:
        lines = Path(file).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{file} cannot be read: {error}") from None
    rows = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            rows.append(_row(_json(line), f"{file} line {number}", least))
    return rows


def judged_pairs(
    collection: Collection, run: Run, top_k: int, *, least: float = 1
) -> list[JudgedPair]:
    """What a retriever found, with the judgements of a collection.

    Args:
        collection: texts and judgements.
        run: what was found, of each query best first; a query without judgements is left out.
        top_k: how many documents of each query.
        least: the lowest grade that counts as relevant. A document that nobody has judged does not.

    Raises:
        InvalidInputError: the run has none of the judged queries, or names what there is not.
    """
    found = {query: list(run[query])[:top_k] for query in collection.qrels if run.get(query)}
    if not found:
        raise InvalidInputError(
            f"the run has none of the {len(collection.qrels)} judged queries; give theirs"
        )
    collection.check("the run", found)
    return [
        JudgedPair(
            collection.queries[query],
            collection.corpus[id_].whole,
            collection.qrels[query].get(id_, 0) >= least,
        )
        for query, ids in found.items()
        for id_ in ids
    ]


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _row(value: Any, name: str, least: float) -> JudgedPair:
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{name} is no JSON object; give query, text and label")
    text = next((value[one] for one in TEXTS if one in value), None)
    label = next((value[one] for one in LABELS if one in value), None)
    query = value.get("query")
    if not isinstance(query, str) or not isinstance(text, str):
        raise InvalidInputError(f"{name} has no query and text; name them query and {TEXTS[0]}")
    if label is None or not (isinstance(label, bool) or is_number(label)):
        raise InvalidInputError(
            f"{name} has the label {label!r}; give true or false, 1 or 0, or a grade, as "
            f"{LABELS[0]}"
        )
    return JudgedPair(query, text, bool(label >= least))


def scored(rows: Iterable[JudgedPair], reranker: Ranker) -> Labelled:
    """What the model of `reranker` says of judged pairs; `top_n` and `threshold` do not count.

    Raises:
        RerankError: as `Reranker.rerank_many`.
    """
    by_query: dict[str, list[JudgedPair]] = defaultdict(list)
    for row in rows:
        by_query[row.query].append(row)
    log_odds: list[float] = []
    relevant: list[bool] = []
    queries: list[str] = []
    model = ""
    requests = ((query, [row.text for row in own]) for query, own in by_query.items())
    for outcome in reranker.rerank_many(requests, top_n=None, threshold=None):
        result = outcome.unwrap()
        own = by_query[result.query]
        model = result.model
        for one in result:
            log_odds.append(one.log_odds)
            relevant.append(own[one.index].relevant)
            queries.append(result.query)
    return Labelled(log_odds, relevant, queries, model, reranker.instruction)
