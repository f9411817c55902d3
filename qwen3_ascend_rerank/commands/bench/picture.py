"""The picture of a sweep: latency against throughput."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import MissingDependencyError

ENDINGS = (".png", ".svg", ".pdf")
LINES = (("median_e2el_ms", "median", "o", "#0072B2"), ("p99_e2el_ms", "P99", "s", "#D55E00"))
"""Figure, label, marker and colour; the colours are told apart by the colour-blind too (Okabe, Ito:
Color Universal Design, 2008)."""


def check_matplotlib() -> None:
    """Make sure that pictures can be drawn.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"a picture needs matplotlib, which cannot be imported ({error}); "
            'pip install "qwen3-ascend-rerank[pictures]"'
        ) from error


def draw(runs: Sequence[Mapping[str, Any]], title: str, file: Path) -> None:
    """Draw the figures of `runs`, one point for each concurrency, into `file`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    throughput = [run["total_token_throughput"] for run in runs]
    for name, label, marker, colour in LINES:
        axes.plot(throughput, [run[name] for run in runs], f"{marker}-", color=colour, label=label)
    for run, x in zip(runs, throughput, strict=True):
        axes.annotate(
            str(run["max_concurrency"]),
            (x, run[LINES[0][0]]),
            xytext=(8, -4),
            textcoords="offset points",
            color=LINES[0][3],
        )
    axes.set(
        xlabel="prompt tokens a second",
        ylabel="latency of a request, ms",
        title=title,
    )
    axes.set_xlim(0, axes.get_xlim()[1] * 1.05)  # room for the last number
    axes.set_ylim(0, axes.get_ylim()[1])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.legend(title="numbers: concurrency", loc="upper left")
    figure.savefig(file)
