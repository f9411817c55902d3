"""What goes wrong in vLLM, done on purpose inside the processes of a running engine.

The engine must have been started with ``VLLM_ALLOW_INSECURE_SERIALIZATION=1``: its processes take
functions only then.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from qwen3_ascend_rerank.bridge.loop import submit
from qwen3_ascend_rerank.engines.vllm import VLLMEngine


@contextmanager
def altered_head(engine: VLLMEngine, change: Callable[[Any, Any], Any]) -> Iterator[None]:
    """The score head gives what `change` makes of its input and output, (n, hidden) and (n, 1)."""

    def alter(worker: Any) -> None:
        head = worker.model_runner.model.score
        right = type(head).forward
        head.forward = lambda hidden: change(hidden, right(head, hidden))

    def restore(worker: Any) -> None:
        del worker.model_runner.model.score.forward

    _in_workers(engine, alter)
    try:
        yield
    finally:
        _in_workers(engine, restore)


@contextmanager
def mixed_up_cache(engine: VLLMEngine) -> Iterator[None]:
    """The prefix cache does not look at tokens: it knows a block by its place in the prompt."""

    def mix_up() -> None:
        from vllm.v1.core import kv_cache_utils as utils

        right = utils.right_hash = utils.hash_block_tokens
        utils.hash_block_tokens = lambda function, parent, tokens, extra=None: right(
            function, parent, [0] * len(tokens), extra
        )

    def restore() -> None:
        from vllm.v1.core import kv_cache_utils as utils

        utils.hash_block_tokens = utils.right_hash

    _in_scheduler(engine, mix_up)
    try:
        yield
    finally:
        _in_scheduler(engine, restore)


def _in_workers(engine: VLLMEngine, work: Callable[[Any], None]) -> None:
    submit(engine._llm.collective_rpc(work)).result(10)


def _in_scheduler(engine: VLLMEngine, work: Callable[[], None]) -> None:
    """Run `work` between two steps, with nothing cached before or after."""

    async def run() -> None:
        core = engine._llm.engine_core
        await core.call_utility_async("__setattr__", "sabotage", work)
        await core.call_utility_async("sabotage")
        await engine._llm.reset_prefix_cache()

    submit(run()).result(10)
