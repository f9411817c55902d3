"""What vllm-ascend computes by Triton, in torch: it has no compiler for a host.

From 0.18.0 on the slots of a step's tokens are computed so. The kernel is replaced where its module
is imported; sources: ``vllm/v1/worker/block_table.py`` and
``vllm_ascend/ops/triton/compute_slot_mapping.py``.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from .device import on_the_device

NAME = "_compute_slot_mapping_kernel"
MODULES = ("vllm.v1.worker.block_table", "vllm_ascend.ops.triton.compute_slot_mapping")


class SlotMapping:
    """The kernel: called as ``kernel[grid](…)``."""

    def __getitem__(self, grid: Any) -> Any:
        return on_the_device(self.launch)

    @staticmethod
    def launch(
        tokens: int,
        most: int,
        starts: torch.Tensor,
        positions: torch.Tensor,
        blocks: torch.Tensor,
        stride: int,
        size: int,
        slots: torch.Tensor,
        *,
        TOTAL_CP_WORLD_SIZE: int,  # noqa: N803 - the kernel's own name
        PAD_ID: int,  # noqa: N803
        **_: Any,
    ) -> None:
        """Fill `slots`: the token at a position of request r lies in the block of r's row."""
        if TOTAL_CP_WORLD_SIZE != 1 or blocks.stride(0) != stride:
            raise NotImplementedError("the stand-in has no context parallelism")
        ends = starts.tolist()
        for row, (start, end) in enumerate(pairwise(ends)):
            if row >= len(blocks) or end <= start:
                continue
            place = positions[start:end].long()
            slots[start:end] = (blocks[row][place // size].long() * size + place % size).to(
                slots.dtype
            )
        slots[tokens:most] = PAD_ID


class _Replacing(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> Any:
        if name not in MODULES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def replaced(module: Any) -> None:
                execute(module)
                if hasattr(module, NAME):
                    setattr(module, NAME, SlotMapping())

            loader.exec_module = replaced
        return spec


def install() -> None:
    """Replace the kernel in whatever imports it."""
    sys.meta_path.insert(0, _Replacing())
