"""Asking served models: pairs with known answers, and a client that soon gives up."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.trust.answers import LEXICAL_ANSWERS

from .oracle import oracle
from .stand_in import StandIn

QUERY = "What is the capital of China?"
ANSWERS = {text: value for text, value in LEXICAL_ANSWERS[QUERY].items() if text}
"""Documents, and the lexical model's log-odds for them."""
DOCUMENTS = list(ANSWERS)
IMPATIENT = {"connect_timeout": 2.0, "request_timeout": 5.0, "attempts": 2, "patience": 0.5}
"""Options with which a call that cannot succeed ends within `LIMIT`."""
LIMIT = 40.0
"""Seconds: a few tries of five, the pauses between them, patience, and a busy machine."""


def client(servers: StandIn | Sequence[StandIn], **settings: Any) -> Reranker:
    """An impatient Reranker on `servers`; unchecked unless `selfcheck` says otherwise."""
    oracle()  # loads before anybody waits for an answer
    listed = [servers] if isinstance(servers, StandIn) else servers
    options = {**IMPATIENT, **settings.pop("engine_options", {})}
    settings = {"base_url": [server.url for server in listed], "max_length": 512, **settings}
    return Reranker(**{"selfcheck": "off", "engine_options": options, **settings})


def found(reranker: Reranker, **settings: Any) -> dict[str, float]:
    """Log-odds of the documents with known answers."""
    return {one.text: one.log_odds for one in reranker.rerank(QUERY, DOCUMENTS, **settings)}


def is_right(answers: dict[str, float], tolerance: float = 1e-3) -> bool:
    """Whether these are the known answers, each once."""
    return answers.keys() == ANSWERS.keys() and all(
        abs(value - ANSWERS[text]) < tolerance for text, value in answers.items()
    )


def cases(table: Mapping[str, Any], *always: str) -> list[Any]:
    """The rows of `table` as parameters, under their names; those not in `always` are `full`."""
    return [
        pytest.param(
            *(row if isinstance(row, tuple) else (row,)),
            id=name,
            marks=() if not always or name in always else pytest.mark.full,
        )
        for name, row in table.items()
    ]
