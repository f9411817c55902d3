"""A stage of your own Ray Data pipeline: one Reranker an actor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import DocumentError, InvalidInputError
from ..reranker import Reranker
from ..results import RerankOutcome
from .sources import Row, pyarrow
from .tasks import Columns, Task, tasks


class RerankStage:
    """Takes tables with a query and its documents in each row, and adds a ranking to each.

    The new columns are `results`, a list of {index, score, log_odds, truncated, span, relevance},
    best first, and `error`: why a row has none. All other columns stay as they are. An engine that
    fails raises, so that Ray tries the block again elsewhere.
    """

    def __init__(
        self, settings: Mapping[str, Any] | None = None, columns: Columns | None = None
    ) -> None:
        """Load the model; called by Ray in each actor.

        Args:
            settings: the arguments of `Reranker`.
            columns: what the columns are called.

        Raises:
            RerankError: the settings cannot be used, or the engine could not start.
        """
        self._reranker = Reranker(**(settings or {}))
        self._columns = columns or Columns()
        self._reranker.start()

    def __call__(self, table: Any) -> Any:
        """The `pyarrow.Table` with its two new columns, in the same order.

        Raises:
            RerankError: the engine failed.
        """
        arrow = pyarrow()
        results: list[list[dict[str, Any]] | None] = [None] * table.num_rows
        errors: list[str | None] = [None] * table.num_rows
        rows = (Row("", number, fields) for number, fields in enumerate(table.to_pylist()))
        asked: list[Task] = []
        for task in tasks(rows, replace(self._columns, document="")):
            if task.request is None:
                errors[task.row] = task.rejects[0].reason
            else:
                asked.append(task)
        outcomes = self._reranker.rerank_many([task.request for task in asked if task.request])
        for task, outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome.error, InvalidInputError | DocumentError):
                errors[task.row] = str(outcome.error)
            else:
                results[task.row] = _written(outcome)
        kind = arrow.struct(
            [
                ("index", arrow.int32()),
                ("score", arrow.float64()),
                ("log_odds", arrow.float64()),
                ("truncated", arrow.bool_()),
                ("span", arrow.list_(arrow.int64())),
                ("relevance", arrow.float64()),
            ]
        )
        return table.append_column(
            "results", arrow.array(results, arrow.list_(kind))
        ).append_column("error", arrow.array(errors, arrow.string()))


def _written(outcome: RerankOutcome) -> list[dict[str, Any]]:
    names = ("index", "score", "log_odds", "truncated", "span", "relevance")
    return [{name: getattr(one, name) for name in names} for one in outcome.unwrap()]
