"""torch beside torch_npu, which loads only where CANN's libraries are on the path.

torch loads an installed torch_npu by itself and fails with it, even for a CPU. Here torch is
imported without it, and it is loaded where an NPU is meant to compute.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .detect import find_cann

AUTOLOAD = "TORCH_DEVICE_BACKEND_AUTOLOAD"
"""The variable by which torch, from 2.5 on, is told to leave torch_npu alone: ``0``."""
SET_ENV = "/usr/local/Ascend/cann/set_env.sh"
"""What CANN has to be sourced, where it is not found here; since 8.5."""
SIGNS = ("lib", ".so")
"""What an error about a missing library has in it."""


def is_installed() -> bool:
    """Whether ``import torch_npu`` would find anything."""
    return importlib.util.find_spec("torch_npu") is not None


def import_torch() -> Any:
    """torch, without torch_npu where it has not been imported yet.

    Raises:
        ImportError: torch is not there, or broken itself.
    """
    with without_autoload() if is_installed() else contextlib.nullcontext():
        return importlib.import_module("torch")


@contextlib.contextmanager
def without_autoload() -> Iterator[None]:
    """What is imported, or started, meanwhile does not load torch_npu unasked."""
    before = os.environ.get(AUTOLOAD)
    os.environ[AUTOLOAD] = "0"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(AUTOLOAD, None)
        else:
            os.environ[AUTOLOAD] = before


_fault: str | None = None


def load() -> str | None:
    """Register the device ``npu`` with torch, where torch_npu is installed.

    Where it cannot be loaded, this process goes on as if it were not installed: transformers, too,
    would import it and fail.

    Returns:
        Why it cannot be loaded, in a sentence that names the file to source; None: all is well.
    """
    global _fault
    if _fault is None and is_installed():
        import_torch()
        try:
            with without_autoload():  # which it sets itself, and leaves so where it fails
                importlib.import_module("torch_npu")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not to be had
            _fault = explain(error)
            for name in [one for one in sys.modules if one.startswith("torch_npu.")]:
                del sys.modules[name]
            modules: dict[str, Any] = sys.modules
            modules["torch_npu"] = None  # by which Python means that it is not installed
    return _fault


def explain(error: object, root: Path = Path("/"), environ: Mapping[str, str] | None = None) -> str:
    """Why torch_npu does not load, in one sentence with the next step."""
    said = " ".join(str(error).split()) or type(error).__name__
    why, step = diagnose(said, root, os.environ if environ is None else environ)
    return (
        f'torch_npu is installed but cannot be loaded ({said}): {why}; {step}, or use device="cpu"'
    )


def diagnose(said: str, root: Path, environ: Mapping[str, str]) -> tuple[str, str]:
    """What is wrong where the import of torch_npu says `said`, and what to do about it."""
    if not all(sign in said for sign in SIGNS):
        return (
            "it is not made for this torch, or damaged",
            "install the release that is (`qwen3-rerank doctor` names it)",
        )
    why = "CANN's libraries are not on the path"
    if (found := find_cann(root, environ)) is None:
        return why, f"install CANN, then `source {SET_ENV}` in this shell before starting"
    return why, f"`source {set_env(root, found[0])}` in this shell before starting"


def set_env(root: Path, home: str) -> str:
    """The script that puts the CANN in `home` on the path."""
    beside, own = f"{home.rpartition('/')[0]}/set_env.sh", f"{home}/set_env.sh"
    there = [(root / one.lstrip("/")).exists() for one in (beside, own)]
    return beside if there == [True, False] else own  # of ascend-toolkit/latest
