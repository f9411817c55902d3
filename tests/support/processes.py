"""Processes that vLLM starts: found, counted and waited for."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


def wait_until(happens: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether it happens within `seconds`; a busy machine takes far longer than a free one."""
    end = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def children() -> set[psutil.Process]:
    """Living descendants of this process, Python's own resource tracker left out."""
    return {
        process
        for process in psutil.Process().children(recursive=True)
        if _is_alive(process) and not any("resource_tracker" in part for part in _command(process))
    }


def group(leader: int) -> list[psutil.Process]:
    """Living processes of the process group of `leader`."""
    return [
        process
        for process in psutil.process_iter()
        if _group_of(process.pid) == leader and _is_alive(process)
    ]


@dataclass
class Run:
    """What a script did."""

    status: int
    printed: str
    left: list[psutil.Process]
    """Processes of its group that were still there some seconds after its end."""


def run_script(file: Path, source: str, seconds: float = 240) -> Run:
    """Run `source` as a script in a process group of its own."""
    file.write_text(source, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    ) as process:
        try:
            printed, _ = process.communicate(timeout=seconds)
        finally:
            wait_until(lambda: not group(process.pid), 10)
            left = group(process.pid)
            for each in left:
                each.kill()
    return Run(process.returncode, printed, left)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None
