"""Token ids of many texts in little memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import overload


class IdLists(Sequence[list[int]]):
    """Lists of ids, each made when it is asked for.

    A list takes 36 bytes an id, and the garbage collector looks at each of them whenever it comes
    round, while everything else waits: for 20,000 documents that is a good part of a second. Here
    an id takes 4 bytes, at which it never looks.
    """

    __slots__ = ("_arrays",)

    def __init__(self, lists: Iterable[Sequence[int]]) -> None:
        """Keep what the `lists` hold."""
        self._arrays = [one if isinstance(one, array) else array("i", one) for one in lists]

    def __len__(self) -> int:
        return len(self._arrays)

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> IdLists: ...
    def __getitem__(self, index: int | slice) -> list[int] | IdLists:
        if isinstance(index, slice):
            return IdLists(self._arrays[index])
        return self._arrays[index].tolist()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, IdLists):
            return self._arrays == other._arrays
        if isinstance(other, list):
            return list(self) == other
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))

    def lengths(self) -> list[int]:
        """How many ids each of them has."""
        return [len(one) for one in self._arrays]

    @staticmethod
    def joined(parts: Iterable[Sequence[list[int]]]) -> IdLists:
        """All lists of `parts`, one after the other."""
        return IdLists(
            one for part in parts for one in (part._arrays if isinstance(part, IdLists) else part)
        )
