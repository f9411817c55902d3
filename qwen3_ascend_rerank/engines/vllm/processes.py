"""The processes that vLLM starts for one engine, and their end whatever happens."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any
from weakref import WeakSet

logger = logging.getLogger(__name__)

NAMES = ("EngineCore", "VLLM")
"""What the names of vLLM's own processes begin with, whoever started them."""
POLL_SECONDS = 0.1
"""How often a start is looked at."""
ABANDON_SECONDS = 10.0
"""How long a start that was ended may take to give up."""
END_SECONDS = 5.0
"""How long processes may take to end after they were told to."""


class Processes:
    """What one start starts: found, watched, and ended."""

    def __init__(self) -> None:
        self._before: set[int | None] = set()
        self._idle = threading.Event()
        self._idle.set()
        self._watching: threading.Thread | None = None
        self._watchdog: Watchdog | None = None
        self._found: list[Any] = []

    def begin_start(self) -> None:
        """From now on new processes of vLLM are this engine's."""
        self._before = {child.pid for child in _children()}
        self._idle.clear()
        self._watchdog = Watchdog()
        self._watching = threading.Thread(
            target=self._watch,
            args=(self._watchdog,),
            name="qwen3-ascend-rerank-watch",
            daemon=True,
        )
        self._watching.start()

    def end_start(self) -> None:
        """Remember what has been started."""
        self._found = self._new()
        self._idle.set()
        if self._watching is not None:
            self._watching.join()

    def abandon_start(self) -> None:
        """Kill what a start that is under way starts, until it gives up."""
        deadline = time.monotonic() + ABANDON_SECONDS
        while not self._idle.wait(POLL_SECONDS) and time.monotonic() < deadline:
            _kill(self._new())
        self.end()

    def end(self) -> None:
        """Kill what outlived an orderly end, or its parent's death."""
        if self._found:
            _, left = import_module("psutil").wait_procs(self._found, timeout=END_SECONDS)
            _kill(left)
        multiprocessing.active_children()  # buries the dead
        if self._watchdog is not None:
            self._watchdog.close()

    def _watch(self, watchdog: Watchdog) -> None:
        """Have what a start starts watched at once: the owner may be killed at any moment."""
        ended = False
        while not ended:
            ended = self._idle.wait(POLL_SECONDS)
            for child in self._new_children():
                watchdog.watch(child.pid)

    def _new_children(self) -> list[Any]:
        return [child for child in _children() if child.pid not in self._before]

    def _new(self) -> list[Any]:
        """This engine's processes, parents first."""
        psutil = import_module("psutil")  # vLLM needs it too
        found: list[Any] = []
        for child in self._new_children():
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(child.pid)
                found += [process, *process.children(recursive=True)]
        return found


class Watchdog:
    """The owner's end of `watchdog.py`, a process that ends others if this one is killed.

    It has a session of its own, so that Ctrl-C in a terminal, which the owner may survive, does not
    reach it.
    """

    def __init__(self) -> None:
        self._watched: set[int | None] = set()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(  # noqa: S603 - a script of this package
                [sys.executable, str(Path(__file__).with_name("watchdog.py"))],
                stdin=subprocess.PIPE,
                bufsize=0,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            logger.warning("if this process is killed, vLLM's live on: no watchdog (%s)", error)
        _watchdogs.add(self)

    def watch(self, pid: int | None) -> None:
        """Have a process ended together with this one."""
        if self._process is None or self._process.stdin is None or pid in self._watched:
            return
        self._watched.add(pid)
        with contextlib.suppress(OSError, ValueError):  # it was killed itself, or closed meanwhile
            self._process.stdin.write(f"{pid}\n".encode())

    def close(self) -> None:
        """Have what is left ended now, and the watchdog with it."""
        if self._process is not None:
            self.let_go()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(ABANDON_SECONDS)

    def let_go(self) -> None:
        """Close this process's end of the pipe."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()


_watchdogs: WeakSet[Watchdog] = WeakSet()


def _release_watchdogs() -> None:
    # A forked child that kept the pipe open would keep the processes alive after their owner.
    for watchdog in _watchdogs:
        watchdog.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_watchdogs)


def _children() -> list[Any]:
    """Those of this process's children that are vLLM's."""
    return [each for each in multiprocessing.active_children() if each.name.startswith(NAMES)]


def _kill(processes: list[Any]) -> None:
    for process in processes:
        with contextlib.suppress(import_module("psutil").Error):
            process.kill()
