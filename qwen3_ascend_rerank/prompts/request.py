"""One question to a Reranker, checked before anything is loaded or computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from ..checks import (
    checked_count,
    checked_list,
    checked_seconds,
    checked_text,
    described,
    is_number,
    unknown_name,
)
from ..errors import InvalidInputError


class NotGiven(Enum):
    """The type of `NOT_GIVEN`."""

    NOT_GIVEN = "not given"

    def __repr__(self) -> str:
        return self.name


NOT_GIVEN = NotGiven.NOT_GIVEN
"""An option that a call leaves as the object has it; None is an answer of its own: no limit."""


@dataclass(frozen=True, slots=True)
class Request:
    """A query and its documents, with the options of the call filled in."""

    query: str
    documents: list[str]
    instruction: str
    top_n: int | None
    threshold: float | None
    timeout: float | None


def checked_query(query: str) -> str:
    """A query that asks something."""
    if not isinstance(query, str):
        raise InvalidInputError(f"query is {described(query)}; pass a str")
    if not query.strip():
        raise InvalidInputError("query is empty; pass the question that the documents should meet")
    return query


def checked_documents(documents: Iterable[str]) -> list[str]:
    """A list of texts; empty texts are allowed, and score low."""
    return checked_list("documents", documents, str, "pass a list of str", "pass a str")


def checked_top_n(top_n: int | None) -> int | None:
    """How many documents to keep; None: all."""
    return None if top_n is None else checked_count("top_n", top_n)


def checked_threshold(threshold: float | None) -> float | None:
    """A score in [0, 1]; None: keep everything."""
    if threshold is None:
        return None
    if not is_number(threshold) or not 0 <= threshold <= 1:
        raise InvalidInputError(f"threshold is {described(threshold)}; pass a score in [0, 1]")
    return float(threshold)


def checked_timeout(timeout: float | None) -> float | None:
    """Seconds above 0; None: no limit."""
    if timeout is None or timeout == math.inf:
        return None
    return checked_seconds("timeout", timeout)


CALL_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "top_n": checked_top_n,
    "threshold": checked_threshold,
    "instruction": partial(checked_text, "instruction"),
    "timeout": checked_timeout,
}
"""What a call may set differently than the object, and what makes sure that it can be used."""


def call_options(owner: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of one call: those `given`, checked, and for the rest what `owner` has.

    None lifts a limit of the owner. An instruction is no limit: None leaves it as it is.

    Raises:
        InvalidInputError: a value that cannot be used, or an option that there is not.
    """
    if unknown := sorted(given.keys() - CALL_OPTIONS.keys()):
        raise unknown_name(unknown[0], "option of a call", CALL_OPTIONS)
    kept = {name: getattr(owner, name) for name in CALL_OPTIONS}
    set_here = {name: value for name, value in given.items() if value is not NOT_GIVEN}
    if set_here.get("instruction", "") is None:
        del set_here["instruction"]
    return kept | {name: CALL_OPTIONS[name](value) for name, value in set_here.items()}
