"""Whether the engine has proven itself, and does still."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Literal

from ..errors import (
    EngineDeadError,
    RerankError,
    RerankTimeoutError,
    SelfcheckError,
    ServerUnavailableError,
)
from ..protocol import EngineInfo
from ..reranker import Ranker

logger = logging.getLogger(__name__)

State = Literal["starting", "ready", "failing"]

_PASSING = (ServerUnavailableError, EngineDeadError, RerankTimeoutError)
"""What may be over soon: servers that are still starting, say."""
_BROKEN = (*_PASSING[:2], SelfcheckError)
"""What says of an engine that the next request would fare no better."""
_PAUSE = 2.0
"""Seconds between two tries."""
_PROBE_SECONDS = 30.0
_SILENCE = 30.0
"""Seconds between two lines about it in the log."""


class Readiness:
    """Starts the engine, and knows whether it may be asked."""

    def __init__(self, reranker: Ranker) -> None:
        """Nothing is started yet."""
        self._reranker = reranker
        self.state: State = "starting"
        """``ready`` once the engine has passed its selfcheck."""
        self.info: EngineInfo | None = None
        """What runs, once it does."""
        self.failure: RerankError | None = None
        """Why it never will."""
        self._silent_until = 0.0
        self._revival: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether the engine may be asked."""
        return self.state == "ready"

    async def bring_up(self, on_ready: Callable[[], None], on_failure: Callable[[], None]) -> None:
        """Start the engine, again where that may help; `failure` says why it did not."""
        try:
            while self.info is None:
                self.info = await self._started()
        except RerankError as error:
            self.failure = error
            on_failure()
        else:
            self.state = "ready"
            on_ready()

    async def _started(self) -> EngineInfo | None:
        """What runs; None where it may yet, after a pause."""
        try:
            return await self._reranker.astart()
        except _PASSING as error:
            self._tell(error)
        await asyncio.sleep(_PAUSE)
        return None

    def note(self, error: Exception | None) -> None:
        """What came of a request to the engine."""
        if self.state == "starting":
            return
        if error is None:
            self.state = "ready"
        elif isinstance(error, _BROKEN):
            self.state = "failing"
            self._revive()

    def _revive(self) -> None:
        """Ask until it answers again, since nobody else may do so while it is unwell."""
        if self._revival is None or self._revival.done():
            self._revival = asyncio.create_task(self._ask_until_ready())

    async def _ask_until_ready(self) -> None:
        while not self.ready:
            await asyncio.sleep(_PAUSE)
            try:
                await self._reranker.ascore("ready?", ["ready"], timeout=_PROBE_SECONDS)
            except RerankError as error:
                self._tell(error)
            else:
                self.state = "ready"

    def _tell(self, error: RerankError) -> None:
        """Say why it is not ready, now and then."""
        if time.monotonic() > self._silent_until:
            self._silent_until = time.monotonic() + _SILENCE
            logger.warning("not ready: %s", error)

    async def aclose(self) -> None:
        """End what is still being tried."""
        if self._revival is not None:
            self._revival.cancel()
            await asyncio.gather(self._revival, return_exceptions=True)
