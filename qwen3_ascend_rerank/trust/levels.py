"""How much an engine must show before it is used."""

from __future__ import annotations

from typing import Literal, get_args

from ..errors import InvalidInputError

Level = Literal["auto", "full", "invariants", "off"]
STRICTNESS: dict[Level, int] = {"off": 0, "invariants": 1, "auto": 2, "full": 3}
"""Each level asks for all that those of a lower number do."""


def checked_level(level: str) -> Level:
    """One of the levels.

    Raises:
        InvalidInputError: anything else.
    """
    if level not in get_args(Level):
        raise InvalidInputError(f"selfcheck is {level!r}; use one of {', '.join(get_args(Level))}")
    return level  # type: ignore[return-value]
