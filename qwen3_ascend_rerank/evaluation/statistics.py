"""How sure a difference is: the paired bootstrap, and a paired randomisation test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
RESAMPLES = 10_000
AT_ONCE = 2_000_000
"""Numbers that are drawn at once, which bounds the memory."""


@dataclass(frozen=True, slots=True)
class Gain:
    """A mean difference over queries, and how sure it is."""

    mean: float
    low: float | None
    high: float | None
    """The interval that holds it with `CONFIDENCE`, by the percentiles of `RESAMPLES` drawn
    samples; None for a single query, of which nothing can be said."""
    p: float | None
    """How often a difference as large comes about where each query's sign is drawn by chance, two-
    sided; None for a single query. Source: Smucker, Allan and Carterette, A comparison of
    statistical significance tests for information retrieval evaluation, CIKM 2007."""


def gains(
    before: Sequence[Sequence[float]], after: Sequence[Sequence[float]], seed: int = 0
) -> list[Gain]:
    """Of each measure the gain from `before` to `after`; equal seeds give equal numbers.

    Args:
        before: of each measure a value of each query, shape (measures, queries).
        after: the same of the same queries.
        seed: of what is drawn.
    """
    import numpy as np

    differences = np.asarray(after, dtype=float) - np.asarray(before, dtype=float)
    means = differences.mean(axis=1)
    queries = differences.shape[1]
    if queries < 2:
        return [Gain(float(mean), None, None, None) for mean in means]
    rng = np.random.default_rng(seed)
    drawn, reached, done = [], np.zeros(len(means)), 0
    while done < RESAMPLES:
        size = min(RESAMPLES - done, max(1, AT_ONCE // queries))
        places = rng.integers(0, queries, (size, queries))
        drawn.append(differences[:, places].mean(axis=2))
        signs = rng.integers(0, 2, (size, queries)) * 2.0 - 1.0
        by_chance = np.abs(signs @ differences.T / queries)  # (size, measures)
        reached += (by_chance >= np.abs(means) - 1e-12).sum(axis=0)
        done += size
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(drawn, axis=1), [tail, 1 - tail], axis=1)
    p = (reached + 1) / (RESAMPLES + 1)
    return [Gain(*map(float, one)) for one in zip(means, low, high, p, strict=True)]
