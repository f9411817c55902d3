"""Scores already known, or about to be: a bounded memory of (instruction, query, document)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from threading import Lock

from ..bridge.forks import renewed_in_child

Key = Hashable
"""What stands for a pair: equal only for equal ones."""
AT_ONCE = 256
"""Pairs that are seen to before another thread may."""
LONG = 1_000_000
"""Characters of a text that is not compared with others just to see whether it stands twice."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the model said of one pair."""

    log_odds: float
    """logit("yes") - logit("no")."""
    truncated: bool
    """Whether the model saw only the beginning of the document."""
    span: tuple[int, int] | None = None
    """Of which characters of the document this is said; None: of all that the model saw."""


class Flight:
    """Pairs that one call is having scored, which others may wait for."""

    def __init__(self) -> None:
        """Nobody waits yet."""
        self.judged: dict[Key, Judgement] = {}
        """What came of it; empty if nothing did."""
        self.failed = False
        """Whether the engine failed: then those who waited ask for themselves."""
        self.over = False
        self.pairs: list[Key] = []
        self._landed = asyncio.Event()

    async def landed(self) -> None:
        """Wait until it is over."""
        await self._landed.wait()

    def land(self) -> None:
        """Let those who wait go on; to be called in the background loop."""
        self._landed.set()


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is to be had of some pairs."""

    known: dict[Key, Judgement]
    """Those that were scored before."""
    awaited: dict[Key, Flight]
    """Those that another call is having scored."""
    new: list[Key]
    """The rest, which whoever asked must have scored."""


class ScoreCache:
    """The most recently used judgements, at most `size` of them; safe to use from many threads.

    Keys are 16-byte digests, so a remembered pair costs about 200 bytes however long its texts are.
    """

    def __init__(self, size: int) -> None:
        """Remember up to `size` pairs; 0: none, and no call waits for another's scores."""
        self._size = size
        self._known: OrderedDict[Key, Judgement] = OrderedDict()
        self._begin_anew()
        renewed_in_child(self, ScoreCache._begin_anew)

    def _begin_anew(self) -> None:
        self._lock = Lock()
        self._flying: dict[Key, Flight] = {}

    def __len__(self) -> int:
        return len(self._known)

    def keys(self, question: Iterable[str], documents: Sequence[str]) -> list[Key]:
        """What stands for the pair of a question, all that matters of it, and each document."""
        if not self._size:
            return [id(text) if len(text) > LONG else text for text in documents]
        asked = _digest(_digest([part]) for part in question)
        return [_digest([asked, document]) for document in documents]

    def look_up(self, keys: Iterable[Key], flight: Flight, *, alone: bool = False) -> Outlook:
        """See what is to be had of pairs; the new ones belong to `flight` until it is over.

        Args:
            keys: the pairs, each once.
            flight: the caller's.
            alone: wait for nobody.
        """
        if not self._size:
            return Outlook({}, {}, list(keys))
        known: dict[Key, Judgement] = {}
        awaited: dict[Key, Flight] = {}
        new: list[Key] = []
        for some in _slices(keys):
            with self._lock:
                for key in some:
                    if (judgement := self._known.get(key)) is not None:
                        self._known.move_to_end(key)
                        known[key] = judgement
                    elif key in self._flying and not alone:
                        awaited[key] = self._flying[key]
                    else:
                        new.append(key)
                        if not flight.over and self._flying.setdefault(key, flight) is flight:
                            flight.pairs.append(key)
        return Outlook(known, awaited, new)

    def keep(self, flight: Flight, judged: dict[Key, Judgement]) -> None:
        """Remember what came of `flight`, forgetting what was used longest ago to make room."""
        flight.judged = judged
        if not self._size:
            return
        for some in _slices(judged):
            with self._lock:
                for key in some:
                    self._known[key] = judged[key]
                    self._known.move_to_end(key)
                while len(self._known) > self._size:
                    self._known.popitem(last=False)
        self.end(flight)

    def end(self, flight: Flight) -> None:
        """Let nobody wait for `flight` any more who does not already."""
        with self._lock:
            flight.over = True
            for key in flight.pairs:
                self._flying.pop(key, None)
            flight.pairs = []


def _slices(keys: Iterable[Key]) -> Iterator[list[Key]]:
    rest = iter(keys)
    while some := list(islice(rest, AT_ONCE)):
        yield some


def _digest(parts: Iterable[str | bytes]) -> bytes:
    digest = blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, bytes):
            digest.update(part)
            continue
        for start in range(0, len(part), LONG):
            digest.update(part[start : start + LONG].encode("utf-8", "surrogatepass"))
    return digest.digest()
