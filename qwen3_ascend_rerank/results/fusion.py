"""The model's judgement and the retriever's, made one score for each document of a query."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..checks import described
from ..errors import InvalidInputError

CONSTANT = 60
"""What is added to a rank. Source: Cormack, Clarke and Büttcher, Reciprocal Rank Fusion outperforms
Condorcet and individual rank learning methods, SIGIR 2009."""
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


def _spread(values: Sequence[float]) -> list[float]:
    low, high = min(values, default=0.0), max(values, default=0.0)
    return [(value - low) / (high - low) if high > low else 0.0 for value in values]


def _ranks(values: Sequence[float]) -> list[int]:
    ranks = [0] * len(values)
    for rank, place in enumerate(sorted(range(len(values)), key=lambda one: -values[one]), 1):
        ranks[place] = rank
    return ranks
