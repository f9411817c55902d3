"""How well a calibration fits pairs that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError
from ..results import probability
from ..results.calibration import Calibration
from .fit import check_labels, fit
from .labels import Labelled
from .thresholds import Interval, Proposal, propose

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 10
ROUNDS = 200
"""Draws of the bootstrap of each bin."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs of about one predicted probability."""

    predicted: float
    """Its mean."""
    observed: float
    """The share of them that is relevant."""
    likely: Interval
    """Of that share, over draws of the pairs."""
    pairs: int


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """What was fitted, and what it is worth."""

    calibration: Calibration
    """Fitted to all of the labels."""
    error_before: float
    """Expected calibration error of P("yes") itself, in [0, 1]."""
    error_after: float
    """The same of P(relevant), each half predicted by what was fitted to the other."""
    bins_before: tuple[Bin, ...]
    bins_after: tuple[Bin, ...]
    """As the errors, for a picture of the reliability."""
    proposal: Proposal | None = None
    """The threshold that was asked for."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "calibration": self.calibration.to_dict()}


def examine(
    labelled: Labelled,
    *,
    method: str = "platt",
    aim: str | None = None,
    wanted: float = 0.9,
    seed: int = 0,
) -> CalibrationReport:
    """Fit to all labels, and measure by halves: queries are dealt to two, each predicts the other.

    Args:
        labelled: judged pairs with their log-odds.
        method: as `fit`.
        aim: what a threshold is proposed for, ``precision`` or ``recall``; None: none is.
        wanted: how much of it.
        seed: of the halves and the draws.

    Raises:
        InvalidInputError: as `fit` and `propose`; a half without pairs of either kind.
        MissingDependencyError: scikit-learn is not installed.
    """
    import numpy as np

    named = {"model": labelled.model, "instruction": labelled.instruction, "method": method}
    made = fit(labelled.log_odds, labelled.relevant, **named)
    values = np.asarray(labelled.log_odds, float)
    yes = np.asarray(labelled.relevant, bool)
    after = np.empty(len(values))
    half = _halves(labelled.queries, seed)
    for number in (0, 1):
        own, other = half == number, half != number
        check_labels(values[other], yes[other], f"half of the queries ({int(other.sum())} pairs)")
        fitted = fit(values[other], yes[other], **named)
        after[own] = [fitted.relevance(one) for one in values[own].tolist()]
    before = np.asarray([probability(one) for one in values.tolist()])
    return CalibrationReport(
        calibration=made,
        error_before=expected_calibration_error(before, yes),
        error_after=expected_calibration_error(after, yes),
        bins_before=bins(before, yes, seed),
        bins_after=bins(after, yes, seed),
        proposal=None
        if aim is None
        else propose(
            labelled.log_odds,
            labelled.relevant,
            labelled.queries,
            aim=aim,
            wanted=wanted,
            seed=seed,
        ),
    )


def _halves(queries: Sequence[str], seed: int) -> NDArray[Any]:
    """0 or 1 for each pair, the same for all pairs of a query."""
    import numpy as np

    names = list(dict.fromkeys(queries))
    if len(names) < 2:
        raise InvalidInputError(
            "the labels are all of one query; label pairs of several, since those of one query "
            "say little of another"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    side = {names[place]: rank % 2 for rank, place in enumerate(order)}
    return np.asarray([side[one] for one in queries])


def expected_calibration_error(
    predicted: Sequence[float] | NDArray[Any], relevant: Sequence[bool] | NDArray[Any]
) -> float:
    """Mean distance of predicted and observed shares over `BINS` bins of equal width, by pairs.

    Source: Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, 2015.
    """
    import numpy as np

    values, yes = np.asarray(predicted, float), np.asarray(relevant, float)
    place = _places(values)
    gaps = [abs(values[place == one].sum() - yes[place == one].sum()) for one in range(BINS)]
    return float(sum(gaps) / len(values))


def _places(values: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    places: NDArray[Any] = np.minimum((values * BINS).astype(int), BINS - 1)
    return places


def bins(
    predicted: Sequence[float] | NDArray[Any],
    relevant: Sequence[bool] | NDArray[Any],
    seed: int = 0,
) -> tuple[Bin, ...]:
    """The bins that hold a pair, by rising prediction."""
    import numpy as np

    values, yes = np.asarray(predicted, float), np.asarray(relevant, float)
    place, random = _places(values), np.random.default_rng(seed)
    found = []
    for number in range(BINS):
        own = place == number
        count = int(own.sum())
        if count:
            share = float(yes[own].mean())
            draws = random.binomial(count, (share * count + 0.5) / (count + 1), ROUNDS) / count
            low, high = np.percentile(draws, [2.5, 97.5])
            likely = Interval(float(min(low, share)), float(max(high, share)))
            found.append(Bin(float(values[own].mean()), share, likely, count))
    return tuple(found)
