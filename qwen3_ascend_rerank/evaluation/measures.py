"""nDCG, MRR, MAP and the others, as ir-measures has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..corpora import Qrels, Run, falling
from ..errors import InvalidInputError, MissingDependencyError
from .first_stage import EXTRA

MEASURES = ("nDCG@10", "RR@10", "AP", "R@10", "P@10")
"""The default, by the names of ir-measures: RR is MRR, AP is MAP, R recall and P precision. The
first one leads: by it queries count as helped or hurt."""

Values = dict[str, dict[str, float]]
"""Of each measure the value of each query."""


class Measurer:
    """Measures runs against the same judgements.

    Every judged query counts; one of which a run has nothing counts 0.
    """

    def __init__(self, qrels: Qrels, measures: Sequence[str] = MEASURES) -> None:
        """Prepare.

        Args:
            qrels: what is relevant.
            measures: names as ir-measures has them, such as ``nDCG@10`` or ``P(rel=2)@5``.

        Raises:
            InvalidInputError: one is no measure, or cannot be computed with what is installed.
            MissingDependencyError: ir-measures is not installed.
        """
        try:
            import ir_measures
        except ImportError as error:
            raise MissingDependencyError(
                f"measures need ir-measures, which cannot be imported ({error}); {EXTRA}"
            ) from error
        pipeline: Any = ir_measures.DefaultPipeline
        self._measures: dict[Any, str] = {}
        for name in measures:
            try:
                measure = ir_measures.parse_measure(name)
                known = pipeline.supports(measure)
            except (NameError, ValueError, AttributeError, AssertionError, TypeError):
                known = False
            if not known:
                raise InvalidInputError(
                    f"{name!r} is no measure that can be computed here; give names as ir-measures "
                    f"has them, e.g. {', '.join(MEASURES)}"
                )
            self._measures[measure] = str(measure)
        if not self._measures:
            raise InvalidInputError("no measure is given; give at least one, e.g. nDCG@10")
        self._queries = list(qrels)
        self._evaluator = pipeline.evaluator(list(self._measures), qrels)

    @property
    def names(self) -> list[str]:
        """The measures in the order in which they were given."""
        return list(self._measures.values())

    def values(self, run: Mapping[str, Mapping[str, float]]) -> Values:
        """Of each measure the value of each judged query, in the order of the judgements.

        Args:
            run: of each query documents with scores, best first; that order is what counts.
        """
        ordered: Run = {
            query: dict(zip(hits, falling(hits.values()), strict=True))
            for query, hits in run.items()
        }
        found: Values = {name: {} for name in self.names}
        for metric in self._evaluator.iter_calc(ordered):
            found[self._measures[metric.measure]][metric.query_id] = float(metric.value)
        return {
            name: {query: values[query] for query in self._queries}
            for name, values in found.items()
        }
