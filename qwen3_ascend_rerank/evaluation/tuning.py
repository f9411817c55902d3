"""The weight of a fusion, chosen on other queries than those that it is then measured on."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ..corpora import Run
from ..results.fusion import Fusion
from .measures import Measurer
from .rankings import reranked

WEIGHTS = tuple(step / 10 for step in range(11))


@dataclass(frozen=True, slots=True)
class Tuned:
    """A run whose halves were fused with the weight that was best for the other half."""

    run: Run
    weights: tuple[float, float]
    """Of the first half and the second; far apart, they say that the queries are too few."""


def tuned(run: Run, log_odds: Run, k: int, measurer: Measurer, seed: int = 0) -> Tuned:
    """Fuse with the best of `WEIGHTS` by the leading measure; of equal ones the greatest.

    Args:
        run: what the first stage found.
        log_odds: the model's, of the first k documents of each query.
        k: how many are reranked.
        measurer: with the judgements.
        seed: of the drawing of the halves.
    """
    queries = list(run)
    random.Random(seed).shuffle(queries)  # noqa: S311 - no secret
    halves = queries[: len(queries) // 2], queries[len(queries) // 2 :]
    runs = {weight: reranked(run, log_odds, k, Fusion("weighted", weight)) for weight in WEIGHTS}
    leading = measurer.names[0]
    values = {weight: measurer.values(fused)[leading] for weight, fused in runs.items()}

    def best(half: list[str]) -> float:
        means = {
            weight: sum(one.get(query, 0.0) for query in half) for weight, one in values.items()
        }
        return max(WEIGHTS, key=lambda weight: (round(means[weight], 9), weight))

    weights = best(halves[1]), best(halves[0])
    made = {
        query: runs[weight][query]
        for half, weight in zip(halves, weights, strict=True)
        for query in half
    }
    return Tuned({query: made[query] for query in run}, weights)
