"""What is drawn: ranks, scores, and the distribution of scores."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..errors import InvalidInputError
from ..protocol import log_odds_of
from ..results import RankedDocument, RerankResult
from .sheet import BLUE, DASHED, FAINT, INK, PAPER, POINTS, VERMILLION, Picture, mark, sheet, write

RELEVANT, RISEN, FALLEN, STAYED = "*", "^", "v", "o"
"""Shapes of marks, as matplotlib names them."""
BINS = 30
TICKS = (1e-6, 1e-4, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
"""Scores that the axis of log-odds names."""


# -- ranks -----------------------------------------------------------------------------------------


def plot_ranks(result: RerankResult, *, relevant: Collection[int] = (), top: int = 12) -> Picture:
    """Where each of the best documents was before, and where it is after: a slope chart.

    Args:
        result: what to show; a document's `index` is its rank before, counted from 0.
        relevant: indices of the documents that are known to be relevant: they get a star.
        top: how many documents to show at most. Among lower ranks than that, those that are left
            out take one row together, with dots in it.

    Raises:
        InvalidInputError: there is nothing to show.
    """
    shown = _shown(result, top)
    before, gaps = _rows_before(sorted(one.index for one in shown), top)
    rows = 1 + max(*before.values(), len(shown) - 1)
    picture, axes = sheet(result.query, rows, -0.25, 3.0)
    write(axes, 0, -1, "before", FAINT, side="center")
    write(axes, 1, -1, "after", FAINT, side="center")
    write(axes, 1, -1, "score", FAINT, shift=3.6)
    if any(one.index in relevant for one in shown):
        write(axes, 1, -1, "★ known to be relevant", FAINT, shift=7.4)
    for row in gaps:
        write(axes, 0, row, "⋮", FAINT, side="center")
    for after, one in enumerate(shown):
        _draw_slope(axes, one, before[one.index], after, relevant)
    return picture


def _rows_before(ranks: Sequence[int], top: int) -> tuple[dict[int, int], list[int]]:
    """The row of each of `ranks`, which rise, and the rows that stand for those left out."""
    rows: dict[int, int] = {}
    gaps: list[int] = []
    last, row = top - 1, top - 1
    for rank in ranks:
        if rank < top:
            rows[rank] = rank
            continue
        if rank > last + 1:
            row += 1
            gaps.append(row)
        row += 1
        rows[rank], last = row, rank
    return rows, gaps


def _draw_slope(
    axes: Axes, one: RankedDocument, before: int, after: int, relevant: Collection[int]
) -> None:
    known = one.index in relevant
    shape, colour = _movement(one.index, after)
    alpha = 0.45 if relevant and not known else 1.0
    axes.plot((0, 1), (before, after), color=colour, linewidth=3 if known else 1.5, alpha=alpha)
    for x, y in ((0, before), (1, after)):
        mark(axes, x, y, RELEVANT if known else shape, colour, alpha=alpha)
    write(axes, 0, before, str(one.index + 1), side="right", shift=-1.0, bold=known)
    write(axes, 1, after, str(after + 1), shift=1.0, bold=known)
    write(axes, 1, after, f"{one.score:.3f}", shift=3.6, bold=known)
    write(axes, 1, after, one.text, shift=7.4, bold=known)


def _movement(before: int, after: int) -> tuple[str, str]:
    """Shape and colour of a document that went from one rank to another."""
    if before == after:
        return STAYED, FAINT
    return (RISEN, BLUE) if after < before else (FALLEN, VERMILLION)


# -- scores ----------------------------------------------------------------------------------------


def plot_scores(
    result: RerankResult,
    *,
    threshold: float = 0.5,
    relevant: Collection[int] = (),
    top: int = 20,
) -> Picture:
    """The score of each document, and which of them reach the threshold.

    Args:
        result: what to show, best first.
        threshold: in [0, 1]; a document at or above it is filled, one below it is hollow.
        relevant: indices of the documents that are known to be relevant: they get a star.
        top: how many documents to show at most.

    Raises:
        InvalidInputError: there is nothing to show.
    """
    shown = _shown(result, top)
    picture, axes = sheet(result.query, len(shown), -1.6, 1.25)
    axes.plot((threshold, threshold), (-0.6, len(shown) - 0.4), color=INK, linestyle=DASHED)
    write(axes, threshold, -1, f"threshold {threshold:g}", side="center")
    for place, one in enumerate(shown):
        reached, known = one.score >= threshold, one.index in relevant
        colour = BLUE if reached else VERMILLION
        shape = RELEVANT if known else STAYED
        axes.plot((0, one.score), (place, place), color=colour, linewidth=2)
        mark(axes, one.score, place, shape, colour, hollow=not reached)
        write(axes, 0, place, one.text, side="right", shift=-1.0, bold=known)
        write(axes, 1, place, f"{one.score:.3f}", shift=1.2, bold=known)
    return picture


# -- distributions ---------------------------------------------------------------------------------


def plot_distributions(
    results: Iterable[RerankResult],
    relevant: Iterable[Collection[int]],
    *,
    threshold: float = 0.5,
) -> Picture:
    """How the scores of relevant documents and of all others lie, and where a threshold cuts.

    Args:
        results: one for each query, with every document: made without `top_n` and `threshold`.
        relevant: for each result, the indices of its relevant documents.
        threshold: in [0, 1].

    Raises:
        InvalidInputError: there is nothing to show.
        ValueError: not as many `relevant` as `results`.
    """
    right: list[float] = []
    others: list[float] = []
    for result, known in zip(results, relevant, strict=True):
        for one in result:
            (right if one.index in known else others).append(one.log_odds)
    if not right and not others:
        raise InvalidInputError("no result holds a document; there is nothing to show")
    cut = log_odds_of(threshold)
    low, high = min(*right, *others, cut) - 0.5, max(*right, *others, cut) + 0.5

    picture = Picture(4.0)
    groups = (("relevant", right, BLUE, ""), ("others", others, VERMILLION, "///"))
    for place, (name, values, colour, hatch) in enumerate(groups):
        axes = picture.add_axes((0.07, 0.6 - 0.45 * place, 0.9, 0.32))
        axes.hist(
            values,
            BINS,
            range=(low, high),
            color=PAPER if hatch else colour,
            edgecolor=colour if hatch else PAPER,
            hatch=hatch,
        )
        axes.axvline(cut, color=INK, linestyle=DASHED)
        axes.set_xlim(low, high)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=POINTS - 1)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_ylabel("documents", fontsize=POINTS - 1, color=INK)
        ticks = [score for score in TICKS if low < log_odds_of(score) < high]
        axes.set_xticks([log_odds_of(score) for score in ticks], [f"{score:g}" for score in ticks])
        reached = sum(value >= cut for value in values)
        title = f"{name}: {reached} of {len(values)} at or above the threshold {threshold:g}"
        axes.set_title(title, loc="left", fontsize=POINTS, color=INK)
    axes.set_xlabel("score, on the scale of log-odds", fontsize=POINTS, color=INK)
    return picture


# -- reliability -----------------------------------------------------------------------------------


class Likely(Protocol):
    """Where a share probably lies."""

    @property
    def low(self) -> float:
        """Its lower end."""

    @property
    def high(self) -> float:
        """Its upper end."""


class Predicted(Protocol):
    """Pairs of about one predicted probability, as `qwen3_ascend_rerank.calibration` has them."""

    @property
    def predicted(self) -> float:
        """What was predicted, on average."""

    @property
    def observed(self) -> float:
        """The share that is relevant."""

    @property
    def likely(self) -> Likely:
        """Where that share probably lies."""

    @property
    def pairs(self) -> int:
        """How many there are."""


def plot_reliability(before: Sequence[Predicted], after: Sequence[Predicted]) -> Picture:
    """How often pairs are relevant against how often that was predicted; on the diagonal it is so.

    Args:
        before: bins of P("yes") as the model says it.
        after: bins of P(relevant), on pairs that it was not fitted to.

    Raises:
        InvalidInputError: there is nothing to show.
    """
    if not before or not after:
        raise InvalidInputError("there are no bins; there is nothing to show")
    picture = Picture(4.6)
    groups = (
        ("before: the score", before, VERMILLION, "s"),
        ("after: relevance", after, BLUE, "o"),
    )
    for place, (name, bins, colour, shape) in enumerate(groups):
        axes = picture.add_axes((0.08 + 0.48 * place, 0.13, 0.42, 0.76))
        axes.plot((0, 1), (0, 1), color=FAINT, linestyle=DASHED)
        most = max(one.pairs for one in bins)
        for one in bins:
            axes.plot(
                (one.predicted, one.predicted), (one.likely.low, one.likely.high), color=colour
            )
            size = 4 + 8 * (one.pairs / most) ** 0.5
            axes.plot(one.predicted, one.observed, shape, color=colour, markersize=size)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=POINTS - 1)
        axes.set_title(name, loc="left", fontsize=POINTS, color=INK)
        axes.set_xlabel("predicted", fontsize=POINTS, color=INK)
    picture.axes[0].set_ylabel("share that is relevant", fontsize=POINTS, color=INK)
    return picture


def _shown(result: RerankResult, top: int) -> Sequence[RankedDocument]:
    if top < 1:
        raise InvalidInputError(f"top is {top}; give 1 or more")
    if not result.documents:
        raise InvalidInputError("the result holds no document; there is nothing to show")
    return result.documents[:top]
