"""Reranker: what both ecosystems and the command line call."""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, cast

from typing_extensions import Self

from .cache import Judgement, ScoreCache
from .engines import Engine, EngineInfo, EngineSpec, choose_engine
from .engines.loop import submit
from .engines.shared import EngineLease, Start
from .errors import (
    EngineDeadError,
    EngineError,
    InvalidInputError,
    RerankerClosedError,
    RerankError,
    RerankTimeoutError,
)
from .prompt import DEFAULT_INSTRUCTION, PromptBatch, QwenTokenizer, build_batch
from .ranking import check_answer, ranked
from .request import (
    Request,
    checked_count,
    checked_documents,
    checked_query,
    checked_text,
    checked_threshold,
    checked_timeout,
    checked_top_n,
)
from .results import RerankResult, Usage, probability
from .selfcheck import checked_level
from .startup import begin, open_tokenizer

T = TypeVar("T")

DEFAULT_MODEL = "Qwen/Qwen3-Reranker-0.6B"
CLOSE_SECONDS = 30.0
"""How long `close()` waits for the engine to end."""


class Reranker:
    """Scores documents for a query with Qwen3-Reranker, and ranks them.

    Nothing is loaded before the first call (or `start()`). One Reranker serves any number of
    threads and event loops at once; Rerankers with equal engine settings share one engine.

    Example:
        >>> with Reranker("lexical") as reranker:
        ...     result = reranker.rerank(
        ...         "capital of China", ["Bread needs flour.", "Beijing is China's capital."]
        ...     )
        >>> result[0].index
        1
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Engine = DEFAULT_MODEL,
        *,
        engine: str = "auto",
        tokenizer: str | os.PathLike[str] | None = None,
        instruction: str = DEFAULT_INSTRUCTION,
        max_length: int = 8192,
        top_n: int | None = None,
        threshold: float | None = None,
        cache_size: int = 0,
        selfcheck: str = "auto",
        timeout: float | None = None,
        engine_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Describe the reranker.

        Args:
            model: hub id, folder, ``lexical``, or a ready `Engine`, which is then started and
                closed by the Rerankers that use it.
            engine: ``torch``, or ``auto`` for the best one that is there.
            tokenizer: where ``tokenizer.json`` is when it is not beside the model.
            instruction: what makes a document relevant; in English for best results.
            max_length: longest prompt in tokens; a longer document loses its tail.
            top_n: how many documents a result holds at most; None: all.
            threshold: lowest score in [0, 1] that a result holds; applied before `top_n`.
            cache_size: pairs whose scores are remembered; 0: none.
            selfcheck: what the engine must show when it starts. ``auto``: that a pair scores the
                same however it is asked, and known answers where the model has some;
                ``full``: also that the lexical model scores rightly in the same runtime;
                ``invariants``: the first alone; ``off``. A ready `Engine` is checked only where
                a level other than ``auto`` asks for it.
            timeout: seconds that one call may take, loading included; None: no limit.
            engine_options: what the engine itself takes, e.g. ``{"device": "npu:1"}``.

        Raises:
            InvalidInputError: a value that cannot be used.
        """
        # Not isinstance(model, Engine): before Python 3.12 that runs `info`, which needs a start.
        if isinstance(model, str | os.PathLike):
            model = checked_text("model", os.fspath(model))
        elif not hasattr(type(model), "score"):
            raise InvalidInputError(
                f"model is {model!r}; give a hub id, a folder, lexical, or an Engine"
            )
        self.model: str | Engine = model
        self.engine = engine
        self.tokenizer = None if tokenizer is None else os.fspath(tokenizer)
        self.instruction = checked_text("instruction", instruction)
        self.max_length = checked_count("max_length", max_length)
        self.top_n = checked_top_n(top_n)
        self.threshold = checked_threshold(threshold)
        self.cache_size = checked_count("cache_size", cache_size, least=0)
        self.selfcheck = checked_level(selfcheck)
        self.timeout = checked_timeout(timeout)
        self.engine_options = dict(engine_options or {})

        self._closed = False
        self._calls: set[asyncio.Task[Any]] = set()
        self._info: EngineInfo | None = None
        self._tokenizer: QwenTokenizer | None = None
        self._key, self._begin = self._describe_engine()
        self._cache = ScoreCache(self.cache_size, self._key)
        self._lease = self._new_lease()

    def rerank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
        timeout: float | None = None,
    ) -> RerankResult:
        """Rank `documents` for `query`, best first.

        Args:
            query: what is asked; not empty.
            documents: the texts to rank. No documents: an empty result, and nothing is loaded.
            top_n: as in the constructor, for this call.
            threshold: as in the constructor, for this call.
            instruction: as in the constructor, for this call.
            timeout: as in the constructor, for this call.

        Returns:
            The documents whose score reaches `threshold`, at most `top_n`, by falling log-odds;
            equal ones in the order in which they were passed.

        Raises:
            InvalidInputError: an argument that cannot be used; a query too long for `max_length`.
            ModelError: the checkpoint cannot be used.
            EngineError: the engine failed.
            RerankTimeoutError: the call took longer than `timeout`.
            RerankerClosedError: the Reranker is closed, or was closed during the call.
        """
        request = self._request(query, documents, top_n, threshold, instruction, timeout)
        return _wait(self._submit(self._rerank, request))

    async def arerank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
        timeout: float | None = None,
    ) -> RerankResult:
        """`rerank` for asyncio, from any event loop; the loop is never blocked."""
        request = self._request(query, documents, top_n, threshold, instruction, timeout)
        return await asyncio.wrap_future(self._submit(self._rerank, request))

    def score(
        self,
        query: str,
        documents: Iterable[str],
        *,
        instruction: str | None = None,
        timeout: float | None = None,
    ) -> list[float]:
        """P("yes") in [0, 1] of every document, in input order; raises as `rerank` does."""
        request = self._request(query, documents, None, None, instruction, timeout)
        return _wait(self._submit(self._score, request))

    async def ascore(
        self,
        query: str,
        documents: Iterable[str],
        *,
        instruction: str | None = None,
        timeout: float | None = None,
    ) -> list[float]:
        """`score` for asyncio, from any event loop."""
        request = self._request(query, documents, None, None, instruction, timeout)
        return await asyncio.wrap_future(self._submit(self._score, request))

    def start(self) -> EngineInfo:
        """Load the model now instead of at the first call, and say what runs where."""
        return _wait(submit(self._guarded(self._start, None)))

    async def astart(self) -> EngineInfo:
        """`start` for asyncio."""
        return await asyncio.wrap_future(submit(self._guarded(self._start, None)))

    def close(self) -> None:
        """End calls in flight with `RerankerClosedError`, and give the engine back."""
        self._closed = True
        try:
            submit(self._close()).result(CLOSE_SECONDS)
        except FutureTimeoutError:
            raise EngineError(f"the engine did not end within {CLOSE_SECONDS:g} seconds") from None

    async def aclose(self) -> None:
        """`close` for asyncio."""
        self._closed = True
        await asyncio.wrap_future(submit(self._close()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self._settings().items())
        return f"Reranker({settings})"

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy in this process shares the engine; in another process it loads its own.
        return partial(Reranker, **self._settings()), ()

    # -- the engine ------------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "engine": self.engine,
            "tokenizer": self.tokenizer,
            "instruction": self.instruction,
            "max_length": self.max_length,
            "top_n": self.top_n,
            "threshold": self.threshold,
            "cache_size": self.cache_size,
            "selfcheck": self.selfcheck,
            "timeout": self.timeout,
            "engine_options": self.engine_options,
        }

    def _describe_engine(self) -> tuple[object, Start]:
        """What makes two engines equal, and how to make and start this one."""
        model, level = self.model, self.selfcheck
        if not isinstance(model, str):
            level = "off" if level == "auto" else level
            return ("ready", id(model)), partial(begin, model, level, self.tokenizer)
        spec = EngineSpec(
            choose_engine(self.engine, model),
            model,
            self.max_length,
            self.tokenizer,
            self.engine_options,
        )
        return (spec.key, level), partial(begin, spec, level, self.tokenizer)

    def _new_lease(self) -> EngineLease:
        lease = EngineLease(self._key, self._begin)
        weakref.finalize(self, lease.drop).atexit = False
        return lease

    async def _started(self) -> tuple[Engine, QwenTokenizer]:
        if self._lease.stale:
            self._lease = self._new_lease()
        engine = await self._lease.engine()
        if self._tokenizer is None:
            self._info = engine.info
            self._tokenizer = await asyncio.to_thread(
                open_tokenizer, self.tokenizer or engine.info.tokenizer
            )
        return engine, self._tokenizer

    async def _start(self) -> EngineInfo:
        engine, _ = await self._started()
        return engine.info

    async def _close(self) -> None:
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self._lease.release()

    # -- one call --------------------------------------------------------------------------------

    def _request(
        self,
        query: str,
        documents: Iterable[str],
        top_n: int | None,
        threshold: float | None,
        instruction: str | None,
        timeout: float | None,
    ) -> Request:
        return Request(
            query=checked_query(query),
            documents=checked_documents(documents),
            instruction=self.instruction
            if instruction is None
            else checked_text("instruction", instruction),
            top_n=self.top_n if top_n is None else checked_top_n(top_n),
            threshold=self.threshold if threshold is None else checked_threshold(threshold),
            timeout=self.timeout if timeout is None else checked_timeout(timeout),
        )

    def _submit(
        self, work: Callable[[Request], Coroutine[Any, Any, T]], request: Request
    ) -> Future[T]:
        return submit(self._guarded(partial(work, request), request.timeout))

    async def _guarded(
        self, work: Callable[[], Coroutine[Any, Any, T]], timeout: float | None
    ) -> T:
        """Run `work` so that `close()` and the timeout can end it, each with its own error."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._calls.add(task)
        # Nobody collects the outcome of a call whose caller was interrupted.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            if self._closed:
                raise RerankerClosedError("this Reranker is closed; make a new one")
            return await asyncio.wait_for(work(), timeout)
        except asyncio.CancelledError:
            if self._closed:
                raise RerankerClosedError("this Reranker was closed during the call") from None
            raise
        except RerankError:
            raise
        except (TimeoutError, asyncio.TimeoutError):
            raise RerankTimeoutError(
                f"the call did not end within its timeout of {timeout:g} seconds; raise timeout, "
                "pass fewer documents, or load the model beforehand with start()"
            ) from None
        finally:
            self._calls.discard(task)

    async def _rerank(self, request: Request) -> RerankResult:
        began = time.perf_counter()
        judgements, tokens, scored = await self._judge(request)
        info = self._info
        return RerankResult(
            documents=ranked(request, judgements),
            query=request.query,
            instruction=request.instruction,
            model=info.model if info else str(self.model),
            engine=info.engine if info else "",
            usage=Usage(
                prompt_tokens=tokens,
                pairs_scored=scored,
                pairs_reused=len(judgements) - scored,
                documents_truncated=sum(judgement.truncated for judgement in judgements),
                seconds=time.perf_counter() - began,
            ),
            log_odds_exact=info.log_odds_exact if info else True,
        )

    async def _score(self, request: Request) -> list[float]:
        judgements, _, _ = await self._judge(request)
        return [probability(judgement.log_odds) for judgement in judgements]

    async def _judge(self, request: Request) -> tuple[list[Judgement], int, int]:
        """A judgement for each document, prompt tokens used, pairs that the engine scored.

        Equal documents are scored once, and known ones not at all.
        """
        instruction, query = request.instruction, request.query
        texts = list(dict.fromkeys(request.documents))
        known = self._cache.recall(instruction, query, texts)
        new = [text for text in texts if text not in known]
        tokens = 0
        if new:
            batch, judgements = await self._ask(request, new)
            tokens = sum(batch.lengths())
            judged = dict(zip(new, judgements, strict=True))
            self._cache.remember(instruction, query, judged)
            known |= judged
        return [known[text] for text in request.documents], tokens, len(new)

    async def _ask(
        self, request: Request, documents: list[str]
    ) -> tuple[PromptBatch, list[Judgement]]:
        """Prompts for `documents`, and what the engine says of them."""
        engine, tokenizer = await self._started()
        batch = await asyncio.to_thread(
            build_batch,
            tokenizer,
            request.instruction,
            request.query,
            documents,
            self.max_length,
        )
        name = engine.info.engine
        try:
            log_odds = await engine.score(batch)
        except EngineDeadError:
            self._lease.disown()
            raise
        except RerankError:
            raise
        except Exception as error:
            raise EngineError(
                f"the {name} engine failed on {len(batch)} documents: "
                f"{type(error).__name__}: {error}"
            ) from error
        check_answer(name, log_odds, len(batch))
        return batch, [
            Judgement(float(value), cut)
            for value, cut in zip(log_odds, batch.truncated, strict=True)
        ]


def _wait(future: Future[T]) -> T:
    try:
        return future.result()
    except BaseException:
        future.cancel()  # an interrupted wait withdraws its work
        raise
