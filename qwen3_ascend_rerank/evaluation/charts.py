"""Pictures of an evaluation as SVG that takes its colours from the page, in both languages."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT = 560, 330
LEFT, RIGHT, TOP, BOTTOM = 74, 18, 14, 48
LINES = 6
"""Series that have a colour and a shape of their own; further ones begin anew."""
HEADROOM = 0.08
"""Share of an axis that stays free at either end."""

Say = Callable[..., str]
"""A text in both languages, as SVG has it, by its key."""


class Frame:
    """Axes with their numbers, and marks on them."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        """An empty frame.

        Args:
            x: lowest and highest value of the horizontal axis.
            y: of the vertical one.
        """
        self._x, self._y = _apart(x), _apart(y)
        self._parts: list[str] = []

    def x(self, value: float) -> float:
        """Where a value lies from the left."""
        low, high = self._x
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Where a value lies from the top."""
        low, high = self._y
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def add(self, part: str) -> None:
        """Something drawn already."""
        self._parts.append(part)

    def vertical_axis(self, name: str, show: Callable[[float], str]) -> None:
        """Numbers and faint lines at the left."""
        for value in ticks(*self._y):
            at = self.y(value)
            self.add(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
            self.add(f'<text class="end" x="{LEFT - 8}" y="{at + 4:.1f}">{show(value)}</text>')
        middle = (TOP + HEIGHT - BOTTOM) / 2
        self.add(f'<g class="mid side" transform="translate(14 {middle}) rotate(-90)">{name}</g>')

    def horizontal_axis(self, name: str, labels: Sequence[tuple[float, str]]) -> None:
        """Labels below."""
        for value, label in labels:
            at = self.x(value)
            self.add(f'<path class="axis" d="M{at:.1f} {HEIGHT - BOTTOM}v5"/>')
            self.add(f'<text class="mid" x="{at:.1f}" y="{HEIGHT - BOTTOM + 19}">{label}</text>')
        self.add(f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        self.add(f'<g class="mid" transform="translate({middle} {HEIGHT - 10})">{name}</g>')

    def line(self, points: Sequence[tuple[float, float]], style: str) -> None:
        """From point to point."""
        places = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.add(f'<polyline class="{style}" points="{places}"/>')

    def dot(self, x: float, y: float, style: str, told: str) -> None:
        """A mark that says its numbers when it is pointed at."""
        at = f'cx="{self.x(x):.1f}" cy="{self.y(y):.1f}"'
        self.add(f'<circle class="{style}" {at} r="4.5"><title>{escape(told)}</title></circle>')

    def svg(self, label: str) -> str:
        """The picture."""
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
            + "".join(self._parts)
            + "</svg>"
        )


def by_k(figures: dict[str, Any], say: Say) -> str:
    """Quality against k, a line for each model and fusion, intervals as whiskers."""
    measure, ks = figures["measures"][0], _ks(figures)
    before = _mean(figures["rankings"][0], measure)
    series = _series(figures)
    ends = [before]
    for one in series:
        for ranking in one:
            gain = ranking["measures"][measure]["gain"]
            ends += [_mean(ranking, measure)]
            ends += [before + gain[end] for end in ("low", "high") if gain[end] is not None]
    frame = Frame((-0.5, len(ks) - 0.5), _wide(ends))
    frame.vertical_axis(say("axis_quality", measure=measure), _three)
    frame.horizontal_axis(say("axis_k"), [(place, str(k)) for place, k in enumerate(ks)])
    frame.line([(-0.5, before), (len(ks) - 0.5, before)], "first")
    for number, one in enumerate(series):
        shift = 0.07 * (number - (len(series) - 1) / 2)
        points = []
        for ranking in one:
            x, y = ks.index(ranking["k"]) + shift, _mean(ranking, measure)
            gain = ranking["measures"][measure]["gain"]
            if gain["low"] is not None:
                whisker = [(x, before + gain["low"]), (x, before + gain["high"])]
                frame.line(whisker, f"whisker s{number % LINES}")
            points.append((x, y))
        frame.line(points, f"line s{number % LINES}")
        for (x, y), ranking in zip(points, one, strict=True):
            frame.dot(x, y, f"dot s{number % LINES}", f"{ranking['name']}: {y:.4f}")
    return frame.svg(f"{measure} by k")


def by_cost(figures: dict[str, Any], say: Say) -> str:
    """Quality against tokens a query, or time where models differ, a point for each k."""
    what, scale = ("seconds", 1000.0) if by_time(figures) else ("tokens", 1.0)
    measure, queries = figures["measures"][0], figures["collection"]["queries"]
    before = _mean(figures["rankings"][0], measure)
    series = _series(figures)
    means = [_mean(ranking, measure) for one in series for ranking in one]
    cost = {id(r): scale * r["cost"][what] / queries for one in series for r in one}
    most = max(cost.values())
    frame = Frame((0, most * (1 + HEADROOM) or 1), _wide([before, *means]))
    frame.vertical_axis(say("axis_quality", measure=measure), _three)
    digits = ",.0f" if most >= 10 else "g"
    labels = [(value, format(value, digits)) for value in ticks(0, most, 5)]
    frame.horizontal_axis(say(f"axis_{what}"), labels)
    frame.line([(0, before), (most * (1 + HEADROOM) or 1, before)], "first")
    for number, one in enumerate(series):
        points = [(cost[id(r)], _mean(r, measure)) for r in one]
        frame.line([(0, before), *points], f"line s{number % LINES}")
        for (x, y), ranking in zip(points, one, strict=True):
            told = f"{ranking['name']}: {y:.4f}, {x:,.0f}"
            frame.dot(x, y, f"dot s{number % LINES}", told)
            place = f'x="{frame.x(x):.1f}" y="{frame.y(y) - 9:.1f}"'
            frame.add(f'<text class="mid small" {place}>{ranking["k"]}</text>')
    return frame.svg(f"{measure} by {what}")


def by_time(figures: dict[str, Any]) -> bool:
    """Whether what a token costs differs, since there is more than one model."""
    several = len({model["model"] for model in figures["models"]}) > 1
    return several or any(ranking["cascade"] for ranking in figures["rankings"])


def gain_by_query(figures: dict[str, Any], place: int, say: Say) -> str:
    """The gain of each query under ranking number `place`, falling."""
    changes = sorted(one["values"][place][0] - one["values"][0][0] for one in figures["queries"])
    changes.reverse()
    count = len(changes)
    frame = Frame((0, count), _wide([*changes, 0.0]))
    measure = figures["measures"][0]
    frame.vertical_axis(say("axis_gain", measure=measure), lambda value: f"{value:+.2f}")
    frame.horizontal_axis(say("axis_queries"), [(one, f"{one:g}") for one in ticks(0, count, 5)])
    for style, part in (
        ("helped", [max(c, 0) for c in changes]),
        ("hurt", [min(c, 0) for c in changes]),
    ):
        path = f"M{frame.x(0):.1f} {frame.y(0):.1f}"
        for query, change in enumerate(part):
            path += f"V{frame.y(change):.1f}H{frame.x(query + 1):.1f}"
        frame.add(f'<path class="{style}" d="{path}V{frame.y(0):.1f}Z"/>')
    frame.line([(0, 0.0), (count, 0.0)], "zero")
    return frame.svg(f"gain in {measure} by query")


def distribution(model: dict[str, Any], say: Say) -> str:
    """Log-odds of relevant candidates above the line, and of the others below, as shares."""
    scores = model["scores"]
    edges = scores["log_odds"]
    shares = [_shares(scores[group]) for group in ("relevant", "others")]
    top, bottom = (max(group, default=0) or 0.01 for group in shares)
    frame = Frame((edges[0], edges[-1]), (-bottom * 1.1, top * 1.1))
    frame.vertical_axis(say("axis_share"), lambda value: f"{abs(value):.0%}")
    frame.horizontal_axis(
        say("axis_log_odds"), [(one, f"{one:g}") for one in ticks(edges[0], edges[-1], 7)]
    )
    for style, group, side in (("relevant", shares[0], 1), ("others", shares[1], -1)):
        for place, share in enumerate(group):
            if share:
                left, right = frame.x(edges[place]), frame.x(edges[place + 1])
                high, low = sorted((frame.y(0), frame.y(side * share)))
                frame.add(
                    f'<rect class="{style}" x="{left + 0.5:.1f}" y="{high:.1f}" '
                    f'width="{max(right - left - 1, 0.5):.1f}" height="{low - high:.1f}"/>'
                )
    frame.line([(edges[0], 0.0), (edges[-1], 0.0)], "zero")
    if edges[0] < 0 < edges[-1]:
        at = frame.x(0)
        frame.add(f'<path class="first" d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
    return frame.svg(f"scores of {model['name']}")


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """About `count` round numbers from `low` to `high`."""
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    step = next(unit * by for by in (1, 2, 2.5, 5, 10) if unit * by >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    found = [place * step for place in range(first, first + 4 * count)]
    return [round(value, 12) + 0.0 for value in found if value <= high + step * 1e-9]


def series_names(figures: dict[str, Any]) -> list[str]:
    """What the lines are, in their order."""
    return [_series_name(one[0]) for one in _series(figures)]


def _series(figures: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The rankings of each model, fusion and cascade, by rising k."""
    found: dict[str, list[dict[str, Any]]] = {}
    for ranking in figures["rankings"][1:]:
        found.setdefault(_series_name(ranking), []).append(ranking)
    return list(found.values())


def _series_name(ranking: dict[str, Any]) -> str:
    before = f"{ranking['cascade']} → " if ranking["cascade"] else ""
    after = f" + {ranking['fusion']}" if ranking["fusion"] else ""
    return f"{before}{ranking['model']}{after}"


def _ks(figures: dict[str, Any]) -> list[int]:
    return sorted({ranking["k"] for ranking in figures["rankings"][1:]})


def _mean(ranking: dict[str, Any], measure: str) -> float:
    return float(ranking["measures"][measure]["mean"])


def _shares(counts: Sequence[int]) -> list[float]:
    whole = sum(counts) or 1
    return [count / whole for count in counts]


def _three(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if value else "0"


def _wide(values: Sequence[float]) -> tuple[float, float]:
    low, high = _apart((min(values), max(values)))
    room = (high - low) * HEADROOM
    return low - room, high + room


def _apart(ends: tuple[float, float]) -> tuple[float, float]:
    low, high = ends
    return (low, high) if high - low > 1e-9 else (low - 0.05, high + 0.05)
