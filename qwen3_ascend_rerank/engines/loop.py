"""The one background event loop in which every engine of the process lives.

Everything asynchronous happens in it, whichever thread or event loop a caller comes from. It
starts with the first Reranker and is a daemon, so it never keeps the interpreter alive. A plain
`asyncio` loop is enough: unlike a portal's, its futures are cancelled without blocking the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from threading import RLock, Thread
from typing import Any, TypeVar

from ..forks import in_child

T = TypeVar("T")

_lock = RLock()  # a finaliser may run while this thread holds it
_loop: asyncio.AbstractEventLoop | None = None


def submit(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Run `coroutine` in the background loop; the future cancels it and carries its outcome."""
    return asyncio.run_coroutine_threadsafe(coroutine, background_loop())


def background_loop() -> asyncio.AbstractEventLoop:
    """The running background loop, started on first use."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            Thread(target=_loop.run_forever, name="qwen3-ascend-rerank", daemon=True).start()
        return _loop


@in_child
def _forget() -> None:
    # It has the loop's memory but not its thread.
    global _loop, _lock
    _loop, _lock = None, RLock()
