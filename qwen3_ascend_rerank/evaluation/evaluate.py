"""All of it for a collection: first stage, models, values of k, fusions, cascades, fields."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ..checks import checked_count, checked_text
from ..components.stages import Stage
from ..corpora import Collection, Run
from ..errors import InvalidInputError
from ..prompts.fields import checked_fields
from ..reranker import CascadeReranker, Reranker
from ..results.fusion import Fusion
from .first_stage import NAME, bm25
from .measures import MEASURES, Measurer
from .rankings import best, cascaded, reranked
from .report import Comparison, Evaluation, Ranking
from .scoring import WHOLE, DocumentView, Scored, score
from .statistics import Gain, gains
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
    cascades: Sequence[str] = (),
    metadata_fields: str | Sequence[str] | None = None,
    sample: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Evaluation:
    """Measure a first stage, and the same reranked: by model, by k, by fusion, by cascade.

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
        cascades: ``SMALL:KEEP``: each model after the one called SMALL is also asked about what
            that one puts first alone, as a `CascadeReranker` asks it; where k is greater than KEEP.
        metadata_fields: each model reads documents with these fields before the text, and without.
            ``title`` is the document's title, which otherwise begins its text.
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
    stages = [Stage.of(checked_text("cascades", one)) for one in cascades]
    fields = tuple(checked_fields(metadata_fields) or ())
    pairs = rerankers.items() if isinstance(rerankers, Mapping) else rerankers
    if not isinstance(pairs, Iterator):  # else it is known when they are made
        _check_stages(stages, [name for name, _ in pairs])
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
    _check_fields(fields, collection, candidates, depths[-1])
    views = [DocumentView(fields), DocumentView(fields, shown=True)] if fields else [WHOLE]
    work = _Work(collection, candidates, depths, measurer, fused, stages, seed, progress)
    for name, reranker in pairs:
        if any(name == one for one, _ in work.known):
            raise InvalidInputError(f"two models are called {name!r}; give each a name of its own")
        if isinstance(reranker, CascadeReranker):
            raise InvalidInputError(f"{name} is a cascade; pass its models, and cascades=")
        for view in views:
            work.add(name, reranker, view)
    if not work.known:
        raise InvalidInputError("no model is given; give at least one")
    _check_stages(stages, [name for name, _ in work.known])
    return Evaluation(
        collection,
        run_name,
        measurer.names,
        depths,
        work.rankings,
        list(work.known.values()),
        work.comparisons,
    )


class _Work:
    """What is known so far."""

    def __init__(
        self,
        collection: Collection,
        candidates: Run,
        depths: Sequence[int],
        measurer: Measurer,
        fusions: Sequence[Fusion | str],
        stages: Sequence[Stage],
        seed: int,
        progress: bool,
    ) -> None:
        self._collection = collection
        self._candidates = candidates
        self._depths = depths
        self._measurer = measurer
        self._fusions = fusions
        self._stages = stages
        self._seed = seed
        self._progress = progress
        self._first = Ranking(candidates, measurer.values(candidates))
        self.rankings = [self._first]
        self.known: dict[tuple[str, bool], Scored] = {}
        """What each model said, by its name and whether it read fields."""
        self.comparisons: list[Comparison] = []

    def add(self, name: str, reranker: Reranker, view: DocumentView) -> None:
        """Have a model rerank, and all that comes of it."""
        found = score(
            name,
            reranker,
            self._collection,
            self._candidates,
            self._depths,
            view=view,
            progress=self._progress,
        )
        self.known[name, view.shown] = found
        for k in self._depths:
            for fusion in [None, *self._fusions]:
                self._note(self._ranked(found, k, fusion))
            alone = self._of(found.name, k)
            if view.shown:
                other = self.known[name, False]
                self._compare(alone, self._of(other.name, k))
        for stage in self._stages:
            small = self.known.get((stage.model, view.shown))
            if small is not None and stage.model != name:
                self._cascade(stage, small, found, reranker)

    def _cascade(self, stage: Stage, small: Scored, large: Scored, reranker: Reranker) -> None:
        """The large model asked about what the small one puts first, of more than that."""
        keep = stage.keep
        for k in (one for one in self._depths if one > keep):
            handed_on = best(self._candidates, small.log_odds, k, keep)
            name = large.name.removesuffix(large.view.told)
            asked = score(
                name,
                reranker,
                self._collection,
                handed_on,
                [keep],
                view=large.view,
                progress=self._progress,
            )
            run = cascaded(self._candidates, small.log_odds, asked.log_odds, k, keep)
            ranking = Ranking(
                run,
                self._measurer.values(run),
                large.name,
                k,
                cascade=str(stage),
                cost=small.costs[k] + asked.costs[keep],
            )
            self._compare(self._note(ranking), self._of(large.name, k))

    def _ranked(self, scored: Scored, k: int, fusion: Fusion | str | None) -> Ranking:
        weights = None
        if isinstance(fusion, str):
            found = tuned(self._candidates, scored.log_odds, k, self._measurer, self._seed)
            made, weights = found.run, found.weights
        else:
            made = reranked(self._candidates, scored.log_odds, k, fusion)
        return Ranking(
            made,
            self._measurer.values(made),
            scored.name,
            k,
            None if fusion is None else str(fusion),
            weights=weights,
            cost=scored.costs[k],
        )

    def _note(self, ranking: Ranking) -> Ranking:
        ranking = replace(ranking, gains=self._gains(self._first, ranking))
        self.rankings.append(ranking)
        return ranking

    def _of(self, name: str, k: int) -> Ranking:
        """The ranking of a model alone."""
        return next(
            one
            for one in self.rankings
            if (one.model, one.k, one.fusion, one.cascade) == (name, k, None, None)
        )

    def _compare(self, ranking: Ranking, against: Ranking) -> None:
        self.comparisons.append(Comparison(ranking, against, self._gains(against, ranking)))

    def _gains(self, before: Ranking, after: Ranking) -> dict[str, Gain]:
        old, new = (
            [list(of_queries.values()) for of_queries in one.values.values()]
            for one in (before, after)
        )
        return dict(zip(after.values, gains(old, new, self._seed), strict=True))


def _check_stages(stages: Sequence[Stage], names: Sequence[str]) -> None:
    for stage in stages:
        if stage.model not in names[:-1]:
            raise InvalidInputError(
                f"cascades has {stage}, and no model called {stage.model!r} before another one; "
                f"the models are {', '.join(names)}"
            )


def _check_fields(
    fields: Sequence[str], collection: Collection, candidates: Run, depth: int
) -> None:
    """See that each is there somewhere, since else nothing would be measured."""
    missing = dict.fromkeys(fields)
    for hits in candidates.values():
        if not missing:
            return
        for id_ in list(hits)[:depth]:
            document = collection.corpus[id_]
            for name in list(missing):
                if {"title": document.title, **document.metadata}.get(name) not in (None, ""):
                    del missing[name]
    if missing:
        raise InvalidInputError(
            f"metadata_fields names {', '.join(map(repr, missing))}, which no candidate has; name "
            "fields of the corpus, or title"
        )


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
