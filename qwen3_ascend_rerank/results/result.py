"""What a rerank returns: documents in their new order, and what it took to find it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, overload

from .printing import as_html, as_text
from .records import RankedDocument, StageReport, Usage


@dataclass(frozen=True, slots=True, eq=False)
class RerankResult(Sequence[RankedDocument]):
    """Documents from most to least relevant: a `Sequence` of `RankedDocument`.

    Shorter than the input where `threshold` or `top_n` left documents out. Documents with equal
    log-odds keep the order in which they were passed in.
    """

    documents: tuple[RankedDocument, ...]
    """The documents, best first."""
    query: str
    """The query that they were scored for."""
    instruction: str
    """The instruction that they were scored under."""
    model: str
    """The model that scored them, as it was asked for."""
    engine: str
    """The engine that ran it, e.g. ``torch``; empty if nothing had to be scored."""
    usage: Usage
    """What the call took."""
    log_odds_exact: bool = True
    """False where the runtime gives only probabilities, from which the log-odds are recovered."""
    stages: tuple[StageReport, ...] = ()
    """What each stage of a cascade did; empty without a cascade."""

    @property
    def scores(self) -> list[float]:
        """P("yes") of each document, best first."""
        return [document.score for document in self.documents]

    @property
    def texts(self) -> list[str]:
        """Text of each document, best first."""
        return [document.text for document in self.documents]

    def __len__(self) -> int:
        return len(self.documents)

    @overload
    def __getitem__(self, index: int) -> RankedDocument: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RankedDocument]: ...
    def __getitem__(self, index: int | slice) -> RankedDocument | Sequence[RankedDocument]:
        return self.documents[index]

    def __iter__(self) -> Iterator[RankedDocument]:
        return iter(self.documents)

    def __str__(self) -> str:
        return as_text(self.query, self.documents, self._remarks())

    def _repr_html_(self) -> str:
        """How a notebook shows the result."""
        return as_html(self.query, self.documents, self._remarks())

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """How IPython shows the result where there is no HTML."""
        printer.text(str(self))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary, as the command line prints it."""
        return asdict(self)

    def _remarks(self) -> list[str]:
        """What a table of the documents should say below."""
        engine = [f"engine {self.engine}"] if self.engine else []
        rounded = [] if self.log_odds_exact else ["log-odds from rounded probabilities"]
        stages = [
            f"stage {number} judged {one.judged}" for number, one in enumerate(self.stages, 1)
        ]
        return [f"model {self.model}", *engine, *stages, *rounded]
