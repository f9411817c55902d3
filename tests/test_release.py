"""Three packages of one version, ready to be published."""

import datetime
import re
import shutil
import sys
from pathlib import Path

import pytest

from scripts import release

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECTS = [str(one.relative_to(ROOT)) for one in release.PROJECTS]


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that a release changes, elsewhere."""
    for name in ("VERSIONED", "PROJECTS"):
        files = [_copied(file, tmp_path) for file in getattr(release, name)]
        monkeypatch.setattr(release, name, tuple(files))
    monkeypatch.setattr(release, "CHANGELOG", _copied(release.CHANGELOG, tmp_path))
    monkeypatch.setattr(release, "ROOT", tmp_path)
    return tmp_path


def _copied(file: Path, folder: Path) -> Path:
    twin = folder / file.relative_to(ROOT)
    twin.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, twin)
    return twin


def test_all_state_one_version() -> None:
    assert len(set(release.versions().values())) == 1, release.versions()


def test_one_command_sets_the_version_everywhere(copied: Path) -> None:
    release.set_version("0.9.1", datetime.date(2031, 2, 3))
    assert set(release.versions().values()) == {"0.9.1"}
    assert "## 0.9.1 (2031-02-03)" in (copied / "CHANGELOG.md").read_text()
    with pytest.raises(SystemExit, match="begins with 0.9.1 .* '## 0.9.2 \\(unreleased\\)' first"):
        release.set_version("0.9.2", datetime.date(2031, 2, 4))


@pytest.mark.parametrize("version", ["1.0", "v1.0.0", "1.0.0-beta", ""])
def test_what_is_no_version_changes_nothing(version: str, copied: Path) -> None:
    before = release.versions()
    with pytest.raises(SystemExit, match="is no version"):
        release.set_version(version, datetime.date(2031, 2, 3))
    assert release.versions() == before


def test_one_command_moves_the_repository(copied: Path) -> None:
    release.set_repository("https://example.org/a/b/")
    for file in PROJECTS:
        assert "example.org/a/b" in (copied / file).read_text()
        assert "github.com" not in (copied / file).read_text()
        urls = tomllib.loads((copied / file).read_text())["project"]["urls"]
        assert len(urls) == 4
        assert all(
            re.match(r"https://example\.org/a/b(/(blob|issues).*)?$", url) for url in urls.values()
        )


@pytest.mark.parametrize("file", PROJECTS)
def test_a_package_says_what_it_is(file: str) -> None:
    project = tomllib.loads((ROOT / file).read_text(encoding="utf-8"))["project"]
    folder = (ROOT / file).parent
    assert {"Repository", "Documentation", "Changelog", "Issues"} == set(project["urls"])
    for url in project["urls"].values():
        if "/blob/main/" in url:
            assert (ROOT / url.partition("/blob/main/")[2]).is_file(), url
    assert project["license"] == "Apache-2.0"
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert "Typing :: Typed" in project["classifiers"]
    assert [one for one in folder.rglob("py.typed") if ".venv" not in one.parts]
    assert project["keywords"]
