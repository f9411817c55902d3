"""The backend ``hccl`` of torch.distributed, by which NPUs talk to each other: Gloo, for one."""

from __future__ import annotations

from typing import Any

import torch.distributed as distributed


def register() -> None:
    """Make ``backend="hccl"`` known."""

    def make(store: Any, rank: int, size: int, timeout: Any) -> Any:
        if size > 1:
            raise NotImplementedError(f"the stand-in is one NPU, not {size} that talk")
        return distributed.ProcessGroupGloo(store, rank, size, timeout)

    if not hasattr(distributed.Backend, "HCCL"):
        distributed.Backend.register_backend("hccl", make, devices=["npu"])
