"""Several servers: which are up, which are left out and why, who comes back."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from itertools import count
from typing import Any

from ...errors import (
    EngineError,
    RerankError,
    ServerUnavailableError,
    UnsupportedServerError,
)
from ...protocol import Engine
from .faults import PassingError, fault_of
from .replica import Replica
from .terms import Terms

logger = logging.getLogger(__name__)

Check = Callable[[Engine], Awaitable[None]]

GRACE_SECONDS = 5.0
"""How long a start waits for further servers when one has answered."""
HEALTH_SECONDS = 10.0
"""How often servers that are up are asked whether they are well, where there are others."""
LONGEST_PAUSE = 5.0
"""Seconds between two tries at most, but for what a server asks for."""
LONGEST_REST = 30.0
"""Seconds that a server may ask to be left alone."""
WRONG_SECONDS = 30.0
"""How long a server that is there, and is not right, is left alone before it is asked again."""
LONGEST_ABSENCE = 15.0
"""Seconds between two looks for a server that is gone, at most."""


def pause(tries: int, longest: float = LONGEST_PAUSE) -> float:
    """Seconds before another try, where no other server can take it at once."""
    jitter = random.uniform(0.0, 0.1)  # noqa: S311
    return min(0.1 * 2.0 ** min(tries - 1, 10), longest) + jitter


class Replicas:
    """Knows which servers can be given work, and sees to those that cannot."""

    def __init__(self, replicas: Sequence[Replica], *, max_length: int, patience: float) -> None:
        """Describe them.

        Args:
            replicas: one server each.
            max_length: longest prompt that is wanted, in tokens.
            patience: seconds to wait while none is up.
        """
        self._replicas = replicas
        self._max_length = max_length
        self._patience = patience
        self._check: Check | None = None
        self._terms: Terms | None = None
        self._some_up = asyncio.Event()
        self._tasks: dict[object, asyncio.Task[None]] = {}

    @property
    def up(self) -> list[Replica]:
        """Those that take work."""
        return [replica for replica in self._replicas if replica.up]

    def __len__(self) -> int:
        return len(self._replicas)

    @property
    def terms(self) -> Terms:
        """What they have in common. Complete only after `start()`."""
        if self._terms is None:
            raise EngineError("the engine has not started yet; call start() first")
        return self._terms

    @property
    def most_documents(self) -> int | None:
        """How many documents a request may hold; None: any number."""
        return self._terms.most_documents if self._terms else None

    # -- coming and going ------------------------------------------------------------------------

    async def start(self) -> None:
        """Find out what each server is; waits for `patience` while none can be reached.

        Raises:
            RerankError: none of them can be used.
        """
        end = asyncio.get_running_loop().time() + self._patience
        for tries in count(1):
            await self._meet()
            if any(replica.started for replica in self._replicas):
                break
            late = asyncio.get_running_loop().time() > end
            if late or not any(map(_is_passing, self._replicas)):
                raise self.all_down()
            await asyncio.sleep(pause(tries))
        self._settle([replica for replica in self._replicas if replica.started])
        if len(self._replicas) > 1:
            self._spawn("health", self._watch())

    async def admit(self, check: Check) -> None:
        """Use only servers that pass `check`, now and later.

        Raises:
            RerankError: none does.
        """
        before, self._check = self._check, check
        started = [replica for replica in self._replicas if replica.started]
        trusted = [replica for replica in started if replica.passed]
        for replica in started:
            self._spawn(replica.url, None)  # nobody looks for it anew while it is examined
            replica.passed = False
        await asyncio.gather(*map(self._try_out, started))
        passed = [replica for replica in started if replica.passed]
        if not passed and trusted:
            fault = self.all_down()
            self._check = before  # they go on for who asked for less
            for replica in trusted:
                replica.passed = True
            for replica in started:
                if replica.up:
                    replica.fault = None
                elif replica.fault is not None:
                    self.leave_out(replica, replica.fault)
            raise fault
        self._settle(passed)

    async def wait_for_one(self) -> None:
        """Return when one is up.

        Raises:
            RerankError: none is, for as long as patience lasts.
        """
        try:
            await asyncio.wait_for(self._some_up.wait(), self._patience)
        except asyncio.TimeoutError:
            raise self.all_down() from None

    async def aclose(self) -> None:
        """Close the connections, and stop seeing to them."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(replica.aclose() for replica in self._replicas))
        self._some_up.clear()

    async def _meet(self) -> None:
        """Start all of them; one that takes much longer than others is not waited for."""
        waiting = {asyncio.ensure_future(self._introduce(one)) for one in self._replicas}
        try:
            while waiting:
                patience = GRACE_SECONDS if any(one.started for one in self._replicas) else None
                done, waiting = await asyncio.wait(
                    waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _introduce(self, replica: Replica) -> None:
        replica.fault = EngineError(f"{replica.url} takes long to answer")
        replica.fault = await fault_of(replica.url, replica.start())

    async def _try_out(self, replica: Replica) -> None:
        if error := await fault_of(replica.url, self._examine(replica)):
            replica.fault = error

    async def _examine(self, replica: Replica) -> None:
        """Have it pass the check: once more where it was found anew meanwhile."""
        while self._check is not None and not replica.passed:
            found = replica.found
            error = await fault_of(replica.url, self._check(replica))
            if replica.found is not found:
                continue  # what was asked before does not count
            if error is not None:
                raise error
            replica.passed = True

    def _settle(self, candidates: Sequence[Replica]) -> None:
        """Use those of `candidates` that have enough in common, and leave out all others."""
        if not candidates:
            raise self.all_down()
        self._terms = Terms.of([replica.found for replica in candidates], self._max_length)
        for replica in self._replicas:
            if replica in candidates:
                try:
                    self._accept(replica)
                    self._spawn(replica.url, None)
                except UnsupportedServerError as error:
                    replica.fault = error
            if replica.fault is not None:
                self.leave_out(replica, replica.fault)

    def _accept(self, replica: Replica) -> None:
        if objection := self.terms.objection(replica.found):
            raise UnsupportedServerError(f"{replica.url} {objection}")
        replica.up = True
        replica.fault = None
        replica.faults = 0
        self._some_up.set()

    def leave_out(self, replica: Replica, fault: RerankError) -> None:
        """Give it no more work until it has come back."""
        news = replica.up or str(fault) != str(replica.fault)
        replica.up, replica.fault = False, fault
        if not self.up:
            self._some_up.clear()
        if news or replica.url not in self._tasks:
            logger.warning("left out for now: %s", fault)
        self._spawn(replica.url, self._bring_back(replica))

    async def _bring_back(self, replica: Replica) -> None:
        """Ask it again and again, until it is as it should be."""
        tries = 0
        while True:
            await asyncio.sleep(_absence(replica, tries))
            if (error := await fault_of(replica.url, self._tried_anew(replica))) is None:
                break
            tries += 1
            if type(error) is not type(replica.fault):
                logger.warning("still left out: %s", error)
            replica.fault = error
            replica.lose()  # what it still had to do is done elsewhere
        logger.info("%s is used again", replica.url)

    async def _tried_anew(self, replica: Replica) -> None:
        await replica.start()
        await self._examine(replica)
        self._accept(replica)

    async def _watch(self) -> None:
        """Ask those that are up, from time to time, whether they are well."""
        while True:
            await asyncio.sleep(HEALTH_SECONDS)
            await asyncio.gather(*map(self._look_at, self.up))

    async def _look_at(self, replica: Replica) -> None:
        error = await fault_of(replica.url, replica.healthy())
        if error is not None and replica.up:
            self.leave_out(replica, error)

    def _spawn(self, name: object, work: Coroutine[Any, Any, None] | None) -> None:
        """Run `work` in the background, instead of what ran there under this name."""
        if (before := self._tasks.pop(name, None)) is not None:
            before.cancel()
        if work is not None:
            self._tasks[name] = asyncio.create_task(work)

    def all_down(self) -> RerankError:
        """One error for the faults of all."""
        faults = [replica.fault for replica in self._replicas if replica.fault is not None]
        message = "; ".join(dict.fromkeys(map(str, faults))) or "no server is up"
        kinds = {type(fault) for fault in faults}
        if len(kinds) == 1 and not any(isinstance(fault, PassingError) for fault in faults):
            return kinds.pop()(message)
        return ServerUnavailableError(message)


def _is_passing(replica: Replica) -> bool:
    return isinstance(replica.fault, PassingError)


def _absence(replica: Replica, tries: int) -> float:
    """Seconds before a server that is left out is looked for again."""
    if not isinstance(replica.fault, PassingError):
        return WRONG_SECONDS
    wait = pause(tries, longest=LONGEST_ABSENCE) if tries else 0.0
    return max(wait, min(replica.fault.retry_after, LONGEST_REST))
