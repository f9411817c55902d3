"""TorchEngine: transformers on an NPU, a GPU or a CPU. The reference, and the fallback."""

from .engine import TorchEngine

__all__ = ["TorchEngine"]
