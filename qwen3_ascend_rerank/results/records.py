"""What is said of one document, and what a call took."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass


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
    span: tuple[int, int] | None = None
    """From which character of `text` to which the passage goes that the score is of; None where
    the document was read in one."""
    relevance: float | None = None
    """P(relevant) in [0, 1] by the Reranker's `calibration`; None where it has none."""
    stage: int | None = None
    """Which stage of a cascade the score is of, from 1; None without a cascade. Scores of different
    stages are of different models, and not to be compared."""

    @property
    def passage(self) -> str:
        """The text that the score is of: the best passage, or all of `text`."""
        return self.text if self.span is None else self.text[slice(*self.span)]


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call took."""

    prompt_tokens: int = 0
    """Tokens of the prompts that were scored, prefix and suffix included."""
    pairs_scored: int = 0
    """Pairs of a query and a document that the engine scored."""
    pairs_reused: int = 0
    """Pairs answered without the engine: repeated in the call, or known from the score cache."""
    passages_scored: int = 0
    """Passages of long documents that the engine scored, each in a prompt of its own; 0 where each
    document was read in one."""
    documents_truncated: int = 0
    """Documents of which the model saw only the beginning."""
    texts_defused: int = 0
    """Texts in which a control token's spelling was broken up, for engines that take only text.
    Always 0 where token ids are sent: there it is plain text by construction."""
    seconds: float = 0.0
    """Wall-clock time of the call, loading included if this call loaded the engine."""

    def __add__(self, other: Usage) -> Usage:
        """What two calls took, one after the other."""
        both = zip(astuple(self), astuple(other), strict=True)
        return Usage(*(one + another for one, another in both))


@dataclass(frozen=True, slots=True)
class StageReport:
    """What one stage of a cascade did in a call."""

    model: str
    """The stage's model, as it was asked for."""
    engine: str = ""
    """The engine that ran it; empty if it was not asked, or knew all."""
    judged: int = 0
    """Documents that it judged; 0 where it would have handed on all, and was not asked."""
    handed_on: int = 0
    """Documents that the next stage got."""
    usage: Usage = Usage()
    """What it took."""
