"""Ends vLLM's processes when the process that started them is gone, whatever ended it.

vLLM's own do not notice: after a SIGKILL they would keep the device's memory for good. This runs
as a script, in a process and a session of its own. It reads process ids, one a line, from a pipe
whose other end only the owner holds. When the pipe closes the owner has ended, or wants no more of
it, and whatever still lives of those processes and their children is ended.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable

import psutil  # type: ignore[import-untyped]

GRACE_SECONDS = 3.0
"""How long processes may take to end by themselves, which spares shared memory."""


def watch(lines: Iterable[str]) -> None:
    """Read process ids until there are no more; then end what they stand for."""
    watched = []
    for line in lines:
        with contextlib.suppress(psutil.Error):
            # It keeps the time of its start too, so another process is not taken for it later.
            watched.append(psutil.Process(int(line)))
    end([each for each in watched if each.is_running()])


def end(processes: list[psutil.Process]) -> None:
    """End `processes` and their descendants: ask them first, then kill."""
    family = [*processes]
    for process in processes:
        with contextlib.suppress(psutil.Error):
            family += process.children(recursive=True)
    for process in processes:  # vLLM's engine ends its workers itself
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, left = psutil.wait_procs(family, timeout=GRACE_SECONDS)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()


if __name__ == "__main__":
    watch(sys.stdin)
