"""Which documents of which calls go through the model together; nothing here knows torch."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from ...prompts import PromptBatch
from .prefixes import Known, PrefixMemory

WORTH = 4
"""Documents' tokens that a prefix is computed for, as a multiple of its own."""
REFUSALS = 8
"""Calls that find no room for a single document in a pass before it goes as it is."""


class Call:
    """One query and its documents on their way through the model."""

    def __init__(self, batch: PromptBatch) -> None:
        """All documents of `batch` are waiting."""
        self.prefix = batch.prefix
        self.rows = [document + batch.suffix for document in batch.documents]
        self.log_odds = [math.nan] * len(self.rows)
        self.done: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
        self.apart = False
        """Whether it goes through the model alone, since a pass that it was in has failed."""
        self._waiting = sorted(range(len(self.rows)), key=lambda row: len(self.rows[row]))
        self._given: set[int] = set()

    @property
    def waiting(self) -> bool:
        """Whether rows are left that have not been taken."""
        return bool(self._waiting)

    def take(self, tokens: int, limit: int | None) -> list[int]:
        """Take the longest waiting rows, up to `tokens` in all but at least one.

        Args:
            tokens: how many tokens of rows are meant for this call.
            limit: how many it must not exceed, even with one row; None: no limit.
        """
        used = 0
        rows: list[int] = []
        while self._waiting:
            used += len(self.rows[self._waiting[-1]])
            if (rows and used > tokens) or (limit is not None and used > limit):
                break
            rows.append(self._waiting.pop())
        self._given.update(rows)
        return rows

    def give_back(self, rows: Iterable[int]) -> None:
        """Let rows wait that were taken in vain."""
        self._given.difference_update(rows)
        self._waiting.extend(reversed(list(rows)))

    def answer(self, rows: Iterable[int], log_odds: Iterable[float]) -> None:
        """Note what the model says of `rows`; with the last of them the call is done."""
        for row, value in zip(rows, log_odds, strict=True):
            self.log_odds[row] = value
            self._given.discard(row)
        if not self._waiting and not self._given and not self.done.done():
            self.done.set_result(self.log_odds)


@dataclass(frozen=True, slots=True)
class Share:
    """What of one call goes through the model in one pass."""

    call: Call
    rows: list[int]
    """Numbers of its documents, longest first."""
    known: Known
    """The beginning of its prefix that need not be computed."""

    @property
    def tokens(self) -> int:
        """How many tokens are computed for it."""
        own = sum(len(self.call.rows[row]) for row in self.rows)
        return own + len(self.call.prefix) - self.known.length


class CallQueue:
    """The calls that wait, who has waited longest first."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._calls: OrderedDict[Call, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._calls)

    def join(self, call: Call, *, first: bool = False) -> None:
        """Let `call` wait behind the others, or before them; if it has something to wait for."""
        if call.waiting and not call.done.done():
            self._calls[call] = None
            self._calls.move_to_end(call, last=not first)

    def leave(self, call: Call) -> None:
        """Forget a call, if it waits."""
        self._calls.pop(call, None)

    def take_pass(self, budget: int, memory: PrefixMemory) -> list[Share]:
        """The next pass: at most `budget` tokens, unless a single document alone has more.

        Every call gets an equal part, and what one does not need is left to those after it, so
        that a large call holds up nobody; only where its prefix must be computed, as many documents
        as make that worth while. Who is taken from waits no longer, and joins again afterwards.
        """
        shares: list[Share] = []
        left, refused = budget, 0
        for place, call in enumerate(self._calls):
            if refused == REFUSALS:
                break  # nobody looks at all who wait, who may be thousands, in every pass
            if shares and call.apart:
                refused += 1
                continue
            known = memory.find(call.prefix)
            prefix = len(call.prefix) - known.length
            part = max(left // (len(self) - place) - prefix, WORTH * prefix)
            rows = call.take(min(part, left - prefix), left - prefix if shares else None)
            if rows:
                shares.append(Share(call, rows, known))
                left -= shares[-1].tokens
            refused += not rows
            if call.apart or left <= 0:
                break
        for share in shares:
            self.leave(share.call)
        return shares
