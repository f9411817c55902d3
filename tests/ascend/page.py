"""The page of the matrix, in both languages: a row for what is tried, a column for each pair."""

from __future__ import annotations

from pathlib import Path

from .commands import BAD, FINE, NAMES
from .pairs import PAIRS, ROOT
from .scenarios import AS_IT_STARTS, IN_CHUNKS, MODELS, MODELSLIM

__all__ = ["ARGUMENTS", "BAD", "FINE", "NO", "OFF", "read", "table", "write"]

ENGLISH = ROOT / "docs" / "ascend-matrix.md"
CHINESE = ROOT / "docs" / "ascend-matrix.zh-CN.md"
BEGIN, END = "<!-- table -->\n", "<!-- end -->"
NO, OFF, REFUSED = "–", "off", "refused"
"""Of what was not run, of what the plan turns off, and of what it refuses."""
BESIDE, ARGUMENTS = "vLLM, transformers", "arguments, as asked for"
ROWS = {
    ARGUMENTS: "参数，按要求生效",
    **dict.fromkeys((*MODELS, MODELSLIM), ""),
    "chunks": "分块",
    "serve, our client": "serve，本包的客户端",
    "serve, plain HTTP": "serve，普通 HTTP",
    "serve --bare, our client": "serve --bare，本包的客户端",
    "serve --bare, plain HTTP": "serve --bare，普通 HTTP",
    **dict.fromkeys(NAMES[-3:], ""),
    AS_IT_STARTS: "不用方案",
    IN_CHUNKS: "不用方案，分块",
}
"""What is tried, in English and in Chinese; empty where it is called the same."""
WORDS = {
    "| off": "| 关闭",
    "refused": "被拒绝",
    "no end in": "没有结束：",
    "its process ended": "进程已结束",
}
"""What cells say, in Chinese."""


def table(columns: dict[str, dict[str, str]], *, chinese: bool = False) -> str:
    """Markdown, of columns by the names of pairs."""
    pairs = [one for one in PAIRS if one.name in columns]
    beside = [f"{one.vllm}, {one.transformers}" for one in pairs]
    lines = [
        ["vllm-ascend", *(one.name for one in pairs)],
        ["---"] * (len(pairs) + 1),
        ["vLLM，transformers" if chinese else BESIDE, *beside],
    ]
    for name, translated in ROWS.items():
        title = (chinese and translated) or name
        lines.append([title, *(columns[one.name].get(name, NO) for one in pairs)])
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    for word, translated in WORDS.items() if chinese else ():
        text = text.replace(word, translated)
    return text


def write(columns: dict[str, dict[str, str]]) -> None:
    """Put the table between its marks on both pages."""
    for file in (ENGLISH, CHINESE):
        before, after = _around(file)
        text = table(columns, chinese=file == CHINESE)
        file.write_text(f"{before}{BEGIN}{text}\n{END}{after}", encoding="utf-8")


def read() -> dict[str, dict[str, str]]:
    """The columns that the English page has."""
    found = ENGLISH.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    lines = [line.strip("| ").split(" | ") for line in found.splitlines()]
    if not lines or lines[0][0] != "vllm-ascend" or lines[0][-1] == "without the plan":
        return {}
    (_, *pairs), _, _, *rows = lines
    return {pair: {name: cells[place] for name, *cells in rows} for place, pair in enumerate(pairs)}


def _around(file: Path) -> tuple[str, str]:
    before, _, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    return before, rest.partition(END)[2]
