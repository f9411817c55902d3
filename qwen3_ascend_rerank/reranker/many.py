"""Any number of requests: read as there is room for them, each with an outcome of its own."""

from __future__ import annotations

import time
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..bridge.stream import astream, stream
from ..errors import InvalidInputError, RerankerClosedError, RerankError
from ..prompts.request import Request, RerankRequest, estimated_tokens
from ..results import RerankOutcome, RerankResult

TOKENS_IN_FLIGHT = 131_072
"""Several batches of any engine, and a megabyte of text."""
Given: TypeAlias = RerankRequest | Mapping[str, Any] | tuple[str, Iterable[str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was read: a request that can be asked, or why it cannot."""

    index: int
    id: Any
    request: Request | None = None
    error: RerankError | None = None


@dataclass(frozen=True, slots=True)
class Many:
    """How many requests are had ranked at once."""

    checked: Callable[[RerankRequest], Request]
    """Fills in what a request leaves out; raises InvalidInputError for one that cannot be used."""
    begin: Callable[[Request], Future[RerankResult]]
    """Has a request ranked."""
    max_length: int
    """Longest prompt, in tokens."""
    tokens_in_flight: int
    """About how many tokens may be held at once."""
    ordered: bool
    progress: bool

    def outcomes(
        self, requests: Iterable[Given], start: Callable[[], object]
    ) -> Iterator[RerankOutcome]:
        """One for each of `requests`; `start` loads the model before the first that needs it."""

        def read() -> Iterator[Asked]:
            started = False
            for index, given in enumerate(requests):
                asked = self._asked(index, given)
                if _needs_engine(asked) and not started:
                    start()
                    started = True
                yield asked

        begun = stream(read(), self._begun, self._cost, self.tokens_in_flight, ordered=self.ordered)
        with _bar(requests, shown=self.progress) as show:
            for asked, future in begun:
                outcome = _outcome(asked, future)
                show(outcome)
                yield outcome

    async def aoutcomes(
        self,
        requests: Iterable[Given] | AsyncIterable[Given],
        start: Callable[[], Awaitable[object]],
    ) -> AsyncIterator[RerankOutcome]:
        """`outcomes` for asyncio."""

        async def read() -> AsyncIterator[Asked]:
            started, index = False, 0
            async for given in _all_of(requests):
                asked = self._asked(index, given)
                index += 1
                if _needs_engine(asked) and not started:
                    await start()
                    started = True
                yield asked

        begun = astream(
            read(), self._begun, self._cost, self.tokens_in_flight, ordered=self.ordered
        )
        with _bar(requests, shown=self.progress) as show:
            try:
                async for asked, future in begun:
                    outcome = _outcome(asked, future)
                    show(outcome)
                    yield outcome
            finally:
                await begun.aclose()

    def _asked(self, index: int, given: Any) -> Asked:
        name = given.get("id") if isinstance(given, Mapping) else getattr(given, "id", None)
        try:
            return Asked(index, name, self.checked(RerankRequest.of(given)))
        except InvalidInputError as error:
            return Asked(index, name, error=error)

    def _begun(self, asked: Asked) -> Future[RerankResult]:
        if asked.request is not None:
            return self.begin(asked.request)
        failed: Future[RerankResult] = Future()
        failed.set_exception(asked.error)
        return failed

    def _cost(self, asked: Asked) -> int:
        if (request := asked.request) is None:
            return 1
        return estimated_tokens(request, self.max_length)


def _needs_engine(asked: Asked) -> bool:
    return asked.request is not None and bool(asked.request.documents)


def _outcome(asked: Asked, future: Future[RerankResult]) -> RerankOutcome:
    try:
        return RerankOutcome(asked.index, asked.id, future.result())
    except RerankerClosedError:
        raise
    except RerankError as error:
        return RerankOutcome(asked.index, asked.id, error=error)


async def _all_of(items: Iterable[Given] | AsyncIterable[Given]) -> AsyncIterator[Given]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


@contextmanager
def _bar(requests: object, *, shown: bool) -> Iterator[Callable[[RerankOutcome], None]]:
    """A bar on standard error, and what moves it on."""
    if not shown:
        yield lambda _: None
        return
    from tqdm import tqdm

    total = len(requests) if hasattr(requests, "__len__") else None
    pairs = tokens = failed = 0
    began = time.perf_counter()
    with tqdm(total=total, unit=" requests") as bar:

        def show(outcome: RerankOutcome) -> None:
            nonlocal pairs, tokens, failed
            if outcome.result is None:
                failed += 1
            else:
                usage = outcome.result.usage
                pairs += usage.pairs_scored + usage.pairs_reused
                tokens += usage.prompt_tokens
            rate = tokens / (time.perf_counter() - began)
            told = f"{pairs:,} pairs, {rate:,.0f} tokens/s" + (f", {failed} failed" * bool(failed))
            bar.set_postfix_str(told, refresh=False)
            bar.update()

        yield show
