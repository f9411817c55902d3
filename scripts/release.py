"""Set the version of all three packages and the changelog's heading, or where they live.

    python scripts/release.py 0.2.0               # versions, floors, and today in the changelog
    python scripts/release.py --repository URL    # [project.urls] of all three

Both say what they changed. A test keeps the three in step.
"""

from __future__ import annotations

import argparse
import datetime
import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = "qwen3-ascend-rerank"
VERSIONED = (
    ROOT / "qwen3_ascend_rerank" / "__init__.py",
    ROOT / "integrations" / "langchain" / "langchain_qwen3_ascend_rerank" / "__init__.py",
    ROOT / "integrations/llama-index/llama_index/postprocessor/qwen3_ascend_rerank" / "__init__.py",
)
PROJECTS = (
    ROOT / "pyproject.toml",
    ROOT / "integrations" / "langchain" / "pyproject.toml",
    ROOT / "integrations" / "llama-index" / "pyproject.toml",
)
CHANGELOG = ROOT / "CHANGELOG.md"
_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)
_FLOOR = re.compile(rf'"{CORE}>=([0-9.]+)"')
_HEADING = re.compile(r"^## (\S+) \(([^)]+)\)$", re.MULTILINE)
_REPOSITORY = re.compile(r'^Repository = "([^"]+)"$', re.MULTILINE)


def versions() -> dict[str, str]:
    """What each file that states a version says, by its path in the repository."""
    stated = {str(file.relative_to(ROOT)): _only(_VERSION, file) for file in VERSIONED}
    stated |= {f"{file.relative_to(ROOT)} (floor)": _only(_FLOOR, file) for file in PROJECTS[1:]}
    return stated | {"CHANGELOG.md": _HEADING.findall(_text(CHANGELOG))[0][0]}


def set_version(version: str, today: datetime.date) -> list[str]:
    """Write `version` everywhere; the newest heading of the changelog gets the date.

    Raises:
        SystemExit: it is no version, or the changelog has no heading that waits for it.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        raise SystemExit(f"error: {version} is no version; write it as 0.2.0 or 0.2.0rc1")
    newest, said = _HEADING.findall(_text(CHANGELOG))[0]
    if said != "unreleased":
        raise SystemExit(
            f"error: CHANGELOG.md begins with {newest} ({said}); write what is new below a heading "
            f"'## {version} (unreleased)' first"
        )
    heading = f"## {version} ({today.isoformat()})"
    changed = [_change(file, _VERSION, f'__version__ = "{version}"') for file in VERSIONED]
    changed += [_change(file, _FLOOR, f'"{CORE}>={version}"') for file in PROJECTS[1:]]
    return [*changed, _change(CHANGELOG, _HEADING, heading)]


def set_repository(url: str) -> list[str]:
    """Write where the project lives into all three, for links and for the pages of the index."""
    where = url.rstrip("/")

    def moved(text: str) -> str:
        (was,) = _REPOSITORY.findall(text)
        return text.replace(was, where)

    return [_write(file, moved) for file in PROJECTS]


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _only(pattern: re.Pattern[str], file: Path) -> str:
    (found,) = set(pattern.findall(_text(file)))
    return str(found)


def _change(file: Path, pattern: re.Pattern[str], new: str) -> str:
    return _write(file, lambda text: pattern.sub(new, text, count=1))


def _write(file: Path, change: Callable[[str], str]) -> str:
    file.write_text(change(_text(file)), encoding="utf-8")
    return str(file.relative_to(ROOT))


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("version", nargs="?", help="e.g. 0.2.0")
    asked.add_argument("--repository", metavar="URL", help="where the project lives")
    wish = parser.parse_args()
    today = datetime.datetime.now(tz=datetime.timezone.utc).date()
    changed = (
        set_repository(wish.repository) if wish.repository else set_version(wish.version, today)
    )
    print("\n".join(changed))


if __name__ == "__main__":
    main()
