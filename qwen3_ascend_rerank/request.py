"""One question to a Reranker, checked before anything is loaded or computed."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from functools import partial
from typing import Any, TypeVar

from .errors import InvalidInputError, UnknownNameError

T = TypeVar("T")


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


def checked_list(name: str, given: Any, kind: type[T], as_list: str, as_item: str) -> list[T]:
    """A list of `kind`; `as_list` and `as_item` say what to pass instead of anything else."""
    alone = isinstance(given, (str, bytes, Mapping, kind))
    if alone or not isinstance(given, Iterable):
        raise InvalidInputError(f"{name} is {described(given)}; {as_list}")
    items = list(given)
    for index, item in enumerate(items):
        if not isinstance(item, kind):
            raise InvalidInputError(f"{name}[{index}] is {described(item)}; {as_item}")
    return items


def checked_text(name: str, text: str) -> str:
    """A text that is not empty."""
    if not isinstance(text, str) or not text.strip():
        raise InvalidInputError(f"{name} is {described(text)}; pass a str that is not empty")
    return text


def checked_count(name: str, count: int, *, least: int = 1) -> int:
    """A whole number of at least `least`."""
    if isinstance(count, bool) or not isinstance(count, int) or count < least:
        raise InvalidInputError(f"{name} is {described(count)}; pass a whole number >= {least}")
    return count


def checked_file(name: str, file: str | os.PathLike[str] | None) -> str | None:
    """Where a file is; None: there is none."""
    if file is None:
        return None
    if not isinstance(file, str | os.PathLike) or not os.fspath(file):
        raise InvalidInputError(f"{name} is {described(file)}; pass the path of a file")
    return os.fspath(file)


def checked_flag(name: str, flag: bool) -> bool:
    """True or False."""
    if not isinstance(flag, bool):
        raise InvalidInputError(f"{name} is {described(flag)}; pass True or False")
    return flag


def checked_share(name: str, share: float) -> float:
    """A part of a whole, above 0 and up to 1."""
    if not _is_number(share) or not 0 < share <= 1:
        raise InvalidInputError(f"{name} is {described(share)}; pass a number in (0, 1]")
    return float(share)


def checked_top_n(top_n: int | None) -> int | None:
    """How many documents to keep; None: all."""
    return None if top_n is None else checked_count("top_n", top_n)


def checked_threshold(threshold: float | None) -> float | None:
    """A score in [0, 1]; None: keep everything."""
    if threshold is None:
        return None
    if not _is_number(threshold) or not 0 <= threshold <= 1:
        raise InvalidInputError(f"threshold is {described(threshold)}; pass a score in [0, 1]")
    return float(threshold)


def checked_timeout(timeout: float | None) -> float | None:
    """Seconds above 0; None: no limit."""
    if timeout is None or timeout == math.inf:
        return None
    return checked_seconds("timeout", timeout)


def checked_seconds(name: str, seconds: float) -> float:
    """A time above 0 that has an end."""
    if not _is_number(seconds) or not 0 < seconds < math.inf:
        raise InvalidInputError(f"{name} is {described(seconds)}; pass seconds > 0")
    return float(seconds)


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


def unknown_name(name: str, what: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a `name` that is none of `known`; `what` says what these are."""
    known = sorted(known)
    near = nearest(name, known)
    hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}"
    return UnknownNameError(f"{name} is no {what}; {hint}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that was meant by `name`, if any looks like it."""
    spelt = {one.lower(): one for one in known}
    found = get_close_matches(name.lower(), spelt, 1)
    return spelt[found[0]] if found else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def described(value: object) -> str:
    """A value, cut short, and its type, for an error."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - it is not even fit to be shown
        text = "a value"
    return f"{text[:57] + '...' if len(text) > 60 else text} ({type(value).__name__})"
