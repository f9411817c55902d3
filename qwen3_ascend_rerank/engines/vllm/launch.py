"""How vLLM is started: a guarded script, and the right environment."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from ...bridge.forks import in_child
from ...errors import EngineError

GUARD = (
    "vLLM starts processes that import your script again, so what starts it must stand under a "
    'guard:\n\n    if __name__ == "__main__":\n        with Reranker(…) as reranker:\n            …'
)

_MAIN = re.compile(r"__name__\s*(==|!=|in\b)|(==|!=)\s*__name__")

DEFAULTS = MappingProxyType(
    {
        # A fork of a process with threads, of which there is at least this one, can hang.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        # Standard output is for what a program has to say.
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    }
)
"""Environment variables as they should be where the user has not set them."""

one_at_a_time = threading.Lock()
"""Held while an engine starts: the environment and new processes belong to the whole process."""


@in_child
def _renew_lock() -> None:
    global one_at_a_time
    one_at_a_time = threading.Lock()


def check_main_module() -> None:
    """Refuse to start from a script without a guard, where each new process would start another.

    Raises:
        EngineError: the script has no ``if __name__ == "__main__":``.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise EngineError(GUARD)  # this is such a process, importing the script
    main = sys.modules.get("__main__")
    if getattr(getattr(main, "__spec__", None), "name", "").rpartition(".")[2] == "__main__":
        return  # `python -m package`: new processes do not import that
    file = getattr(main, "__file__", None)
    if file and file.endswith(".py") and Path(file).is_file():
        source = Path(file).read_text(encoding="utf-8", errors="replace")
        if not _MAIN.search(source):
            raise EngineError(f"{file} has no guard. {GUARD}")


@contextlib.contextmanager
def environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Environment variables as vLLM's processes are to inherit them; None: not set."""
    unset = {name: value for name, value in DEFAULTS.items() if name not in os.environ}
    changes = {**unset, **changes}
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
