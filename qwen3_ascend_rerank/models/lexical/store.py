"""Where constructed files are kept: complete and undamaged, or not at all.

A folder's name carries a digest of everything it is constructed from, so a new construction never
meets an old one's files. Beside its files lies a manifest of their digests, written last. A folder
whose files do not agree with it is made anew.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from ...runtime.paths import cache_folder

_MANIFEST = "manifest.json"


@cache
def constructed(name: str, construct: Callable[[Path], None]) -> Path:
    """The folder that `construct` fills, from the cache where it is there and undamaged.

    Several processes may construct it at once: each does so aside, and since they construct the
    same bytes, it does not matter which is published.

    Args:
        name: the folder's name in the cache, before the digest.
        construct: writes files, no folders, into a folder.
    """
    folder = cache_folder() / f"{name}-{_source_digest()}"
    if not is_intact(folder):
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as aside:
            fresh = Path(aside) / "files"
            fresh.mkdir()
            construct(fresh)
            (fresh / _MANIFEST).write_text(json.dumps(_digests(fresh)), encoding="utf-8")
            _publish(fresh, folder)
    return folder


def is_intact(folder: Path) -> bool:
    """Whether every file of `folder` is what was constructed."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest) and manifest.items() <= _digests(folder).items()
    except (OSError, ValueError):
        return False


def _publish(fresh: Path, folder: Path) -> None:
    try:
        fresh.rename(folder)
    except OSError:  # it is there already: damaged, or published by another process meanwhile
        if folder.is_dir():
            for file in sorted(fresh.iterdir(), key=lambda file: file.name == _MANIFEST):
                file.replace(folder / file.name)
        else:
            raise


def _digests(folder: Path) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.iterdir())
        if file.name != _MANIFEST
    }


@cache
def _source_digest() -> str:
    """A digest of the construction itself: the modules and the vocabulary of this package."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.iterdir()):
        if file.suffix in (".py", ".txt"):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]
