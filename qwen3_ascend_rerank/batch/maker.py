"""Who scores: the runtime by name, the weights by what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..prompts import DEFAULT_INSTRUCTION
from ..reranker import Ranker, Reranker
from ..trust import likeness

NAMES = ("engine", "version", "dtype", "max_length", "log_odds_exact")


@dataclass(frozen=True, slots=True)
class Maker:
    """Two of them are one where their scores can be compared."""

    runs_on: Mapping[str, Any]
    """`NAMES` of its engine."""
    says: tuple[float, ...]
    """Log-odds of `likeness.DOCUMENTS`."""

    @property
    def exact(self) -> bool:
        """Whether they are log-odds from the start."""
        return bool(self.runs_on["log_odds_exact"])

    @classmethod
    def all_of(cls, ranker: Ranker) -> tuple[Maker, ...]:
        """Of each stage, in order: where there is one, that is who ranks.

        Raises:
            RerankError: an engine could not start, or failed.
        """
        return tuple(cls._of(stage) for stage in ranker.stages)

    @classmethod
    def _of(cls, reranker: Reranker) -> Maker:
        """Start the engine, and ask it.

        Raises:
            RerankError: the engine could not start, or failed.
        """
        info = reranker.start(timeout=None)
        result = reranker.rerank(
            likeness.QUERY,
            likeness.DOCUMENTS,
            instruction=DEFAULT_INSTRUCTION,
            top_n=None,
            threshold=None,
            timeout=None,
        )
        said = {one.index: one.log_odds for one in result}
        return cls(
            {name: getattr(info, name) for name in NAMES},
            tuple(said[place] for place in sorted(said)),
        )
