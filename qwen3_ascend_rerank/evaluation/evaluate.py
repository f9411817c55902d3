"""All of it for a collection: first stage, models, values of k, fusions."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..checks import checked_count
from ..corpora import Collection, Run
from ..errors import InvalidInputError
from ..reranker import Reranker
from ..results.fusion import Fusion
from .first_stage import NAME, bm25
from .measures import MEASURES, Measurer
from .rankings import reranked
from .report import Evaluation, Ranking
from .scoring import Scored, score
from .statistics import gains
from .tuning import tuned

TOP_K = (10, 20, 50, 100)
TUNED = "weighted"
"""The fusion whose weight is chosen here."""


def evaluate(
    collection: Collection,
    rerankers: Mapping[str, Reranker] | Iterable[tuple[str, Reranker]],
    run: Run | None = None,
    *,
    run_name: str = "first stage",
    top_k: Sequence[int] = TOP_K,
    measures: Sequence[str] = MEASURES,
    fusions: Sequence[str] = (),
    sample: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Evaluation:
    """Measure a first stage, and the same reranked: by model, by k, by fusion.

    Only queries with judgements are reranked, each of their candidates once. A query that the run
    does not have counts 0, as trec_eval's ``-c`` has it.

    Args:
        collection: queries, documents and judgements.
        rerankers: models by the names that the report has for them; as pairs they may be made one
            after the other, so that no two are in memory.
        run: what a first stage found, of each query documents with scores, best first. None: BM25
            over the corpus, as deep as the greatest of `top_k`.
        run_name: what the report calls it.
        top_k: how many documents of each query are reranked, one or several numbers; further ones
            stay below in their order.
        measures: names as ir-measures has them; the first one leads.
        fusions: beside the model alone: ``rrf``, ``rrf:CONSTANT``, ``weighted:WEIGHT``, or
            ``weighted`` for the weight that is best, for each half of the queries by the other.
        sample: judged queries that are drawn at random; None, or more than there are: all.
        seed: of whatever is drawn; equal seeds give equal figures.
        progress: show bars on standard error.

    Raises:
        InvalidInputError: an argument that cannot be used; the run has a document that the
            collection has not, or none of the judged queries.
        MissingDependencyError: ir-measures, or bm25s, is not installed.
        RerankError: a model fails.
    """
    depths = _depths(top_k)
    fused = [one if one == TUNED else Fusion.of(one) for one in fusions]
    if sample is not None:
        collection = _drawn(collection, checked_count("sample", sample), seed)
    measurer = Measurer(collection.qrels, measures)
    if run is None:
        run, run_name = bm25(collection, depths[-1]), NAME
    else:
        collection.check(run_name, {query: run[query] for query in run if run[query]})
    candidates = {query: run[query] for query in collection.qrels if run.get(query)}
    if not candidates:
        raise InvalidInputError(
            f"{run_name} has no document for any of the {len(collection.qrels)} judged queries; "
            "give the run of these queries"
        )
    first = Ranking(candidates, measurer.values(candidates))
    rankings = [first]
    scored: list[Scored] = []
    pairs = rerankers.items() if isinstance(rerankers, Mapping) else rerankers
    for name, reranker in pairs:
        if any(name == one.name for one in scored):
            raise InvalidInputError(f"two models are called {name!r}; give each a name of its own")
        found = score(name, reranker, collection, candidates, depths, progress=progress)
        scored.append(found)
        for k in depths:
            for fusion in [None, *fused]:
                one = _ranked(candidates, found, k, fusion, measurer, seed)
                rankings.append(_compared(first, one, seed))
    if not scored:
        raise InvalidInputError("no model is given; give at least one")
    return Evaluation(collection, run_name, measurer.names, depths, rankings, scored)


def _drawn(collection: Collection, count: int, seed: int) -> Collection:
    queries = list(collection.qrels)
    drawn = set(random.Random(seed).sample(queries, min(count, len(queries))))  # noqa: S311
    kept = {query: collection.qrels[query] for query in queries if query in drawn}
    return replace(collection, qrels=kept)


def _depths(top_k: Sequence[int]) -> list[int]:
    if isinstance(top_k, int):
        top_k = [top_k]
    if not top_k:
        raise InvalidInputError("top_k is empty; give at least one number")
    return sorted({checked_count("top_k", k) for k in top_k})


def _ranked(
    run: Run, scored: Scored, k: int, fusion: Fusion | str | None, measurer: Measurer, seed: int
) -> Ranking:
    weights = None
    if isinstance(fusion, str):
        found = tuned(run, scored.log_odds, k, measurer, seed)
        made, weights = found.run, found.weights
    else:
        made = reranked(run, scored.log_odds, k, fusion)
    return Ranking(
        made,
        measurer.values(made),
        scored.name,
        k,
        None if fusion is None else str(fusion),
        weights,
        cost=scored.costs[k],
    )


def _compared(first: Ranking, ranking: Ranking, seed: int) -> Ranking:
    before, after = (
        [list(of_queries.values()) for of_queries in one.values.values()]
        for one in (first, ranking)
    )
    return replace(
        ranking, gains=dict(zip(ranking.values, gains(before, after, seed), strict=True))
    )
