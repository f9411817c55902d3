"""The device: `npu.cpp`, built once for each torch and kept."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

SOURCE = Path(__file__).with_name("npu.cpp")
BUILDS = "ASCEND_STAND_IN_BUILDS"
"""The variable that names the folder in which builds are kept."""
MEMORY = "ASCEND_STAND_IN_MEMORY"
"""The variable that says how many bytes the device has; 4 GiB if it is not set."""
WATCH = "ASCEND_STAND_IN_WATCH"
"""The variable that makes the host's writes into what is being copied an error, where it is set."""


def build() -> Any:
    """The compiled device: it is there once this returns, and torch calls it ``npu``."""
    text = SOURCE.read_bytes() + f"{torch.__version__} {sys.version_info[:2]}".encode()
    name = f"npu_stand_in_{hashlib.sha256(text).hexdigest()[:16]}"
    default = Path(tempfile.gettempdir()) / f"npu-stand-in-{os.getuid()}"
    folder = Path(os.environ.get(BUILDS) or default)
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"{name}.so"
    if not library.exists():
        _compile(name, library)
    torch.utils.rename_privateuse1_backend("npu")
    torch.ops.load_library(library)
    made = torch.ops.npu_stand_in
    if MEMORY in os.environ:
        made.set_limit(int(os.environ[MEMORY]))
    made.set_watching(WATCH in os.environ)
    return made


def _compile(name: str, library: Path) -> None:
    """Build aside and put it there at once.

    In a folder that is kept, a build that was killed leaves a lock for which the next waits for
    ever. The process that compiles loads what it made, so it is another than this one.
    """
    with tempfile.TemporaryDirectory(dir=library.parent) as aside:
        code = (
            "from torch.utils.cpp_extension import load;"
            f"load({name!r}, [{str(SOURCE)!r}], build_directory={aside!r}, is_python_module=False,"
            " extra_cflags=['-O1', '-DAT_PER_OPERATOR_HEADERS'])"
        )
        environment = {**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        built = Path(aside) / library.name
        if not built.exists():
            raise RuntimeError(f"{SOURCE.name} could not be built:\n{done.stderr}")
        built.replace(library)


def on_the_device(operator: Callable[P, R]) -> Callable[P, R]:
    """`operator` as the device runs it: what it looks at is its own, and nobody waits for it."""

    @functools.wraps(operator)
    def run(*arguments: P.args, **named: P.kwargs) -> R:
        torch.ops.npu_stand_in.enter()
        try:
            return operator(*arguments, **named)
        finally:
            torch.ops.npu_stand_in.leave()

    return run
