"""The one background event loop in which every engine of the process lives.

Everything asynchronous happens in it, whichever thread or event loop a caller comes from. It
starts with the first Reranker and is a daemon, so it never keeps the interpreter alive. A plain
`asyncio` loop is enough: unlike a portal's, its futures are cancelled without blocking the caller.
"""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Coroutine
from concurrent.futures import Future
from threading import RLock, Thread
from typing import Any, TypeVar

from .forks import in_child

T = TypeVar("T")

_lock = RLock()  # a finaliser may run while this thread holds it
_loop: asyncio.AbstractEventLoop | None = None
_thread: Thread | None = None
END_SECONDS = 5.0
"""How long the interpreter waits at its exit for the loop's last step."""


def submit(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Run `coroutine` in the background loop; the future cancels it and carries its outcome."""
    return asyncio.run_coroutine_threadsafe(coroutine, background_loop())


def background_loop() -> asyncio.AbstractEventLoop:
    """The running background loop, started on first use."""
    global _loop, _thread
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            _thread = Thread(target=_loop.run_forever, name="qwen3-ascend-rerank", daemon=True)
            _thread.start()
        return _loop


def _end() -> None:
    """Let the loop finish its step: who still runs C++ when the interpreter ends is torn out of it.

    Registered when this is imported, so that it runs after what ends engines.
    """
    if _loop is not None and _thread is not None and _thread.is_alive():
        _loop.call_soon_threadsafe(_loop.stop)
        _thread.join(END_SECONDS)


atexit.register(_end)


@in_child
def _forget() -> None:
    # It has the loop's memory but not its thread.
    global _loop, _thread, _lock
    _loop, _thread, _lock = None, None, RLock()
