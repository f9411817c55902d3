"""Pictures are the same every time, can be read by all, and leave matplotlib as it was."""

import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

matplotlib = pytest.importorskip("matplotlib")

from matplotlib import colors  # noqa: E402
from matplotlib.text import Text  # noqa: E402

from qwen3_ascend_rerank import InvalidInputError  # noqa: E402
from qwen3_ascend_rerank.pictures import (  # noqa: E402
    Picture,
    fonts,
    plot_distributions,
    plot_ranks,
    plot_reliability,
    plot_scores,
    sheet,
)
from qwen3_ascend_rerank.results import (  # noqa: E402
    RankedDocument,
    RerankResult,
    Usage,
    probability,
)


def result_of(*texts: str, indices: tuple[int, ...] = (), query: str = "query") -> RerankResult:
    """Documents whose log-odds fall from 3 by 2."""
    documents = tuple(
        RankedDocument(index, text, probability(3.0 - 2 * place), 3.0 - 2 * place)
        for place, (index, text) in enumerate(zip(indices or range(len(texts)), texts, strict=True))
    )
    return RerankResult(documents, query, "", "lexical", "torch", Usage())


RESULT = result_of("best", "second", "third", indices=(2, 1, 0))
PLOTS: list[Callable[[RerankResult], Picture]] = [
    plot_ranks,
    plot_scores,
    lambda result: plot_distributions([result], [{0}]),
]
each_plot = pytest.mark.parametrize("plot", PLOTS, ids=["ranks", "scores", "distributions"])


def png(picture: Picture) -> bytes:
    return picture._repr_png_()[0]


def labels(picture: Picture) -> list[str]:
    return [found.get_text() for found in picture.findobj(Text) if found.get_text()]


def markers(picture: Picture) -> list[tuple[str, str, str]]:
    """Shape, edge and face of each mark."""
    return [
        (line.get_marker(), line.get_markeredgecolor(), line.get_markerfacecolor())
        for axes in picture.axes
        for line in axes.lines
        if line.get_marker() != "None"
    ]


def contrast(one: str, other: str) -> float:
    """WCAG 2.1, relative luminance."""

    def luminance(name: str) -> float:
        parts = [
            value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
            for value in colors.to_rgb(name)
        ]
        return sum(
            part * share for part, share in zip(parts, (0.2126, 0.7152, 0.0722), strict=True)
        )

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@each_plot
def test_the_same_result_gives_the_same_bytes(plot: Callable[[RerankResult], Picture]) -> None:
    assert png(plot(RESULT)) == png(plot(RESULT))


@each_plot
def test_a_picture_is_sharp_and_keeps_its_size(plot: Callable[[RerankResult], Picture]) -> None:
    data, size = plot(RESULT)._repr_png_()
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    assert (width, height) == (2 * size["width"], 2 * size["height"])


@each_plot
def test_the_background_is_the_pictures_own(plot: Callable[[RerankResult], Picture]) -> None:
    picture = plot(RESULT)
    assert colors.to_hex(picture.get_facecolor()).upper() == sheet.PAPER
    for text in picture.findobj(Text):
        assert contrast(colors.to_hex(text.get_color()), sheet.PAPER) >= 4.5
    assert contrast(sheet.BLUE, sheet.PAPER) >= 3
    assert contrast(sheet.VERMILLION, sheet.PAPER) >= 3


@each_plot
def test_nothing_global_is_changed(plot: Callable[[RerankResult], Picture]) -> None:
    before = dict(matplotlib.rcParams)
    png(plot(RESULT))
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_not_needed() -> None:
    code = "import sys, qwen3_ascend_rerank.pictures; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ranks_rise_and_fall_by_shape_as_well_as_colour() -> None:
    shapes = {(shape, edge) for shape, edge, _ in markers(plot_ranks(RESULT))}
    assert shapes == {("^", sheet.BLUE), ("v", sheet.VERMILLION), ("o", sheet.FAINT)}


def test_the_relevant_document_has_a_star() -> None:
    shown = [shape for shape, *_ in markers(plot_ranks(RESULT, relevant={2}))]
    assert shown.count("*") == 2


def test_a_document_from_far_below_keeps_the_picture_small() -> None:
    near = plot_ranks(result_of("a", "b", indices=(1, 0)), top=2)
    far = plot_ranks(result_of("a", "b", indices=(90_000, 0)), top=2)
    assert "90001" in labels(far)
    assert far.get_size_inches()[1] <= near.get_size_inches()[1] + 1


def test_ranks_that_are_left_out_are_seen_to_be() -> None:
    picture = plot_ranks(result_of("a", "b", "c", "d", indices=(17, 4, 5, 9)), relevant={17}, top=4)
    (axes,) = picture.axes
    rows = {text.get_text(): text.xy[1] for text in axes.texts if text.xy[0] == 0}
    assert [rows[rank] for rank in ("5", "6", "10", "18")] == [4, 5, 7, 9]
    dots = sorted(text.xy[1] for text in axes.texts if text.get_text() == "⋮")
    assert dots == [6, 8]  # none between 5 and 6, nor before 5, which follows the fourth


def test_the_star_is_explained_where_there_is_one() -> None:
    assert "★ known to be relevant" in labels(plot_ranks(RESULT, relevant={2}))
    assert "★ known to be relevant" not in labels(plot_ranks(RESULT, relevant={7}))
    assert "★ known to be relevant" not in labels(plot_ranks(RESULT))


def test_distributions_say_what_they_count() -> None:
    shown = labels(plot_distributions([RESULT], [{2}]))
    assert shown.count("documents") == 2


def test_scores_below_the_threshold_are_hollow() -> None:
    faces = [face for _, _, face in markers(plot_scores(RESULT, threshold=0.5))]
    assert faces == [sheet.BLUE, sheet.BLUE, sheet.PAPER]
    assert "threshold 0.5" in labels(plot_scores(RESULT, threshold=0.5))


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_distributions_count_what_reaches_the_threshold(threshold: float) -> None:
    shown = labels(plot_distributions([RESULT, RESULT], [{2}, {0, 1}], threshold=threshold))
    reached = {0.0: (3, 3), 0.5: (2, 2), 1.0: (0, 0)}[threshold]
    assert f"relevant: {reached[0]} of 3 at or above the threshold {threshold:g}" in shown
    assert f"others: {reached[1]} of 3 at or above the threshold {threshold:g}" in shown


@pytest.mark.filterwarnings("ignore:no font with Chinese")  # boxes must stay inside too
@pytest.mark.parametrize("plot", PLOTS[:2], ids=["ranks", "scores"])
@pytest.mark.parametrize(
    "text",
    [
        "列车时刻表" * 60,
        "WWWW " * 80,
        "$5 or $6, \\frac_{",
        "smile 😀 \U0001f9d1\u200d\U0001f680",
        "",
        "a\nb\x1b[31m",
    ],
    ids=["chinese", "wide", "formula", "emoji", "empty", "control"],
)
def test_any_text_stays_inside_the_picture(
    plot: Callable[[RerankResult], Picture], text: str
) -> None:
    picture = plot(result_of(text, "second", query=text or "query"))
    png(picture)
    width, height = picture.get_size_inches() * picture.dpi
    picture.canvas.draw()
    for one in picture.findobj(Text):
        if one.get_visible() and one.get_text():
            extent = one.get_window_extent()
            assert 0 <= extent.x0 <= extent.x1 <= width, one.get_text()
            assert 0 <= extent.y0 <= extent.y1 <= height, one.get_text()


@pytest.mark.parametrize("plot", PLOTS[:2], ids=["ranks", "scores"])
def test_an_empty_result_is_refused(plot: Callable[[RerankResult], Picture]) -> None:
    with pytest.raises(InvalidInputError, match="nothing to show"):
        plot(result_of())


def test_distributions_of_nothing_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="nothing to show"):
        plot_distributions([result_of()], [set()])


@pytest.fixture
def no_chinese_font(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(fonts, "CHINESE", ("No Such Font",))
    fonts.chinese_family.cache_clear()
    yield
    fonts.chinese_family.cache_clear()


def test_chinese_without_a_font_is_told_once(no_chinese_font: None) -> None:
    result = result_of("北京", "上海", query="首都")
    with pytest.warns(UserWarning, match="fonts-noto-cjk") as told:
        assert png(plot_ranks(result)) != png(plot_scores(result))
    assert len(told) == 1


def test_chinese_is_drawn_with_a_chinese_font() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        family = fonts.chinese_family()
    if family is None:
        pytest.skip("no Chinese font is installed")
    (title,) = (
        one
        for one in plot_ranks(result_of("a", query="首都")).findobj(Text)
        if one.get_text() == "首都"
    )
    assert title.get_fontfamily() == [fonts.LATIN, family]
    assert fonts.families("capital – é") == [fonts.LATIN]


def test_bold_is_asked_only_of_fonts_that_have_it() -> None:
    assert fonts.weight([fonts.LATIN], bold=True) == "bold"
    assert fonts.weight([fonts.LATIN], bold=False) == "normal"
    assert fonts.weight([fonts.LATIN, "No Such Font"], bold=True) == "normal"


def test_without_matplotlib_the_extra_is_named() -> None:
    code = "import sys; sys.modules['matplotlib'] = None; import qwen3_ascend_rerank.pictures"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert re.search(r"MissingDependencyError: .*qwen3-ascend-rerank\[pictures\]", done.stderr)


def test_reliability_shows_each_bin_with_its_uncertainty() -> None:
    def bin_of(predicted: float, observed: float) -> SimpleNamespace:
        likely = SimpleNamespace(low=observed - 0.1, high=observed + 0.1)
        return SimpleNamespace(predicted=predicted, observed=observed, likely=likely, pairs=8)

    bins = [bin_of(0.3, 0.2), bin_of(0.8, 0.85)]
    picture = plot_reliability(bins, bins[:1])
    lines = [[line.get_xydata().tolist() for line in axes.lines] for axes in picture.axes]
    assert [len(one) for one in lines] == [5, 3]  # the diagonal, and two for each bin
    assert [[0.8, 0.75], [0.8, pytest.approx(0.95)]] in lines[0]
    assert png(picture) == png(plot_reliability(bins, bins[:1]))
    with pytest.raises(InvalidInputError, match="nothing to show"):
        plot_reliability([], bins)
