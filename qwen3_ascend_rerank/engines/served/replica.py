"""One server as an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ...errors import EngineError, InvalidInputError, RerankError
from ...prompts import DEFAULT_INSTRUCTION, PromptBatch
from ...protocol import EngineInfo
from .connection import Connection
from .discovery import Discovery
from .faults import (
    BROKEN,
    BUSY,
    CHANGED,
    FoundAnewError,
    PassingError,
    ReplacedError,
    RequestFaultError,
    ServerFaultError,
    SilentError,
    listed,
    unless,
)
from .identity import Identity

HEALTH_TIMEOUT = 10.0
"""Seconds in which a server must say that it is well."""
CACHE_BLOCK = 128
"""Tokens of the largest block of a prefix cache that vLLM is known to keep: Ascend's."""
RECHECK = 10.0
"""Seconds for which it counts that a server was seen to be the same."""
NAME = "served"


class Replica:
    """A server: how to ask it, how much it has to do, and what was last wrong with it."""

    def __init__(
        self,
        connection: Connection,
        discover: Callable[[Connection], Awaitable[Discovery]],
        max_length: int,
        recheck: float = RECHECK,
    ) -> None:
        """Describe it.

        Args:
            connection: to the server.
            discover: finds out how to ask it.
            max_length: longest prompt that is wanted, in tokens.
            recheck: seconds for which it counts that the server was seen to be the same.
        """
        self.url = connection.url
        self.up = False
        """Whether it takes work."""
        self.passed = False
        """Whether it has shown that its scores are right."""
        self.fault: RerankError | None = None
        """Why it takes no work, if so."""
        self.faults = 0
        """How often in a row it failed."""
        self.outstanding = 0
        """Tokens that it is asked about now."""
        self.last_asked = 0.0
        """When it was last given work, in the loop's time."""
        self.rests_until = 0.0
        """Until when it wants to be left alone, in the loop's time."""
        self._connection = connection
        self._discover = discover
        self._max_length = max_length
        self._found: Discovery | None = None
        self._lost = asyncio.Event()
        self._identity = Identity(self.url, self._look, recheck)

    @property
    def found(self) -> Discovery:
        """What is known of the server. Complete only after `start()`."""
        if self._found is None:
            raise EngineError("the engine has not started yet; call start() first")
        return self._found

    @property
    def started(self) -> bool:
        """Whether it is known how to ask it."""
        return self._found is not None

    @property
    def info(self) -> EngineInfo:
        """What runs there; the model by its origin, which tells what its answers must be."""
        found = self.found
        longest = min(self._max_length, found.max_length or self._max_length)
        return EngineInfo(
            model=found.model.origin or "a model without a name",
            engine=NAME,
            version=f"{found.software} at {self.url}",
            device="remote",
            dtype="unknown",
            max_length=longest,
            tokenizer=found.tokenizer,
            cache_block=CACHE_BLOCK if found.version else 0,
            chunk=longest if found.version else 0,
            log_odds_exact=found.manner.log_odds,
            takes_text=found.takes_text,
        )

    async def start(self) -> None:
        """Find out, anew, what is served and how to ask for it."""
        self._found = await self._discover(self._connection)
        self._identity.seen()
        self._lost = asyncio.Event()

    async def score(self, batch: PromptBatch) -> list[float]:
        """Log-odds of "yes", shape (len(batch),), by one request.

        No answer is believed that no look at the server stands behind; see `identity`.

        Raises:
            ReplacedError: another model answers there now.
            RequestFaultError: the server fails at this request alone.
            RerankError: the server gives none.
        """
        found, asked = self.found, asyncio.get_running_loop().time()
        self._identity.attend()
        try:
            log_odds = await self._ask(found, batch)
        except PassingError as error:
            if error.status == BROKEN and await self._is_well(asked):
                raise RequestFaultError(self.url, error.what, status=BROKEN) from None
            raise
        if self._found is not found:
            raise FoundAnewError(self.url, "was found anew in the middle of a request")
        await self._identity.assure(asked)
        self.faults = 0
        return log_odds

    async def _is_well(self, asked: float) -> bool:
        """Whether the server answers something else than what was sent at `asked`."""
        try:
            await self._identity.assure(asked)
        except RerankError:
            return False
        return True

    async def _look(self) -> None:
        """Make sure that what answers is what was found, whichever server a balancer chooses."""
        found = self.found
        request = found.manner.request(found.pairs)
        answer = await self._post(found.manner.dialect.path, request, new=True)
        if self._found is not found:
            raise FoundAnewError(self.url, "was found anew in the middle of a look")
        log_odds = found.manner.log_odds_of(self.url, answer, len(found.pairs))
        if not found.agrees(log_odds, exact=found.manner.log_odds):
            raise ReplacedError(
                f"{self.url} gives {listed(log_odds)} as log-odds of the pairs for which it gave "
                f"{listed(found.probe)} at the start: another model answers there now, or the same "
                "with other settings. Restart it as it was, or close the Reranker and make a new "
                "one"
            )

    async def _ask(self, found: Discovery, batch: PromptBatch) -> list[float]:
        if found.manner.formatting == "server" and found.manner.instruction is None:
            _check_instruction(self.url, batch)
        tokens = sum(batch.lengths())
        self.outstanding += tokens
        self.last_asked = asyncio.get_running_loop().time()
        try:
            answer = await self._post(found.manner.dialect.path, found.manner.request(batch))
            return found.manner.log_odds_of(self.url, answer, len(batch))
        except (PassingError, *CHANGED) as error:
            if getattr(error, "status", None) != BUSY:
                self._identity.doubt()
            raise
        finally:
            self.outstanding -= tokens

    async def healthy(self) -> None:
        """Return if the server says that it is well, or says nothing of its health.

        Raises:
            EngineError: it does not.
        """
        if (path := self.found.health_path) is None:
            return
        try:
            await asyncio.wait_for(self._connection.get(path), HEALTH_TIMEOUT)
        except asyncio.TimeoutError:
            raise SilentError(
                self.url, f"did not answer {path} within {HEALTH_TIMEOUT:g} s"
            ) from None

    def lose(self) -> None:
        """End the requests in flight: nobody will answer them."""
        self._lost.set()

    async def aclose(self) -> None:
        """Close the connections."""
        self.up = False
        await self._identity.aclose()
        await self._connection.aclose()

    async def _post(self, path: str, request: dict[str, Any], *, new: bool = False) -> Any:
        """The answer; or a fault as soon as the server is known to be gone."""
        return await unless(
            self._lost,
            self._connection.post(path, request, new=new),
            lambda: ServerFaultError(self.url, "is gone in the middle of a request"),
        )


def _check_instruction(url: str, batch: PromptBatch) -> None:
    if batch.instruction != DEFAULT_INSTRUCTION:
        raise InvalidInputError(
            f"{url} makes the prompt itself, and the instruction {batch.instruction!r} was not "
            "seen to reach it: it would be ignored, and the scores be those of another one. Use "
            "the default instruction, or serve without a template of the server's own, as "
            "`qwen3-rerank serve MODEL` does; vLLM's template takes an instruction from 0.22"
        )
