"""What the engine takes from the installed vLLM, whichever release it is."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

from ...errors import EngineError, MissingDependencyError
from ...runtime import probes
from ...runtime.detect import Machine

SHUTDOWN_SECONDS = 15.0
"""How long vLLM's processes may take to end by themselves; less leaves shared memory behind."""
BATCHES = {"cpu": 0.75}
"""Batches that prompts are handed over for, 2 but on a CPU, where one takes long. What waits in
vLLM is served in the order in which it came: by `benchmarks/fairness.py` a small call beside a huge
one takes 2.1 to 2.4 times as long as alone, with a whole batch 3.0 to 5.7 times, for which the huge
one gives up a sixth of its speed."""
MESSAGING_SECONDS = 2.0
"""How long ZeroMQ may take to end."""


def signatures(machine: Machine) -> probes.Signatures:
    """What the installed vLLM accepts; it is imported.

    Raises:
        MissingDependencyError: it cannot be.
    """
    try:
        return probes.Signatures.installed()
    except ImportError as error:
        raise MissingDependencyError(
            f"vLLM {machine.vllm} is installed but cannot be imported: {error}; install it again "
            "with the packages that it names"
        ) from error


def async_llm(model: str, tokenizer: str, arguments: dict[str, Any]) -> Any:
    """An ``AsyncLLM``, started."""
    engine_args = import_module("vllm.engine.arg_utils").AsyncEngineArgs
    kind = import_module("vllm.v1.engine.async_llm").AsyncLLM
    return kind.from_engine_args(engine_args(model=model, tokenizer=tokenizer, **arguments))


def prompt_maker() -> Callable[[list[int]], Any]:
    """What makes a prompt of token ids: newer releases take one that is ready for the engine."""
    made: Callable[[list[int]], Any] | None
    made = getattr(import_module("vllm.inputs"), "tokens_input", None)
    return made or raw_prompt


def raw_prompt(ids: list[int]) -> Any:
    """A prompt of token ids, as every release takes it."""
    return {"prompt_token_ids": ids}


def pooling_parameters(accepted: probes.Signatures) -> Any:
    """``PoolingParams`` for log-odds."""
    made = import_module("vllm.pooling_params").PoolingParams
    return made(**probes.pooling_parameters(accepted))


def numbers(output: Any, count: int) -> list[float]:
    """The numbers of a ``PoolingRequestOutput``, one for each of `count` labels.

    Raises:
        EngineError: there are none, since the request failed, or another count.
    """
    found = output.outputs.data.reshape(-1)
    error = getattr(output, "error", None)  # from 0.32; the numbers are then no answer
    if error is not None or found.numel() != count:
        wanted = "a score" if count == 1 else f"{count}"
        raise EngineError(
            f"vLLM answered {output.request_id} with {found.numel()} numbers instead of {wanted} "
            f"({error or 'its log may say why'})"
        )
    return [float(one) for one in found]


def loaded_configuration(llm: Any) -> dict[str, Any]:
    """The model's ``config.json`` as vLLM holds it."""
    content: dict[str, Any] = llm.vllm_config.model_config.hf_config.to_dict()
    return content


def dtype(llm: Any) -> str:
    """The precision of the model's body."""
    return str(llm.vllm_config.model_config.dtype).removeprefix("torch.")


def cache_block(llm: Any) -> int:
    """Tokens of a block of the prefix cache; 0 where there is none."""
    config = llm.vllm_config.cache_config
    return int(config.block_size) if config.enable_prefix_caching else 0


def chunk(llm: Any) -> int:
    """Longest piece of a prompt that is computed at once; 0 where prompts are never cut."""
    config = llm.vllm_config.scheduler_config
    names = ("enable_chunked_prefill", "chunked_prefill_enabled")  # the newer one first
    chunked = next((getattr(config, name) for name in names if hasattr(config, name)), False)
    return int(config.max_num_batched_tokens) if chunked else 0


def tokens_under_way(llm: Any, platform: str) -> int:
    """Tokens of prompts that keep every batch full: of those that are computed and the next."""
    config = llm.vllm_config
    batch = int(config.scheduler_config.max_num_batched_tokens)
    parallel = config.parallel_config
    at_once = int(parallel.data_parallel_size * parallel.pipeline_parallel_size)
    return int(BATCHES.get(platform, 2) * at_once * batch)


def version(machine: Machine) -> str:
    """The version of vLLM, and that of vllm-ascend where it computes."""
    ascend = f", vllm-ascend {machine.vllm_ascend}" if machine.vllm_platform == "npu" else ""
    return f"vllm {machine.vllm}{ascend}"


def shut_down(llm: Any) -> None:
    """End an ``AsyncLLM`` in an orderly way."""
    if "timeout" in inspect.signature(llm.shutdown).parameters:
        llm.shutdown(timeout=SHUTDOWN_SECONDS)
    else:
        llm.shutdown()


def end_messaging(llm: Any) -> None:
    """Close ZeroMQ's context, which vLLM leaves to the garbage collector, and its threads."""
    context = getattr(getattr(llm.engine_core, "resources", None), "ctx", None)
    if context is not None:
        with contextlib.suppress(RuntimeError):  # the interpreter is ending
            closing = threading.Thread(target=context.term, daemon=True)
            closing.start()
            closing.join(
                MESSAGING_SECONDS
            )  # its sockets close with the event loop, at once or never
