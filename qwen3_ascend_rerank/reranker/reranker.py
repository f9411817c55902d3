"""What is called: the settings of a Reranker, its calls, its copies."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import (
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from typing_extensions import Self

from ..bridge.calls import Calls
from ..checks import checked_count, checked_text, unknown_name
from ..engines import Engine, EngineInfo, EngineSpec, choose_engine
from ..engines.held import HeldEngine
from ..engines.options import checked_options, public_options
from ..engines.served.address import checked_api_key, checked_urls
from ..errors import InvalidInputError
from ..models.location import Location
from ..prompts import DEFAULT_INSTRUCTION
from ..prompts.passages import PassageRules
from ..prompts.preparation import aside
from ..prompts.request import (
    CALL_OPTIONS,
    LongDocuments,
    Request,
)
from ..results import RerankResult, Usage, probability
from ..results.cache import Judgement
from ..results.calibration import Given as Calibrated
from ..results.calibration import calibration_of
from ..results.ranking import ranked
from ..trust import checked_level
from .judging import Judge
from .ranker import Ranker

if TYPE_CHECKING:
    from pydantic import SecretStr

SETTINGS = (
    *("model", "base_url", "engine", "tokenizer", "instruction", "max_length", "top_n"),
    *("threshold", "long_documents", "passage_tokens", "passage_overlap", "passage_limit"),
    *("cache_size", "selfcheck", "timeout", "engine_options"),
    "calibration",
)
"""What describes a Reranker, as its constructor takes it; beside it there is the secret api_key."""
DEFAULT_MODEL = "Qwen/Qwen3-Reranker-0.6B"
R = TypeVar("R", bound="Reranker")


class Reranker(Ranker):
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
        calibration: Calibrated | None = None,
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
            calibration: the file that ``qwen3-rerank calibrate`` wrote, or what it holds: results
                then have P(relevant) as `relevance`. Another model or instruction than it was
                fitted for is refused.

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
        self._calibration = calibration_of(calibration)
        self.calibration = self._calibration.to_dict() if self._calibration else None
        if self._calibration is not None:
            self._calibration.check_instruction(self.instruction)
            if isinstance(self.model, str):
                self._calibration.check_model(self.model)

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

    @property
    def stages(self) -> Sequence[Reranker]:
        """This one alone."""
        return (self,)

    @property
    def info(self) -> EngineInfo | None:
        """What runs where at this moment, and how many of its servers are up; None before a start.

        Waits for nothing, and starts nothing.
        """
        return self._held.now()

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

    async def _start(self) -> EngineInfo:
        return await self._held.start()

    async def _release(self) -> None:
        await self._held.release()

    # -- one call --------------------------------------------------------------------------------

    def _request(self, query: str, documents: Iterable[str], **options: Any) -> Request:
        asked = super()._request(query, documents, **options)
        if self._calibration is not None:
            self._calibration.check_instruction(asked.instruction)
        return asked

    async def _rerank(self, request: Request) -> RerankResult:
        began = time.perf_counter()
        judgements, usage = await self._judge.judge(request)
        result = await aside(len(judgements), self._result, request, judgements, usage)
        seconds = time.perf_counter() - began
        return replace(result, usage=replace(usage, seconds=seconds))

    def _result(self, request: Request, judgements: list[Judgement], usage: Usage) -> RerankResult:
        info = self._held.info
        if self._calibration is not None and info:
            self._calibration.check_model(info.model)
        return RerankResult(
            documents=ranked(request, judgements, self._calibration),
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
