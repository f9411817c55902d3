"""What came of an evaluation: figures, and the queries behind them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..corpora import Collection, Run, write_qrels, write_run
from ..errors import InvalidInputError
from ..results import probability
from .measures import Values
from .scoring import RankingCost, Scored
from .statistics import CONFIDENCE, RESAMPLES, Gain

EXAMPLES = 5
"""Queries helped most, and as many that were hurt most."""
SHOWN = 3
"""Documents of such a query: the relevant ones, the first ones before, and those after."""
LONGEST = 700
"""Characters of a document that are shown."""
BINS = 40


@dataclass(frozen=True, slots=True)
class Ranking:
    """One way to rank the same candidates."""

    run: Run
    values: Values
    model: str | None = None
    """None: as the first stage had them."""
    k: int | None = None
    fusion: str | None = None
    """As it was asked for."""
    cascade: str | None = None
    """``SMALL:KEEP``, where `model` was asked only about what a small one had put first."""
    weights: tuple[float, float] | None = None
    """Of each half of the queries, where they were chosen by the other half."""
    gains: Mapping[str, Gain] = field(default_factory=dict)
    """Of each measure, against the first stage."""
    cost: RankingCost | None = None

    def mean(self, measure: str) -> float:
        """Over all judged queries."""
        values = self.values[measure].values()
        return sum(values) / len(values)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One ranking against another than the first stage."""

    ranking: Ranking
    against: Ranking
    gains: Mapping[str, Gain]
    """Of each measure."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` found; the first of `rankings` is the first stage's own."""

    collection: Collection
    first_stage: str
    measures: list[str]
    top_k: list[int]
    rankings: list[Ranking]
    scored: list[Scored]
    comparisons: list[Comparison] = field(default_factory=list)
    """Fields that are read against those that are not; a cascade against its large model."""

    def named(self, ranking: Ranking) -> str:
        """What a ranking is called."""
        if ranking.model is None:
            return self.first_stage
        before = f"{ranking.cascade} → " if ranking.cascade else ""
        fusion = f", {ranking.fusion}" if ranking.fusion else ""
        weights = ":" + "|".join(f"{one:g}" for one in ranking.weights) if ranking.weights else ""
        return f"{before}{ranking.model}, top {ranking.k}{fusion}{weights}"

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain values, ready for JSON; the page shows these and no others."""
        first = self.rankings[0]
        depth = max(self.top_k)
        judged = self.collection.qrels
        return {
            "collection": {
                "name": self.collection.name,
                "documents": len(self.collection.corpus),
                "queries": len(judged),
                "relevant": sum(g > 0 for grades in judged.values() for g in grades.values()),
            },
            "first_stage": {
                "name": self.first_stage,
                "queries_missing": sum(not first.run.get(query) for query in judged),
                "depth": depth,
                "relevant_found": self._found(depth),
            },
            "measures": self.measures,
            "statistics": {"confidence": CONFIDENCE, "resamples": RESAMPLES},
            "models": [
                {
                    "name": one.name,
                    "model": one.info.model,
                    "engine": one.info.engine,
                    "version": one.info.version,
                    "device": one.info.device,
                    "dtype": one.info.dtype,
                    "instruction": one.instruction,
                    "metadata_fields": list(one.view.fields) if one.view.shown else [],
                    "scores": self._distribution(one),
                }
                for one in self.scored
            ],
            "rankings": [self._figures(ranking) for ranking in self.rankings],
            "comparisons": [self._compared(one) for one in self.comparisons],
            "queries": [self._query(query) for query in judged],
            "examples": [self._examples(one) for one in self.scored],
        }

    def write_runs(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Every ranking as a TREC run, and the judgements as ``qrels.txt``, for other programs.

        Args:
            folder: where to; made where it is missing, and empty where it is not.

        Raises:
            InvalidInputError: the folder holds files, or a file cannot be written.
        """
        place, files = checked_empty(folder), []
        write_qrels(place / "qrels.txt", self.collection.qrels)
        for number, ranking in enumerate(self.rankings):
            name = re.sub(r"[^\w.-]+", "-", self.named(ranking))
            files.append(place / f"{number:02}-{name}.txt")
            write_run(files[-1], ranking.run, name)
        return files

    def _found(self, depth: int) -> float:
        """The share of relevant documents among the candidates: what no reranking can pass."""
        found = relevant = 0
        for query, grades in self.collection.qrels.items():
            right = {id_ for id_, grade in grades.items() if grade > 0}
            found += len(right & set(list(self.rankings[0].run.get(query, {}))[:depth]))
            relevant += len(right)
        return found / relevant if relevant else 0.0

    def _figures(self, ranking: Ranking) -> dict[str, Any]:
        gains = ranking.gains
        changes = Counter(_sign(self._change(ranking, query)) for query in self.collection.qrels)
        return {
            "name": self.named(ranking),
            "model": ranking.model,
            "k": ranking.k,
            "fusion": ranking.fusion,
            "cascade": ranking.cascade,
            "weights": ranking.weights,
            "measures": {
                name: {
                    "mean": ranking.mean(name),
                    "gain": asdict(gains[name]) if name in gains else None,
                }
                for name in self.measures
            },
            "cost": asdict(ranking.cost) if ranking.cost else None,
            "changed": {"helped": changes[1], "hurt": changes[-1], "same": changes[0]},
        }

    def _compared(self, one: Comparison) -> dict[str, Any]:
        costs = [ranking.cost for ranking in (one.ranking, one.against)]
        seconds = [cost.seconds if cost else 0.0 for cost in costs]
        return {
            "ranking": self.named(one.ranking),
            "against": self.named(one.against),
            "measures": {name: asdict(gain) for name, gain in one.gains.items()},
            "time": seconds[0] / seconds[1] if seconds[1] else None,
        }

    def _query(self, query: str) -> dict[str, Any]:
        values = [[one.values[name][query] for name in self.measures] for one in self.rankings]
        return {"id": query, "text": self.collection.queries[query], "values": values}

    def _change(self, ranking: Ranking, query: str) -> float:
        leading = self.measures[0]
        return ranking.values[leading][query] - self.rankings[0].values[leading][query]

    def _distribution(self, scored: Scored) -> dict[str, Any]:
        """How many relevant and other candidates have which log-odds."""
        groups: dict[bool, list[float]] = {True: [], False: []}
        for query, hits in scored.log_odds.items():
            grades = self.collection.qrels[query]
            for id_, value in hits.items():
                groups[grades.get(id_, 0) > 0].append(value)
        values = groups[True] + groups[False]
        low, high = min(values, default=0.0), max(values, default=0.0)
        width = (high - low) / BINS or 1.0 / BINS

        def counts(group: list[float]) -> list[int]:
            places = Counter(min(int((value - low) / width), BINS - 1) for value in group)
            return [places[place] for place in range(BINS)]

        edges = [low + width * place for place in range(BINS + 1)]
        return {
            "log_odds": edges,
            "relevant": counts(groups[True]),
            "others": counts(groups[False]),
        }

    def _examples(self, scored: Scored) -> dict[str, Any]:
        """The queries that a model's deepest ranking changed most."""
        ranking = next(
            one
            for one in self.rankings
            if (one.model, one.k) == (scored.name, max(self.top_k))
            and (one.fusion, one.cascade) == (None, None)
        )
        changes = {query: self._change(ranking, query) for query in self.collection.qrels}
        order = sorted(changes, key=lambda query: -changes[query])
        helped = [query for query in order[:EXAMPLES] if changes[query] > 0]
        hurt = [query for query in order[::-1][:EXAMPLES] if changes[query] < 0]
        return {
            "ranking": self.named(ranking),
            "helped": [self._example(ranking, scored, query) for query in helped],
            "hurt": [self._example(ranking, scored, query) for query in hurt],
        }

    def _example(self, ranking: Ranking, scored: Scored, query: str) -> dict[str, Any]:
        before, after = (list(one.run.get(query, {})) for one in (self.rankings[0], ranking))
        grades = self.collection.qrels[query]
        right = [id_ for id_ in after if grades.get(id_, 0) > 0]
        missing = [id_ for id_, grade in grades.items() if grade > 0 and id_ not in set(after)]
        chosen = dict.fromkeys([*right[:SHOWN], *missing[:SHOWN], *after[:SHOWN], *before[:SHOWN]])
        ranks = [{id_: rank for rank, id_ in enumerate(ids, 1)} for ids in (after, before)]
        shown = sorted(chosen, key=lambda id_: ranks[0].get(id_, len(after) + 1))
        values = [one.values[self.measures[0]][query] for one in (self.rankings[0], ranking)]
        return {
            "id": query,
            "text": self.collection.queries[query],
            "before": values[0],
            "after": values[1],
            "documents": [
                {
                    "id": id_,
                    "grade": grades.get(id_, 0),
                    "before": ranks[1].get(id_),
                    "after": ranks[0].get(id_),
                    "score": _score(scored, query, id_),
                    "text": _cut(self.collection.corpus[id_].whole),
                }
                for id_ in shown
            ],
        }


def checked_empty(folder: str | os.PathLike[str]) -> Path:
    """A folder that is empty or not there yet, so that runs of two evaluations never mix.

    Raises:
        InvalidInputError: it holds files.
    """
    place = Path(folder)
    if place.is_dir() and any(place.iterdir()):
        raise InvalidInputError(f"{place} holds files already; name a new folder for the runs")
    return place


def _score(scored: Scored, query: str, id_: str) -> float | None:
    log_odds = scored.log_odds.get(query, {}).get(id_)
    return None if log_odds is None else probability(log_odds)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST].rstrip() + "…"


def _sign(number: float) -> int:
    return (number > 1e-9) - (number < -1e-9)
