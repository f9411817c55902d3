"""From scores to the order of a run: by model, by k, by fusion, by cascade."""

from __future__ import annotations

from collections.abc import Mapping

from ..corpora import Run, falling
from ..results.fusion import Fusion


def reranked(run: Run, log_odds: Run, k: int, fusion: Fusion | None = None) -> Run:
    """The first k documents of each query in the order of the model, the others below as they were.

    Args:
        run: what the first stage found, best first.
        log_odds: the model's, of the first k documents of each query.
        k: how many are reranked.
        fusion: how the first stage's score counts beside the model's; None: not at all.
    """
    return {query: _order(hits, log_odds.get(query, {}), k, fusion) for query, hits in run.items()}


def best(run: Run, log_odds: Run, k: int, keep: int) -> Run:
    """Of the first k documents of each query those that a model puts first, as many as `keep`.

    They are in the order of the first stage, as a large model is asked about them.
    """
    found = {}
    for query, hits in reranked(run, log_odds, k).items():
        kept = set(list(hits)[: min(keep, k)])
        found[query] = {id_: score for id_, score in run[query].items() if id_ in kept}
    return found


def cascaded(run: Run, small: Run, large: Run, k: int, keep: int) -> Run:
    """The order of a cascade: what `large` judged by its scores, then the rest by those of `small`.

    Args:
        run: what the first stage found, best first.
        small: log-odds of the first k documents of each query.
        large: log-odds of those that `best` gives, or of more.
        k: how many are reranked.
        keep: how many the small model hands on.
    """
    handed_on = best(run, small, k, keep)
    by_small = reranked(run, small, k)
    made: Run = {}
    for query, hits in by_small.items():
        first = reranked({query: handed_on[query]}, large, keep)[query]
        order = [*first, *(id_ for id_ in hits if id_ not in first)]
        made[query] = {id_: -float(place) for place, id_ in enumerate(order)}
    return made


def _order(
    hits: Mapping[str, float], log_odds: Mapping[str, float], k: int, fusion: Fusion | None
) -> dict[str, float]:
    ids = list(hits)
    first, rest = ids[:k], ids[k:]
    said = [log_odds[id_] for id_ in first]
    scores = fusion.scores(said, [hits[id_] for id_ in first]) if fusion else said
    best = sorted(range(len(first)), key=lambda place: -scores[place])
    bottom = min(scores, default=0.0)
    below = [bottom - 1 - place for place in range(len(rest))]
    order = [first[place] for place in best] + rest
    fallen = falling([*(scores[place] for place in best), *below])
    return dict(zip(order, fallen, strict=True))
