"""Where files are kept: in the user's cache, and never in a folder of somebody else."""

import os
import tempfile
from pathlib import Path

import pytest

from qwen3_ascend_rerank.errors import CacheFolderError
from qwen3_ascend_rerank.runtime.paths import cache_folder


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QWEN3_RERANK_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


def test_by_default_it_is_in_the_home(tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "home" / ".cache" / "qwen3-ascend-rerank"
    assert cache_folder().is_dir()


def test_the_desktop_standard_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "qwen3-ascend-rerank"


def test_the_variable_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("QWEN3_RERANK_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "home" / "mine"


@pytest.fixture
def unwritable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("QWEN3_RERANK_CACHE", str(tmp_path / "file" / "cache"))


@pytest.mark.usefixtures("unwritable")
def test_where_that_cannot_be_written_it_is_private_and_temporary(tmp_path: Path) -> None:
    folder = cache_folder()
    assert folder.parent == tmp_path / "tmp"
    assert cache_folder() == folder
    if os.name == "posix":
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("unwritable")
@pytest.mark.skipif(os.name != "posix", reason="users and modes are POSIX's")
class TestAForeignTemporaryFolder:
    """Anybody may put a folder of any name among the temporary files."""

    def test_of_another_user_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mine = os.getuid()
        folder = cache_folder()
        monkeypatch.setattr(os, "getuid", lambda: mine + 1)
        folder.rename(folder.with_name(f"qwen3-ascend-rerank-{mine + 1}"))
        with pytest.raises(CacheFolderError, match="QWEN3_RERANK_CACHE"):
            cache_folder()

    def test_that_others_may_write_is_refused(self) -> None:
        cache_folder().chmod(0o777)
        with pytest.raises(CacheFolderError, match="private"):
            cache_folder()

    def test_that_is_a_link_is_refused(self, tmp_path: Path) -> None:
        folder = cache_folder()
        folder.rmdir()
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(CacheFolderError, match="private"):
            cache_folder()


@pytest.mark.usefixtures("unwritable")
def test_where_nothing_can_be_written_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", fail)
    with pytest.raises(CacheFolderError, match="No usable temp.*; set QWEN3_RERANK_CACHE to"):
        cache_folder()
