"""What the weight files of a checkpoint hold: names, types and shapes, and single rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CorruptModelError, MissingDependencyError, UnsupportedModelError

if TYPE_CHECKING:
    import torch

FLOATS = ("F64", "F32", "F16", "BF16")
"""Types of a weight that every engine reads as the number that it is, as safetensors calls them."""

_TORCH_NAMES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_LFS = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One weight as its file describes it."""

    dtype: str
    """As safetensors calls it, e.g. ``BF16``."""
    shape: tuple[int, ...]
    file: Path
    """Where it is."""


def read_tensors(files: Iterable[Path]) -> dict[str, Tensor]:
    """Every weight in `files`, by name; no numbers are read.

    Raises:
        CorruptModelError: a file is damaged.
        UnsupportedModelError: a weight is in two of them.
        MissingDependencyError: safetensors is not installed.
    """
    tensors: dict[str, Tensor] = {}
    for file in files:
        for name, tensor in _open(file).items():
            if name in tensors:
                raise UnsupportedModelError(
                    f"{name} is in {tensors[name].file.name} and in {file.name} of {file.parent}; "
                    "two sets of weights are mixed up: keep the one that is meant"
                )
            tensors[name] = tensor
    return tensors


def read_rows(tensor: Tensor, name: str, rows: Sequence[int]) -> torch.Tensor:
    """Rows of a weight in float32, shape (len(rows), width)."""
    import torch

    if tensor.file.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(str(tensor.file), "pt") as file:
            part = file.get_slice(name)
            return torch.cat([part[row : row + 1] for row in rows]).float()
    return torch.stack([_load(tensor.file, "cpu")[name][row] for row in rows]).float()


def _open(file: Path) -> dict[str, Tensor]:
    with file.open("rb") as opened:
        if opened.read(len(_LFS)) == _LFS:
            raise CorruptModelError(
                f"{file} is a pointer of Git LFS, not the weights; `git lfs pull` fetches them"
            )
    return _open_safetensors(file) if file.suffix == ".safetensors" else _open_torch(file)


def _open_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise MissingDependencyError(
            'reading weights needs safetensors; pip install "qwen3-ascend-rerank[torch]"'
        ) from error
    try:
        with safe_open(str(file), "np") as opened:
            parts = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            return {
                name: Tensor(part.get_dtype(), tuple(part.get_shape()), file)
                for name, part in parts.items()
            }
    except Exception as error:  # safetensors has one error of its own, and passes on others
        raise _damaged(file, error) from error


def _open_torch(file: Path) -> dict[str, Tensor]:
    try:
        loaded = _load(file, "meta")
        return {
            name: Tensor(_name_of(value.dtype), tuple(value.shape), file)
            for name, value in loaded.items()
        }
    except MissingDependencyError:
        raise
    except Exception as error:  # whatever unpickling finds
        raise _damaged(file, error) from error


def _load(file: Path, device: str) -> dict[str, Any]:
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            f'reading {file.name} needs torch; pip install "qwen3-ascend-rerank[torch]"'
        ) from error
    mapped = _is_zip(file)  # an older form cannot be mapped into memory
    loaded: dict[str, Any] = torch.load(file, map_location=device, weights_only=True, mmap=mapped)
    return loaded


def _is_zip(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(2) == b"PK"


def _name_of(dtype: Any) -> str:
    name = str(dtype).removeprefix("torch.")
    return _TORCH_NAMES.get(name, name)


def _damaged(file: Path, error: Exception) -> CorruptModelError:
    return CorruptModelError(
        f"the weights in {file} cannot be read: {' '.join(str(error).split())}; the file is "
        "damaged or cut off: fetch it again"
    )
