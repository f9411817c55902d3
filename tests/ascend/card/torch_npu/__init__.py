"""A stand-in for torch_npu: a device ``npu`` over host memory, and the operators that Qwen3 meets.

Real code, from vllm-ascend's wheel or of this package, runs on it unchanged. Nothing is silent: an
operator that is not here raises with its arguments, and what a card refuses is refused.

* `npu.cpp`, `device.py`: the device; `runtime.py`: ``torch.npu``; `chip.py`: an A2, or a 310P.
* `attention.py`, `cache.py`, `norms.py`, `rotary.py`, `linear.py`, `quantised.py`: the operators,
  in plain torch; `layouts.py`: how the card lays matrices out.
* `triton_kernels.py`, `communication.py`, `extension.py`, `placeholders.py`: what vllm-ascend
  needs besides.

The card's kernels, their precision, graphs and speed are not here.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import torch

from . import chip, communication, device, extension, placeholders, runtime, triton_kernels
from .attention import (
    _npu_flash_attention,
    _npu_flash_attention_qlens,
    _npu_paged_attention,
    _npu_paged_attention_splitfuse,
    npu_fused_infer_attention_score,
    npu_fusion_attention,
)
from .cache import _npu_reshape_and_cache, npu_scatter_pa_kv_cache
from .layouts import empty_with_format, get_npu_format, npu_format_cast
from .linear import _npu_matmul_add_fp32
from .norms import npu_add_rms_norm, npu_rms_norm, npu_swiglu
from .quantised import npu_dynamic_quant, npu_quant_matmul, npu_quantize
from .rotary import _npu_rotary_embedding, npu_apply_rotary_pos_emb, npu_mrope, npu_rotary_mul

__all__ = [
    "_npu_flash_attention",
    "_npu_flash_attention_qlens",
    "_npu_matmul_add_fp32",
    "_npu_paged_attention",
    "_npu_paged_attention_splitfuse",
    "_npu_reshape_and_cache",
    "_npu_rotary_embedding",
    "empty_with_format",
    "get_npu_format",
    "npu_add_rms_norm",
    "npu_apply_rotary_pos_emb",
    "npu_dynamic_quant",
    "npu_format_cast",
    "npu_fused_infer_attention_score",
    "npu_fusion_attention",
    "npu_mrope",
    "npu_quant_matmul",
    "npu_quantize",
    "npu_rms_norm",
    "npu_rotary_mul",
    "npu_scatter_pa_kv_cache",
    "npu_swiglu",
]

__version__ = torch.__version__.partition("+")[0]

stand_in = device.build()
"""The compiled device: `used()`, `peak()`, `limit()`, `set_limit(bytes)`."""

for _name in __all__:
    globals()[_name] = device.on_the_device(globals()[_name])

npu = runtime.module(stand_in)
torch._register_device_module("npu", npu)
torch.utils.generate_methods_for_privateuse1_backend(for_storage=True)
for _name in ("torch.npu", "torch_npu.npu", "torch_npu.npu.streams"):
    sys.modules[_name] = npu
chip.install()
communication.register()
triton_kernels.install()
extension.install()
placeholders.install("torch_npu", "torchair", "acl", "torchvision", "fla_npu")
importlib.import_module("torchair.fx_summary")  # 0.23.0 reloads it, so it has been imported


def __getattr__(name: str) -> Any:
    return placeholders.attribute(name)
