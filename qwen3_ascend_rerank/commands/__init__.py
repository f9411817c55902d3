"""The command line, `qwen3-rerank`: one module a command."""

from __future__ import annotations

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
    app(prog_name="qwen3-rerank")


def _speak_utf8() -> None:
    # Whatever the locale. A lone surrogate is written as \udxxx, which JSON reads back as it was.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
