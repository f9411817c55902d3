"""Weights in safetensors files, read and written piece by piece, to the bit.

No numbers pass through a library's types: bfloat16, which numpy has not, is the upper half of a
float32. Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.floating[Any]]

WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a number."""
PIECE = 8 * 2**20
"""Bytes that are copied at once."""
BLOCK = 2**22
"""Numbers of a weight that are computed with at once."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A weight in a file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    """Where its bytes begin."""

    @property
    def size(self) -> int:
        """Its bytes."""
        return prod(self.shape) * WIDTHS[self.dtype]

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, in pieces of at most `PIECE`."""
        with self.file.open("rb") as opened:
            opened.seek(self.start)
            left = self.size
            while left:
                piece = opened.read(min(left, PIECE))
                if not piece:
                    raise OSError(f"{self.file} became shorter while it was read")
                left -= len(piece)
                yield piece

    def rows(self, first: int = 0, count: int | None = None) -> Numbers:
        """Rows of it as numbers, shape (count, …); all of them where `count` is None."""
        count = self.shape[0] - first if count is None else count
        row = self.size // self.shape[0]
        with self.file.open("rb") as opened:
            opened.seek(self.start + first * row)
            raw = opened.read(count * row)
        return numbers(raw, self.dtype).reshape(count, *self.shape[1:])


def stored(file: Path) -> dict[str, Stored]:
    """Every weight in `file`, by name."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
    header.pop("__metadata__", None)
    return {
        name: Stored(file, one["dtype"], tuple(one["shape"]), 8 + length + one["data_offsets"][0])
        for name, one in header.items()
    }


def numbers(raw: bytes, dtype: str) -> Numbers:
    """The numbers that `raw` says: float64 for ``F64``, else float32."""
    import numpy as np

    if dtype == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    kind = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]
    return np.frombuffer(raw, kind).astype(np.float64 if dtype == "F64" else np.float32)


def raw(values: Numbers, dtype: str) -> bytes:
    """`values` as bytes of `dtype`, rounded to the nearest, of two equally near to the even one."""
    import numpy as np

    if dtype != "BF16":
        return values.astype({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]).tobytes()
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype("<u2").tobytes()


@dataclass(frozen=True, slots=True)
class Planned:
    """A weight that is to be written."""

    dtype: str
    shape: tuple[int, ...]
    pieces: Callable[[], Iterator[bytes]]
    """Its bytes, made as they are written."""

    @property
    def size(self) -> int:
        """Its bytes."""
        return prod(self.shape) * WIDTHS[self.dtype]


def write(file: Path, tensors: Mapping[str, Planned]) -> None:
    """Write a file of `tensors`; it is on the disk when this returns.

    Raises:
        OSError: it cannot be written.
    """
    names = sorted(tensors, key=lambda name: (-WIDTHS[tensors[name].dtype], name))  # all aligned
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        one = tensors[name]
        offsets = [end, end := end + one.size]
        header[name] = {"dtype": one.dtype, "shape": one.shape, "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            for piece in tensors[name].pieces():
                opened.write(piece)
        opened.flush()
        os.fsync(opened.fileno())
