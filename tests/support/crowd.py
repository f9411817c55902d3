"""Many callers at once, whose every answer is compared with what it should be."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from qwen3_ascend_rerank import Reranker

from .pairs import log_odds
from .processes import wait_until

QUERIES = [f"What is the {word} of China?" for word in ("capital", "river", "bread", "history")]
TEXTS = [
    f"{number}. The {word} of China is old."
    for number, word in enumerate(
        ["capital", "river", "wall", "bread", "history", "sea", "moon", "force"] * 3
    )
]
AT_ONCE = 16


class Crowd:
    """Queries with known scores, asked from many threads; each answer is checked as it comes."""

    def __init__(self, reranker: Reranker, lexical: Reranker) -> None:
        self._reranker = reranker
        self._known = {
            query: dict(zip(TEXTS, log_odds(lexical, query, TEXTS), strict=True))
            for query in QUERIES
        }
        self.right: list[int] = []
        """The queries that were answered rightly, by number."""
        self.wrong: list[object] = []

    def ask(self, count: int, *, at: int = -1, then: Callable[[], object] = lambda: None) -> None:
        """Ask `count` queries; after `at` answers something happens."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            calls = [threads.submit(self._call, number) for number in range(count)]
            if at >= 0:
                assert wait_until(lambda: len(self.right) >= at, 60)
                then()
            for call in calls:
                call.result()

    def _call(self, number: int) -> None:
        chance = random.Random(number)
        query, texts = chance.choice(QUERIES), chance.sample(TEXTS, 6)
        result = self._reranker.rerank(query, texts)
        found = [(one.index, one.log_odds) for one in result]
        known = {place: self._known[query][text] for place, text in enumerate(texts)}
        if len(found) == len(texts) and dict(found) == pytest.approx(known, abs=1e-3):
            self.right.append(number)
        else:
            self.wrong.append((number, found, known))
