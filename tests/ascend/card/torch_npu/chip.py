"""Which chip this stands in for, and what follows from it.

A 310P keeps its cache and its masks in blocks of 16 numbers (NZ), and vllm-ascend is built for it
apart: its package says so in one line, which is here in its place.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
import types
from collections.abc import Sequence
from typing import Any

VARIABLE = "ASCEND_STAND_IN_CHIP"
"""The variable that names the chip that this is to be; an A2 if it is not set."""
A2, P310 = "Ascend910B4", "Ascend310P3"
NUMBERS = {A2: 223, P310: 202}
"""What `get_soc_version` says of each."""
NAME = os.environ.get(VARIABLE, A2)
BUILD = "vllm_ascend._build_info"
BUILT_FOR = {"__device_type__": "_310P", "__soc_version__": "ASCEND310P3"}
"""What a package of vllm-ascend built for a 310P says, by newer and by older releases' names."""


def is_310p() -> bool:
    """Whether this is one."""
    return NAME == P310


class BuildFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Says that vllm-ascend was built for a 310P, whatever its wheel was built for."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> Any:
        return importlib.machinery.ModuleSpec(name, self) if name == BUILD else None

    def exec_module(self, module: types.ModuleType) -> None:
        vars(module).update(BUILT_FOR)


def install() -> None:
    """Have vllm-ascend take itself for a build for this chip; asked first."""
    if is_310p():
        sys.meta_path.insert(0, BuildFinder())
