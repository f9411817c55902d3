"""One question to a Reranker, checked before anything is loaded or computed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from .errors import InvalidInputError, UnknownNameError

T = TypeVar("T")


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
        raise InvalidInputError(f"query is {_described(query)}; pass a str")
    if not query.strip():
        raise InvalidInputError("query is empty; pass the question that the documents should meet")
    return query


def checked_documents(documents: Iterable[str]) -> list[str]:
    """A list of texts; empty texts are allowed, and score low."""
    return checked_list("documents", documents, str, "pass a list of str", "pass a str")


def checked_list(name: str, given: Any, kind: type[T], as_list: str, as_item: str) -> list[T]:
    """A list of `kind`; `as_list` and `as_item` say what to pass instead of anything else."""
    alone = isinstance(given, (str, bytes, Mapping, kind))
    if alone or not isinstance(given, Iterable):
        raise InvalidInputError(f"{name} is {_described(given)}; {as_list}")
    items = list(given)
    for index, item in enumerate(items):
        if not isinstance(item, kind):
            raise InvalidInputError(f"{name}[{index}] is {_described(item)}; {as_item}")
    return items


def checked_text(name: str, text: str) -> str:
    """A text that is not empty."""
    if not isinstance(text, str) or not text.strip():
        raise InvalidInputError(f"{name} is {_described(text)}; pass a str that is not empty")
    return text


def checked_count(name: str, count: int, *, least: int = 1) -> int:
    """A whole number of at least `least`."""
    if isinstance(count, bool) or not isinstance(count, int) or count < least:
        raise InvalidInputError(f"{name} is {_described(count)}; pass a whole number >= {least}")
    return count


def checked_top_n(top_n: int | None) -> int | None:
    """How many documents to keep; None: all."""
    return None if top_n is None else checked_count("top_n", top_n)


def checked_threshold(threshold: float | None) -> float | None:
    """A score in [0, 1]; None: keep everything."""
    if threshold is None:
        return None
    if not _is_number(threshold) or not 0 <= threshold <= 1:
        raise InvalidInputError(f"threshold is {_described(threshold)}; pass a score in [0, 1]")
    return float(threshold)


def checked_timeout(timeout: float | None) -> float | None:
    """Seconds above 0; None: no limit."""
    if timeout is None or timeout == math.inf:
        return None
    return checked_seconds("timeout", timeout)


def checked_seconds(name: str, seconds: float) -> float:
    """A time above 0 that has an end."""
    if not _is_number(seconds) or not 0 < seconds < math.inf:
        raise InvalidInputError(f"{name} is {_described(seconds)}; pass seconds > 0")
    return float(seconds)


def unknown_name(name: str, what: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a `name` that is none of `known`; `what` says what these are."""
    known = sorted(known)
    near = get_close_matches(name.lower(), known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return UnknownNameError(f"{name} is no {what}; {hint}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _described(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - it is not even fit to be shown
        text = "a value"
    return f"{text[:57] + '...' if len(text) > 60 else text} ({type(value).__name__})"
