"""VLLMEngine: vLLM in process, on NPUs through vllm-ascend, on GPUs, on CPUs."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import logging
import math
import multiprocessing
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from ..checkpoint import Checkpoint, open_checkpoint, tokenizer_file
from ..errors import EngineDeadError, EngineError, MissingDependencyError
from ..prompt import PromptBatch
from ..runtime import probes
from ..runtime.detect import Machine, detect
from ..runtime.plan import Plan, Request, plan, read_quantization
from .base import EngineInfo

logger = logging.getLogger(__name__)

T = TypeVar("T")

SHUTDOWN_SECONDS = 15.0
"""How long vLLM's processes may take to end by themselves; less leaves shared memory behind."""
ABANDON_SECONDS = 10.0
"""How long `aclose()` waits for a start that it ended."""
CLAMP = 1e-7
"""Probabilities are kept this far from 0 and 1 where log-odds have to be recovered from them."""


class VLLMEngine:
    """Runs Qwen3-Reranker through vLLM's pooling task, with continuous batching.

    Token ids go in, so vLLM neither formats nor truncates anything; log-odds come out. How the
    installed vLLM wants to be asked is probed, and what its version is known to get wrong is set
    right or refused (`runtime/probes.py`). The model runs in a process of its own.
    """

    def __init__(
        self,
        model: str,
        *,
        max_length: int = 8192,
        tokenizer: str | None = None,
        **engine_arguments: Any,
    ) -> None:
        """Describe the engine; `start()` loads it.

        Args:
            model: a folder, a hub id or ``lexical``; original or converted checkpoint.
            max_length: longest prompt, in tokens.
            tokenizer: where ``tokenizer.json`` is when it is not beside the model.
            engine_arguments: whatever the installed vLLM's ``AsyncEngineArgs`` takes:
                ``tensor_parallel_size``, ``dtype``, ``gpu_memory_utilization``,
                ``additional_config``, …
        """
        self._model = model
        self._max_length = max_length
        self._tokenizer = tokenizer
        self._arguments = engine_arguments
        self._llm: Any = None
        self._prompt: Callable[[list[int]], Any] = _raw_prompt
        self._parameters: Any = None
        self._info: EngineInfo | None = None
        self._processes = _Processes()
        self._closed = False
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._calls: set[asyncio.Future[float]] = set()

    @property
    def info(self) -> EngineInfo:
        """What runs, and where."""
        if self._info is None:
            raise EngineError("the engine has not started yet; call start() first")
        return self._info

    async def start(self) -> None:
        """Load the model; takes half a minute or more.

        Raises:
            MissingDependencyError: vLLM is not installed.
            ModelError: the checkpoint is not there, of another kind, or damaged.
            InvalidInputError: an engine argument that this vLLM does not know.
            EngineError: scores could not be right in this runtime, or vLLM does not start.
        """
        _check_main_module()
        await _in_thread(self._load)

    async def score(self, batch: PromptBatch) -> list[float]:
        """Log-odds of "yes", shape (len(batch),); all pairs are under way at once."""
        calls = [asyncio.ensure_future(self._score(prompt)) for prompt in batch.prompts()]
        self._calls.update(calls)
        try:
            return await asyncio.gather(*calls)
        except asyncio.CancelledError:
            if self._closed:
                raise EngineError("the engine was closed during the call") from None
            raise
        finally:
            await _cancel(calls)
            self._calls.difference_update(calls)

    async def aclose(self) -> None:
        """End the engine's processes, and a start that is still under way."""
        with self._lock:
            self._closed = True
            llm, self._llm = self._llm, None
        await _cancel(list(self._calls))
        if llm is None:
            await _in_thread(self._processes.abandon_start)
            return
        if (handler := getattr(llm, "output_handler", None)) is not None:
            await _cancel([handler])  # else it logs the end as an error
        await _in_thread(lambda: self._shut_down(llm))

    async def _score(self, prompt: list[int]) -> float:
        llm = self._llm
        if llm is None:
            raise EngineError("the engine is closed")
        request = f"rerank-{next(self._numbers)}"
        try:
            outputs = llm.encode(self._prompt(prompt), self._parameters.clone(), request)
            *_, last = [output async for output in outputs]
        except Exception as error:
            if getattr(llm, "errored", False):
                raise EngineDeadError(
                    f"the process of {self.info.version} has died, and with it the model: close "
                    "this Reranker and make a new one; vLLM's log says what happened, out of "
                    "memory being the commonest cause"
                ) from error
            raise
        value = float(last.outputs.data.reshape(-1)[0])
        return value if self.info.log_odds_exact else _log_odds(value)

    def _load(self) -> None:
        machine = detect()
        if machine.vllm is None:
            raise MissingDependencyError(
                'the vllm engine needs vLLM; pip install "qwen3-ascend-rerank[npu]" on an NPU, '
                '"qwen3-ascend-rerank[vllm]" elsewhere'
            )
        checkpoint = open_checkpoint(self._model)
        tokenizer = tokenizer_file(self._tokenizer or checkpoint.folder)
        with _one_at_a_time:
            made = self._plan(machine, checkpoint)
            with _environment({**_spawn(), **made.environment}):
                signatures = _signatures(machine)
                options = {"disable_log_stats": True, **self._arguments, **made.settings}
                arguments = probes.engine_arguments(
                    signatures, converted=checkpoint.converted, options=options
                )
                self._prompt, self._parameters = _prompt_maker(), _pooling_parameters(signatures)
                # Nothing here keeps what is created: the frame may live on in the traceback of an
                # import that failed inside vLLM, and the model with it.
                self._adopt(
                    self._create(checkpoint, tokenizer, arguments), machine, signatures, tokenizer
                )

    def _plan(self, machine: Machine, checkpoint: Checkpoint) -> Plan:
        """What this runtime needs for right scores; its reasons are logged."""
        request = Request(
            self._max_length,
            self._arguments,
            read_quantization(checkpoint.folder),
            checkpoint.config,
        )
        made = plan(machine, request)
        made.check()
        for adjustment in made.adjustments:
            logger.info("%s", adjustment)
        for warning in made.warnings:
            logger.warning("%s", warning)
        return made

    def _create(self, checkpoint: Checkpoint, tokenizer: Path, arguments: dict[str, Any]) -> Any:
        with self._lock:
            if self._closed:
                raise EngineError("the engine was closed while it started")
            self._processes.begin_start()
        try:
            return _async_llm(str(checkpoint.folder), str(tokenizer.parent), arguments)
        except Exception as error:
            raise EngineError(
                f"vLLM could not start {self._model}: {error}; its log, above, names the cause"
            ) from error
        finally:
            self._processes.end_start()

    def _adopt(
        self, llm: Any, machine: Machine, signatures: probes.Signatures, tokenizer: Path
    ) -> None:
        self._info = EngineInfo(
            model=self._model,
            engine="vllm",
            version=_version(machine),
            device=machine.vllm_platform or machine.platform,
            dtype=str(llm.vllm_config.model_config.dtype).removeprefix("torch."),
            max_length=self._max_length,
            tokenizer=tokenizer,
            cache_block=_cache_block(llm.vllm_config.cache_config),
            chunk=_chunk(llm.vllm_config.scheduler_config),
            log_odds_exact=probes.log_odds_are_exact(signatures),
        )
        with self._lock:
            if not self._closed:
                self._llm = llm
                return
        self._shut_down(llm)  # closed while it was loading: nobody else would

    def _shut_down(self, llm: Any) -> None:
        if "timeout" in inspect.signature(llm.shutdown).parameters:
            llm.shutdown(timeout=SHUTDOWN_SECONDS)
        else:
            llm.shutdown()
        self._processes.end()
        _end_messaging(llm)


def _cache_block(config: Any) -> int:
    return int(config.block_size) if config.enable_prefix_caching else 0


def _chunk(config: Any) -> int:
    names = ("enable_chunked_prefill", "chunked_prefill_enabled")  # the newer one first
    chunked = next((getattr(config, name) for name in names if hasattr(config, name)), False)
    return int(config.max_num_batched_tokens) if chunked else 0


class _Processes:
    """The processes that vLLM starts for one engine, and their end whatever happens."""

    NAMES = ("EngineCore", "VLLM")
    """What the names of vLLM's own processes begin with, whoever started them."""

    def __init__(self) -> None:
        self._before: set[int | None] = set()
        self._idle = threading.Event()
        self._idle.set()
        self._found: list[Any] = []

    def begin_start(self) -> None:
        """From now on new processes of vLLM are this engine's."""
        self._before = {process.pid for process in self._running()}
        self._idle.clear()

    def end_start(self) -> None:
        """Remember what has been started."""
        self._found = self._new()
        self._idle.set()

    def abandon_start(self) -> None:
        """Kill what a start that is under way starts, until it gives up."""
        deadline = time.monotonic() + ABANDON_SECONDS
        while not self._idle.wait(0.1) and time.monotonic() < deadline:
            self._kill(self._new())
        self.end()

    def end(self) -> None:
        """Kill what outlived an orderly end, or its parent's death."""
        if self._found:
            _, left = import_module("psutil").wait_procs(self._found, timeout=5.0)
            self._kill(left)
        multiprocessing.active_children()  # buries the dead

    def _running(self) -> list[Any]:
        children = multiprocessing.active_children()
        return [child for child in children if child.name.startswith(self.NAMES)]

    def _new(self) -> list[Any]:
        """This engine's processes, parents first."""
        psutil = import_module("psutil")  # vLLM needs it too
        found: list[Any] = []
        for child in self._running():
            if child.pid not in self._before:
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(child.pid)
                    found += [process, *process.children(recursive=True)]
        return found

    def _kill(self, processes: list[Any]) -> None:
        for process in processes:
            with contextlib.suppress(import_module("psutil").Error):
                process.kill()


_one_at_a_time = threading.Lock()
"""Held while an engine starts: the environment and new processes belong to the whole process."""


@contextlib.contextmanager
def _environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Environment variables as vLLM's processes are to inherit them; None: not set."""
    before = {name: os.environ.get(name) for name in changes}
    _set_environment(changes)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _spawn() -> dict[str, str | None]:
    # A fork of a process with threads, of which there is at least this one, can hang.
    name = "VLLM_WORKER_MULTIPROC_METHOD"
    return {name: os.environ.get(name, "spawn")}


async def _in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own.

    It is a daemon, since the interpreter waits at its exit for those of asyncio's pool, before it
    lets anybody end what they do.
    """
    future: Future[T] = Future()

    def run() -> None:
        future.set_running_or_notify_cancel()
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            future.set_exception(error)

    try:
        threading.Thread(target=run, name="qwen3-ascend-rerank-vllm", daemon=True).start()
    except RuntimeError:  # the interpreter is ending and starts no more threads
        run()
    return await asyncio.wrap_future(future)


async def _cancel(calls: Collection[asyncio.Future[Any]]) -> None:
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


def _signatures(machine: Machine) -> probes.Signatures:
    try:
        return probes.Signatures.installed()
    except ImportError as error:
        raise MissingDependencyError(
            f"vLLM {machine.vllm} is installed but cannot be imported: {error}; install it again "
            "with the packages that it names"
        ) from error


def _async_llm(model: str, tokenizer: str, arguments: dict[str, Any]) -> Any:
    engine_args = import_module("vllm.engine.arg_utils").AsyncEngineArgs
    async_llm = import_module("vllm.v1.engine.async_llm").AsyncLLM
    return async_llm.from_engine_args(engine_args(model=model, tokenizer=tokenizer, **arguments))


def _end_messaging(llm: Any) -> None:
    """Close ZeroMQ's context, which vLLM leaves to the garbage collector, and its threads."""
    context = getattr(getattr(llm.engine_core, "resources", None), "ctx", None)
    if context is not None:
        with contextlib.suppress(RuntimeError):  # the interpreter is ending
            closing = threading.Thread(target=context.term, daemon=True)
            closing.start()
            closing.join(2.0)  # its sockets are closed by the event loop, at once or never


def _raw_prompt(ids: list[int]) -> Any:
    return {"prompt_token_ids": ids}


def _prompt_maker() -> Callable[[list[int]], Any]:
    """What makes a prompt of token ids: newer releases take one that is ready for the engine."""
    made: Callable[[list[int]], Any] | None
    made = getattr(import_module("vllm.inputs"), "tokens_input", None)
    return made or _raw_prompt


def _pooling_parameters(signatures: probes.Signatures) -> Any:
    made = import_module("vllm.pooling_params").PoolingParams
    return made(**probes.pooling_parameters(signatures))


def _version(machine: Machine) -> str:
    ascend = f", vllm-ascend {machine.vllm_ascend}" if machine.vllm_platform == "npu" else ""
    return f"vllm {machine.vllm}{ascend}"


def _log_odds(score: float) -> float:
    score = min(max(score, CLAMP), 1 - CLAMP)
    return math.log(score) - math.log1p(-score)


GUARD = (
    "vLLM starts processes that import your script again, so what starts it must stand under a "
    'guard:\n\n    if __name__ == "__main__":\n        with Reranker(…) as reranker:\n            …'
)

_MAIN = re.compile(r"__name__\s*(==|!=|in\b)|(==|!=)\s*__name__")


def _check_main_module() -> None:
    """Refuse to start from a script without a guard, where each new process would start another.

    Raises:
        EngineError: the script has no ``if __name__ == "__main__":``.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise EngineError(GUARD)  # this is such a process, importing the script
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if file and file.endswith(".py") and Path(file).is_file():
        source = Path(file).read_text(encoding="utf-8", errors="replace")
        if not _MAIN.search(source):
            raise EngineError(f"{file} has no guard. {GUARD}")
