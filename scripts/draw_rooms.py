"""Draw docs/pictures/rooms.svg: the rooms of the package on the floors that import-linter keeps.

    python scripts/draw_rooms.py

What a room is for is the first line of its own docstring; the floors are the layers in
pyproject.toml. A test draws it again and compares.
"""

from __future__ import annotations

import ast
import sys
import textwrap
from html import escape
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "qwen3_ascend_rerank"
PICTURE = ROOT / "docs" / "pictures" / "rooms.svg"

WIDTH, HEIGHT, GAP, MARGIN = 1120, 62, 10, 16
LETTER = 6.6
"""Width of a letter of what a room is for, on average."""
STYLE = """
.room{fill:#f4f7fb;stroke:#7a8aa0}.file{fill:#fff;stroke:#7a8aa0;stroke-dasharray:4 3}
.name{font:600 15px ui-monospace,monospace;fill:#12263f}
.what{font:13px system-ui,sans-serif;fill:#42546b}
@media(prefers-color-scheme:dark){.room{fill:#1b2733;stroke:#6f8299}.file{fill:#10181f;stroke:#6f8299}
.name{fill:#e6eef8}.what{fill:#b3c1d1}}
"""


def floors() -> list[list[str]]:
    """The rooms of each floor, the highest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one["type"] == "layers")
    return [[name.strip() for name in layer.split("|")] for layer in layers]


def purpose(room: str) -> str:
    """What a room, or a file that stands alone, says of itself in one line."""
    folder = PACKAGE / room
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n")[0].rstrip(".:")


def draw() -> str:
    """The picture, a floor a row."""
    rows = floors()
    height = 2 * MARGIN + len(rows) * (HEIGHT + GAP) - GAP
    parts = []
    for row, rooms in enumerate(rows):
        top = MARGIN + row * (HEIGHT + GAP)
        width = (WIDTH - 2 * MARGIN - GAP * (len(rooms) - 1)) / len(rooms)
        for place, room in enumerate(rooms):
            left = MARGIN + place * (width + GAP)
            parts.append(_room(room, left, top, width))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-label="The rooms of qwen3_ascend_rerank, floor by floor">\n'
        f"<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _room(room: str, left: float, top: float, width: float) -> str:
    folder = (PACKAGE / room).is_dir()
    name = f"{room}/" if folder else f"{room}.py"
    lines = textwrap.wrap(purpose(room), int((width - 24) / LETTER))
    what = "".join(
        f'<text class="what" x="{left + 12:g}" y="{top + 37 + 16 * place}">{escape(line)}</text>'
        for place, line in enumerate(lines)
    )
    return (
        f'<rect class="{"room" if folder else "file"}" x="{left:g}" y="{top}" width="{width:g}" '
        f'height="{HEIGHT}" rx="7"/>'
        f'<text class="name" x="{left + 12:g}" y="{top + 19}">{name}</text>{what}'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
