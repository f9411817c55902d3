"""Engines that are shared: equal settings in one process, one engine.

Every user holds a lease. The engine starts when the first user needs it and is closed when the
last lease is released.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import multiprocessing.util  # noqa: F401 - see _be_first_at_exit
import os
from collections.abc import Callable, Coroutine, Hashable
from threading import RLock
from typing import Any

from ..errors import RerankerClosedError
from ..forks import in_child
from .base import Engine
from .loop import submit

logger = logging.getLogger(__name__)

_lock = RLock()  # a finaliser may run while this thread holds it
_shared: dict[Hashable, _SharedEngine] = {}

EXIT_SECONDS = 20.0
"""How long the interpreter waits at its exit for engines that nobody closed."""


Start = Callable[[], Coroutine[Any, Any, Engine]]
"""Makes an engine and starts it; if that fails, nothing of it is left."""


class _SharedEngine:
    def __init__(self, start: Start) -> None:
        self._start = start
        self._starting: asyncio.Task[Engine] | None = None
        self.users = 0

    async def started(self) -> Engine:
        # The start belongs to nobody: a caller that gives up must not end it for the others.
        if self._starting is None or _failed(self._starting):
            _be_first_at_exit()
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def close(self) -> None:
        if self._starting is None:
            return
        self._starting.cancel()
        (outcome,) = await asyncio.gather(self._starting, return_exceptions=True)
        if isinstance(outcome, BaseException):
            return  # it never started, and those who waited know why
        try:
            await outcome.aclose()
        except Exception:
            logger.warning("%s did not end in an orderly way", outcome.info.model, exc_info=True)


class EngineLease:
    """One user's share in an engine."""

    def __init__(self, key: Hashable, start: Start) -> None:
        """Share the engine known under `key`; the first to need it runs `start`."""
        self._key = key
        self._pid = os.getpid()
        self._released = False
        with _lock:
            self._engine = _shared.setdefault(key, _SharedEngine(start))
            self._engine.users += 1

    @property
    def stale(self) -> bool:
        """Whether the process forked since: the engine stayed behind in the parent."""
        return self._pid != os.getpid()

    async def engine(self) -> Engine:
        """The engine, started."""
        if self._released:
            raise RerankerClosedError("this Reranker is closed; make a new one")
        return await self._engine.started()

    def disown(self) -> None:
        """Share a broken engine with nobody else: the next user gets a new one."""
        with _lock:
            if _shared.get(self._key) is self._engine:
                del _shared[self._key]

    async def release(self) -> None:
        """Give the share back; the last one closes the engine. May be called twice."""
        if self._give_back():
            await self._engine.close()

    def drop(self) -> None:
        """Release without waiting: for users that are garbage collected without being closed."""
        if not self._released and not self.stale:
            submit(self.release())

    def _give_back(self) -> bool:
        with _lock:
            if self._released or self.stale:
                return False
            self._released = True
            self._engine.users -= 1
            if self._engine.users:
                return False
            self.disown()
            return True


def _failed(task: asyncio.Task[Engine]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


async def _close_all(engines: list[_SharedEngine]) -> None:
    await asyncio.gather(*(engine.close() for engine in engines), return_exceptions=True)


def _be_first_at_exit() -> None:
    # Exit hooks run in reverse order. That of weakref, registered by its first finaliser, would
    # take an engine's processes apart before they are asked to end; that of multiprocessing.util,
    # registered when that is imported, would wait for them without end.
    atexit.unregister(_close_at_exit)
    atexit.register(_close_at_exit)


def _close_at_exit() -> None:
    with _lock:
        engines = list(_shared.values())
        _shared.clear()
    if engines:
        with contextlib.suppress(TimeoutError, RuntimeError):
            submit(_close_all(engines)).result(EXIT_SECONDS)


@in_child
def _forget() -> None:
    # It cannot use its parent's engines.
    global _lock, _shared
    _lock, _shared = RLock(), {}
