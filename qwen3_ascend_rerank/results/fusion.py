"""The model's judgement and the retriever's, made one score for each document of a query."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from ..checks import described
from ..errors import InvalidInputError
from .records import RankedDocument
from .result import RerankResult

CONSTANT = 60
"""What is added to a rank. Source: Cormack, Clarke and Büttcher, Reciprocal Rank Fusion outperforms
Condorcet and individual rank learning methods, SIGIR 2009."""
WEIGHTED_CASCADE = (
    "fusion is weighted, and a cascade has scores of several models, which cannot be compared; use "
    "rrf, which goes by the order"
)
FORMS = "give rrf, rrf:CONSTANT or weighted:WEIGHT, the model's weight in [0, 1]"


def weighted(log_odds: Sequence[float], retrieved: Sequence[float], weight: float) -> list[float]:
    """``weight`` parts of the model's log-odds and the rest of the retriever's score.

    Both are first brought to [0, 1] over the documents of the query, the lowest to 0 and the
    highest to 1, since retrievers have any scale; all are 0 where they are equal.

    Args:
        log_odds: the model's, one for each document of a query.
        retrieved: the retriever's scores of the same documents, higher is better.
        weight: the model's, in [0, 1].

    Returns:
        Scores in [0, 1], for the order within this query alone.
    """
    pairs = zip(_spread(log_odds), _spread(retrieved), strict=True)
    return [weight * model + (1 - weight) * retriever for model, retriever in pairs]


def reciprocal_ranks(
    log_odds: Sequence[float], retrieved: Sequence[float], constant: float = CONSTANT
) -> list[float]:
    """1 / (constant + rank), summed over the model's ranks and the retriever's, each from 1.

    Args:
        log_odds: the model's, one for each document of a query.
        retrieved: the retriever's scores of the same documents, higher is better.
        constant: the greater, the less the first ranks stand out.

    Returns:
        Scores above 0, for the order within this query alone; equal numbers have ranks in the order
        in which they stand.
    """
    pairs = zip(_ranks(log_odds), _ranks(retrieved), strict=True)
    return [1 / (constant + model) + 1 / (constant + retriever) for model, retriever in pairs]


@dataclass(frozen=True, slots=True)
class Fusion:
    """One of the two, with its number."""

    kind: str
    """``weighted`` or ``rrf``."""
    number: float

    @classmethod
    def of(cls, given: str | Fusion) -> Fusion:
        """From ``rrf``, ``rrf:60`` or ``weighted:0.7``.

        Raises:
            InvalidInputError: it is none of these.
        """
        if isinstance(given, Fusion):
            return given
        kind, _, text = given.partition(":") if isinstance(given, str) else ("", "", "")
        try:
            number = float(text) if text or kind != "rrf" else float(CONSTANT)
        except ValueError:
            number = math.nan
        right = 0 <= number <= 1 if kind == "weighted" else 0 <= number < math.inf
        if kind not in ("weighted", "rrf") or not right:
            raise InvalidInputError(f"fusion is {described(given)}; {FORMS}")
        return cls(kind, number)

    def scores(self, log_odds: Sequence[float], retrieved: Sequence[float]) -> list[float]:
        """One for each document of a query."""
        fuse = weighted if self.kind == "weighted" else reciprocal_ranks
        return fuse(log_odds, retrieved, self.number)

    def __str__(self) -> str:
        return f"{self.kind}:{self.number:g}"


def fused(
    result: RerankResult,
    retrieved: Sequence[float],
    fusion: Fusion,
    *,
    threshold: float | None = None,
    top_n: int | None = None,
) -> RerankResult:
    """`result` in the order of both judgements; scores stay the model's.

    Args:
        result: of all documents, without threshold and top_n.
        retrieved: the retriever's scores in the order in which the documents were passed in, higher
            is better.
        fusion: which order that is.
        threshold: lowest score of the model that is kept, after the order was found.
        top_n: how many are kept at most.

    Raises:
        InvalidInputError: a cascade whose scores would be weighted, though they are of different
            models.
    """
    documents = sorted(result, key=lambda one: one.index)
    if result.stages and fusion.kind == "weighted":
        raise InvalidInputError(WEIGHTED_CASCADE)
    # Of a cascade only the order can be compared; of one model it is that of the log-odds.
    places = {one.index: -place for place, one in enumerate(result)}
    weighs = fusion.kind == "weighted"
    said = [one.log_odds if weighs else places[one.index] for one in documents]
    scores = fusion.scores(said, retrieved)
    order = sorted(documents, key=lambda one: -scores[one.index])
    kept = [one for one in order if threshold is None or _reaches(one, threshold, result)]
    return replace(result, documents=tuple(kept[:top_n]))


def _reaches(one: RankedDocument, threshold: float, result: RerankResult) -> bool:
    last = len(result.stages) or None
    return one.stage == last and one.score >= threshold


def checked_scores(scores: Sequence[Any], source: str) -> list[float]:
    """A retriever's scores, all of them numbers.

    Args:
        scores: one for each document.
        source: where they were looked for, for the error.

    Raises:
        InvalidInputError: one is missing, or no finite number.
    """
    for place, score in enumerate(scores):
        number = isinstance(score, Real) and not isinstance(score, bool)
        if not number or not math.isfinite(score):
            lack = "none" if score is None else described(score)
            raise InvalidInputError(
                f"fusion needs the retriever's score of each document, and document {place} has "
                f"{lack} as {source}; have the retriever give it, or leave fusion out"
            )
    return [float(score) for score in scores]


def _spread(values: Sequence[float]) -> list[float]:
    low, high = min(values, default=0.0), max(values, default=0.0)
    return [(value - low) / (high - low) if high > low else 0.0 for value in values]


def _ranks(values: Sequence[float]) -> list[int]:
    ranks = [0] * len(values)
    for rank, place in enumerate(sorted(range(len(values)), key=lambda one: -values[one]), 1):
        ranks[place] = rank
    return ranks
