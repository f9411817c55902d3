"""How a checkpoint says that it is quantised, and whether its head is as it says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UnsupportedModelError
from .tensors import FLOATS, Tensor
from .weights import SCORE

LEFT_OUT = {
    "compressed-tensors": ("ignore",),
    "fp8": ("ignored_layers", "modules_to_not_convert"),
}
"""Methods whose layers vLLM fills with numbers that were not quantised without a word, each with
the fields of ``quantization_config`` that say which layers those are not. By other methods a
quantised layer has weights of other names, and vLLM refuses those that do not fit."""

HEAD = SCORE.removesuffix(".weight")
MODELSLIM = "ModelSlim"
"""The method of a checkpoint that has no name for it; vLLM calls it by `BY_VLLM_ASCEND`."""
BY_VLLM_ASCEND = "ascend"


def read_quantization(folder: Path) -> dict[str, Any]:
    """How the checkpoint in `folder` is quantised; empty where it is not.

    Either ``config.json`` has a ``quantization_config``, or ModelSlim, Ascend's own tool, left a
    ``quant_model_description.json`` beside it, from which vllm-ascend recognises it unasked.
    """
    said = _read(folder / "config.json").get("quantization_config") or {}
    read = dict(said) if isinstance(said, dict) else {"quant_method": said}
    for file in sorted(folder.glob("quant_model_description*.json")):
        read |= _read(file)
    return read


def _read(file: Path) -> dict[str, Any]:
    """What `file` holds; nothing where it is missing or damaged, which others tell."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def quantization_name(quantization: Mapping[str, Any]) -> str:
    """The method of `quantization`, e.g. ``awq``; empty where there is none."""
    return str(quantization.get("quant_method", MODELSLIM)) if quantization else ""


def with_float_head(quantization: Mapping[str, Any]) -> dict[str, Any]:
    """A ``quantization_config`` of what ModelSlim says, and that the head for scores is no int8.

    ModelSlim lists every layer, but the head is one that vLLM adds: vllm-ascend looks it up and
    dies of a KeyError (``AscendModelSlimConfig.get_quant_method``). What is said of a weight is all
    that it reads of a layer; without the rest, which is most of it, a command line can hold it.
    """
    weights = {name: kind for name, kind in quantization.items() if name.endswith(".weight")}
    others = {name: kind for name, kind in quantization.items() if "." not in name}
    return {**others, **weights, SCORE: "FLOAT", "quant_method": BY_VLLM_ASCEND}


def check_quantized_head(
    name: str, quantization: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Refuse a head of plain numbers in a model that says that its head is quantised.

    vLLM would round it to integers and multiply them by a scale that nobody has written.

    Raises:
        UnsupportedModelError: naming the field that should leave the head out.
    """
    score = tensors.get(SCORE)
    fields = LEFT_OUT.get(quantization_name(quantization))
    if score is None or fields is None or score.dtype not in FLOATS:
        return
    if any(one.startswith(f"{HEAD}.") and "scale" in one for one in tensors):
        return
    left_out = [layer for one in fields for layer in quantization.get(one) or []]
    if any(map(_means_head, left_out)) or not _is_target(quantization):
        return
    raise UnsupportedModelError(
        f"{name} has {SCORE} as it was before quantisation ({score.dtype}, in {score.file.name}), "
        f"but the quantization_config in its config.json leaves out only {left_out or 'nothing'}, "
        "so that vLLM would round the head until nothing is left of it; add "
        f'"{HEAD}" to "{fields[0]}" there'
    )


def _is_target(quantization: Mapping[str, Any]) -> bool:
    """Whether any layer, or this one, is to be quantised (compressed-tensors names them)."""
    groups = quantization.get("config_groups")
    if not isinstance(groups, dict):
        return True
    targets = [one for group in groups.values() for one in group.get("targets") or []]
    return any(one == "Linear" or _means_head(one) for one in targets)


def _means_head(layer: str) -> bool:
    if layer.startswith("re:"):
        return re.match(layer.removeprefix("re:"), HEAD) is not None
    return layer == HEAD
