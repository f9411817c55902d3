"""Keys and values of prefixes that may be met again; nothing here knows torch.

A query with many documents goes through the model in several passes, and its prefix in the first of
them only. The next query most likely has the same instruction, so that its prompts begin with the
same 60 tokens. Both find here what is already computed: of a causal model, the keys and values of a
token depend on nothing but the tokens up to it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from operator import eq
from typing import Any

MOST = 64
"""Prefixes that are remembered, since each is looked at when a new one comes."""


@dataclass(frozen=True, slots=True)
class Known:
    """How a prefix begins, as far as it has been computed."""

    length: int = 0
    """Tokens."""
    pairs: Any = None
    """Keys and values, a tensor (layers, 2, at least `length`, heads, head_dim)."""


class PrefixMemory:
    """The prefixes computed last."""

    def __init__(self, step: int = 1, capacity: float = math.inf) -> None:
        """Empty.

        Args:
            step: beginnings are found in multiples of this, in tokens.
            capacity: how many tokens are kept in all, though one prefix always is; and no more
                prefixes than `MOST`.
        """
        self._step = step
        self._capacity = capacity
        self._pairs: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def find(self, prefix: Sequence[int]) -> Known:
        """The longest beginning of `prefix` that is known."""
        best = Known()
        found: tuple[int, ...] | None = None
        whole = tuple(prefix)
        for ids in (whole,) if whole in self._pairs else self._pairs:
            alike = sum(1 for _ in takewhile(bool, map(eq, ids, whole)))
            length = alike // self._step * self._step
            if length > best.length:
                best, found = Known(length, self._pairs[ids]), ids
        if found is not None:
            self._pairs.move_to_end(found)
        return best

    def remember(self, prefix: Sequence[int], pairs: Any) -> None:
        """Keep the keys and values of all of `prefix`, and forget the oldest if need be."""
        self._pairs[tuple(prefix)] = pairs
        self._pairs.move_to_end(tuple(prefix))
        while len(self._pairs) > 1 and self._too_much():
            self._pairs.popitem(last=False)

    def _too_much(self) -> bool:
        return len(self._pairs) > MOST or sum(map(len, self._pairs)) > self._capacity

    def clear(self) -> None:
        """Forget everything."""
        self._pairs.clear()
