"""RMS normalisation and the activation of the MLP; computed in float32, rounded once."""

from __future__ import annotations

import torch


def npu_rms_norm(
    self: torch.Tensor, gamma: torch.Tensor, epsilon: float = 1e-6
) -> tuple[torch.Tensor, torch.Tensor]:
    """x / sqrt(mean(x²) + epsilon) · gamma, and the reciprocal of that root."""
    wide = self.float()
    root = torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
    return (wide * root * gamma.float()).to(self.dtype), root


def npu_add_rms_norm(
    x1: torch.Tensor, x2: torch.Tensor, gamma: torch.Tensor, epsilon: float = 1e-6
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The norm of x1 + x2, the reciprocal of its root, and the sum."""
    total = x1 + x2
    return *npu_rms_norm(total, gamma, epsilon), total


def npu_swiglu(self: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """silu(a) · b, the halves of `self` along `dim`."""
    first, second = self.float().chunk(2, dim=dim)
    return (torch.nn.functional.silu(first) * second).to(self.dtype)
