"""From a checkpoint to a model on its device, with every weight from the checkpoint."""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ...checks import checked_text
from ...errors import (
    CorruptModelError,
    EngineError,
    InvalidInputError,
    MissingDependencyError,
    UnsupportedModelError,
)
from ...models import Checkpoint, Configuration, lexical, open_checkpoint, read_rows, tokenizer_file
from ...models.quantization import quantization_name
from ...models.weights import EMBEDDING, LM_HEAD, SCORE
from ...prompts import QwenTokenizer, load_tokenizer
from ...protocol import EngineInfo
from ...runtime import torch_npu
from ...runtime.detect import detect
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
ANGLE_ROUNDING = 1e-4
"""How far an angle of the rotary embedding, computed in float32, may lie off, as a share of it."""
RAGGED = Shapes(attention="ragged")
"""What suits a device that can do it."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready."""

    body: Body
    info: EngineInfo
    budget: memory.Budget
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
    torch = _import("torch", torch_npu.import_torch)
    place = _choose_device(torch, device, is_lexical=model == lexical.NAME)
    transformers = _import("transformers")  # which looks for torch_npu too
    precision = _choose_dtype(torch, place, dtype)
    checkpoint = open_checkpoint(model, weights=False)
    if checkpoint.quantization:
        method = quantization_name(checkpoint.quantization)
        raise UnsupportedModelError(
            f"{model} is quantised ({method}), and torch runs no quantised "
            'checkpoints here; use engine="vllm", or the checkpoint that was not quantised'
        )
    checkpoint.check_length(max_length)
    checkpoint = open_checkpoint(model)
    file = tokenizer_file(tokenizer or str(checkpoint.folder))
    qwen = load_tokenizer(file)
    checkpoint.check(qwen)
    head = _head(checkpoint, qwen).to(place)
    bare = _load_body(transformers, checkpoint, precision).to(place).eval()
    _check_rotary(bare, checkpoint, transformers)
    shapes = SHAPES.get(place.type, Shapes())
    if ragged_works(place, precision, bare.config):
        shapes = RAGGED
    if place.type == "cpu" and not compiled and pack(bare):
        logger.info("linear layers of %s are multiplied by oneDNN, which is faster here", model)
        shapes = replace(shapes, rows=PACKED_ROWS)
    if place.type == "cpu":
        memory.take_from_files(bare)
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
        budget=memory.budget(place, precision, bare.config),
        warm_up=_warm_up(shapes.step, max_length),
    )


def _head(checkpoint: Checkpoint, qwen: QwenTokenizer) -> Any:
    """What h is multiplied with to give log-odds, in float32, shape (hidden_size,).

    It is read from the files, since releases of transformers differ in which head they load.
    """
    if labels := checkpoint.labels:
        name, yes, no = SCORE, labels.positive, labels.negative
    else:
        name = EMBEDDING if checkpoint.configuration.tie_word_embeddings else LM_HEAD
        yes, no = qwen.yes, qwen.no
    rows = read_rows(checkpoint.tensors[name], name, [yes] if no is None else [yes, no])
    return rows[0] if no is None else rows[0] - rows[1]


def _warm_up(step: int, max_length: int) -> list[int]:
    doublings = range(max_length.bit_length()) if step > 1 else range(0)
    return [step << more for more in doublings if step << more < max_length]


def _import(package: str, how: Callable[[], Any] | None = None) -> Any:
    try:
        return how() if how else importlib.import_module(package)
    except ImportError as error:
        raise MissingDependencyError(
            f"the torch engine needs {package}, which cannot be imported ({error}); "
            'pip install "qwen3-ascend-rerank[torch]"'
        ) from error


def _register_npu(wanted: str | None, *, lexical: bool) -> None:
    """Have torch know NPUs, where torch_npu is installed.

    Where none is asked for, and none is there or the model is the small one that needs none, the
    next best device will do.
    """
    fault = torch_npu.load()
    if fault is None or wanted == "cpu":
        return
    if (wanted or "").startswith("npu") or (not lexical and detect().platform == "npu"):
        raise MissingDependencyError(fault)
    logger.warning("%s", fault)


def _choose_device(torch: Any, wanted: Any, *, is_lexical: bool = False) -> Any:
    if not (wanted is None or isinstance(wanted, str)):
        wanted = str(wanted) if isinstance(wanted, torch.device) else checked_text("device", wanted)
    _register_npu(wanted, lexical=is_lexical)
    if wanted is None:
        wanted = next((kind for kind in ("npu", "cuda") if _is_there(torch, kind)), "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = None
    if device is None or not _has(torch, device):
        raise InvalidInputError(
            f"device is {wanted!r} but torch {torch.__version__} finds no such device here; use "
            "npu (needs torch-npu), cuda or cpu, or one of several as npu:1"
        )
    return device


def _has(torch: Any, device: Any) -> bool:
    if device.type == "cpu":
        return True
    if not _is_there(torch, device.type):
        return False
    return device.index is None or device.index < getattr(torch, device.type).device_count()


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


def _load_body(transformers: Any, checkpoint: Checkpoint, dtype: Any) -> Any:
    """The bare transformers model, with every weight from the checkpoint and none made up.

    What decides a score is handed over under the names that this release looks for, and then
    looked up in the loaded model.
    """
    kind = getattr(transformers, "Qwen3Model", None)
    if kind is None:
        raise MissingDependencyError(
            f"transformers {transformers.__version__} does not know Qwen3; "
            "pip install 'transformers>=4.51'"
        )
    values = checkpoint.configuration.written_for(transformers.__version__)
    config = transformers.Qwen3Config(**values)
    try:
        with _quiet(transformers):
            model, found = kind.from_pretrained(
                checkpoint.folder, config=config, torch_dtype=dtype, output_loading_info=True
            )
    except Exception as error:
        raise EngineError(
            f"transformers {transformers.__version__} cannot load the weights of "
            f"{checkpoint.name} in {checkpoint.folder}: {type(error).__name__}: "
            f"{' '.join(str(error).split())}"
        ) from error
    left = [
        f"{what.replace('_', ' ')} {min(map(str, found[what]))}"
        for what in ("missing_keys", "mismatched_keys")
        if found.get(what)
    ]
    if left:
        raise CorruptModelError(
            f"transformers {transformers.__version__} does not find every weight of "
            f"{checkpoint.name} in {checkpoint.folder}: {', '.join(left)}"
        )
    loaded = Configuration.read(model.config.to_dict(), "the loaded model's configuration")
    if differences := checkpoint.configuration.differences(loaded):
        raise _read_otherwise(transformers, checkpoint, ", ".join(differences))
    return model


def _check_rotary(model: Any, checkpoint: Checkpoint, transformers: Any) -> None:
    """Compare the angles that the loaded model turns by with those of ``config.json``."""
    import torch

    configuration = checkpoint.configuration
    angles, scale = configuration.rope.frequencies(configuration.head_dim)
    module = model.rotary_emb
    found, right = module.inv_freq.double().cpu(), torch.tensor(angles, dtype=torch.float64)
    if found.shape != right.shape or not torch.allclose(found, right, rtol=ANGLE_ROUNDING, atol=0):
        raise _read_otherwise(transformers, checkpoint, "the rotary embedding has other angles")
    if abs(float(module.attention_scaling) - scale) > ANGLE_ROUNDING * scale:
        raise _read_otherwise(
            transformers,
            checkpoint,
            f"the rotary embedding scales by {module.attention_scaling} instead of {scale}",
        )


def _read_otherwise(transformers: Any, checkpoint: Checkpoint, what: str) -> EngineError:
    return EngineError(
        f"transformers {transformers.__version__} reads {checkpoint.folder / 'config.json'} "
        f"otherwise than it is meant: {what}; use another release of transformers"
    )


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No progress bar, and no report that a bare model leaves its head out."""
    log = transformers.utils.logging
    shown, level = log.is_progress_bar_enabled(), log.get_verbosity()
    log.disable_progress_bar()
    log.set_verbosity_error()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if shown:
            log.enable_progress_bar()
