"""Values that callers pass: each checked, or refused with its name, itself and what to pass."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from .errors import InvalidInputError, UnknownNameError

T = TypeVar("T")


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
    if not is_number(share) or not 0 < share <= 1:
        raise InvalidInputError(f"{name} is {described(share)}; pass a number in (0, 1]")
    return float(share)


def checked_seconds(name: str, seconds: float) -> float:
    """A time above 0 that has an end."""
    if not is_number(seconds) or not 0 < seconds < math.inf:
        raise InvalidInputError(f"{name} is {described(seconds)}; pass seconds > 0")
    return float(seconds)


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


def is_number(value: object) -> bool:
    """Whether it is a number, which True is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def described(value: object) -> str:
    """A value, cut short, and its type, for an error."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - it is not even fit to be shown
        text = "a value"
    return f"{text[:57] + '...' if len(text) > 60 else text} ({type(value).__name__})"
