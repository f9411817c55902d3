"""From scores to the order of a run: by model, by k, by fusion."""

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
