"""The engine: calls in, passes of the model in a thread of its own, log-odds out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from ...checks import checked_count, checked_flag
from ...errors import EngineError, RerankError, described, for_another_caller
from ...models.location import Location
from ...prompts import PromptBatch
from ...protocol import EngineInfo, closed_for_good
from .body import Body
from .loading import load
from .memory import Budget, no_room, out_of_memory, ran_out_of_memory
from .passes import Call, CallQueue, Share

logger = logging.getLogger(__name__)

T = TypeVar("T")


class TorchEngine:
    """Runs Qwen3-Reranker through transformers' modules, one pass at a time.

    A query's prefix is computed once and shared by its documents, and what it has in common with
    that of an earlier query, the instruction, is not computed again. No token is padded in the
    linear layers, and documents of concurrent calls go through the model together. Only the last
    position meets the head, h · (W_yes - W_no) in float32, which is the difference of the two
    logits of the official code.
    """

    def __init__(
        self,
        model: str,
        *,
        max_length: int = 8192,
        tokenizer: str | None = None,
        name: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        batch_tokens: int | None = None,
        compile: bool = False,  # noqa: A002 - torch's own word
        reproducible: bool = False,
    ) -> None:
        """Describe the engine; `start()` loads it.

        Args:
            model: a folder, a hub id or ``lexical``; original or converted checkpoint.
            max_length: longest prompt, in tokens.
            tokenizer: where ``tokenizer.json`` is when it is not beside the model.
            name: what `info` calls the model; None: as `model`.
            device: ``npu``, ``cuda``, ``cpu``, ``npu:1``, …; the first of these three that is
                there if not given.
            dtype: ``float32``, ``bfloat16`` or ``float16``; if not given, float32 on a CPU and
                bfloat16 elsewhere (float16 where the device has no bfloat16).
            batch_tokens: tokens of one pass; if not given, on a CPU 1,024 or, where many calls
                wait, up to 4,096, and elsewhere what free memory allows. Halved when memory runs
                out, until it has been enough for a while.
            compile: whether ``torch.compile`` makes kernels of what surrounds attention, which
                takes up to a minute in the first call and a C++ compiler on a CPU.
            reproducible: whether calls go through the model one after the other, and take over
                nothing from each other: the same call gives the same bits then, on the same
                hardware with as many threads, unless memory runs out. Without it the last digits
                depend on what else is asked at the time.

        Raises:
            InvalidInputError: an option that cannot be used anywhere.
        """
        self._model = Location.of(model).real
        self._name = name or model
        self._max_length = max_length
        self._tokenizer = tokenizer and Location.of(tokenizer).real
        self._device = device
        self._dtype = dtype
        self._budget = Budget(
            0 if batch_tokens is None else checked_count("batch_tokens", batch_tokens)
        )
        self._compile = checked_flag("compile", compile)
        self._one_at_a_time = asyncio.Lock() if checked_flag("reproducible", reproducible) else None
        self._body: Body | None = None
        self._info: EngineInfo | None = None
        self._calls: set[Call] = set()
        self._line = CallQueue()
        self._working: asyncio.Task[None] | None = None
        self._closed = False
        # One thread: two passes at once would only slow each other down.
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
            EngineError: no memory for the model; or the engine is closed.
        """
        if self._closed:
            raise closed_for_good()
        try:
            loaded = await self._in_thread(
                load,
                self._model,
                self._max_length,
                self._tokenizer,
                self._device,
                self._dtype,
                compiled=self._compile,
            )
        except RerankError:
            raise
        except Exception as error:
            if ran_out_of_memory(error):
                raise no_room(self._device, self._name, error) from error
            raise
        self._body, self._info = loaded.body, replace(loaded.info, model=self._name)
        if not self._budget.most:
            self._budget = loaded.budget
        for length in loaded.warm_up:
            for count in {1, max(1, self._budget.tokens // length)}:
                await self.score(_practice(length, count))
        self._body.memory.clear()

    async def score(self, batch: PromptBatch) -> list[float]:
        """Log-odds of "yes", shape (len(batch),)."""
        if self._closed:
            raise EngineError("the engine is closed")
        _ = self.info  # says so where it has not started
        if not len(batch):
            return []
        if self._one_at_a_time is None:
            return await self._passed(batch)
        async with self._one_at_a_time:
            if self._working is not None:  # a pass of a call that was cancelled
                await asyncio.wait([self._working])
            if self._body is not None:
                self._body.memory.clear()
            return await self._passed(batch)

    async def _passed(self, batch: PromptBatch) -> list[float]:
        call = Call(batch)
        self._calls.add(call)
        self._line.join(call)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        try:
            return await call.done
        finally:
            self._forget(call)

    async def aclose(self) -> None:
        """Let the model go; a pass that is running ends by itself, waiting calls end now."""
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._body = None
        self._fail(list(self._calls), EngineError("the engine was closed during the call"))

    async def _work(self) -> None:
        """Pass after pass, until no call waits."""
        while (body := self._body) is not None:
            tokens = self._budget.among(len(self._line))
            shares = self._line.take_pass(tokens, body.memory)
            if not shares:
                return
            try:
                values = await self._in_thread(body.run, shares)
            except asyncio.CancelledError:  # the thread was shut down
                return
            except Exception as error:  # noqa: BLE001 - it is the callers'
                self._take_back(shares, error)
                continue
            self._budget.succeeded()
            for share, log_odds in zip(shares, values, strict=True):
                share.call.answer(share.rows, log_odds)
                share.call.apart = False
                self._line.join(share.call)  # whoever was served waits behind the others

    def _take_back(self, shares: Sequence[Share], error: Exception) -> None:
        """Try again: with smaller passes where memory ran out, else each call by itself.

        What fails even so ends its call.
        """
        if self._body is None:  # closed meanwhile, which has ended the calls
            return
        self._body.memory.clear()
        tokens = sum(share.tokens for share in shares)
        if not ran_out_of_memory(error):
            if len(shares) == 1:
                self._fail([shares[0].call], error)
            else:
                logger.warning(
                    "a pass of %d calls failed (%s); going on with each alone",
                    len(shares),
                    described(error),
                )
        elif sum(len(share.rows) for share in shares) == 1:
            self._fail([shares[0].call], out_of_memory(self._body.device, tokens))
        else:
            self._budget.ran_out(tokens)
            logger.warning(
                "%s ran out of memory with a pass of %d tokens; going on with passes of %d",
                self._body.device,
                tokens,
                self._budget.tokens,
            )
        for share in reversed(shares):
            share.call.apart = not ran_out_of_memory(error)
            share.call.give_back(share.rows)
            self._line.join(share.call, first=True)

    def _fail(self, calls: Sequence[Call], error: Exception) -> None:
        for call in calls:
            if not call.done.done():
                call.done.set_exception(for_another_caller(error))
            self._forget(call)

    def _forget(self, call: Call) -> None:
        self._calls.discard(call)
        self._line.leave(call)

    async def _in_thread(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        return await asyncio.wrap_future(self._thread.submit(function, *arguments, **options))


def _practice(length: int, count: int) -> PromptBatch:
    """Documents whose prompts have `length` tokens and mean nothing."""
    half = length // 2
    documents = [[0] * (length - half)] * count
    return PromptBatch([0] * half, documents, [], "", "", [""] * count, [False] * count)
