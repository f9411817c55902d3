"""The reference says what the docstrings say, in both languages, and leaves nothing out."""

import re

from scripts import make_reference
from tests.support.pages import text_of

ENGLISH, CHINESE = "docs/reference.md", "docs/reference.zh-CN.md"


def tables(page: str) -> dict[str, list[list[str]]]:
    """The cells of every table that is made, by its name."""
    found = re.findall(r"<!-- ([^/]*?) -->\n(.*?)\n<!-- /\1 -->", text_of(page), re.DOTALL)
    return {
        name: [re.split(r"(?<!\\) \| ", row.strip("| ")) for row in table.splitlines()[2:]]
        for name, table in found
    }


def test_the_tables_are_those_of_the_docstrings() -> None:
    text = text_of(ENGLISH)
    assert make_reference.page(text) == text, "run: python scripts/make_reference.py"


def test_every_table_is_there_and_every_row_says_something() -> None:
    made = tables(ENGLISH)
    assert made.keys() == make_reference.TABLES.keys()
    assert all(len(rows) > 3 for rows in made.values())
    assert [row for rows in made.values() for row in rows if not all(row)] == []


def test_nothing_of_the_constructor_is_left_out() -> None:
    names = {row[0].strip("`") for row in tables(ENGLISH)["parameters"]}
    assert names == {*make_reference.inspect.signature(make_reference.Reranker).parameters}


def test_both_languages_name_the_same() -> None:
    def named(page: str) -> list[tuple[str, str]]:
        """What is named in each row, without what is said of it."""
        return [
            (name, " ".join(re.findall(r"`[^`]+`", " ".join(row[:-1]))))
            for name, rows in tables(page).items()
            for row in rows
        ]

    assert named(ENGLISH) == named(CHINESE)
