"""How results look in a terminal and in a notebook."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_ascend_rerank.results import RankedDocument, RerankResult, Usage, probability
from qwen3_ascend_rerank.results.printing import display_width, one_line


def result_of(*texts: str, query: str = "capital of China", engine: str = "torch") -> RerankResult:
    documents = tuple(
        RankedDocument(place, text, probability(4.0 - place), 4.0 - place)
        for place, text in enumerate(texts)
    )
    return RerankResult(documents, query, "", "lexical", engine, Usage())


class Cells(HTMLParser):
    """Tags, and the text of cells, as a browser would read them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_print_gives_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert str(result_of("Beijing is the capital.", "Bread needs flour.")).splitlines() == [
        "capital of China",
        "rank  index   score  log-odds  document",
        "   1      0  0.9820      4.00  Beijing is the capital.",
        "   2      1  0.9526      3.00  Bread needs flour.",
        "2 documents · model lexical · engine torch",
    ]


def test_a_table_keeps_to_the_terminal_whatever_the_width_of_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = str(
        result_of("北京是中国的首都。" * 20, "e\u0301" * 200, "word " * 60, query="首都" * 80)
    )
    assert {display_width(line) for line in shown.splitlines()[2:5]} <= {79, 80}
    assert all(display_width(line) <= 80 for line in shown.splitlines())


def test_a_long_result_is_cut_and_says_so() -> None:
    shown = str(result_of(*map(str, range(60))))
    assert len(shown.splitlines()) == 2 + 50 + 1
    assert shown.endswith("60 documents · 10 not shown · model lexical · engine torch")


def test_an_empty_result_prints() -> None:
    assert str(result_of(engine="")).splitlines()[-1] == "0 documents · model lexical"


def test_truncation_and_rounded_probabilities_are_told() -> None:
    cut = RankedDocument(0, "long", 0.5, 0.0, truncated=True)
    result = RerankResult((cut,), "q", "", "m", "served", Usage(), log_odds_exact=False)
    assert re.search(r"0 +0\.5000 +0\.00  \[truncated\] long$", str(result), re.MULTILINE)
    assert "[truncated] long</td>" in result._repr_html_()
    assert str(result).endswith(
        "1 document · 1 truncated · model m · engine served · log-odds from rounded probabilities"
    )


def test_nothing_in_a_text_can_steer_the_terminal() -> None:
    shown = str(
        result_of("red \x1b[31m, back \r\b, bidi \u202e, line\nfeed", query="\x1b]0;title\x07")
    )
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert len(shown.splitlines()) == 4


@given(st.text(), st.integers(1, 60))
def test_one_line_never_exceeds_its_columns(text: str, columns: int) -> None:
    line = one_line(text, columns)
    assert display_width(line) <= columns
    assert line.isprintable()


def test_html_escapes_what_documents_and_queries_hold() -> None:
    attack = '<script>alert("x")</script><img src=x onerror=alert(1)>'
    page = Cells(result_of(attack, query=attack)._repr_html_())
    assert {"script", "img"}.isdisjoint(page.tags)
    assert page.texts.count(attack) == 2


def test_html_names_no_colour_of_ink_or_paper() -> None:
    html = result_of("Beijing")._repr_html_()
    assert "color:" not in html.replace("background:", "")
    assert "mathjax_ignore" in html  # "$5 or $6" is no formula


def test_ipython_shows_the_table() -> None:
    written: list[str] = []

    class Printer:
        text = staticmethod(written.append)

    result = result_of("Beijing")
    result._repr_pretty_(Printer(), False)
    assert written == [str(result)]


def test_a_repr_still_holds_everything() -> None:
    result = result_of("Beijing")
    assert repr(result).startswith("RerankResult(documents=(RankedDocument(index=0")
