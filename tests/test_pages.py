"""Every block of code in the documentation works, and says the same in both languages.

The Python of the integrations' READMEs is run by the integrations' own tests.
"""

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.runtime.versions import PAIRINGS

from .support.dialects import VLLM
from .support.pages import (
    PAGES,
    ROOT,
    TRANSLATED,
    Block,
    blocks,
    commands,
    in_chinese,
    text_of,
)
from .support.stand_in import StandIn
from .support.terminal import Terminal

READMES = ("README.md", "README.zh-CN.md")
HERE = [page for page in PAGES if not page.startswith("integrations/")]
each_translated = pytest.mark.parametrize("page", TRANSLATED)


@pytest.fixture(autouse=True)
def engine(lexical: Reranker) -> Reranker:
    """Everything shares the engine that this Reranker holds."""
    return lexical


@pytest.fixture(scope="module")
def urls() -> Iterator[list[str]]:
    """Servers that answer as vLLM does."""
    with StandIn(VLLM()) as one, StandIn(VLLM()) as other:
        yield [one.url, other.url]


def test_code_is_of_a_kind_that_is_tested() -> None:
    assert {block.language for block in blocks(*PAGES)} == {"console", "python"}


# ---- Python -----------------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks(*HERE, language="python"), ids=str)
def test_python_runs(
    block: Block,
    urls: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)  # what it writes stays nowhere
    if "import ray" in block.text:
        pytest.importorskip("ray", reason="a cluster's: run by `make test-full`")
    addresses = dict.fromkeys(re.findall(r"http://[\d.]+:\d+", block.text))
    code = block.text
    for address, url in zip(addresses, urls, strict=False):
        code = code.replace(address, url)
    exec(compile(code, str(block), "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert printed or "assert " in code
    if printed and block.page in READMES:
        assert re.search("Beijing|北京", printed)


# ---- commands ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader stands; what one command writes is there for the next."""
    folder = tmp_path_factory.mktemp("reader")
    villages = ROOT / "tests" / "evaluation" / "villages"
    shutil.copytree(villages, folder / "my-collection")
    return folder


LINES = dict.fromkeys(
    line for block in blocks(*PAGES, language="console") for line in commands(block)
)


@pytest.mark.parametrize("line", LINES, ids=str)
def test_command_works(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Terminal(folder, monkeypatch).type(line)


@pytest.mark.parametrize("block", blocks(*PAGES, language="console"), ids=str)
def test_commands_are_bash(block: Block) -> None:
    text = re.sub(r"<[^<>\n]+>", "PLACEHOLDER", block.text)
    subprocess.run(["bash", "-n", "-c", text], check=True)


# ---- both languages ---------------------------------------------------------------------------


def outline(page: str) -> list[tuple[str, int]]:
    """Headings, table rows and list entries in their order, each with its size."""
    found = re.finditer(r"^(?:(#+) |(\|.*)|([*]|\d+\.) )", text_of(page), re.MULTILINE)
    return [
        ("heading", len(one[1]))
        if one[1]
        else ("row", re.sub(r"\\\||`[^`]*`", "", one[2]).count("|"))
        if one[2]
        else ("entry", 0)
        for one in found
    ]


def bare(code: str) -> str:
    """Code without its comments and the content of its strings."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.dump(tree)


@each_translated
def test_both_languages_have_the_same_outline(page: str) -> None:
    assert outline(page) == outline(in_chinese(page))


@each_translated
def test_both_languages_have_the_same_python(page: str) -> None:
    one, other = (blocks(each, language="python") for each in (page, in_chinese(page)))
    assert [bare(block.text) for block in one] == [bare(block.text) for block in other]


@each_translated
def test_both_languages_have_the_same_commands(page: str) -> None:
    one, other = (
        [
            re.sub(r"\"[^\"]*\"|'[^']*'|<[^<>]+>", "…", line)
            for block in blocks(each, language="console")
            for line in commands(block)
        ]
        for each in (page, in_chinese(page))
    )
    assert one == other


# ---- what pages point at ----------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """What a link may name in `page`, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        file = (ROOT / page).parent / target if target else ROOT / page
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


@pytest.mark.parametrize("page", READMES)
def test_the_readme_lists_every_extra(page: str) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = project.partition("[project.optional-dependencies]\n")[2].partition("\n\n")[0]
    listed = re.findall(r"^\| `([a-z]+)` \|", text_of(page), re.MULTILINE)
    assert sorted(listed) == sorted(re.findall(r"^([a-z]+) = ", extras, re.MULTILINE))


@pytest.mark.parametrize("page", READMES)
def test_the_readme_pairs_versions_as_doctor_does(page: str) -> None:
    row = re.compile(r"^\| (\d[\w.]+) \| (.+?) \| (.+?) \| (.+?) / (.+?) \|", re.MULTILINE)
    rows = row.findall(text_of(page))
    assert len(rows) == 4
    known = {one.vllm_ascend: one for one in PAIRINGS}
    for ascend, vllm, cann, torch, torch_npu in rows:
        pairing = known[ascend]
        assert (pairing.vllm[0], pairing.cann, pairing.torch) == (vllm, cann, torch)
        assert pairing.torch_npu.startswith(torch_npu)
