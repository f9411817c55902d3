"""VLLMEngine: starts vLLM, has it score, ends it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from ...bridge.threads import in_thread
from ...bridge.turns import Turns
from ...errors import EngineDeadError, EngineError, MissingDependencyError
from ...models import (
    Checkpoint,
    Configuration,
    Labels,
    expected_in_vllm,
    open_checkpoint,
    tokenizer_file,
    vllm_overrides,
)
from ...models.location import Location
from ...prompts import PromptBatch, load_tokenizer
from ...protocol import EngineInfo, closed_for_good, log_odds_of
from ...runtime import probes, torch_npu
from ...runtime.detect import Machine, detect
from ...runtime.plan import Deployment, Plan, plan, unpaired
from . import launch, library
from .processes import Processes

logger = logging.getLogger(__name__)


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
        name: str | None = None,
        **engine_arguments: Any,
    ) -> None:
        """Describe the engine; `start()` loads it.

        Args:
            model: a folder, a hub id or ``lexical``; original or converted checkpoint.
            max_length: longest prompt, in tokens.
            tokenizer: where ``tokenizer.json`` is when it is not beside the model.
            name: what `info` calls the model; None: as `model`.
            engine_arguments: whatever the installed vLLM's ``AsyncEngineArgs`` takes:
                ``tensor_parallel_size``, ``dtype``, ``gpu_memory_utilization``,
                ``additional_config``, …
        """
        self._model = Location.of(model).real
        self._name = name or model
        self._max_length = max_length
        self._tokenizer = tokenizer and Location.of(tokenizer).real
        self._arguments = engine_arguments
        self._llm: Any = None
        self._prompt: Callable[[list[int]], Any] = library.raw_prompt
        self._parameters: Any = None
        self._labels = Labels(0, None)
        self._info: EngineInfo | None = None
        self._processes = Processes()
        self._closed = False
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._calls: set[asyncio.Future[list[float]]] = set()
        self._turns = Turns(0)

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
        if self._closed:
            raise closed_for_good()
        launch.check_main_module()
        await in_thread(self._load)

    async def score(self, batch: PromptBatch) -> list[float]:
        """Log-odds of "yes", shape (len(batch),).

        Of all calls together as many pairs are under way as keep vLLM's batches full; a prompt is
        made when its turn comes, and calls take turns, so that a small one does not wait for a
        huge one.

        Raises:
            EngineError: vLLM turned a prompt away, or answered with something else than a score.
            EngineDeadError: its process died.
        """
        llm = self._llm
        if llm is None:
            raise EngineError("the engine is closed")
        parameters = self._parameters.clone()  # vLLM writes into them; each request gets a copy
        call = asyncio.ensure_future(
            self._turns.map(partial(self._score, llm, parameters), batch.prompts(), len)
        )
        self._calls.add(call)
        try:
            return await call
        except asyncio.CancelledError:
            if self._closed:
                raise EngineError("the engine was closed during the call") from None
            raise
        finally:
            await _cancel([call])
            self._calls.discard(call)

    async def aclose(self) -> None:
        """End the engine's processes, and a start that is still under way."""
        with self._lock:
            self._closed = True
            llm, self._llm = self._llm, None
        await _cancel(list(self._calls))
        if llm is None:
            await in_thread(self._processes.abandon_start)
            return
        if (handler := getattr(llm, "output_handler", None)) is not None:
            await _cancel([handler])  # else it logs the end as an error
        await in_thread(lambda: self._shut_down(llm))

    async def _score(self, llm: Any, parameters: Any, prompt: list[int]) -> float:
        request = f"rerank-{next(self._numbers)}"
        try:
            outputs = llm.encode(self._prompt(prompt), parameters, request)
            *_, last = [output async for output in outputs]
        except Exception as error:
            if getattr(llm, "errored", False):
                raise EngineDeadError(
                    f"the process of {self.info.version} has died, and with it the model: close "
                    "this Reranker and make a new one; vLLM's log says what happened, out of "
                    "memory being the commonest cause"
                ) from error
            raise EngineError(
                f"{self.info.version} could not score a prompt of {len(prompt)} tokens: "
                f"{str(error) or type(error).__name__}; its log says more"
            ) from error
        found = library.numbers(last, self._labels.count)
        if not self.info.log_odds_exact:  # of two labels each is the other's complement
            return log_odds_of(found[self._labels.positive])
        return found[self._labels.positive] - (
            0.0 if self._labels.negative is None else found[self._labels.negative]
        )

    def _load(self) -> None:
        machine = detect()
        if machine.vllm is None:
            raise MissingDependencyError(
                'the vllm engine needs vLLM; pip install "qwen3-ascend-rerank[npu]" on an NPU, '
                '"qwen3-ascend-rerank[vllm]" elsewhere'
            )
        fault = torch_npu.load()
        if fault is not None and machine.vllm_platform == "npu":
            raise MissingDependencyError(fault)
        checkpoint = open_checkpoint(self._model)
        tokenizer = tokenizer_file(self._tokenizer or checkpoint.folder)
        checkpoint.check(load_tokenizer(tokenizer))
        self._labels = checkpoint.labels or self._labels
        with launch.one_at_a_time:
            made = self._plan(machine, checkpoint)
            # What vLLM starts would load torch_npu again, and die of it.
            without = {torch_npu.AUTOLOAD: "0"} if fault else {}
            with launch.environment({**made.environment, **without}):
                accepted = library.signatures(machine)
                options = {"disable_log_stats": True, **self._arguments, **made.settings}
                arguments = probes.engine_arguments(
                    accepted,
                    converted=checkpoint.converted,
                    overrides=vllm_overrides(checkpoint),
                    options=options,
                )
                self._prompt = library.prompt_maker()
                self._parameters = library.pooling_parameters(accepted)
                # Nothing here keeps what is created: the frame may live on in the traceback of an
                # import that failed inside vLLM, and the model with it.
                self._adopt(
                    self._create(checkpoint, tokenizer, arguments),
                    machine,
                    accepted,
                    checkpoint,
                    tokenizer,
                )

    def _expected(self, checkpoint: Checkpoint) -> Configuration | None:
        """What vLLM is to make of ``config.json``; None where nobody can know."""
        return expected_in_vllm(checkpoint, self._arguments.get("hf_overrides"))

    def _plan(self, machine: Machine, checkpoint: Checkpoint) -> Plan:
        """What this runtime needs for right scores; its reasons are logged."""
        if wanted := self._expected(checkpoint):
            checkpoint.check_length(self._max_length, spare=1, longest=wanted.longest)
        request = Deployment(
            self._max_length,
            self._arguments,
            checkpoint.quantization,
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
            return library.async_llm(str(checkpoint.folder), str(tokenizer.parent), arguments)
        except Exception as error:
            advice = [each for each in (unpaired(detect()),) if each]
            said = "; ".join((f"{error}", "its log, above, names the cause", *advice))
            raise EngineError(f"vLLM could not start {self._model}: {said}") from error
        finally:
            self._processes.end_start()

    def _check_loaded(self, llm: Any, checkpoint: Checkpoint) -> None:
        """Compare what vLLM made of ``config.json`` with what it says."""
        wanted = self._expected(checkpoint)
        loaded = Configuration.read(library.loaded_configuration(llm), "what vLLM loaded")
        if wanted and (differences := wanted.differences(loaded)):
            self._shut_down(llm)
            raise EngineError(
                f"vLLM reads {checkpoint.folder / 'config.json'} otherwise than it is meant: "
                f"{', '.join(differences)}; use another release of vLLM or transformers"
            )

    def _adopt(
        self,
        llm: Any,
        machine: Machine,
        accepted: probes.Signatures,
        checkpoint: Checkpoint,
        tokenizer: Path,
    ) -> None:
        self._check_loaded(llm, checkpoint)
        self._info = EngineInfo(
            model=self._name,
            engine="vllm",
            version=library.version(machine),
            device=machine.vllm_platform or machine.platform,
            dtype=library.dtype(llm),
            max_length=self._max_length,
            tokenizer=tokenizer,
            cache_block=library.cache_block(llm),
            chunk=library.chunk(llm),
            log_odds_exact=probes.log_odds_are_exact(accepted),
        )
        self._turns.limit = library.tokens_under_way(llm, self._info.device)
        with self._lock:
            if not self._closed:
                self._llm = llm
                return
        self._shut_down(llm)  # closed while it was loading: nobody else would

    def _shut_down(self, llm: Any) -> None:
        library.shut_down(llm)
        self._processes.end()
        library.end_messaging(llm)


async def _cancel(calls: Collection[asyncio.Future[Any]]) -> None:
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
