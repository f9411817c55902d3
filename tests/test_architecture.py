"""The house is as its map says: every room is on the page, and every place on the page exists."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import draw_rooms
from tests.support.pages import text_of

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "qwen3_ascend_rerank"
PAGES = ["docs/architecture.md", "docs/architecture.zh-CN.md"]
ROOMS = sorted(
    f"{one.name}/" if one.is_dir() else one.name
    for one in PACKAGE.iterdir()
    if (one.is_dir() and (one / "__init__.py").is_file())
    or (one.suffix == ".py" and one.name != "__init__.py")
)
PLACE = re.compile(r"`([\w./-]+(?:/|\.py|\.toml))`")
BASES = (ROOT, PACKAGE, PACKAGE / "engines", PACKAGE / "models")


@pytest.mark.parametrize("page", PAGES)
def test_every_room_is_on_the_page(page: str) -> None:
    rows = re.findall(r"^\| `qwen3_ascend_rerank/([\w./]+)` \|", text_of(page), re.MULTILINE)
    assert sorted(rows) == ROOMS


@pytest.mark.parametrize("page", PAGES)
def test_every_place_on_the_page_exists(page: str) -> None:
    named = set(PLACE.findall(text_of(page)))
    assert len(named) > 50
    assert [one for one in named if not any((base / one).exists() for base in BASES)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_table_that_is_named_is_there(page: str) -> None:
    named = re.findall(r"`([A-Z_]{4,})`[^|`]*`(qwen3_ascend_rerank/[\w/]+\.py)`", text_of(page))
    named += [
        (name, file)
        for file, name in re.findall(
            r"`(qwen3_ascend_rerank/[\w/]+\.py)` 中的? ?`([A-Z_]{4,})`", text_of(page)
        )
    ]
    assert named
    for name, file in named:
        assert re.search(rf"^{name}\b", (ROOT / file).read_text(), re.MULTILINE), (name, file)


def test_the_picture_shows_the_floors_as_they_are() -> None:
    drawn = draw_rooms.draw()
    assert draw_rooms.PICTURE.read_text(encoding="utf-8") == drawn, (
        "run: python scripts/draw_rooms.py"
    )
    assert sorted(name.rstrip("/").removesuffix(".py") for name in ROOMS) == sorted(
        room for floor in draw_rooms.floors() for room in floor
    )


def test_every_room_has_its_tests() -> None:
    rooms = [room for room in ROOMS if room.endswith("/")]
    assert [room for room in rooms if not list((ROOT / "tests" / room).glob("test_*.py"))] == []


ENTRANCES = sorted(
    one
    for one in PACKAGE.rglob("__init__.py")
    if one.relative_to(PACKAGE).parts[0] != "commands"  # there it is the command itself
)


@pytest.mark.parametrize("entrance", ENTRANCES, ids=lambda one: str(one.relative_to(PACKAGE)))
def test_an_entrance_hands_names_on_and_does_no_work(entrance: Path) -> None:
    tree = ast.parse(entrance.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    busy = [type(node).__name__ for node in tree.body[1:] if not _hands_on(node)]
    assert busy == []


def _hands_on(node: ast.stmt) -> bool:
    """An import, tried where it may be missing, or plain names such as ``__all__``."""
    if isinstance(node, ast.Try):
        return all(map(_hands_on, node.body))
    plain = isinstance(node, ast.Assign) and isinstance(node.value, ast.List | ast.Constant)
    return plain or isinstance(node, ast.Import | ast.ImportFrom)


def test_importing_the_package_stays_small() -> None:
    """As modules, which no busy machine changes; half of them are asyncio and its like."""
    code = (
        "import sys; before = set(sys.modules); import qwen3_ascend_rerank;"
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    heavy = {"torch", "torch_npu", "transformers", "vllm", "numpy", "httpx", "pydantic", "typer"}
    assert heavy.isdisjoint(loaded)
    assert len(loaded) < 300


def test_no_two_classes_have_the_same_name() -> None:
    places: dict[str, list[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        for name in re.findall(
            r"^class (?!_)(\w+)", file.read_text(encoding="utf-8"), re.MULTILINE
        ):
            places.setdefault(name, []).append(str(file.relative_to(ROOT)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
