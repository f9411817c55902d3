"""What is said of one document, and what a call took."""

from __future__ import annotations

import math
from dataclasses import dataclass


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
