"""The device: `npu.cpp`, built once for each torch and kept."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

SOURCE = Path(__file__).with_name("npu.cpp")
BUILDS = "ASCEND_STAND_IN_BUILDS"
"""The variable that names the folder in which builds are kept."""
MEMORY = "ASCEND_STAND_IN_MEMORY"
"""The variable that says how many bytes the device has; 4 GiB if it is not set."""


def build() -> Any:
    """The compiled device: it is there once this returns, and torch calls it ``npu``."""
    from torch.utils.cpp_extension import load

    text = SOURCE.read_bytes() + f"{torch.__version__} {sys.version_info[:2]}".encode()
    name = f"npu_stand_in_{hashlib.sha256(text).hexdigest()[:16]}"
    default = Path(tempfile.gettempdir()) / f"npu-stand-in-{os.getuid()}"
    folder = Path(os.environ.get(BUILDS) or default) / name
    folder.mkdir(parents=True, exist_ok=True)
    torch.utils.rename_privateuse1_backend("npu")
    load(
        name,
        [str(SOURCE)],
        build_directory=str(folder),
        extra_cflags=["-O1", "-DAT_PER_OPERATOR_HEADERS"],
        is_python_module=False,
    )
    made = torch.ops.npu_stand_in
    if MEMORY in os.environ:
        made.set_limit(int(os.environ[MEMORY]))
    return made
