"""Where a measurement was taken: for whoever compares it with another."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ... import __version__
from ...runtime.detect import detect


def describe() -> dict[str, Any]:
    """This machine, what is installed on it, and the time."""
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "qwen3-ascend-rerank": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        **asdict(detect()),
    }


def cpu_name() -> str:
    """The processor's name, as the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
