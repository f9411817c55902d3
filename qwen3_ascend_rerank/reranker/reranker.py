"""What is called: the settings of a Reranker, its calls, its copies."""

from __future__ import annotations

import asyncio
import copy
import os
import time
from collections import defaultdict
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar, cast

from typing_extensions import Self

from ..bridge.calls import Calls, wait
from ..bridge.lifetime import Closing
from ..bridge.loop import submit
from ..bridge.turns import Turns
from ..checks import checked_count, checked_flag, checked_text, unknown_name
from ..engines import Engine, EngineInfo, EngineSpec, choose_engine
from ..engines.held import HeldEngine
from ..engines.options import checked_options, public_options
from ..engines.served.address import checked_api_key, checked_urls
from ..errors import EngineError, InvalidInputError
from ..models.location import Location
from ..prompts import DEFAULT_INSTRUCTION
from ..prompts.passages import PassageRules
from ..prompts.preparation import aside
from ..prompts.request import (
    CALL_OPTIONS,
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
from ..results import RerankOutcome, RerankResult, Usage, probability
from ..results.cache import Judgement
from ..results.ranking import ranked
from ..trust import checked_level
from .judging import Judge
from .many import TOKENS_IN_FLIGHT, Given, Many

if TYPE_CHECKING:
    from pydantic import SecretStr

SETTINGS = (
    *("model", "base_url", "engine", "tokenizer", "instruction", "max_length", "top_n"),
    *("threshold", "long_documents", "passage_tokens", "passage_overlap", "passage_limit"),
    *("cache_size", "selfcheck", "timeout", "engine_options"),
)
"""What describes a Reranker, as its constructor takes it; beside it there is the secret api_key."""
DEFAULT_MODEL = "Qwen/Qwen3-Reranker-0.6B"
R = TypeVar("R", bound="Reranker")
CLOSE_SECONDS = 30.0
"""How long `close()` waits for the engine to end."""


class Reranker(Closing):
    """Scores documents for a query with Qwen3-Reranker, and ranks them.

    Nothing is loaded before the first call (or `start()`). One Reranker serves any number of
    threads and event loops at once; Rerankers with equal engine settings share one engine.

    `top_n`, `threshold`, `instruction`, `timeout` and `long_documents` may be assigned later, for
    the calls from then on. The other settings cannot: they are what the engine was chosen and
    checked by.

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
        model: str | os.PathLike[str] | Engine | None = None,
        *,
        base_url: str | Iterable[str] | None = None,
        api_key: str | SecretStr | None = None,
        engine: str = "auto",
        tokenizer: str | os.PathLike[str] | None = None,
        instruction: str = DEFAULT_INSTRUCTION,
        max_length: int = 8192,
        top_n: int | None = None,
        threshold: float | None = None,
        long_documents: LongDocuments = "truncate",
        passage_tokens: int | None = None,
        passage_overlap: int = 64,
        passage_limit: int = 4,
        cache_size: int = 0,
        selfcheck: str = "auto",
        timeout: float | None = None,
        engine_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Describe the reranker.

        Args:
            model: hub id, folder, ``lexical``, or a ready `Engine`, which is then started and
                closed by the Rerankers that use it. None: Qwen/Qwen3-Reranker-0.6B, or whatever
                is served at `base_url`.
            base_url: where the model is served, instead of being loaded here: one URL, or those
                of several servers, as a list or with commas between them.
            api_key: the servers' key; None: ``QWEN3_RERANK_API_KEY`` of the environment, the only
                setting that a Reranker reads there. It is kept as a secret, and left out of
                pickles.
            engine: ``vllm``, ``torch``, or ``auto`` for the best one that is there; not needed
                with `base_url`.
            tokenizer: where ``tokenizer.json`` is when it is not beside the model.
            instruction: what makes a document relevant; in English for best results.
            max_length: longest prompt in tokens; a longer document loses its tail, unless
                `long_documents` says otherwise. A server that takes less lowers it.
            top_n: how many documents a result holds at most; None: all.
            threshold: lowest score in [0, 1] that a result holds; applied before `top_n`.
            long_documents: what becomes of a document that is too long. ``truncate``: its beginning
                is scored, as by the official code. ``max_passage``: all of it is cut into
                passages that overlap, each is scored, and the best one's score is the document's;
                `RankedDocument.span` says where it is. ``first_passages``: the same with its first
                `passage_limit` passages.
            passage_tokens: tokens of a passage at most; a document of no more is read in one. None:
                as many as the prompt has room for.
            passage_overlap: tokens that a passage shares with the one before; at most half of it.
            passage_limit: how many passages ``first_passages`` scores of a document.
            cache_size: pairs whose scores are remembered; 0: none.
            selfcheck: what the engine must show when it starts. ``auto``: that a pair scores the
                same however it is asked, and known answers where the model has some;
                ``full``: also that the lexical model scores rightly in the same runtime;
                ``invariants``: the first alone; ``off``. A ready `Engine` is checked only where
                a level other than ``auto`` asks for it. An engine that others use already is
                examined anew where they asked for less.
            timeout: seconds that one call may take, loading included; None: no limit.
            engine_options: what the engine itself takes, e.g. ``{"device": "npu:1"}``. Secrets
                among them (``hf_token``, passwords, `headers` for servers, …) are kept like
                `api_key`.

        Raises:
            InvalidInputError: a value that cannot be used.
        """
        before = frozenset(self.__dict__)
        urls = checked_urls(base_url)
        self.base_url: str | list[str] | None = (
            list(urls) if len(urls) > 1 else "".join(urls) or None
        )
        self.api_key = _checked_key(api_key, served=bool(urls))
        wanted = _checked_model(model, served=bool(urls))
        self._place = wanted if isinstance(wanted, Location) else None
        self.model = self._place.asked if self._place else cast("str | Engine | None", wanted)
        if not isinstance(self.model, str | None):
            _refuse_beside_engine(engine=engine != "auto", engine_options=bool(engine_options))
        self.engine = engine
        self._tokenizer_place = None if tokenizer is None else _located("tokenizer", tokenizer)
        self.tokenizer = self._tokenizer_place.asked if self._tokenizer_place else None
        self.instruction = instruction
        self.max_length = checked_count("max_length", max_length)
        self.top_n = top_n
        self.threshold = threshold
        self.long_documents = long_documents
        rules = PassageRules.checked(passage_tokens, passage_overlap, passage_limit)
        self.passage_tokens = rules.tokens
        self.passage_overlap = rules.overlap
        self.passage_limit = rules.limit
        self.cache_size = checked_count("cache_size", cache_size, least=0)
        self.selfcheck = checked_level(selfcheck)
        self.timeout = timeout
        self.engine_options = checked_options(engine_options)

        self._calls = Calls()
        self._held = self._hold_engine()
        self._judge = Judge(self._held, self.max_length, self.cache_size, rules)
        self._inner = frozenset(self.__dict__) - before
        """What is made anew in a copy; the rest belongs to a subclass."""

    if not TYPE_CHECKING:  # who checks types sees the attributes themselves

        def __setattr__(self, name: str, value: Any) -> None:
            known = name in SETTINGS or name == "api_key"
            free = known or name.startswith("_") or hasattr(self, name)
            if name in CALL_OPTIONS:
                value = CALL_OPTIONS[name](value)
            elif known and name in self.__dict__:
                raise fixed_setting(name, "Reranker")
            elif not free and type(self) is Reranker:  # a subclass has what it likes
                raise unknown_name(name, "setting of Reranker", SETTINGS)
            super().__setattr__(name, value)

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

    @property
    def info(self) -> EngineInfo | None:
        """What runs where at this moment, and how many of its servers are up; None before a start.

        Waits for nothing, and starts nothing.
        """
        return self._held.now()

    def start(self, *, timeout: float | NotGiven | None = NOT_GIVEN) -> EngineInfo:
        """Load the model now instead of at the first call, and say what runs where.

        Args:
            timeout: as in the constructor, for this call; None: no limit.
        """
        limit = call_options(self, {"timeout": timeout})["timeout"]
        return wait(self._calls.submit(self._held.start, limit))

    async def astart(self, *, timeout: float | NotGiven | None = NOT_GIVEN) -> EngineInfo:
        """`start` for asyncio."""
        limit = call_options(self, {"timeout": timeout})["timeout"]
        return await asyncio.wrap_future(self._calls.submit(self._held.start, limit))

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

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self._settings().items())
        return f"{type(self).__name__}({settings})"

    def __reduce__(self) -> tuple[Any, ...]:
        # In another process it loads its own model, and finds the API key in the environment.
        settings = self._settings() | self._places()
        settings["engine_options"] = public_options(self.engine_options)
        return _made_again, (type(self), settings), self._state_of_subclass()

    def __copy__(self) -> Self:
        settings = self._settings() | self._places()
        twin = _made_again(type(self), {**settings, "api_key": self.api_key})
        twin.__dict__.update(self._state_of_subclass())
        return twin  # it shares the engine

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = memo[id(self)] = self.__copy__()
        twin.__dict__.update(copy.deepcopy(self._state_of_subclass(), memo))
        return twin

    def _state_of_subclass(self) -> dict[str, Any]:
        own = self.__dict__.keys() - self._inner - {"_inner"}
        return {name: self.__dict__[name] for name in own}

    # -- the engine ------------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SETTINGS}

    def _places(self) -> dict[str, Location]:
        """Those settings that mean another folder where the working folder is another."""
        places = {"model": self._place, "tokenizer": self._tokenizer_place}
        return {name: place for name, place in places.items() if place is not None}

    def _hold_engine(self) -> HeldEngine:
        model, urls, places = self.model, checked_urls(self.base_url), self._places()
        if not isinstance(model, str | None):
            level = "off" if self.selfcheck == "auto" else self.selfcheck
            return HeldEngine(model, level, places)
        files = {name: place.real for name, place in places.items()}
        spec = EngineSpec(
            choose_engine(self.engine, model, served=bool(urls)),
            files.get("model", model),
            self.max_length,
            files.get("tokenizer"),
            self.engine_options,
            urls,
            self.api_key,
            called=model,
            state=tuple(place.state for place in places.values()),
        )
        return HeldEngine(spec, self.selfcheck, places)

    async def _close(self) -> None:
        await self._calls.end()
        await self._held.release()

    # -- one call --------------------------------------------------------------------------------

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

    async def _rerank(self, request: Request) -> RerankResult:
        began = time.perf_counter()
        judgements, usage = await self._judge.judge(request)
        result = await aside(len(judgements), self._result, request, judgements, usage)
        seconds = time.perf_counter() - began
        return replace(result, usage=replace(usage, seconds=seconds))

    def _result(self, request: Request, judgements: list[Judgement], usage: Usage) -> RerankResult:
        info = self._held.info
        return RerankResult(
            documents=ranked(request, judgements),
            query=request.query,
            instruction=request.instruction,
            model=info.model if info else str(self.model or ""),
            engine=info.engine if info else "",
            usage=usage,
            log_odds_exact=info.log_odds_exact if info else True,
        )

    async def _score(self, request: Request) -> list[float]:
        judgements, _ = await self._judge.judge(request)
        return await aside(
            len(judgements), lambda: [probability(one.log_odds) for one in judgements]
        )


def fixed_setting(name: str, owner: str) -> InvalidInputError:
    """The error for a setting that was assigned when it could have no effect any more."""
    return InvalidInputError(
        f"{name} of a {owner} cannot be changed: its engine was chosen by it; make another "
        f"{owner} with the {name} wanted, which costs nothing before its first call"
    )


def _made_again(kind: type[R], settings: dict[str, Any]) -> R:
    """A Reranker of `kind`, whatever the constructor of a subclass takes."""
    made = object.__new__(kind)
    Reranker.__init__(made, **settings)
    return made


def _checked_key(api_key: str | SecretStr | None, *, served: bool) -> SecretStr | None:
    if served:
        return checked_api_key(api_key)
    if api_key is not None and checked_api_key(api_key):
        raise InvalidInputError(
            "api_key is given and base_url is not: no server is asked that could want it; pass "
            "the server's address as base_url, or leave api_key out"
        )
    return None


def _refuse_beside_engine(**given: bool) -> None:
    if without_effect := [name for name, one in given.items() if one]:
        raise InvalidInputError(
            f"{' and '.join(without_effect)} given beside a ready engine, which has its own; leave "
            "it out, or make the engine with it"
        )


def _located(name: str, asked: str | os.PathLike[str] | Location) -> Location:
    if isinstance(asked, Location):
        return asked
    return Location.of(checked_text(name, os.fspath(asked)))


def _checked_model(model: Any, *, served: bool) -> str | Location | Engine | None:
    if model is None and served:
        return None
    if model is None or isinstance(model, str | os.PathLike | Location):
        where = _located("model", DEFAULT_MODEL if model is None else model)
        return where.asked if served else where  # a served model's name is no path here
    # Not isinstance(model, Engine): before Python 3.12 that runs `info`, which needs a start.
    if not hasattr(type(model), "score"):
        raise InvalidInputError(
            f"model is {model!r}; give a hub id, a folder, lexical, or an Engine"
        )
    if served:
        raise InvalidInputError("model is a ready engine, and base_url is given; leave one out")
    return cast("Engine", model)
