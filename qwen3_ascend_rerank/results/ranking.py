"""From an engine's log-odds to ranked documents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ..errors import EngineError
from ..prompts.request import Request
from .cache import Judgement
from .calibration import Calibration
from .records import RankedDocument, probability


def overflow(engine: str, dtype: str) -> str:
    """Why a model can give something that is no number, and what to do about it.

    Args:
        engine: the engine's name.
        dtype: the precision that it computes in.
    """
    way = (
        "start the server with --dtype float32"
        if engine == "served"
        else 'pass engine_options={"dtype": "float32"}'
    )
    if dtype in ("float32", "bfloat16"):
        return (
            f"{dtype} does not overflow in this model, so its weights or the runtime are at fault; "
            "`qwen3-rerank selfcheck` tells which"
        )
    return (
        "the model overflowed, since float16 ends at 65,504; use bfloat16 where the card has it, "
        f"else float32: {way}"
    )


def check_answer(
    engine: str, log_odds: Sequence[float], expected: int, dtype: str = "float32"
) -> None:
    """Make sure that an engine answered with one finite number for each document.

    Args:
        engine: the engine's name.
        log_odds: what it answered.
        expected: how many documents it was asked about.
        dtype: the precision that it computes in.

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
            f"({len(wrong)} such of {expected}): {overflow(engine, dtype)}"
        )


def ranked(
    request: Request, judgements: Sequence[Judgement], calibration: Calibration | None = None
) -> tuple[RankedDocument, ...]:
    """Documents by falling log-odds; ties in input order; threshold first, then top_n."""
    documents = [
        RankedDocument(
            index,
            text,
            probability(judged.log_odds),
            judged.log_odds,
            judged.truncated,
            judged.span,
        )
        for index, (text, judged) in enumerate(zip(request.documents, judgements, strict=True))
    ]
    if request.threshold is not None:
        documents = [one for one in documents if one.score >= request.threshold]
    documents.sort(key=lambda one: -one.log_odds)
    kept = documents[: request.top_n]
    if calibration is not None:
        kept = [replace(one, relevance=calibration.relevance(one.log_odds)) for one in kept]
    return tuple(kept)
