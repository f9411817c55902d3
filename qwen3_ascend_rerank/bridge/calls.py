"""Calls in the background loop that a close or a timeout ends, each with its own error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar, cast

from ..errors import (
    EngineError,
    RerankerClosedError,
    RerankError,
    RerankTimeoutError,
    described,
)
from .forks import renewed_in_child
from .loop import submit

T = TypeVar("T")


def wait(future: Future[T]) -> T:
    """The outcome of `future`; an interrupted wait withdraws its work."""
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


class Calls:
    """The calls of one Reranker."""

    def __init__(self) -> None:
        self._closed = False
        self._begin_anew()
        renewed_in_child(self, Calls._begin_anew)

    def _begin_anew(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def submit(
        self, work: Callable[[], Coroutine[Any, Any, T]], timeout: float | None = None
    ) -> Future[T]:
        """Run `work` for at most `timeout` seconds."""
        return submit(self._guarded(work, timeout))

    def close(self) -> None:
        """Let no further call begin."""
        self._closed = True

    async def end(self) -> None:
        """End those that are running; to be awaited in the background loop."""
        calls = list(self._running)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    async def _guarded(
        self, work: Callable[[], Coroutine[Any, Any, T]], timeout: float | None
    ) -> T:
        loop, task = asyncio.get_running_loop(), cast("asyncio.Task[Any]", asyncio.current_task())
        began = loop.time()
        self._running.add(task)
        # Nobody collects the outcome of a call whose caller was interrupted.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            if self._closed:
                raise RerankerClosedError("this Reranker is closed; make a new one")
            return await asyncio.wait_for(work(), timeout)
        except asyncio.CancelledError:
            if self._closed:
                raise RerankerClosedError("this Reranker was closed during the call") from None
            raise
        except RerankError as error:
            # Its message says all, and the way to it nothing; a cause stays.
            raise error.with_traceback(None) from error.__cause__
        except (TimeoutError, asyncio.TimeoutError) as error:
            if timeout is None or loop.time() < began + timeout:  # something else took too long
                raise EngineError(f"the call failed: {described(error)}") from error
            raise RerankTimeoutError(
                f"the call did not end within its timeout of {timeout:g} seconds; raise timeout, "
                "pass fewer documents, or load the model beforehand with start()"
            ) from None
        finally:
            self._running.discard(task)
