"""Folders of one small model, for tests to spoil."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.support.variants import Variant, write

Folder = Callable[..., Path]


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[Variant, Path]:
    return {}


@pytest.fixture
def folder(
    kept: dict[Variant, Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Folder:
    """A fresh copy of a variant's files."""

    def make(**choice: str) -> Path:
        variant = Variant(**choice)
        if variant not in kept:
            kept[variant] = write(variant, tmp_path_factory.mktemp("kept") / "model")
        return Path(shutil.copytree(kept[variant], tmp_path / "model"))

    return make


def edit_config(folder: Path, **changes: Any) -> None:
    """Change ``config.json``; a value of None takes the key away."""
    file = folder / "config.json"
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def edit_weights(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the weights in ``model.safetensors``."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})
