"""Scores already known: a bounded memory of (instruction, query, document) → log-odds."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock

from .forks import renewed_in_child


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the model said of one pair."""

    log_odds: float
    """logit("yes") - logit("no")."""
    truncated: bool
    """Whether the model saw only the beginning of the document."""


class ScoreCache:
    """The most recently used judgements, at most `size` of them; safe to use from many threads.

    Keys are 16-byte digests, so a remembered pair costs about 200 bytes however long its texts are.
    """

    def __init__(self, size: int) -> None:
        """Remember up to `size` pairs; 0: none."""
        self._size = size
        self._known: OrderedDict[bytes, Judgement] = OrderedDict()
        self._unlock()
        renewed_in_child(self, ScoreCache._unlock)

    def _unlock(self) -> None:
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._known)

    def recall(self, instruction: str, query: str, documents: list[str]) -> dict[str, Judgement]:
        """What is known, by document."""
        keys = self._keys(instruction, query, documents)
        with self._lock:
            for key in keys:
                if key in self._known:
                    self._known.move_to_end(key)
            found = [self._known.get(key) for key in keys]
        return {
            document: judgement
            for document, judgement in zip(documents, found, strict=False)
            if judgement is not None
        }

    def remember(self, instruction: str, query: str, judged: dict[str, Judgement]) -> None:
        """Keep judgements by document, forgetting what was used longest ago to make room."""
        keys = self._keys(instruction, query, list(judged))
        with self._lock:
            for key, judgement in zip(keys, judged.values(), strict=False):
                self._known[key] = judgement
                self._known.move_to_end(key)
            while len(self._known) > self._size:
                self._known.popitem(last=False)

    def _keys(self, instruction: str, query: str, documents: list[str]) -> list[bytes]:
        if not self._size:
            return []
        question = _digest(_digest(_bytes(instruction)) + _digest(_bytes(query)))
        return [_digest(question + _bytes(document)) for document in documents]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()
