"""What can be called: the calls of all that ranks, each once, whoever answers them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from ..bridge.calls import Calls, wait
from ..bridge.lifetime import Closing
from ..bridge.loop import submit
from ..bridge.turns import Turns
from ..checks import checked_count, checked_flag
from ..engines import EngineInfo
from ..errors import EngineError
from ..prompts.request import (
    NOT_GIVEN,
    LongDocuments,
    NotGiven,
    Request,
    RerankRequest,
    call_options,
    checked_documents,
    checked_pairs,
    checked_query,
    estimated_tokens,
)
from ..results import RerankResult
from .many import TOKENS_IN_FLIGHT, Given, Many

if TYPE_CHECKING:
    from ..results import RerankOutcome
    from .reranker import Reranker

CLOSE_SECONDS = 30.0
"""How long `close()` waits for the engine to end."""


class Ranker(Closing):
    """What ranks documents: a `Reranker`, or several as a `CascadeReranker`.

    A kind of it says in coroutines of the background loop how one request is answered; the calls
    of threads and of any event loop come from here.
    """

    instruction: str
    max_length: int
    """Longest prompt, in tokens."""
    top_n: int | None
    threshold: float | None
    timeout: float | None
    long_documents: LongDocuments
    _calls: Calls

    @property
    def stages(self) -> Sequence[Reranker]:
        """The Rerankers that documents go through, the last of which all scores can come from."""
        raise NotImplementedError

    @property
    def info(self) -> EngineInfo | None:
        """What runs where at this moment, and how many of its servers are up; None before a start.

        Waits for nothing, and starts nothing.
        """
        raise NotImplementedError

    async def _rerank(self, request: Request) -> RerankResult:
        """What comes of a request."""
        raise NotImplementedError

    async def _score(self, request: Request) -> list[float]:
        """P("yes") of each document, in input order."""
        raise NotImplementedError

    async def _start(self) -> EngineInfo:
        """Load what is not loaded."""
        raise NotImplementedError

    async def _release(self) -> None:
        """Give back what was loaded."""
        raise NotImplementedError

    def rerank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_n: int | NotGiven | None = NOT_GIVEN,
        threshold: float | NotGiven | None = NOT_GIVEN,
        instruction: str | NotGiven | None = NOT_GIVEN,
        timeout: float | NotGiven | None = NOT_GIVEN,
        long_documents: LongDocuments | NotGiven | None = NOT_GIVEN,
    ) -> RerankResult:
        """Rank `documents` for `query`, best first.

        Args:
            query: what is asked; not empty.
            documents: the texts to rank. No documents: an empty result, and nothing is loaded.
            top_n: as in the constructor, for this call; None: all, whatever the constructor says.
            threshold: as in the constructor, for this call; None: none.
            instruction: as in the constructor, for this call.
            timeout: as in the constructor, for this call; None: no limit.
            long_documents: as in the constructor, for this call.

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
        request = self._request(
            query,
            documents,
            top_n=top_n,
            threshold=threshold,
            instruction=instruction,
            timeout=timeout,
            long_documents=long_documents,
        )
        return wait(self._calls.submit(partial(self._rerank, request), request.timeout))

    async def arerank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_n: int | NotGiven | None = NOT_GIVEN,
        threshold: float | NotGiven | None = NOT_GIVEN,
        instruction: str | NotGiven | None = NOT_GIVEN,
        timeout: float | NotGiven | None = NOT_GIVEN,
        long_documents: LongDocuments | NotGiven | None = NOT_GIVEN,
    ) -> RerankResult:
        """`rerank` for asyncio, from any event loop; the loop is never blocked."""
        request = self._request(
            query,
            documents,
            top_n=top_n,
            threshold=threshold,
            instruction=instruction,
            timeout=timeout,
            long_documents=long_documents,
        )
        call = self._calls.submit(partial(self._rerank, request), request.timeout)
        return await asyncio.wrap_future(call)

    def score(
        self,
        query: str,
        documents: Iterable[str],
        *,
        instruction: str | NotGiven | None = NOT_GIVEN,
        timeout: float | NotGiven | None = NOT_GIVEN,
        long_documents: LongDocuments | NotGiven | None = NOT_GIVEN,
    ) -> list[float]:
        """P("yes") in [0, 1] of every document, in input order; raises as `rerank` does."""
        request = self._request(
            query,
            documents,
            instruction=instruction,
            timeout=timeout,
            long_documents=long_documents,
        )
        return wait(self._calls.submit(partial(self._score, request), request.timeout))

    async def ascore(
        self,
        query: str,
        documents: Iterable[str],
        *,
        instruction: str | NotGiven | None = NOT_GIVEN,
        timeout: float | NotGiven | None = NOT_GIVEN,
        long_documents: LongDocuments | NotGiven | None = NOT_GIVEN,
    ) -> list[float]:
        """`score` for asyncio, from any event loop."""
        request = self._request(
            query,
            documents,
            instruction=instruction,
            timeout=timeout,
            long_documents=long_documents,
        )
        call = self._calls.submit(partial(self._score, request), request.timeout)
        return await asyncio.wrap_future(call)

    def score_pairs(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        instruction: str | NotGiven | None = NOT_GIVEN,
        timeout: float | NotGiven | None = NOT_GIVEN,
        long_documents: LongDocuments | NotGiven | None = NOT_GIVEN,
    ) -> list[float]:
        """P("yes") in [0, 1] of every (query, document), in input order.

        Pairs of one query are scored together, wherever they stand, so that they share a prefix.

        Args:
            pairs: queries and documents; many queries may take part.
            instruction: as in the constructor, for this call.
            timeout: as in the constructor, for this call; None: no limit.
            long_documents: as in the constructor, for this call.

        Raises:
            RerankError: as `rerank`.
        """
        work, limit = self._pairs_work(
            pairs, instruction=instruction, timeout=timeout, long_documents=long_documents
        )
        return wait(self._calls.submit(work, limit))

    async def ascore_pairs(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        instruction: str | NotGiven | None = NOT_GIVEN,
        timeout: float | NotGiven | None = NOT_GIVEN,
        long_documents: LongDocuments | NotGiven | None = NOT_GIVEN,
    ) -> list[float]:
        """`score_pairs` for asyncio, from any event loop."""
        work, limit = self._pairs_work(
            pairs, instruction=instruction, timeout=timeout, long_documents=long_documents
        )
        return await asyncio.wrap_future(self._calls.submit(work, limit))

    def rerank_many(
        self,
        requests: Iterable[Given],
        *,
        ordered: bool = True,
        tokens_in_flight: int = TOKENS_IN_FLIGHT,
        progress: bool = False,
        **options: Any,
    ) -> Iterator[RerankOutcome]:
        """Rank any number of requests, many at once, in bounded memory.

        The requests are read as there is room for them, in the thread that takes the outcomes. A
        request that cannot be used, or fails, is an outcome with its error, and the others go on.
        To leave the loop early ends what is under way.

        Args:
            requests: each a `RerankRequest`, a mapping with its fields, or (query, documents).
            ordered: outcomes in the order of the requests; else as they end, each with its index.
            tokens_in_flight: about how many tokens of prompts may be held at once, by the length
                of the texts; enough for several batches of the engine.
            progress: show requests, pairs, tokens a second and the time left on standard error.
            options: `top_n`, `threshold`, `instruction`, `timeout`, `long_documents` for those
                requests that do not have their own. A timeout counts for each request, waiting for
                the engine included.

        Yields:
            One outcome for each request.

        Raises:
            InvalidInputError: an option that cannot be used.
            ModelError: the checkpoint cannot be used.
            EngineError: the engine could not start.
            RerankerClosedError: the Reranker is closed, or was closed meanwhile.
        """
        many = self._many(options, tokens_in_flight, ordered, progress)
        return many.outcomes(requests, partial(self.start, timeout=None))

    def arerank_many(
        self,
        requests: Iterable[Given] | AsyncIterable[Given],
        *,
        ordered: bool = True,
        tokens_in_flight: int = TOKENS_IN_FLIGHT,
        progress: bool = False,
        **options: Any,
    ) -> AsyncIterator[RerankOutcome]:
        """`rerank_many` for asyncio: outcomes come while the next request is waited for.

        Requests may come from an asynchronous iterable; an ordinary one is read in the caller's
        event loop, and should not keep it waiting.
        """
        many = self._many(options, tokens_in_flight, ordered, progress)
        return many.aoutcomes(requests, partial(self.astart, timeout=None))

    def start(self, *, timeout: float | NotGiven | None = NOT_GIVEN) -> EngineInfo:
        """Load the model now instead of at the first call, and say what runs where.

        Args:
            timeout: as in the constructor, for this call; None: no limit.
        """
        limit = call_options(self, {"timeout": timeout})["timeout"]
        return wait(self._calls.submit(self._start, limit))

    async def astart(self, *, timeout: float | NotGiven | None = NOT_GIVEN) -> EngineInfo:
        """`start` for asyncio."""
        limit = call_options(self, {"timeout": timeout})["timeout"]
        return await asyncio.wrap_future(self._calls.submit(self._start, limit))

    def close(self) -> None:
        """End calls in flight with `RerankerClosedError`, and give the engine back."""
        self._calls.close()
        try:
            submit(self._close()).result(CLOSE_SECONDS)
        except FutureTimeoutError:
            raise EngineError(f"the engine did not end within {CLOSE_SECONDS:g} seconds") from None

    async def aclose(self) -> None:
        """`close` for asyncio."""
        self._calls.close()
        await asyncio.wrap_future(submit(self._close()))

    async def _close(self) -> None:
        await self._calls.end()
        await self._release()

    def _request(self, query: str, documents: Iterable[str], **options: Any) -> Request:
        return Request(
            query=checked_query(query),
            documents=checked_documents(documents),
            **call_options(self, options),
        )

    def _many(
        self, options: Mapping[str, Any], tokens_in_flight: int, ordered: bool, progress: bool
    ) -> Many:
        call_options(self, options)  # what cannot be used is said at once

        def checked(asked: RerankRequest) -> Request:
            return self._request(asked.query, asked.documents, **{**options, **asked.options})

        def begin(request: Request) -> Future[RerankResult]:
            return self._calls.submit(partial(self._rerank, request), request.timeout)

        return Many(
            checked,
            begin,
            self.max_length,
            checked_count("tokens_in_flight", tokens_in_flight),
            checked_flag("ordered", ordered),
            checked_flag("progress", progress),
        )

    def _pairs_work(
        self, pairs: Iterable[tuple[str, str]], **options: Any
    ) -> tuple[Callable[[], Coroutine[Any, Any, list[float]]], float | None]:
        """What scores `pairs`, and the seconds that it may take."""
        given, places = checked_pairs(pairs), defaultdict[str, list[int]](list)
        for place, (query, _) in enumerate(given):
            places[query].append(place)
        requests = [
            self._request(query, [given[place][1] for place in own], **options)
            for query, own in places.items()
        ]
        limit = call_options(self, options)["timeout"]

        async def work() -> list[float]:
            turns: Turns = Turns(TOKENS_IN_FLIGHT)
            scores = await turns.map(self._score, requests, self._tokens)
            found = dict(
                zip(chain.from_iterable(places.values()), chain.from_iterable(scores), strict=True)
            )
            return [found[place] for place in range(len(given))]

        return work, limit

    def _tokens(self, request: Request) -> int:
        return estimated_tokens(request, self.max_length)
