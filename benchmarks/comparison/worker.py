"""A contender in a process of its own: a line of JSON in, a line of JSON out.

    python -m benchmarks.comparison.worker torch-engine FOLDER

Out first: {"ready": true}, or {"left_out": "why"}. Then for each {"query", "documents", "tune"} in:
{"seconds", "log_odds"}, or {"setting"} where `tune` is true. Ends with its standard input.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from qwen3_ascend_rerank.errors import MissingDependencyError

from .contenders import CONTENDERS, Contender


def main() -> None:
    """Load, then answer until there is nothing more to read."""
    name, folder = sys.argv[1:]
    answers = _take_standard_output()
    try:
        contender: Contender = CONTENDERS[name].make(Path(folder))
    except Exception as error:  # noqa: BLE001 - whatever it is, its row is left out
        missing = isinstance(error, (ImportError, MissingDependencyError))
        reason = "not installed" if missing else "does not start"
        _say(answers, {"left_out": f"{reason} ({' '.join(str(error).split())[:300]})"})
        return
    try:
        _say(answers, {"ready": True})
        for line in sys.stdin:
            _say(answers, _answer(contender, json.loads(line)))
    finally:
        contender.close()


def _answer(contender: Contender, asked: dict[str, Any]) -> dict[str, Any]:
    if asked.pop("tune"):
        return {"setting": contender.tune(**asked)}
    began = time.perf_counter()
    log_odds = contender.log_odds(**asked)
    return {"seconds": time.perf_counter() - began, "log_odds": log_odds}


def _take_standard_output() -> TextIO:
    """Standard output for answers alone: what libraries print there goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, what: dict[str, Any]) -> None:
    print(json.dumps(what), file=answers, flush=True)


if __name__ == "__main__":
    main()
