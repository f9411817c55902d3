"""What there is to rerank where no run is given: BM25 over the corpus."""

from __future__ import annotations

import re

from ..corpora import Collection, Run, falling
from ..errors import MissingDependencyError

NAME = "BM25"
EXTRA = 'pip install "qwen3-ascend-rerank[evaluate]"'

_WORD = re.compile(r"[^\W\u4e00-\u9fff]+|(?=([\u4e00-\u9fff]{2}))")


def words(text: str) -> list[str]:
    """Words in lower case; of Chinese, which has no spaces, each two neighbouring characters."""
    return [match[1] or match[0] for match in _WORD.finditer(text.lower())]


def bm25(collection: Collection, depth: int) -> Run:
    """What BM25 finds for each query that has judgements: Lucene's variant, k1 = 1.5, b = 0.75.

    Titles count as text. There are no stop words and no stems, so that it is the same for every
    language.

    Args:
        collection: queries and documents.
        depth: documents a query at most.

    Returns:
        The documents that share a word with the query, best first; equal ones in the order of the
        corpus.

    Raises:
        MissingDependencyError: bm25s is not installed.
    """
    try:
        import bm25s
        import numpy as np
    except ImportError as error:
        raise MissingDependencyError(
            f"BM25 needs bm25s, which cannot be imported ({error}); {EXTRA}, or give a run"
        ) from error
    ids = list(collection.corpus)
    index = bm25s.BM25()
    index.index([words(one.whole) for one in collection.corpus.values()], show_progress=False)
    run: Run = {}
    for query in collection.qrels:
        asked = words(collection.queries[query])
        scores = index.get_scores_from_ids(index.get_tokens_ids(asked))
        found = np.flatnonzero(scores > 0)
        best = found[np.argsort(-scores[found], kind="stable")[:depth]]
        fallen = falling(scores[best].tolist())
        run[query] = {ids[place]: score for place, score in zip(best, fallen, strict=True)}
    return run
