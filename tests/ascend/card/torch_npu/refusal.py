"""What is said of an operator that is not written, or not so."""

from __future__ import annotations

from typing import Any, NoReturn

import torch


def described(value: Any) -> str:
    """An argument in a few words."""
    if isinstance(value, torch.Tensor):
        return f"{value.dtype}{list(value.shape)} on {value.device}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def refuse(operator: str, why: str, **arguments: Any) -> NoReturn:
    """Raise `NotImplementedError`, which names the operator, its arguments and the next step."""
    given = ", ".join(f"{name}={described(value)}" for name, value in arguments.items())
    name = operator if "." in operator else f"torch_npu.{operator}"
    raise NotImplementedError(
        f"the stand-in's {name}: {why} ({given}); write it in tests/ascend/card/torch_npu, with a "
        "test against a plain formula"
    )
