"""What the stand-ins of both frameworks share."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from zlib import crc32

import bm25s
import numpy as np

DIMENSIONS = 1024
"""Length of an embedding."""

_WORD = re.compile(r"[^\W\u4e00-\u9fff]+|(?=([\u4e00-\u9fff]{2}))")


def words(text: str) -> list[str]:
    """Words in lower case; of Chinese, which has no spaces, each two neighbouring characters."""
    return [match[1] or match[0] for match in _WORD.finditer(text.lower())]


def embed(text: str) -> list[float]:
    """A vector of length 1 that counts words and pairs of neighbouring words, by their hashes."""
    found = words(text)
    pairs = [" ".join(pair) for pair in pairwise(found)]
    vector = [0.0] * DIMENSIONS
    for term in found + pairs:
        vector[crc32(term.encode()) % DIMENSIONS] += 1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]


class Bm25:
    """A BM25 index of texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Index `texts`."""
        self._index = bm25s.BM25()
        self._index.index([words(text) for text in texts], show_progress=False)

    def best(self, query: str, count: int) -> list[tuple[int, float]]:
        """Place and score of the `count` texts that share most with `query`, best first."""
        scores = self._index.get_scores_from_ids(self._index.get_tokens_ids(words(query)))
        places = np.argsort(-scores, kind="stable")[:count]
        return [(int(place), float(scores[place])) for place in places]


def quote(prompt: str) -> str:
    """The first passage that a prompt gives: what stands after ``Passages:`` up to a blank line."""
    _, _, passages = prompt.partition("Passages:\n")
    return passages.partition("\n\n")[0]
