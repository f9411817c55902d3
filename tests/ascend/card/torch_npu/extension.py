"""The compiled part of vllm-ascend, for a release that cannot do without it.

Others do without, and call torch_npu's operators. What it lacks is no operator of
``torch.ops._C_ascend``, which torch says where it is asked for.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
import types
from collections.abc import Sequence
from typing import Any

import torch

from .norms import npu_add_rms_norm

NEEDED = "ASCEND_STAND_IN_EXTENSION"
"""The variable that makes it be there, where it is set."""
MODULE = "vllm_ascend.vllm_ascend_C"
NORM = (
    "npu_add_rms_norm_bias(Tensor x1, Tensor x2, Tensor gamma, Tensor? beta=None, "
    "float epsilon=1e-6) -> (Tensor y, Tensor rstd, Tensor x)"
)
PRINTS = ("device_print(str msg) -> ()", "device_print_tensor(Tensor tensor) -> ()")
"""As `csrc/torch_binding.cpp` of vllm-ascend 0.30 declares them; it wants those that print to be
there, and calls them only to look for faults."""
_libraries: list[torch.library.Library] = []


def npu_add_rms_norm_bias(
    x1: torch.Tensor,
    x2: torch.Tensor,
    gamma: torch.Tensor,
    beta: torch.Tensor | None = None,
    epsilon: float = 1e-6,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`npu_add_rms_norm`, and `beta` added to the norm."""
    norm, root, total = npu_add_rms_norm(x1, x2, gamma, epsilon)
    return norm if beta is None else norm + beta, root, total


class ExtensionFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the extension where no file is one."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> Any:
        return importlib.machinery.ModuleSpec(name, self) if name == MODULE else None

    def exec_module(self, module: types.ModuleType) -> None:
        if not _libraries:
            library = torch.library.Library("_C_ascend", "FRAGMENT")
            library.define(NORM)
            library.impl("npu_add_rms_norm_bias", npu_add_rms_norm_bias, "PrivateUse1")
            for one in PRINTS:
                library.define(one)
            _libraries.append(library)


def install() -> None:
    """Let it be found where it is needed; asked last."""
    if NEEDED in os.environ:
        sys.meta_path.append(ExtensionFinder())
