"""Every block of the troubleshooting pages runs, or names commands and options that exist."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qwen3_ascend_rerank.commands.program import app

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("troubleshooting.md", "troubleshooting.zh-CN.md")


def blocks(language: str) -> list[tuple[str, str]]:
    pattern = re.compile(rf"```{language}\n(.*?)```", re.DOTALL)
    return [
        (page, block)
        for page in PAGES
        for block in pattern.findall((DOCS / page).read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize(("page", "block"), blocks("python"))
def test_python_runs(page: str, block: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block, page, "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    "line", sorted({line for _, block in blocks("console") for line in block.splitlines()})
)
def test_commands_have_the_options_that_are_named(line: str) -> None:
    program, command, *arguments = line.split()
    assert program == "qwen3-rerank"
    wide = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    shown = CliRunner().invoke(app, [command, "--help"], env=wide)
    assert shown.exit_code == 0
    for option in (one for one in arguments if one.startswith("--")):
        assert option in shown.output


def test_both_languages_have_the_same_code_and_as_many_sections() -> None:
    one, other = ((DOCS / page).read_text(encoding="utf-8") for page in PAGES)
    assert one.count("\n## ") == other.count("\n## ") == 6
    console = [[block for page, block in blocks("console") if page == name] for name in PAGES]
    assert console[0] == console[1]
    assert len(re.findall("```python", one)) == len(re.findall("```python", other)) == 3


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (DOCS / page).read_text(encoding="utf-8")):
        assert (DOCS / target).exists(), target
