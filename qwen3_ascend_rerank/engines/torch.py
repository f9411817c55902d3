"""TorchEngine: transformers on an NPU, a GPU or a CPU. The reference, and the fallback."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from ..checkpoint import Checkpoint, open_checkpoint, tokenizer_file
from ..errors import CorruptModelError, EngineError, InvalidInputError, MissingDependencyError
from ..prompt import PromptBatch, load_tokenizer
from .base import EngineInfo

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

BATCH_TOKENS = {"cpu": 2048}
"""Tokens of one forward pass, padding included, by device type. A CPU gains nothing from more."""
DEFAULT_BATCH_TOKENS = 16_384
"""The same for accelerators."""


class TorchEngine:
    """Runs Qwen3-Reranker through transformers, one forward pass at a time.

    Prompts are sorted by length and padded on the right, which a causal model's real tokens never
    see. Only the last position meets the head, h · (W_yes - W_no) in float32, which is the
    difference of the two logits of the official code.
    """

    def __init__(
        self,
        model: str,
        *,
        max_length: int = 8192,
        tokenizer: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        batch_tokens: int | None = None,
        attn_implementation: str | None = None,
    ) -> None:
        """Describe the engine; `start()` loads it.

        Args:
            model: a folder, a hub id or ``lexical``; original or converted checkpoint.
            max_length: longest prompt, in tokens.
            tokenizer: where ``tokenizer.json`` is when it is not beside the model.
            device: ``npu``, ``cuda``, ``cpu``, ``npu:1``, …; the first of these three that is
                there if not given.
            dtype: ``float32``, ``bfloat16`` or ``float16``; if not given, float32 on a CPU and
                bfloat16 elsewhere (float16 where the device has no bfloat16).
            batch_tokens: tokens of one forward pass, padding included.
            attn_implementation: as in transformers, e.g. ``sdpa`` or ``eager``.
        """
        self._model = model
        self._max_length = max_length
        self._tokenizer = tokenizer
        self._device = device
        self._dtype = dtype
        self._batch_tokens = batch_tokens
        self._attn_implementation = attn_implementation
        self._body: Any = None
        self._head: torch.Tensor | None = None
        self._info: EngineInfo | None = None
        # One thread: two passes at once would only slow each other down, and a queued pass whose
        # caller has gone is never run.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="qwen3-rerank-torch")

    @property
    def info(self) -> EngineInfo:
        """What runs, and where."""
        if self._info is None:
            raise EngineError("the engine has not started yet; call start() first")
        return self._info

    async def start(self) -> None:
        """Load the model.

        Raises:
            MissingDependencyError: torch or transformers is not installed.
            ModelError: the checkpoint is not there, of another kind, or damaged.
            InvalidInputError: a device or dtype that is not to be had.
        """
        await self._in_thread(self._load)

    async def score(self, batch: PromptBatch) -> list[float]:
        """Log-odds of "yes", shape (len(batch),)."""
        prompts = list(batch.prompts())
        log_odds = [math.nan] * len(prompts)
        for rows in _pack(batch.lengths(), self._budget):
            values = await self._in_thread(self._forward, [prompts[row] for row in rows])
            for row, value in zip(rows, values, strict=True):
                log_odds[row] = value
        return log_odds

    async def aclose(self) -> None:
        """Let the model go; a pass that is running ends by itself, a waiting one is cancelled."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._body = self._head = None

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.wrap_future(self._thread.submit(function, *arguments))

    def _load(self) -> None:
        torch, transformers = _import_torch(), _import_transformers()
        device = _choose_device(torch, self._device)
        dtype = _choose_dtype(torch, device, self._dtype)
        checkpoint = open_checkpoint(self._model)
        self._check_length(checkpoint)
        tokenizer = tokenizer_file(self._tokenizer or str(checkpoint.folder))
        qwen = load_tokenizer(tokenizer)
        model = _load_model(transformers, checkpoint, dtype, self._attn_implementation)
        if checkpoint.converted:
            head = model.score.weight[0].float()
        else:
            rows = model.get_output_embeddings().weight
            head = rows[qwen.yes].float() - rows[qwen.no].float()
        self._head = head.detach().to(device)
        self._body = model.model.to(device).eval()
        self._budget = self._batch_tokens or BATCH_TOKENS.get(device.type, DEFAULT_BATCH_TOKENS)
        self._info = EngineInfo(
            model=self._model,
            engine="torch",
            version=f"torch {torch.__version__}, transformers {transformers.__version__}",
            device=str(device),
            dtype=str(dtype).removeprefix("torch."),
            max_length=self._max_length,
            tokenizer=tokenizer,
        )

    def _check_length(self, checkpoint: Checkpoint) -> None:
        limit = checkpoint.config.get("max_position_embeddings")
        if isinstance(limit, int) and self._max_length > limit:
            raise InvalidInputError(
                f"max_length is {self._max_length} but {self._model} takes at most {limit} tokens"
            )

    def _forward(self, prompts: list[list[int]]) -> list[float]:
        import torch

        body, head = self._body, self._head
        if body is None or head is None:
            raise EngineError("the engine is closed")
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        ids = torch.zeros((len(prompts), int(lengths.max())), dtype=torch.long)
        for row, prompt in zip(ids, prompts, strict=True):
            row[: len(prompt)] = torch.tensor(prompt)
        try:
            with torch.inference_mode():
                hidden = body(input_ids=ids.to(head.device), use_cache=False).last_hidden_state
                last = hidden[torch.arange(len(prompts)), lengths - 1].float()
                log_odds: list[float] = (last @ head).tolist()
        except torch.OutOfMemoryError as error:
            raise EngineError(
                f"{head.device} has no memory for a pass of {ids.numel()} tokens; pass "
                'engine_options={"batch_tokens": …} with a smaller number, or a lower max_length'
            ) from error
        return log_odds


def _pack(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Row numbers in groups of like length whose padded tokens fit `budget`; longest first."""
    group: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if group and (len(group) + 1) * lengths[group[0]] > budget:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _import_torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise _missing("torch", error) from error


def _import_transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise _missing("transformers", error) from error


def _missing(package: str, error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(
        f"the torch engine needs {package}, which cannot be imported ({error}); "
        'pip install "qwen3-ascend-rerank[torch]"'
    )


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
        supported = getattr(getattr(torch, device.type), "is_bf16_supported", lambda: True)
        wanted = "bfloat16" if supported() else "float16"
    return getattr(torch, wanted)


def _load_model(
    transformers: Any, checkpoint: Checkpoint, dtype: Any, attention: str | None
) -> Any:
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
    options = {"attn_implementation": attention} if attention else {}
    try:
        with _quiet(transformers):
            model, found = kind.from_pretrained(
                checkpoint.folder, torch_dtype=dtype, output_loading_info=True, **options
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
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
