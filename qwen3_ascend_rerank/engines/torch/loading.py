"""From a checkpoint to a model on its device, with every weight from the checkpoint."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ...errors import CorruptModelError, InvalidInputError, MissingDependencyError
from ...models import Checkpoint, open_checkpoint, tokenizer_file
from ...prompt import QwenTokenizer, load_tokenizer
from ..base import EngineInfo
from . import memory
from .attention import Shapes
from .body import Body
from .linear import STEP as PACKED_ROWS
from .linear import pack
from .ragged import ragged_works

logger = logging.getLogger(__name__)

SHAPES = {"cpu": Shapes(attention="masked"), "npu": Shapes(step=64)}
"""What devices ask of shapes; others nothing. An NPU compiles for each. A CPU's flash attention
takes a mask, and a third less time where a prefix asks nothing; those of accelerators take none."""
RAGGED = Shapes(attention="ragged")
"""What suits a device that can do it."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready."""

    body: Body
    info: EngineInfo
    batch_tokens: int
    """How many tokens one pass should have at most."""
    warm_up: list[int]
    """Lengths of prompts to run before the first real one, where shapes are compiled."""


def load(
    model: str,
    max_length: int,
    tokenizer: str | None,
    device: str | None,
    dtype: str | None,
    *,
    compiled: bool = False,
) -> Loaded:
    """Load `model`; the arguments are those of `TorchEngine`, the errors of its `start`."""
    torch, transformers = _import("torch"), _import("transformers")
    place = _choose_device(torch, device)
    precision = _choose_dtype(torch, place, dtype)
    checkpoint = open_checkpoint(model)
    _check_length(checkpoint, model, max_length)
    file = tokenizer_file(tokenizer or str(checkpoint.folder))
    whole = _load_model(transformers, checkpoint, precision)
    head = _head(whole, checkpoint, load_tokenizer(file)).detach().to(place)
    bare = whole.model.to(place).eval()
    del whole
    shapes = SHAPES.get(place.type, Shapes())
    if ragged_works(place, precision, bare.config):
        shapes = RAGGED
    if place.type == "cpu" and not compiled and pack(bare):
        logger.info("linear layers of %s are multiplied by oneDNN, which is faster here", model)
        shapes = replace(shapes, rows=PACKED_ROWS)
    body = Body(bare, head, checkpoint.name, shapes, compiled=compiled)
    return Loaded(
        body=body,
        info=EngineInfo(
            model=model,
            engine="torch",
            version=f"torch {torch.__version__}, transformers {transformers.__version__}",
            device=str(place),
            dtype=str(precision).removeprefix("torch."),
            max_length=max_length,
            tokenizer=file,
            cache_block=shapes.step,
        ),
        batch_tokens=memory.batch_tokens(place, precision, bare.config),
        warm_up=_warm_up(shapes.step, max_length),
    )


def _head(model: Any, checkpoint: Checkpoint, qwen: QwenTokenizer) -> Any:
    """What h is multiplied with to give log-odds, in float32, shape (hidden_size,)."""
    if checkpoint.converted:
        return model.score.weight[0].float()
    rows = model.get_output_embeddings().weight
    return rows[qwen.yes].float() - rows[qwen.no].float()


def _warm_up(step: int, max_length: int) -> list[int]:
    doublings = range(max_length.bit_length()) if step > 1 else range(0)
    return [step << more for more in doublings if step << more < max_length]


def _check_length(checkpoint: Checkpoint, model: str, max_length: int) -> None:
    limit = checkpoint.config.get("max_position_embeddings")
    if isinstance(limit, int) and max_length > limit:
        raise InvalidInputError(
            f"max_length is {max_length} but {model} takes at most {limit} tokens"
        )


def _import(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingDependencyError(
            f"the torch engine needs {package}, which cannot be imported ({error}); "
            'pip install "qwen3-ascend-rerank[torch]"'
        ) from error


def _choose_device(torch: Any, wanted: str | None) -> Any:
    if importlib.util.find_spec("torch_npu") and (wanted or "npu").startswith("npu"):
        importlib.import_module("torch_npu")  # registers the npu device with torch
    if wanted is None:
        wanted = next((kind for kind in ("npu", "cuda") if _is_there(torch, kind)), "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = None
    if device is None or (device.type != "cpu" and not _is_there(torch, device.type)):
        raise InvalidInputError(
            f"device is {wanted!r} but torch {torch.__version__} finds no such device here; use "
            "npu (needs torch-npu), cuda or cpu, or one of several as npu:1"
        )
    return device


def _is_there(torch: Any, kind: str) -> bool:
    module = getattr(torch, kind, None)
    return module is not None and bool(module.is_available())


def _choose_dtype(torch: Any, device: Any, wanted: str | None) -> Any:
    names = ("float32", "bfloat16", "float16")
    if wanted is not None and wanted not in names:
        raise InvalidInputError(f"dtype is {wanted!r}; use one of {', '.join(names)}")
    if wanted is None and device.type == "cpu":
        wanted = "float32"
    if wanted is None:
        wanted = "bfloat16" if _has_bfloat16(torch, device) else "float16"
    return getattr(torch, wanted)


def _has_bfloat16(torch: Any, device: Any) -> bool:
    """Whether the card has it; where torch would emulate it, float16 is faster."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    supported = getattr(getattr(torch, device.type), "is_bf16_supported", lambda: True)
    return bool(supported())


def _load_model(transformers: Any, checkpoint: Checkpoint, dtype: Any) -> Any:
    """The transformers model, with every weight from the checkpoint and none made up."""
    kind = getattr(
        transformers,
        "Qwen3ForSequenceClassification" if checkpoint.converted else "Qwen3ForCausalLM",
        None,
    )
    if kind is None:
        raise MissingDependencyError(
            f"transformers {transformers.__version__} does not know Qwen3; "
            "pip install 'transformers>=4.51'"
        )
    try:
        with _quiet(transformers):
            model, found = kind.from_pretrained(
                checkpoint.folder, torch_dtype=dtype, output_loading_info=True
            )
    except Exception as error:
        raise CorruptModelError(
            f"the weights of {checkpoint.name} in {checkpoint.folder} cannot be loaded: "
            f"{str(error).strip().splitlines()[0] if str(error) else type(error).__name__}; "
            "fetch them again"
        ) from error
    tied = {"lm_head.weight"} if checkpoint.config.get("tie_word_embeddings") else set()
    if missing := sorted(set(found["missing_keys"]) - tied):
        raise CorruptModelError(
            f"the checkpoint of {checkpoint.name} in {checkpoint.folder} lacks {len(missing)} "
            f"weights, {missing[0]} first; fetch it again"
        )
    return model


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    log = transformers.utils.logging
    shown = log.is_progress_bar_enabled()
    log.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            log.enable_progress_bar()
