"""The score from which on a precision or a recall is reached, and how sure that is."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError
from ..results import probability
from .fit import check_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

AIMS = ("precision", "recall")
ROUNDS = 400
"""Draws of the bootstrap."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Where 95 % of the draws lie."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """A threshold, and what it does on pairs that it was not chosen on."""

    aim: str
    """``precision`` or ``recall``."""
    wanted: float
    """In (0, 1]."""
    threshold: float
    """For `Reranker(threshold=…)`: P("yes") in [0, 1]."""
    log_odds: float
    """The same as log-odds."""
    precision: float
    """On the labels themselves: of the pairs that reach it, the share that is relevant."""
    recall: float
    """On the labels themselves: of the relevant pairs, the share that reaches it."""
    unseen: Interval
    """The aim's value on queries that the threshold was not chosen on."""


def propose(
    log_odds: Sequence[float],
    relevant: Sequence[bool],
    queries: Sequence[Hashable] | None = None,
    *,
    aim: str = "precision",
    wanted: float = 0.9,
    seed: int = 0,
) -> Proposal:
    """Choose a threshold: the lowest for a precision, or the highest for a recall.

    Its uncertainty is a bootstrap over queries: the threshold is chosen anew on those drawn, and
    the aim measured on the queries left out, so that the choice itself is part of it.

    Args:
        log_odds: of each pair.
        relevant: what a person said of each.
        queries: whose pair each is; None: each stands for itself.
        aim: ``precision`` or ``recall``.
        wanted: in (0, 1].
        seed: of the draws.

    Raises:
        InvalidInputError: no threshold reaches the precision; too few labels; a wrong argument.
    """
    import numpy as np

    if aim not in AIMS or not 0 < wanted <= 1:
        raise InvalidInputError(
            f"{aim} {wanted!r} cannot be aimed at; give {' or '.join(AIMS)} in (0, 1]"
        )
    check_labels(log_odds, relevant)
    values, yes = np.asarray(log_odds, float), np.asarray(relevant, bool)
    cut = _cut(values, yes, aim, wanted)
    if cut is None:
        best = _curve(values, yes)[1].max()
        raise InvalidInputError(
            f"no threshold reaches a precision of {wanted:g} on these labels; the highest is "
            f"{best:.3f}. Aim lower, or at a recall"
        )
    groups = np.unique(
        np.asarray(range(len(yes)) if queries is None else _numbers(queries)), return_inverse=True
    )[1]
    found = _unseen(values, yes, groups, aim, wanted, np.random.default_rng(seed))
    low, high = np.percentile(found, [2.5, 97.5]) if len(found) else (0.0, 1.0)
    precision, recall = _at(values, yes, cut)
    return Proposal(
        aim, wanted, probability(cut), cut, precision, recall, Interval(float(low), float(high))
    )


def _numbers(queries: Sequence[Hashable]) -> list[int]:
    places: dict[Hashable, int] = {}
    return [places.setdefault(one, len(places)) for one in queries]


def _curve(
    values: NDArray[Any], yes: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Each value as a threshold, highest first, with the precision and the recall that it gives."""
    import numpy as np

    order = np.argsort(-values, kind="stable")
    hits, falling = np.cumsum(yes[order]), values[order]
    last = np.append(falling[1:] != falling[:-1], True)  # equal ones pass together
    count = np.arange(1, len(order) + 1)
    return falling[last], (hits / count)[last], (hits / max(1, hits[-1]))[last]


def _cut(values: NDArray[Any], yes: NDArray[Any], aim: str, wanted: float) -> float | None:
    """The threshold that lets most through and still keeps the aim; for recall, fewest."""
    cuts, precision, recall = _curve(values, yes)
    if aim == "recall":
        return float(cuts[(recall >= wanted - 1e-12).argmax()])
    good = (precision >= wanted - 1e-12).nonzero()[0]
    return float(cuts[good[-1]]) if len(good) else None


def _at(values: NDArray[Any], yes: NDArray[Any], cut: float) -> tuple[float, float]:
    reached = values >= cut
    hits = int((reached & yes).sum())
    return hits / max(1, int(reached.sum())), hits / max(1, int(yes.sum()))


def _unseen(
    values: NDArray[Any],
    yes: NDArray[Any],
    groups: NDArray[Any],
    aim: str,
    wanted: float,
    random: Any,
) -> list[float]:
    """The aim on the queries left out of each draw, at the threshold chosen on those drawn."""
    import numpy as np

    count = int(groups.max()) + 1
    found = []
    for _ in range(ROUNDS):
        drawn = random.integers(count, size=count)
        weight = np.bincount(drawn, minlength=count)[groups]
        inside, outside = np.repeat(np.arange(len(yes)), weight), weight == 0
        if not yes[inside].any() or not yes[outside].any():
            continue
        cut = _cut(values[inside], yes[inside], aim, wanted)
        if cut is not None and (values[outside] >= cut).any():
            found.append(_at(values[outside], yes[outside], cut)[AIMS.index(aim)])
    return found
