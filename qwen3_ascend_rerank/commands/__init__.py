"""The command line, `qwen3-rerank`: one module a command."""

from __future__ import annotations

import os
import sys

_PACKAGES = {"typer", "rich"}


def main() -> None:
    """Run `qwen3-rerank` with the arguments of the process."""
    try:
        from .program import app
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        sys.exit(f'error: the command line needs {package}; pip install "qwen3-ascend-rerank[cli]"')
    except KeyboardInterrupt:
        sys.exit(130)
    _speak_utf8()
    try:
        app(prog_name="qwen3-rerank")
    except SystemExit as end:
        if end.code == 130:
            _leave()
        raise


def _leave() -> None:
    """End an interrupted program without the interpreter's own end.

    That waits for threads in which a model is still being loaded, and takes C++ from under them.
    """
    from ..engines.shared import close_all_engines

    close_all_engines()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(130)


def _speak_utf8() -> None:
    # Whatever the locale. A lone surrogate is written as \udxxx, which JSON reads back as it was.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
