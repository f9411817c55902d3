"""Where this package keeps files on the machine."""

from __future__ import annotations

import getpass
import os
import stat
import tempfile
from pathlib import Path

from ..errors import CacheFolderError

VARIABLE = "QWEN3_RERANK_CACHE"
_NAME = "qwen3-ascend-rerank"


def cache_folder() -> Path:
    """A folder of this user's that can be written, created where it is missing.

    ``QWEN3_RERANK_CACHE`` where it is set, else ``$XDG_CACHE_HOME/qwen3-ascend-rerank``, else
    ``~/.cache/qwen3-ascend-rerank``. Where that cannot be written, as in many containers, a folder
    of this user alone among the machine's temporary files.

    Raises:
        CacheFolderError: none of these can be written, or the temporary one belongs to somebody
            else.
    """
    preferred = _preferred()
    if preferred is not None and _can_write(preferred):
        return preferred
    try:
        return _private_temporary_folder()
    except CacheFolderError:
        raise
    except OSError as error:
        raise CacheFolderError(
            f"{preferred or 'the home folder'} cannot be written, and there is no folder for "
            f"temporary files either ({error}); set {VARIABLE} to a folder that can be written"
        ) from error


def _preferred() -> Path | None:
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    if Path(base).is_absolute():  # as its specification demands
        return Path(base) / _NAME
    try:
        return Path.home() / ".cache" / _NAME
    except RuntimeError:  # no home
        return None


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _private_temporary_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"{_NAME}-{_user()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    mine = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    closed = os.name == "nt" or not stat.S_IMODE(found.st_mode) & 0o022
    if not (stat.S_ISDIR(found.st_mode) and mine and closed and _can_write(folder)):
        raise CacheFolderError(
            f"{folder} is not a private folder of this user; set {VARIABLE} to one that is"
        )
    return folder


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()
