"""A contender in a process of its own: a line of JSON in, a line of JSON out.

    python -m benchmarks.comparison.worker torch-engine FOLDER cpu float32

Out first: {"ready": true}, or {"left_out": "why"}. Then for each {"query", "documents", "tune"} in:
{"seconds", "log_odds", "memory"}, or {"setting"} where `tune` is true. Ends with its standard
input. The memory is that of the device, beyond what the model takes; None for a CPU, whose memory
is seen from outside.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from typing_extensions import Self

from qwen3_ascend_rerank.errors import MissingDependencyError

from .contenders import CONTENDERS, Contender, Setup


def main() -> None:
    """Load, then answer until there is nothing more to read."""
    name, folder, device, dtype = sys.argv[1:]
    answers = _take_standard_output()
    try:
        contender: Contender = CONTENDERS[name].make(Setup(Path(folder), device, dtype))
    except Exception as error:  # noqa: BLE001 - whatever it is, its row is left out
        missing = isinstance(error, (ImportError, MissingDependencyError))
        reason = "not installed" if missing else "does not start"
        _say(answers, {"left_out": f"{reason} ({' '.join(str(error).split())[:300]})"})
        return
    try:
        _say(answers, {"ready": True})
        for line in sys.stdin:
            _say(answers, _answer(contender, json.loads(line), device))
    finally:
        contender.close()


def _answer(contender: Contender, asked: dict[str, Any], device: str) -> dict[str, Any]:
    if asked.pop("tune"):
        return {"setting": contender.tune(**asked)}
    with _DeviceMemory(device) as memory:
        began = time.perf_counter()
        log_odds = contender.log_odds(**asked)
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "log_odds": log_odds, "memory": memory.peak}


class _DeviceMemory:
    """The most that this process takes of a device's memory, beyond what it held before."""

    peak: int | None = None

    def __init__(self, device: str) -> None:
        import torch

        self._device = None if device == "cpu" else getattr(torch, device)

    def __enter__(self) -> Self:
        if self._device:
            self._device.reset_peak_memory_stats()
            self._before = self._device.memory_allocated()
        return self

    def __exit__(self, *_: object) -> None:
        if self._device:
            self.peak = self._device.max_memory_allocated() - self._before


def _take_standard_output() -> TextIO:
    """Standard output for answers alone: what libraries print there goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, what: dict[str, Any]) -> None:
    print(json.dumps(what), file=answers, flush=True)


if __name__ == "__main__":
    main()
