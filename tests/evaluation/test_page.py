"""The report in a browser: it shows the figures and no others, in both languages and colours."""

import json
import re
from pathlib import Path

import pytest

from qwen3_ascend_rerank import InvalidInputError, Reranker
from qwen3_ascend_rerank.corpora import Collection, CorpusDocument, Run
from qwen3_ascend_rerank.evaluation import Evaluation, evaluate, write_page
from qwen3_ascend_rerank.evaluation.charts import ticks
from qwen3_ascend_rerank.evaluation.page import page, verdict
from qwen3_ascend_rerank.testing import FakeEngine
from tests.support.browser import CHROMIUM, Browser

TEXTS = Path(page.__globals__["__file__"]).with_name("texts.json")


def test_a_page_is_written_whole(evaluation: Evaluation, tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", evaluation.to_dict())
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert html.count("<svg") == 4 + 4  # pictures, and lines of the legend
    with pytest.raises(InvalidInputError, match="cannot be written"):
        write_page(tmp_path, evaluation.to_dict())


def test_it_is_made_of_json_alone(evaluation: Evaluation) -> None:
    figures = evaluation.to_dict()
    assert page(json.loads(json.dumps(figures))) == page(figures)


def test_it_asks_for_nothing_else(evaluation: Evaluation) -> None:
    html = page(evaluation.to_dict())
    assert re.findall(r"(?:src|href)=|url\(|https?:|@import", html) == []


def test_texts_say_the_same_in_both_languages() -> None:
    for key, text in json.loads(TEXTS.read_text(encoding="utf-8")).items():
        names = [sorted(re.findall(r"\{(\w+)\}", text[language])) for language in ("en", "zh")]
        assert names[0] == names[1], key


def test_texts_of_others_are_only_text(lexical: Reranker) -> None:
    evil = '<script>alert("x")</script>{curly}'
    collection = Collection(
        {evil: evil, "b": "bread"},
        {evil: CorpusDocument(evil, evil), "snow": CorpusDocument("snow", "snow")},
        {evil: {evil: 1}, "b": {"snow": 1}},
        name=evil,
    )
    run = {evil: {"snow": 2.0, evil: 1.0}, "b": {"snow": 2.0, evil: 1.0}}
    made = evaluate(collection, {evil: lexical}, run, run_name=evil, top_k=2)
    html = page(made.to_dict())
    assert html.count("<script>") == 1
    assert "{curly}" in html


def test_a_page_of_one_query_says_that_nothing_follows(lexical: Reranker) -> None:
    corpus = {name: CorpusDocument(name, name) for name in ("snow", "bread")}
    one = Collection({"q": "bread"}, corpus, {"q": {"bread": 1}})
    made = evaluate(one, {"lexical": lexical}, {"q": {"snow": 2.0, "bread": 1.0}}, top_k=2)
    assert "That is one query, from which nothing follows" in page(made.to_dict())


@pytest.mark.parametrize(
    ("low", "high", "p", "said"),
    [
        (0.1, 0.2, 0.01, "better"),
        (-0.2, -0.1, 0.01, "worse"),
        (-0.1, 0.2, 0.3, "unsure"),
        (0.01, 0.2, 0.063, "unsure"),
        (0.0, 0.0, 1.0, "unsure"),
        (None, None, None, "single"),
    ],
)
def test_a_gain_is_one_where_interval_and_p_agree(
    low: float | None, high: float | None, p: float | None, said: str
) -> None:
    assert verdict({"mean": 0.0, "low": low, "high": high, "p": p}) == said


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-0.31, 0.29, [-0.3, -0.2, -0.1, 0, 0.1, 0.2]),
        (0.81, 0.93, [0.82, 0.84, 0.86, 0.88, 0.9, 0.92]),
        (0, 1190, [0, 200, 400, 600, 800, 1000]),
    ],
)
def test_numbers_at_axes_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_a_reader_sees_the_figures(evaluation: Evaluation, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    figures = evaluation.to_dict()
    write_page(file, figures)
    with Browser() as browser:
        with browser.open(file.as_uri()) as tab:
            assert tab.text("h1") == "Does reranking help?"
            rows = tab.run(
                "[...document.querySelectorAll('.figures tbody tr')].map("
                "row => [...row.cells].map(cell => cell.innerText))"
            )
            assert [row[0] for row in rows] == [one["name"] for one in figures["rankings"]]
            for row, ranking in zip(rows, figures["rankings"], strict=True):
                means = [f"{one['mean']:.3f}" for one in ranking["measures"].values()]
                assert row[1 : 1 + len(means)] == means
            last = figures["rankings"][-1]
            gain = last["measures"]["nDCG@10"]["gain"]
            assert rows[-1][6] == f"{gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"
            assert rows[-1][8] == f"{last['changed']['helped']} / {last['changed']['hurt']}"
            assert rows[-1][9] == f"{last['cost']['tokens'] / 9:,.0f}"
            dots = "document.querySelectorAll('figure:first-child circle').length"
            assert tab.run(dots) == len(figures["rankings"]) - 1
            tab.click("button[value=zh]")
            assert tab.text("h1") == "重排有用吗？"
            assert "Figures" not in tab.text("body")
            assert tab.complaints() == []
        for look in ({"dark": True}, {"width": 380, "height": 800, "language": "zh-CN"}):
            with browser.open(file.as_uri(), **look) as tab:
                wide = "document.documentElement.scrollWidth <= innerWidth"
                assert tab.run(wide), "nothing but tables is wider than the screen"
                assert _contrast(tab) >= 4.5
                expected = "重排有用吗？" if "language" in look else "Does reranking help?"
                assert tab.text("h1") == expected


def _contrast(tab: object) -> float:
    """Between the page's faintest text and its ground."""
    ink, ground = (
        [int(part) for part in re.findall(r"\d+", colour)[:3]]
        for colour in tab.run(
            "[getComputedStyle(document.querySelector('.quiet')).color,"
            " getComputedStyle(document.body).backgroundColor]"
        )
    )
    light = sorted((_luminance(ink), _luminance(ground)))
    return (light[1] + 0.05) / (light[0] + 0.05)


def _luminance(colour: list[int]) -> float:
    parts = [one / 255 for one in colour]
    linear = [one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_cascades_and_fields_are_shown_side_by_side(villages: Collection, run: Run) -> None:
    with Reranker(FakeEngine(lambda _, text: float(len(text) % 7))) as small:
        with Reranker(FakeEngine(lambda _, text: float(len(text) % 5))) as large:
            made = evaluate(
                villages, {"small": small, "large": large}, run, top_k=[2, 4],
                cascades=["small:2"], metadata_fields=["title"],
            )  # fmt: skip
    figures = made.to_dict()
    html = page(figures)
    for one in figures["comparisons"]:
        assert f"<td>{one['ranking']}</td><td>{one['against']}</td>" in html
        assert f"{one['measures']['nDCG@10']['mean']:+.3f}" in html
    assert len(figures["comparisons"]) == 6  # 2 models at 2 k with fields, 2 cascades
    assert "In a cascade the large model was asked" in html
    assert html.count("<svg") == 2 + 2 * 4 + 6  # pictures, and lines of the legend
