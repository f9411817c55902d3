"""The parent's side of a worker: started, asked, watched for its memory, ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import psutil
from typing_extensions import Self

from .contenders import CONTENDERS, Setup

ROOT = Path(__file__).parents[2]
LOOK_SECONDS = 0.03
"""Between two looks at the memory."""
END_SECONDS = 90.0


class LeftOutError(Exception):
    """A contender that cannot take part, and why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request took."""

    seconds: float
    log_odds: list[float]
    memory: int | None
    """Most bytes of their own at once during the request, beyond what was before the first one;
    None: they cannot be seen."""


class Worker:
    """A contender in a process of its own, loaded and warm."""

    def __init__(
        self, name: str, setup: Setup, warm_up: tuple[str, Sequence[str]], log: TextIO
    ) -> None:
        """Start it, and wait until it has answered once.

        Raises:
            LeftOutError: it is not installed, or does not start.
        """
        self.name = name
        self._on_cpu = setup.device == "cpu"
        environment = {**os.environ, **CONTENDERS[name].environment}
        environment.pop("OMP_NUM_THREADS", None)  # each contender chooses its own threads
        self._process = subprocess.Popen(  # noqa: S603 - this package's own
            [
                *(sys.executable, "-m", f"{__package__}.worker"),
                *(name, str(setup.folder), setup.device, setup.dtype),
            ],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._idle = 0
        try:
            self._receive()
            self.ask(*warm_up)
        except BaseException:
            self.close()
            raise
        self._idle = sum(map(_own, self._family()))

    def ask(self, query: str, documents: Sequence[str]) -> Answer:
        """Have it score, and watch its memory meanwhile."""
        with _Watch(self._family()) as watch:
            found = self._exchange(query, documents, tune=False)
        if self._on_cpu:
            memory = max(0, watch.peak - self._idle)
        else:
            memory = None if CONTENDERS[self.name].elsewhere else found["memory"]
        return Answer(found["seconds"], found["log_odds"], memory)

    def tune(self, query: str, documents: Sequence[str]) -> str:
        """Have it find its best settings for such work; what it found, "" for nothing."""
        return str(self._exchange(query, documents, tune=True)["setting"])

    def close(self) -> None:
        """End it, and whatever it started."""
        family = self._family()
        if self._process.stdin:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        _, left = psutil.wait_procs(family, timeout=10)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def _exchange(self, query: str, documents: Sequence[str], *, tune: bool) -> dict[str, Any]:
        assert self._process.stdin  # noqa: S101 - a pipe, as asked for
        line = json.dumps({"query": query, "documents": list(documents), "tune": tune})
        with suppress(BrokenPipeError):  # `_receive` says what happened
            print(line, file=self._process.stdin, flush=True)
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout  # noqa: S101 - a pipe, as asked for
        line = self._process.stdout.readline()
        if not line:
            raise LeftOutError(f"ended by itself with status {self._process.wait()}; see the log")
        found: dict[str, Any] = json.loads(line)
        if "left_out" in found:
            raise LeftOutError(found["left_out"])
        return found

    def _family(self) -> list[psutil.Process]:
        try:
            process = psutil.Process(self._process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


class _Watch:
    """Looks at the memory of processes again and again."""

    def __init__(self, processes: Sequence[psutil.Process]) -> None:
        self.peak = 0
        self._processes = processes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            self.peak = max(self.peak, sum(map(_own, self._processes)))
            if self._ended.wait(LOOK_SECONDS):
                return


def _own(process: psutil.Process) -> int:
    """Bytes that are no file's: pages of mapped weights come and go, and are the model itself."""
    try:
        memory = process.memory_info()
        return int(memory.rss - getattr(memory, "shared", 0))
    except psutil.NoSuchProcess:
        return 0
