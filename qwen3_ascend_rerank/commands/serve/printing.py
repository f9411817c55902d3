"""Prints beside an event loop, which never waits for whoever reads: a pager, a log driver."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections import deque
from collections.abc import Sequence

ROOM = 4 * 2**20
"""Bytes that may wait to be read; what comes on top is lost, and counted."""
_WRITE = 2**16


class Printer:
    """Writes lines to a file descriptor, from a thread of its own, in their order.

    The descriptor is written to directly: a thread that is stuck in a buffered file would keep the
    interpreter from ending.
    """

    def __init__(self, descriptor: int, room: int = ROOM) -> None:
        """Nothing is written yet."""
        self._descriptor = descriptor
        self._room = room
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._lost = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_all, name="printer", daemon=True)
        self._thread.start()

    def print(self, lines: Sequence[bytes]) -> None:
        """Have `lines` written, each with a line end; returns at once."""
        with self._changed:
            for line in lines:
                if self._bytes + len(line) >= self._room:
                    self._lost += 1
                    continue
                if self._lost:
                    self._add(b"-- %d lines are lost: nobody read them" % self._lost)
                    self._lost = 0
                self._add(line)
            self._changed.notify()

    def close(self, patience: float) -> None:
        """Wait until all is written, at most `patience` seconds; nothing is written after that."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(patience)

    def _add(self, line: bytes) -> None:
        self._waiting.append(line + b"\n")
        self._bytes += len(line) + 1

    def _write_all(self) -> None:
        with contextlib.suppress(OSError):  # nobody listens: no reason to stop serving
            while piece := self._next():
                self._write(piece)
                with self._changed:
                    self._bytes -= len(piece)
        with self._changed:
            self._room = 0  # what comes is lost
            self._waiting.clear()

    def _next(self) -> bytes:
        """What is to be written next; empty where nothing will come."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            lines = [self._waiting.popleft() for _ in range(min(len(self._waiting), _WRITE // 128))]
            return b"".join(lines)

    def _write(self, piece: bytes) -> None:
        left = memoryview(piece)
        while left:
            select.select([], [self._descriptor], [])  # somebody may have made it non-blocking
            left = left[os.write(self._descriptor, left[:_WRITE]) :]
