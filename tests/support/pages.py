"""The pages of the documentation, and the blocks of code in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRANSLATED = [
    "README.md",
    "deploy/README.md",
    *sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("*[!N].md")),
]
"""Pages that there are in English and in Chinese."""
ENGLISH = [
    "CONTRIBUTING.md",
    "integrations/langchain/README.md",
    "integrations/llama-index/README.md",
]
"""Pages that there are in English only."""
_FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """Code in a page."""

    page: str
    place: int
    """Which block of its page, from 1."""
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}-{self.place}"


def in_chinese(page: str) -> str:
    """The name of the Chinese page beside an English one."""
    return page.removesuffix(".md") + ".zh-CN.md"


PAGES = [*TRANSLATED, *map(in_chinese, TRANSLATED), *ENGLISH]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(*pages: str, language: str | None = None) -> list[Block]:
    """All code of `pages`, in their order; of one language, if one is given."""
    return [
        Block(page, place, found[1], found[2])
        for page in pages
        for place, found in enumerate(_FENCED.finditer(text_of(page)), 1)
        if language in (None, found[1])
    ]


def commands(block: Block) -> list[str]:
    """The commands of a console block: continued lines joined, comments and blanks left out."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [bare for line in lines if (bare := re.sub(r"(^|\s+)# .*", "", line).strip())]
