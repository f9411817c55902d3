"""The lexical model's files, constructed when they are first asked for."""

from __future__ import annotations

from pathlib import Path

from ...errors import MissingDependencyError
from .store import constructed
from .tokenizer import write_tokenizer
from .weights import write_weights

NAME = "lexical"
"""What to ask for as a model."""


def checkpoint_folder() -> Path:
    """The checkpoint's folder, constructed on first use; about 35 MB.

    Raises:
        MissingDependencyError: numpy or safetensors is not installed.
        OSError: there is no place to write it.
    """
    try:
        import numpy  # noqa: F401
        import safetensors.numpy  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"the model {NAME} is constructed with {error.name}, which is not installed; "
            'pip install "qwen3-ascend-rerank[torch]"'
        ) from error
    return constructed(NAME, _write_checkpoint)


def tokenizer_file() -> Path:
    """The checkpoint's ``tokenizer.json`` alone: made without numpy, for models served elsewhere.

    Raises:
        OSError: there is no place to write it.
    """
    return constructed(f"{NAME}-tokenizer", write_tokenizer) / "tokenizer.json"


def _write_checkpoint(folder: Path) -> None:
    write_tokenizer(folder)
    write_weights(folder)
