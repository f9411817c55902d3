"""LoRA adapters in PEFT's layout, as ms-swift, LLaMA-Factory and PEFT itself write them.

What they add to a weight is ``scale * B @ A``, and what they saved whole takes its place. The
arithmetic is that of ``peft/tuners/lora/layer.py`` (0.21); an adapter that computes anything else
is refused.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CorruptModelError, ModelNotFoundError, UnsupportedModelError
from ..models import Checkpoint
from ..models.folder import read_json
from ..models.tensors import FLOATS, read_tensors
from ..models.weights import EMBEDDING, LM_HEAD, SCORE, expected_shapes
from .storage import Stored, stored

if TYPE_CHECKING:
    from .storage import Numbers

logger = logging.getLogger(__name__)

CONFIGURATION, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What PEFT puts before the names of the model's own weights."""
WAY_OUT = "merge it with peft's merge_and_unload(), save the model, and convert that"

REFUSED = {
    "use_dora": "DoRA, which also sets the length of each row",
    "use_qalora": "QA-LoRA, which pools its input",
    "use_bdlora": "block-diagonal LoRA",
    "lora_bias": "LoRA with a bias, which a Qwen3-Reranker has no place for",
    "alora_invocation_tokens": "an activated LoRA, which changes only the tokens behind a mark",
    "arrow_config": "a router between several adapters",
    "kasa_config": "KaSA, which takes a part of the base away",
    "monteclora_config": "MonteCLoRA, which draws its weights by chance",
    "layer_replication": "a model with layers repeated",
    "target_parameters": "parameters of experts, which no Qwen3-Reranker has",
    "trainable_token_indices": "single rows of the embedding that were trained",
}
"""Keys of ``adapter_config.json`` with which more is computed than ``scale * B @ A``."""
CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""How names of ``init_lora_weights`` begin after which training went on from another base."""
LEFT, RIGHT = (".lora_B.weight", ".lora_embedding_A"), (".lora_A.weight", ".lora_embedding_B")
WHOLE = (".base_layer.weight", ".weight")
"""How names of an adapter's weights end."""
_PUBLISHED = re.compile(r"Qwen3(?:-[A-Z]+)*-\d+(?:(?:\.|___)\d+)?B", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Delta:
    """What is added to a weight: ``scale * left @ right``."""

    left: Stored
    """Shape (rows, rank), or (rank, rows) where it is `turned`."""
    right: Stored
    """Shape (rank, columns), or (columns, rank)."""
    scale: float
    turned: bool
    """As for embeddings, of which PEFT saves both transposed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight that it is added to."""
        if self.turned:
            return self.left.shape[1], self.right.shape[0]
        return self.left.shape[0], self.right.shape[1]

    @property
    def ranks(self) -> tuple[int, int]:
        """The rank as either of the two has it."""
        left, right = self.left.shape, self.right.shape
        return (left[0], right[1]) if self.turned else (left[1], right[0])

    def rows(self, first: int, count: int) -> Numbers:
        """Rows of what is added, shape (count, columns)."""
        right = self.right.rows()
        if self.turned:
            left, right = self.left.rows()[:, first : first + count].T, right.T
        else:
            left = self.left.rows(first, count)
        added: Numbers = (left @ right) * self.scale
        return added


@dataclass(frozen=True, slots=True)
class Adapter:
    """What an adapter makes of its base's weights."""

    folder: Path
    deltas: Mapping[str, Delta]
    """What it adds, by the name of the weight."""
    whole: Mapping[str, Stored]
    """Weights that take the base's place, by name."""


def open_adapter(folder: Path, base: Checkpoint) -> Adapter:
    """Read the adapter in `folder`, and see to it that it is one for `base`.

    Raises:
        ModelNotFoundError: there is no such folder.
        CorruptModelError: files are missing or damaged, or contradict each other.
        UnsupportedModelError: an adapter of another kind, or for another base.
    """
    config = _read_config(folder)
    _refuse_other_kinds(folder, config)
    _refuse_another_name(folder, config, base)
    file = folder / WEIGHTS
    if not file.is_file():
        others = ", ".join(sorted(one.name for one in folder.glob("adapter_model*")))
        raise CorruptModelError(
            f"{folder} has no {WEIGHTS}"
            + (f", but {others}; save the adapter as safetensors" if others else "; fetch it again")
        )
    read_tensors([file])  # tells of damage
    deltas, whole = _sorted_out(folder, config, stored(file))
    adapter = Adapter(folder, deltas, whole)
    _check_shapes(adapter, config, base)
    return adapter


def _read_config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ModelNotFoundError(f"there is no folder {folder} with an adapter")
    config = read_json(folder / CONFIGURATION)
    if not isinstance(config, dict):
        raise CorruptModelError(
            f"{folder} has no {CONFIGURATION}; name the folder that training has saved the adapter "
            "in, often checkpoint-<number>"
        )
    return config


def _refuse_other_kinds(folder: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise UnsupportedModelError(
            f"{folder} is an adapter of the kind {kind!r}; only LoRA is merged here. {WAY_OUT}"
        )
    for key, what in REFUSED.items():
        if config.get(key):
            raise UnsupportedModelError(f"{folder} is {what} ({key}); {WAY_OUT}")
    begun = config.get("init_lora_weights")
    if isinstance(begun, str) and begun.startswith(CHANGED_BASE):
        raise UnsupportedModelError(
            f"{folder} was trained on a base that init_lora_weights {begun!r} had changed, and is "
            "none for the published one; save it with peft's path_initial_model_for_weight_"
            "conversion, or the base that training left beside it"
        )


def _refuse_another_name(folder: Path, config: Mapping[str, Any], base: Checkpoint) -> None:
    """Refuse where the names of published models tell two bases apart that have one shape."""
    asked = str(config.get("base_model_name_or_path") or "")
    theirs = _published(asked)
    ours = _published(f"{base.name} {base.folder}") or _published(
        str(base.config.get("_name_or_path") or "")
    )
    if theirs and ours != theirs and (ours or "-reranker-" not in theirs):
        raise UnsupportedModelError(
            f"{folder} is an adapter for {asked}, not for {base.name}; give the model that it was "
            "trained on"
        )


def _published(name: str) -> str | None:
    """The published model that a name or a path speaks of, in small letters."""
    found = list(_PUBLISHED.finditer(name))
    return found[-1][0].lower().replace("___", ".") if found else None


def _sorted_out(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Stored]
) -> tuple[dict[str, Delta], dict[str, Stored]]:
    """The weights of an adapter, by what they change."""
    left: dict[str, Stored] = {}
    right: dict[str, Stored] = {}
    whole: dict[str, Stored] = {}
    turned = set()
    for key, tensor in tensors.items():
        name = key.removeprefix(PREFIX)
        for endings, group in ((LEFT, left), (RIGHT, right), (WHOLE, whole)):
            ending = next((one for one in endings if name.endswith(one)), "")
            module = name.removesuffix(ending)
            if ending and tensor.dtype in FLOATS and ".lora_" not in module:
                group[module] = tensor
                turned |= {module} if "embedding" in ending else set()
                break
        else:
            raise UnsupportedModelError(
                f"{folder} holds {key} ({tensor.dtype}), which is no part of a plain LoRA; "
                f"{WAY_OUT}"
            )
    if alone := sorted(left.keys() ^ right.keys()):
        raise CorruptModelError(
            f"{folder} has only one half of the adapter of {alone[0]}; save it again"
        )
    for module, one in [*left.items(), *right.items()]:
        if len(one.shape) != 2 or 0 in one.shape:
            raise CorruptModelError(
                f"{folder} has a part of {module} in the shape {one.shape}: it was saved before "
                "the shards of training were gathered (DeepSpeed ZeRO-3, FSDP); save it again"
            )
    deltas = {
        f"{module}.weight": Delta(one, right[module], _scale(config, module), module in turned)
        for module, one in left.items()
    }
    return deltas, {f"{module}.weight": tensor for module, tensor in whole.items()}


def _scale(config: Mapping[str, Any], module: str) -> float:
    rank = _of_module(config, "rank_pattern", "r", module)
    alpha = _of_module(config, "alpha_pattern", "lora_alpha", module)
    return float(alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _of_module(config: Mapping[str, Any], pattern: str, name: str, module: str) -> Any:
    """What a pattern says of `module`, else what goes for all (``get_pattern_key`` of PEFT)."""
    patterns: Mapping[str, Any] = config.get(pattern) or {}
    matches = (one for one in patterns if re.match(rf"(.*\.)?({one})$", module))
    value = patterns.get(next(matches, ""), config.get(name))
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise CorruptModelError(f"{CONFIGURATION} says {name} {value!r} of {module}; save it again")
    return value


def _check_shapes(adapter: Adapter, config: Mapping[str, Any], base: Checkpoint) -> None:
    shapes = expected_shapes(base.configuration, converted=False)
    width = base.configuration.hidden_size
    shapes |= {LM_HEAD: (base.configuration.vocab_size, width), SCORE: (1, width)}
    changed = [(name, one.shape) for name, one in adapter.whole.items()]
    changed += [(name, one.shape) for name, one in adapter.deltas.items()]
    for name, shape in changed:
        if shape != shapes.get(name):
            has = f"in the shape {shapes[name]}" if name in shapes else "not at all"
            raise UnsupportedModelError(
                f"{adapter.folder} is an adapter for another base: it changes {name} in the shape "
                f"{shape}, which {base.name} has {has}; give the model that it was trained on"
                f" ({config.get('base_model_name_or_path')!r})"
            )
    for name, delta in adapter.deltas.items():
        rank = _of_module(config, "rank_pattern", "r", name.removesuffix(".weight"))
        if set(delta.ranks) != {rank}:
            raise CorruptModelError(
                f"{adapter.folder} has the rank {delta.ranks[0]} for {name}, where its "
                f"{CONFIGURATION} says {rank}; the two belong to different trainings"
            )
    _check_whole(adapter, config, shapes)
    heads = {EMBEDDING, LM_HEAD} & (adapter.deltas.keys() | adapter.whole.keys())
    if config.get("ensure_weight_tying") and heads:
        raise UnsupportedModelError(
            f"{adapter.folder} ties its change of {min(heads)} to another weight "
            f"(ensure_weight_tying); {WAY_OUT}"
        )


def _check_whole(adapter: Adapter, config: Mapping[str, Any], shapes: Iterable[str]) -> None:
    """Refuse an adapter of which a part is missing."""
    if not adapter.deltas and not adapter.whole:
        raise CorruptModelError(f"{adapter.folder} changes nothing; save it again")
    targets = config.get("target_modules")
    fewer = [config.get(one) for one in ("layers_to_transform", "exclude_modules")]
    modules = [name.removesuffix(".weight") for name in shapes if ".layers." in name]
    wanted = []
    if isinstance(targets, list) and not any(one is not None and one != [] for one in fewer):
        ends = tuple(f".{one}" for one in targets)
        wanted = [one for one in modules if f".{one}".endswith(ends)]
    saved = tuple(f".{one}" for one in config.get("modules_to_save") or [])
    missing = [one for one in wanted if f"{one}.weight" not in adapter.deltas]
    missing += [
        one for one in modules if f".{one}".endswith(saved) and f"{one}.weight" not in adapter.whole
    ]
    if missing:
        raise CorruptModelError(
            f"{adapter.folder} lacks {len(missing)} of the parts that its {CONFIGURATION} names, "
            f"{missing[0]} first; save it again"
        )
