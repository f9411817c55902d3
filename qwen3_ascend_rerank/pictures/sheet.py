"""What pictures are drawn on: the figure, and marks and texts that keep to it."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from ..results.printing import WIDEST, display_width, one_line
from .fonts import families, weight

PAPER, INK, FAINT = "#FFFFFF", "#1A1A1A", "#666666"
BLUE, VERMILLION = "#0072B2", "#D55E00"
DASHED = (0, (4, 3))

WIDTH = 9.0
"""Inches."""
ROW = 0.3
"""Inches from one row to the next."""
ABOVE, BELOW = 2.6, 0.9
"""Rows above the first one, for title and headings, and below the last."""
MARGIN = 0.02
"""Share of the width that stays empty at either side."""
POINTS = 10.0
"""Size of the text."""
DENSITY, SHARPNESS = 100, 2
"""Pixels an inch on the page, and pixels of the file to one of those."""


class Picture(Figure):
    """A `Figure` that a notebook shows without pyplot, at the size that it has on paper."""

    def __init__(self, height: float) -> None:
        """An empty picture, `height` in inches."""
        super().__init__(figsize=(WIDTH, height), dpi=DENSITY, facecolor=PAPER)
        FigureCanvasAgg(self)

    def draw(self, renderer: Any) -> None:
        """Draw, with a box for each character that no font has, and without a word about it."""
        with _silent_boxes():
            super().draw(renderer)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        png = io.BytesIO()
        self.savefig(png, format="png", dpi=DENSITY * SHARPNESS, metadata={"Software": None})
        width, height = self.get_size_inches() * DENSITY
        return png.getvalue(), {"width": round(width), "height": round(height)}


def sheet(title: str, rows: int, left: float, right: float) -> tuple[Picture, Axes]:
    """A picture of `rows`, 0 at the top, under a title and, at -1, a row for headings."""
    picture = Picture((ABOVE + rows - 1 + BELOW) * ROW)
    axes = picture.add_axes((MARGIN, 0, 1 - 2 * MARGIN, 1))
    axes.set_axis_off()
    axes.set_xlim(left, right)
    axes.set_ylim(rows - 1 + BELOW, -ABOVE)
    write(axes, left, -1.95, title, bold=True)
    return picture, axes


def mark(
    axes: Axes,
    x: float,
    y: float,
    shape: str,
    colour: str,
    *,
    alpha: float = 1.0,
    hollow: bool = False,
) -> None:
    """A mark at a point; a star is larger, since its arms are thin."""
    axes.plot(
        x,
        y,
        marker=shape,
        markersize=15 if shape == "*" else 8,
        markerfacecolor=PAPER if hollow else colour,
        markeredgecolor=colour,
        alpha=alpha,
        clip_on=False,
    )


def write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    colour: str = INK,
    *,
    side: Literal["left", "center", "right"] = "left",
    shift: float = 0.0,
    bold: bool = False,
) -> None:
    """One line of text whose `side` is `shift` em beside a point, cut where the picture ends."""
    fonts = families(text)
    label = axes.annotate(
        one_line(text, WIDEST),
        (x, y),
        xytext=(shift * POINTS, 0),
        textcoords="offset points",
        color=colour,
        fontsize=POINTS,
        fontweight=weight(fonts, bold=bold),
        fontfamily=fonts,
        horizontalalignment=side,
        verticalalignment="center_baseline",
        parse_math=False,
        annotation_clip=False,
    )
    columns = display_width(label.get_text())
    while columns > 1 and (outside := _share_outside(label, axes)) > 0:
        columns = min(columns - 1, int(columns * (1 - outside)))
        label.set_text(one_line(text, columns))


def _share_outside(label: Text, axes: Axes) -> float:
    """How much of the width of `label` lies beyond the axes."""
    with _silent_boxes():
        text, frame = label.get_window_extent(), axes.get_window_extent()
    return float(max(frame.x0 - text.x0, text.x1 - frame.x1) / max(text.width, 1.0))


@contextmanager
def _silent_boxes() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield
