"""Whether two answers are one model's: pairs on which models differ, and how far is too far."""

from __future__ import annotations

from collections.abc import Sequence

from ..results import probability
from .examiner import TOLERANCE

QUERY = "What is the capital of China?"
DOCUMENTS = (
    "The court was moved to the north, to what is Beijing today.",
    "Tell me what Beijing is known for.",
    "Rome is the seat of the Italian government, and what some call the eternal city.",
    "Beijing is the seat of the government.",
    "Nanjing was the capital of several dynasties.",
    "Shanghai is the largest city of China.",
    "What people ask is which of the cities leads.",
    "The answer is Beijing.",
)
"""Neither good answers nor bad ones: where models are sure of themselves, they all agree."""
LARGEST = max(TOLERANCE.values())
"""How far the log-odds of one pair may lie apart, where the same model computes them twice."""
USUAL = 0.15
"""How far those of all pairs may on average."""
ROUNDING = 1 / 256
"""What a probability loses where it is computed in bfloat16."""


def same_model(one: Sequence[float], other: Sequence[float], *, exact: bool) -> bool:
    """Whether these log-odds of `DOCUMENTS` may be from one model.

    Args:
        one: from one server, or at one time.
        other: from another.
        exact: whether they are log-odds from the start; else they come from probabilities, which
            say little of log-odds near 0 and 1, and are compared themselves.
    """
    pairs = list(zip(one, other, strict=False))  # one may take fewer documents at once
    if exact:
        apart = [abs(mine - yours) for mine, yours in pairs]
        return max(apart) <= LARGEST and sum(apart) <= USUAL * len(apart)
    chances = [(probability(mine), probability(yours)) for mine, yours in pairs]
    apart = [abs(mine - yours) for mine, yours in chances]
    slopes = [max(chance * (1 - chance) for chance in both) for both in chances]
    return all(
        distance <= LARGEST * slope + ROUNDING
        for distance, slope in zip(apart, slopes, strict=True)
    ) and sum(apart) <= USUAL * sum(slopes) + ROUNDING * len(apart)
