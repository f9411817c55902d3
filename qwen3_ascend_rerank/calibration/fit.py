"""The function from log-odds to P(relevant), by scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import InvalidInputError, MissingDependencyError
from ..results.calibration import METHODS, Calibration

LEAST = 10
"""Pairs of either kind below which nothing is fitted."""


def fit(
    log_odds: Sequence[float],
    relevant: Sequence[bool],
    *,
    model: str,
    instruction: str,
    method: str = "platt",
) -> Calibration:
    """Fit P(relevant) to judged pairs.

    Args:
        log_odds: of each pair, as `RankedDocument.log_odds`.
        relevant: what a person said of each.
        model: whose log-odds these are.
        instruction: under which they were scored.
        method: ``platt``, a logistic function of two numbers that does with few labels (Platt
            1999, with his targets, so that a clean separation stays finite); ``isotonic``, any
            function that rises, for a thousand labels and more.

    Raises:
        InvalidInputError: another method; too few pairs of a kind; scores that fall where labels
            rise.
        MissingDependencyError: scikit-learn is not installed.
    """
    if method not in METHODS:
        raise InvalidInputError(f"method is {method!r}; use one of {', '.join(METHODS)}")
    check_labels(log_odds, relevant)
    kept: dict[str, Any] = {"model": model, "instruction": instruction}
    kept |= {"pairs": len(relevant), "relevant": sum(map(bool, relevant))}
    if method == "platt":
        slope, intercept = _platt(log_odds, relevant)
        return Calibration("platt", slope=slope, intercept=intercept, **kept)
    return Calibration("isotonic", knots=_isotonic(log_odds, relevant), **kept)


def check_labels(
    log_odds: Sequence[float], relevant: Sequence[bool], where: str = "the labels"
) -> None:
    """Refuse labels from which nothing can be learnt.

    Raises:
        InvalidInputError: a kind is missing, or has fewer than `LEAST` pairs.
    """
    if len(log_odds) != len(relevant):
        raise InvalidInputError(f"{len(log_odds)} log-odds for {len(relevant)} labels")
    if wrong := [one for one in log_odds if not math.isfinite(one)]:
        raise InvalidInputError(f"log-odds of {wrong[0]}, which is no number to calibrate with")
    yes = sum(map(bool, relevant))
    kinds = {"relevant": yes, "not relevant": len(relevant) - yes}
    for kind, count in kinds.items():
        if count == 0 and len(relevant):
            other = next(one for one in kinds if one != kind)
            raise InvalidInputError(
                f"all of {where} say {other} ({len(relevant)} pairs); label some that are {kind}, "
                "too, such as passages that a retriever found and that answer nothing"
            )
        if count < LEAST:
            raise InvalidInputError(
                f"{where} have {count} pairs that are {kind}, which is too few to learn from; at "
                f"least {LEAST} of either kind are needed, and 100 make a difference"
            )


def _platt(log_odds: Sequence[float], relevant: Sequence[bool]) -> tuple[float, float]:
    """Slope and intercept; each pair counts as Platt's target says, for both answers."""
    try:
        import numpy as np
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise _missing(error) from error
    yes = np.asarray(relevant, bool)
    count = int(yes.sum())
    target = np.where(yes, (count + 1) / (count + 2), 1 / (len(yes) - count + 2))
    values = np.asarray(log_odds, float)
    scale = float(values.std()) or 1.0
    column = np.concatenate([values, values])[:, None] / scale
    answers = np.repeat([1, 0], len(yes))
    fitted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(
        column, answers, sample_weight=np.concatenate([target, 1 - target])
    )
    slope, intercept = float(fitted.coef_[0, 0]) / scale, float(fitted.intercept_[0])
    if slope <= 0:
        raise _falls()
    return slope, intercept


def _isotonic(
    log_odds: Sequence[float], relevant: Sequence[bool]
) -> tuple[tuple[float, float], ...]:
    try:
        import numpy as np
        from sklearn.isotonic import IsotonicRegression
    except ImportError as error:
        raise _missing(error) from error
    answers = np.asarray(relevant, float)
    fitted = IsotonicRegression(y_min=0, y_max=1).fit(np.asarray(log_odds, float), answers)
    places, values = fitted.X_thresholds_, np.maximum.accumulate(fitted.y_thresholds_)
    if values[0] == values[-1]:
        raise _falls()
    return tuple(zip(map(float, places), map(float, values), strict=True))


def _falls() -> InvalidInputError:
    return InvalidInputError(
        "the scores do not rise where the labels do, so no threshold would help; look whether "
        "labels are turned around, or another instruction says better what is relevant"
    )


def _missing(error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(
        f"calibrating needs {error.name}, which is not installed; "
        'pip install "qwen3-ascend-rerank[evaluate]"'
    )
