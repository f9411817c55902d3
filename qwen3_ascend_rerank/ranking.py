"""From an engine's log-odds to ranked documents."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .cache import Judgement
from .errors import EngineError
from .request import Request
from .results import RankedDocument, probability


def check_answer(engine: str, log_odds: Sequence[float], expected: int) -> None:
    """Make sure that an engine answered with one finite number for each document.

    Raises:
        EngineError: it did not.
    """
    if len(log_odds) != expected:
        raise EngineError(
            f"the {engine} engine gave {len(log_odds)} scores for {expected} documents"
        )
    wrong = [index for index, value in enumerate(log_odds) if not math.isfinite(value)]
    if wrong:
        raise EngineError(
            f"the {engine} engine gave {log_odds[wrong[0]]} as log-odds of document {wrong[0]} "
            f"({len(wrong)} such of {expected}): the model overflowed or the runtime is at fault; "
            "try dtype float32 in engine_options"
        )


def ranked(request: Request, judgements: Sequence[Judgement]) -> tuple[RankedDocument, ...]:
    """Documents by falling log-odds; ties in input order; threshold first, then top_n."""
    documents = [
        RankedDocument(index, text, probability(judged.log_odds), judged.log_odds, judged.truncated)
        for index, (text, judged) in enumerate(zip(request.documents, judgements, strict=True))
    ]
    if request.threshold is not None:
        documents = [one for one in documents if one.score >= request.threshold]
    documents.sort(key=lambda one: -one.log_odds)
    return tuple(documents[: request.top_n])
