"""Whether a file is still the one that was seen."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path


def file_state(file: Path) -> Hashable:
    """Something that changes when `file` is written, or another takes its place.

    Raises:
        OSError: there is no such file.
    """
    found = file.stat()
    # The inode's own time cannot be set back, as by a copy that keeps the times of its original.
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
