"""Work that would hold up the event loop: in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own.

    It is a daemon, since the interpreter waits at its exit for those of asyncio's pool, before it
    lets anybody end what they do.
    """
    future: Future[T] = Future()

    def run() -> None:
        wanted = future.set_running_or_notify_cancel()
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            if wanted:
                future.set_exception(error)
        else:
            if wanted:
                future.set_result(result)

    try:
        threading.Thread(target=run, name="qwen3-ascend-rerank-work", daemon=True).start()
    except RuntimeError:  # the interpreter is ending and starts no more threads
        run()
    return await asyncio.wrap_future(future)
