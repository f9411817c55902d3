"""From samples to a table, JSON and a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from .contenders import CONTENDERS
from .roofline import Limit
from .workload import AROUND, Cell

TOLERANCES = {"float32": 1e-3, "float16": 0.05, "bfloat16": 0.25}
"""Log-odds further than this from the reference's are wrong; as in the selfcheck."""
COLUMNS = (
    "prompt tokens/s, median (slowest-fastest)",
    "times {reference}",
    "share of the matrix products' rate",
    "peak memory above idle, MiB",
    "largest difference of log-odds",
)
OWN, RIVAL, LIMIT, SPREAD = "#0072B2", "#E69F00", "#000000", "#555555"
OWN_COLOURS = (OWN, "#56B4E9", "#009E73", "#CC79A7")
RIVAL_COLOURS = ("#555555", RIVAL, "#000000", "#D55E00")
"""Colours that the colour-blind tell apart too (Okabe, Ito: Color Universal Design, 2008)."""
MARKERS = "osD^vPX*"


@dataclass(frozen=True, slots=True)
class Sample:
    """One contender's answer to one request."""

    name: str
    group: int
    """Contenders of a group were asked in turn; groups came one after another."""
    cell: Cell
    round: int
    """Equal rounds of a cell are the same request."""
    tokens: int
    seconds: float
    memory: int | None
    """Bytes beyond the loaded, idle level; None: they cannot be seen."""
    log_odds: list[float]
    limit: Limit
    """Of the machine when its group was asked."""

    @property
    def rate(self) -> float:
        """Prompt tokens a second."""
        return self.tokens / self.seconds


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table."""

    name: str
    label: str
    rate: float
    """Prompt tokens a second, median of the rounds."""
    slowest: float
    fastest: float
    ratio: float
    """Times the reference's rate."""
    share: float
    """Of the rate that the matrix products alone reach."""
    memory: int | None
    error: float
    """Largest difference of log-odds from the reference's."""
    setting: str
    """What tuning found."""
    wrong: bool
    """Whether its scores cannot stand."""


def reference_of(names: Sequence[str]) -> str:
    """Whom the others are compared with: the first in the order of the table."""
    return next(name for name in CONTENDERS if name in names)


def lines(
    samples: Sequence[Sample],
    anchor: str,
    settings: Mapping[tuple[str, Cell], str],
    cell: Cell,
    dtype: str = "float32",
) -> list[Line]:
    """The rows of one cell, in the order of `CONTENDERS`; none where the anchor did not get so far.

    Ratios are taken round by round within a group, and from group to group through the anchor,
    which is in all of them: the machine's speed may change meanwhile.
    """
    here = [one for one in samples if one.cell == cell]
    asked = {(one.group, one.round) for one in here if one.name == anchor}
    here = [one for one in here if (one.group, one.round) in asked]  # whole rounds
    if not here:
        return []
    by_name = {
        name: found for name in CONTENDERS if (found := [one for one in here if one.name == name])
    }
    reference = reference_of(list(by_name))
    anchors = {(one.group, one.round): one.rate for one in by_name[anchor]}
    right = {one.round: one.log_odds for one in by_name[reference]}
    to_anchor = {
        name: median(one.rate / anchors[one.group, one.round] for one in found)
        for name, found in by_name.items()
    }
    made = []
    for name, found in by_name.items():
        error = max(
            _difference(one.log_odds, right[one.round]) for one in found if one.round in right
        )
        line = Line(
            name=name,
            label=CONTENDERS[name].label,
            rate=median(one.rate for one in found),
            slowest=min(one.rate for one in found),
            fastest=max(one.rate for one in found),
            ratio=to_anchor[name] / to_anchor[reference],
            share=median(one.rate / one.limit.tokens_per_second for one in found),
            memory=max((one.memory for one in found if one.memory is not None), default=None),
            error=error,
            setting=settings.get((name, cell), ""),
            wrong=not error <= TOLERANCES[dtype],
        )
        made.append(line)
    return made


def growth(samples: Sequence[Sample], name: str) -> dict[str, float]:
    """Exponent of time in documents for each length of passages that was asked in two counts."""
    seconds: dict[Cell, list[float]] = {}
    for one in samples:
        if one.name == name:
            seconds.setdefault(one.cell, []).append(one.seconds)
    found = {}
    by_length = sorted(seconds, key=lambda cell: (cell.low, cell.high, cell.count))
    for length, cells in groupby(by_length, key=lambda cell: cell.length):
        kinds = [*cells]
        few, many = kinds[0], kinds[-1]
        if few.count < many.count:
            times = median(seconds[many]) / median(seconds[few])
            found[length] = math.log(times) / math.log(many.count / few.count)
    return found


def markdown(rows: Sequence[Line], cell: Cell) -> str:
    """A table of one cell."""
    reference = rows[0].label
    made = [
        f"### {cell}",
        "",
        f"| {' | '.join(('way', *COLUMNS))} |".format(reference=reference),
        "|---" * (1 + len(COLUMNS)) + "|",
    ]
    for one in rows:
        label = f"{one.label}, {one.setting}" if one.setting else one.label
        error = f"**wrong** {one.error:.1e}" if one.wrong else f"{one.error:.1e}"
        memory = "not seen" if one.memory is None else f"{one.memory / 2**20:,.0f}"
        made.append(
            f"| {label} | {one.rate:,.0f} ({one.slowest:,.0f}-{one.fastest:,.0f}) "
            f"| {one.ratio:.2f} | {one.share:.0%} | {memory} | {error} |"
        )
    return "\n".join(made)


def draw(rows: Sequence[Line], cell: Cell, file: Path) -> None:
    """A bar for each way that is right, with its spread, and the limit as a line."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    kept = [one for one in rows if not one.wrong][::-1]
    limit = median(one.rate / one.share for one in rows)
    figure = Figure(figsize=(8, 2.0 + 0.45 * len(kept)), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.barh(
        [one.label for one in kept],
        [one.rate for one in kept],
        color=[OWN if CONTENDERS[one.name].own else RIVAL for one in kept],
        xerr=[
            [one.rate - one.slowest for one in kept],
            [one.fastest - one.rate for one in kept],
        ],
        error_kw={"ecolor": SPREAD, "capsize": 3},
    )
    beside = axes.get_yaxis_transform()  # a column of its own, which no bar and no line reaches
    for place, one in enumerate(kept):
        axes.text(1.01, place, f"{one.ratio:.2f}×", transform=beside, va="center")
    axes.axvline(limit, color=LIMIT, linestyle="--", linewidth=1)
    axes.set_xlim(0, 1.04 * max([limit, *(one.fastest for one in kept)]))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel(
        f"prompt tokens a second, {cell}, in prompts of {cell.low + AROUND}-{cell.high + AROUND}\n"
        f"×: times {rows[0].label}"
    )
    axes.spines[["top", "right"]].set_visible(False)
    handles = [
        Patch(color=OWN, label="this package"),
        Patch(color=RIVAL, label="others"),
        Line2D([], [], color=SPREAD, marker="|", label="slowest to fastest round"),
        Line2D([], [], color=LIMIT, linestyle="--", linewidth=1, label="matrix products alone"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(file)


def draw_profile(tables: Mapping[Cell, Sequence[Line]], file: Path) -> None:
    """A panel for each number of passages, and in it a line for each way over their lengths."""
    from matplotlib.figure import Figure

    names = [name for name in CONTENDERS if any(_rights(rows, name) for rows in tables.values())]
    reference = CONTENDERS[reference_of(names)].label if names else ""
    shortest_first = sorted(tables, key=lambda cell: cell.low)
    lengths = {
        count: [*dict.fromkeys(cell.length for cell in shortest_first if cell.count == count)]
        for count in sorted({cell.count for cell in tables})
    }
    figure = Figure(figsize=(8, 4), dpi=150, layout="constrained")
    widths = [len(measured) for measured in lengths.values()]
    panels = figure.subplots(1, len(lengths), sharey=True, squeeze=False, width_ratios=widths)[0]
    for panel, (count, measured) in zip(panels, lengths.items(), strict=True):
        for number, name in enumerate(names):
            found = {
                cell.length: line.ratio
                for cell, rows in tables.items()
                if cell.count == count
                for line in _rights(rows, name)
            }
            panel.plot(
                [measured.index(length) for length in found],
                [*found.values()],
                color=_colour(name, names),
                linestyle="-" if CONTENDERS[name].own else "--",
                marker=MARKERS[number % len(MARKERS)],
                label=CONTENDERS[name].label,
            )
        panel.set_xticks(range(len(measured)), measured)
        panel.set_xlim(-0.3, len(measured) - 0.7)
        panel.set(title=f"{count} passages", xlabel="tokens of each")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylim(bottom=0)  # of all, once every line is there: its top stays as it is
    panels[0].set_ylabel(f"times {reference}")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(file)


def _colour(name: str, names: Sequence[str]) -> str:
    """One colour for each way; ours are solid lines, the others' dashed."""
    own = CONTENDERS[name].own
    alike = [one for one in names if CONTENDERS[one].own == own]
    colours = OWN_COLOURS if own else RIVAL_COLOURS
    return colours[alike.index(name) % len(colours)]


def _rights(rows: Sequence[Line], name: str) -> list[Line]:
    return [one for one in rows if one.name == name and not one.wrong]


def as_dict(sample: Sample) -> dict[str, Any]:
    """A sample for the JSON."""
    return {
        "name": sample.name,
        "group": sample.group,
        "cell": str(sample.cell),
        "round": sample.round,
        "tokens": sample.tokens,
        "seconds": sample.seconds,
        "memory": sample.memory,
        "limit": asdict(sample.limit),
    }


def _difference(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest; NaN counts as infinite."""
    differences = [abs(a - b) for a, b in zip(one, other, strict=True)]
    return math.inf if any(map(math.isnan, differences)) else max(differences)
