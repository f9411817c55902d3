"""Engines that are shared: equal settings in one process, one engine.

Every user holds a lease. The engine starts when the first user needs it and is closed when the
last lease is released. Until it has closed it keeps its place: a device may have no room for two,
so whoever wants the same engine meanwhile gets a new one, which starts after that.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import multiprocessing.util  # noqa: F401 - see _be_first_at_exit
import os
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from concurrent.futures import TimeoutError as FutureTimeoutError
from threading import RLock
from typing import Any

from ..bridge.forks import in_child
from ..bridge.loop import submit
from ..errors import EngineError, RerankerClosedError, for_another_caller
from ..protocol import Engine

logger = logging.getLogger(__name__)

_lock = RLock()  # a finaliser may run while this thread holds it
_shared: dict[Hashable, _SharedEngine] = {}

EXIT_SECONDS = 20.0
"""How long the interpreter waits at its exit for engines that nobody closed."""
CLOSING_SECONDS = 60.0
"""How long an engine waits at its start for the one before it to end."""

Start = Callable[[], Coroutine[Any, Any, Engine]]
"""Makes an engine and starts it; if that fails, nothing of it is left."""


class _SharedEngine:
    """Starting, when the first user needs it; ready; closing, when the last has gone.

    A start that failed is tried again for the next who asks. From closing no way leads back.
    """

    def __init__(self, start: Start, trust: int, before: _SharedEngine | None) -> None:
        """Describe it; `before` is closing and must have ended first."""
        self.trust = trust
        """How much the engine has shown, or shows in its start."""
        self.examining = asyncio.Lock()
        self._start = start
        self._before = before
        self._starting: asyncio.Task[Engine] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()
        self.users = 0

    @property
    def running(self) -> Engine | None:
        """The engine, if it has started and nobody has closed it."""
        task = self._starting
        if task is None or not task.done() or _failed(task):
            return None
        return task.result()

    def _is_ending(self) -> bool:
        return self._closing is not None

    async def ready(self) -> Engine:
        """The engine, started."""
        if self._is_ending():
            raise EngineError("the engine is closing, since the program ends")
        # The start belongs to nobody: a caller that gives up must not end it for the others.
        if self._starting is None or _failed(self._starting):
            _be_first_at_exit()
            self._starting = asyncio.create_task(self._begin())
        failure: Exception
        try:
            return await asyncio.shield(self._starting)
        except asyncio.CancelledError:
            if not self._is_ending():
                raise  # the caller gave up
            failure = EngineError("the engine was closed while it started")
        except Exception as error:  # noqa: BLE001 - that of all who wait
            failure = for_another_caller(error)
        raise failure

    async def close(self) -> None:
        """End it; goes on if whoever waits gives up."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._end())
        await asyncio.shield(self._closing)

    async def _begin(self) -> Engine:
        if self._before is not None:
            try:
                await asyncio.wait_for(self._before.closed(), CLOSING_SECONDS)
            except asyncio.TimeoutError:
                raise EngineError(
                    "an engine with the same settings, of which every Reranker was closed, has not "
                    f"ended within {CLOSING_SECONDS:g} seconds, and there may be no room for two; "
                    "start the program again if its device hangs"
                ) from None
            self._before = None
        return await self._start()

    async def closed(self) -> None:
        """Return when nothing of it is left, nor of those before it."""
        await self._closed.wait()

    async def _end(self) -> None:
        try:
            if self._starting is not None:
                self._starting.cancel()
                (outcome,) = await asyncio.gather(self._starting, return_exceptions=True)
                if not isinstance(outcome, BaseException):
                    await _close(outcome)
            if self._before is not None:
                await self._before.closed()
        finally:
            self._starting = self._before = None  # and with them the model
            self._closed.set()


class EngineLease:
    """One user's share in an engine."""

    def __init__(self, key: Hashable, start: Start, trust: int = 0) -> None:
        """Share the engine known under `key`.

        Args:
            key: equal for engines that can stand for each other.
            start: starts it, if nobody else has brought one.
            trust: how much `start` has the engine show; see `demand`.
        """
        self._key = key
        self._pid = os.getpid()
        self._released = False
        with _lock:
            known = _shared.get(key)
            if known is None or not known.users:
                known = _shared[key] = _SharedEngine(start, trust, before=known)
            self._engine = known
            self._engine.users += 1

    @property
    def stale(self) -> bool:
        """Whether the process forked since: the engine stayed behind in the parent."""
        return self._pid != os.getpid()

    @property
    def running(self) -> Engine | None:
        """The engine, if it has started; asked from any thread, waits for nothing."""
        return None if self._released or self.stale else self._engine.running

    async def engine(self) -> Engine:
        """The engine, started."""
        if self._released:
            raise RerankerClosedError("this Reranker is closed; make a new one")
        return await self._engine.ready()

    async def demand(self, trust: int, examine: Callable[[Engine], Awaitable[None]]) -> None:
        """Have the engine, started, pass `examine` unless it has shown as much already.

        One that does not pass goes on for users who ask for less.
        """
        shared = self._engine
        if shared.trust < trust:
            async with shared.examining:
                if shared.trust < trust:
                    await examine(await self.engine())
                    shared.trust = trust

    def disown(self) -> None:
        """Share a broken engine with nobody else: the next user gets a new one."""
        with _lock:
            if _shared.get(self._key) is self._engine:
                del _shared[self._key]

    async def release(self) -> None:
        """Give the share back; the last one closes the engine. May be called twice."""
        if self.stale:
            return
        self._give_back()
        if not self._engine.users:
            await self._engine.close()
            self.disown()

    def drop(self) -> None:
        """Release without waiting: for users that are garbage collected without being closed."""
        if not self._released and not self.stale:
            submit(self.release())

    def _give_back(self) -> None:
        with _lock:
            if not self._released:
                self._released = True
                self._engine.users -= 1


def _failed(task: asyncio.Task[Engine]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


async def _close(engine: Engine) -> None:
    try:
        await engine.aclose()
    except Exception:
        logger.warning("%s did not end in an orderly way", engine.info.model, exc_info=True)


async def _close_all(engines: list[_SharedEngine]) -> None:
    await asyncio.gather(*(engine.close() for engine in engines), return_exceptions=True)


def _be_first_at_exit() -> None:
    # Exit hooks run in reverse order. That of weakref, registered by its first finaliser, would
    # take an engine's processes apart before they are asked to end; that of multiprocessing.util,
    # registered when that is imported, would wait for them without end.
    atexit.unregister(close_all_engines)
    atexit.register(close_all_engines)


def close_all_engines() -> None:
    """Close the engines that nobody closed; at exit."""
    with _lock:
        engines = list(_shared.values())
        _shared.clear()
    if engines:
        with contextlib.suppress(FutureTimeoutError, RuntimeError):
            submit(_close_all(engines)).result(EXIT_SECONDS)


@in_child
def _forget() -> None:
    # It cannot use its parent's engines.
    global _lock, _shared
    _lock, _shared = RLock(), {}
