"""What a rerank returns: documents in their new order, and what it took to find it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload


def probability(log_odds: float) -> float:
    """P("yes") in [0, 1] from `log_odds` = logit("yes") - logit("no"): the logistic function.

    Equal to the official softmax over the two logits, and safe for any finite `log_odds`.
    """
    if log_odds >= 0:
        return 1.0 / (1.0 + math.exp(-log_odds)) if log_odds < 700 else 1.0
    odds = math.exp(log_odds) if log_odds > -740 else 0.0
    return odds / (1.0 + odds)


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """One document with its score."""

    index: int
    """Position in the list of documents that was passed in, from 0."""
    text: str
    """The document as it was passed in, never shortened."""
    score: float
    """P("yes") in [0, 1]: how sure the model is that the document meets the instruction."""
    log_odds: float
    """logit("yes") - logit("no"), unbounded. The ranking is by this number, which still tells
    documents apart whose scores all round to 1."""
    truncated: bool = False
    """Whether the model saw only the beginning of the document."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call took."""

    prompt_tokens: int = 0
    """Tokens of the prompts that were scored, prefix and suffix included."""
    pairs_scored: int = 0
    """Pairs that the engine scored."""
    pairs_reused: int = 0
    """Pairs answered without the engine: repeated in the call, or known from the score cache."""
    documents_truncated: int = 0
    """Documents of which the model saw only the beginning."""
    texts_defused: int = 0
    """Texts in which a control token's spelling was broken up, for engines that take only text.
    Always 0 where token ids are sent: there it is plain text by construction."""
    seconds: float = 0.0
    """Wall-clock time of the call, loading included if this call loaded the engine."""


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
        from .printing import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        """How a notebook shows the result."""
        from .printing import as_html

        return as_html(self)

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """How IPython shows the result where there is no HTML."""
        printer.text(str(self))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary, as the command line prints it."""
        from dataclasses import asdict

        return asdict(self)
