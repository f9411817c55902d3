"""What a model says of the candidates, and what that costs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from ..corpora import Collection, CorpusDocument, Run
from ..errors import InvalidInputError
from ..prompts.request import RerankRequest
from ..protocol import EngineInfo
from ..reranker import Reranker
from ..results import Usage

RECENT = 1_000
"""Documents that are kept once they are read, since other queries find them too."""


@dataclass(frozen=True, slots=True)
class RankingCost:
    """What it took to rerank all queries."""

    pairs: int = 0
    tokens: int = 0
    """Of all prompts, prefix and suffix included."""
    truncated: int = 0
    """Documents of which the model saw only the beginning."""
    seconds: float = 0.0
    """On the clock, many queries at once."""

    def __add__(self, other: RankingCost) -> RankingCost:
        return RankingCost(
            self.pairs + other.pairs,
            self.tokens + other.tokens,
            self.truncated + other.truncated,
            self.seconds + other.seconds,
        )

    def plus(self, usage: Usage) -> RankingCost:
        """With one call more; time is taken for all of them together."""
        return RankingCost(
            self.pairs + usage.pairs_scored + usage.pairs_reused,
            self.tokens + usage.prompt_tokens,
            self.truncated + usage.documents_truncated,
            self.seconds,
        )


@dataclass(frozen=True, slots=True)
class DocumentView:
    """What a model reads of a document."""

    fields: tuple[str, ...] = ()
    """Fields of its metadata whose effect is measured."""
    shown: bool = False
    """Whether the model reads them, before the rest."""

    @property
    def told(self) -> str:
        """What a model's name has behind it."""
        if not self.fields:
            return ""
        return f" {'with' if self.shown else 'without'} {', '.join(self.fields)}"

    def of(self, document: CorpusDocument) -> str:
        """The text."""
        read = document.behind if self.shown else document.without
        return read(self.fields)


WHOLE = DocumentView()
"""Title and text, as BEIR and mteb have it."""


@dataclass(slots=True)
class Scored:
    """The log-odds of a model for the first documents of each query."""

    name: str
    info: EngineInfo
    instruction: str
    view: DocumentView = WHOLE
    log_odds: Run = field(default_factory=dict)
    """Of each query's id the documents' ids with logit("yes") - logit("no")."""
    costs: dict[int, RankingCost] = field(default_factory=dict)
    """By k: to rerank the first k documents of each query."""


def score(
    name: str,
    reranker: Reranker,
    collection: Collection,
    run: Run,
    top_k: Sequence[int],
    *,
    view: DocumentView = WHOLE,
    progress: bool = False,
) -> Scored:
    """Score the first documents of each query, as many as the greatest of `top_k`.

    They are scored in as many passes as there are values of k, each of the documents that the one
    before has left, so that the cost of each k is measured.

    Args:
        name: what the model is called in the report.
        reranker: the model.
        collection: the texts.
        run: what the first stage found, best first.
        top_k: how many documents of each query are reranked, rising.
        view: what it reads of a document.
        progress: show a bar on standard error.

    Raises:
        RerankError: a query or a document cannot be scored; or as `Reranker.rerank_many`.
    """
    info = reranker.start(timeout=None)
    scored = Scored(name + view.told, info, reranker.instruction, view)
    cost = RankingCost()
    for low, high in pairwise((0, *top_k)):
        began = time.perf_counter()
        outcomes = reranker.rerank_many(
            _requests(collection, run, low, high, view),
            ordered=False,
            progress=progress,
            top_n=None,
            threshold=None,
        )
        for outcome in outcomes:
            query, ids = outcome.id
            if outcome.result is None:
                if isinstance(outcome.error, InvalidInputError):
                    raise InvalidInputError(f"query {query!r}: {outcome.error}") from outcome.error
                outcome.unwrap()
                continue
            hits = scored.log_odds.setdefault(query, {})
            hits.update((ids[one.index], one.log_odds) for one in outcome.result)
            cost = cost.plus(outcome.result.usage)
        seconds = cost.seconds + time.perf_counter() - began
        cost = RankingCost(cost.pairs, cost.tokens, cost.truncated, seconds)
        scored.costs[high] = cost
    return scored


def _requests(
    collection: Collection, run: Run, low: int, high: int, view: DocumentView
) -> Iterator[RerankRequest]:
    text = lru_cache(RECENT)(lambda id_: view.of(collection.corpus[id_]))
    for query, hits in run.items():
        if ids := list(hits)[low:high]:
            yield RerankRequest(collection.queries[query], list(map(text, ids)), (query, ids))
