"""A cascade: a small model says which documents a large one is worth asking about."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import Self

from ..bridge.calls import Calls
from ..checks import checked_count, described, unknown_name
from ..engines import EngineInfo
from ..errors import DocumentError, InvalidInputError, RerankError
from ..prompts.request import CALL_OPTIONS, LongDocuments, Request
from ..results import RankedDocument, RerankResult, StageReport, Usage
from .ranker import Ranker
from .reranker import Reranker

C = TypeVar("C", bound="CascadeReranker")
OPTIONS = tuple(CALL_OPTIONS)
THEN = " → "
"""Between the names of the models."""


class CascadeReranker(Ranker):
    """Ranks by several models, each after the first asked about the best of the one before.

    It is called as a `Reranker` is, and whatever takes a Reranker takes it. The documents that the
    last stage judged come first, by its scores; then those that the stage before did not hand on,
    by the scores of that stage, and so on. `RankedDocument.stage` says whose score it is, and
    `RerankResult.stages` what each stage took. A stage that would hand on all is not asked: where
    there is nothing to save, the result is the last model's alone.

    * `threshold` is for scores of the last stage: a document that it did not judge reaches none.
    * `score` and `score_pairs` ask the last stage alone, so that their scores can be compared.
    * A cascade closes its stages when it is closed; pass `copy.copy(reranker)`, which shares the
      engine, to keep one.

    Example:
        >>> small, large = Reranker("lexical"), Reranker("lexical", max_length=4096)
        >>> passages = ["Bread needs flour.", "Beijing is China's capital.", "The sea is blue."]
        >>> with CascadeReranker([(small, 2), large]) as reranker:
        ...     result = reranker.rerank("capital of China", passages)
        >>> [(one.index, one.stage) for one in result][0]
        (1, 2)
    """

    def __init__(
        self,
        stages: Iterable[Reranker | tuple[Reranker, int]],
        *,
        instruction: str | None = None,
        top_n: int | None = None,
        threshold: float | None = None,
        timeout: float | None = None,
        long_documents: LongDocuments | None = None,
    ) -> None:
        """Put the stages together; nothing is loaded yet.

        Args:
            stages: Rerankers in the order in which they are asked, each but the last as a pair with
                how many documents it hands on, fewer than the one before. Their own `top_n` and
                `threshold` do not count; a `timeout` of theirs does, for their part of a call.
            instruction: what makes a document relevant, for all stages. None: as they have it.
            top_n: how many documents a result holds at most; None: all, those that the last stage
                did not judge included.
            threshold: lowest score in [0, 1] that a result holds, given by the last stage.
            timeout: seconds that one call may take, loading included; None: no limit.
            long_documents: as of a `Reranker`, for all stages. None: as they have it.

        Raises:
            InvalidInputError: stages that are none, or that do not agree.
        """
        self._stages, self._keep = _checked_stages(stages)
        self._calls = Calls()
        self.instruction = _agreed(self._stages, "instruction", instruction)
        self.long_documents = _agreed(self._stages, "long_documents", long_documents)
        self.top_n = top_n
        self.threshold = threshold
        self.timeout = timeout

    if not TYPE_CHECKING:  # who checks types sees the attributes themselves

        def __setattr__(self, name: str, value: Any) -> None:
            if name in CALL_OPTIONS:
                value = CALL_OPTIONS[name](value)
            elif not name.startswith("_"):
                raise unknown_name(name, "setting of CascadeReranker that can change", OPTIONS)
            super().__setattr__(name, value)

    @property
    def stages(self) -> Sequence[Reranker]:
        """The Rerankers, in the order in which they are asked."""
        return self._stages

    @property
    def keep(self) -> Sequence[int]:
        """How many documents each stage but the last hands on."""
        return self._keep

    @property
    def model(self) -> str:
        """The names of the models."""
        return THEN.join(map(_name, self._stages))

    @property
    def max_length(self) -> int:  # type: ignore[override]
        """Longest prompt of any stage, in tokens."""
        return max(stage.max_length for stage in self._stages)

    @property
    def info(self) -> EngineInfo | None:
        """What the last stage runs, under the names of all; None where one has not started."""
        all_info = [stage.info for stage in self._stages]
        known = [info for info in all_info if info is not None]
        if len(known) < len(all_info):
            return None
        return replace(
            known[-1],
            model=self.model,
            max_length=min(info.max_length for info in known),
            replicas=sum(info.replicas for info in known),
            replicas_up=sum(info.replicas_up for info in known),
        )

    def __repr__(self) -> str:
        pairs = [
            f"({stage!r}, {keep})" for stage, keep in zip(self._stages, self._keep, strict=False)
        ]
        options = "".join(f", {name}={getattr(self, name)!r}" for name in OPTIONS)
        return f"{type(self).__name__}([{', '.join([*pairs, repr(self._stages[-1])])}]{options})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, (type(self), self._stages, self._keep, self._options())

    def __copy__(self) -> Self:
        stages = tuple(map(copy.copy, self._stages))
        return _made_again(type(self), stages, self._keep, self._options())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in OPTIONS}

    # -- one call --------------------------------------------------------------------------------

    async def _rerank(self, request: Request) -> RerankResult:
        began = time.perf_counter()
        left = list(range(len(request.documents)))
        judged: list[RankedDocument] = []
        """Best first."""
        reports: list[StageReport] = []
        for number, keep in enumerate([*self._keep, None]):
            if keep is not None and len(left) <= keep:
                reports.append(StageReport(_name(self._stages[number]), handed_on=len(left)))
                continue
            result = await self._asked(number, request, left)
            found = [replace(one, index=left[one.index], stage=number + 1) for one in result]
            handed_on = found[:keep] if keep is not None else []
            reports.append(
                StageReport(result.model, result.engine, len(found), len(handed_on), result.usage)
            )
            judged = found[len(handed_on) :] + judged
            left = sorted(one.index for one in handed_on)
        usage = sum((report.usage for report in reports), Usage())
        return replace(
            result,
            documents=tuple(_wanted(judged, request, len(self._stages))),
            model=self.model,
            engine=THEN.join(dict.fromkeys(one.engine for one in reports if one.engine)),
            usage=replace(
                usage,
                documents_truncated=sum(one.truncated for one in judged),
                seconds=time.perf_counter() - began,
            ),
            stages=tuple(reports),
        )

    async def _asked(self, number: int, request: Request, places: list[int]) -> RerankResult:
        """What a stage says of the documents at `places`."""
        with self._named(number, places):
            return await self._stages[number].arerank(
                request.query,
                [request.documents[place] for place in places],
                top_n=None,
                threshold=None,
                instruction=request.instruction,
                long_documents=request.long_documents,
            )

    async def _score(self, request: Request) -> list[float]:
        last = len(self._stages) - 1
        with self._named(last, range(len(request.documents))):
            return await self._stages[last].ascore(
                request.query,
                request.documents,
                instruction=request.instruction,
                long_documents=request.long_documents,
            )

    async def _start(self) -> EngineInfo:
        for number, stage in enumerate(self._stages):
            with self._named(number):
                info = await stage.astart()
        return self.info or info

    async def _release(self) -> None:
        await asyncio.gather(*(stage.aclose() for stage in self._stages))

    @contextmanager
    def _named(self, number: int, places: Sequence[int] = ()) -> Iterator[None]:
        """Errors say which stage it was, and name documents as the caller passed them."""
        stage = self._stages[number]
        where = f"stage {number + 1} of {len(self._stages)}, {_name(stage)}"
        try:
            yield
        except DocumentError as error:
            raise DocumentError(places[error.index], f"{error.what} ({where})") from error.__cause__
        except RerankError as error:
            raise type(error)(f"{where}: {error}") from error.__cause__


def _wanted(
    judged: Sequence[RankedDocument], request: Request, last: int
) -> Sequence[RankedDocument]:
    if request.threshold is not None:
        least = request.threshold
        judged = [one for one in judged if one.stage == last and one.score >= least]
    return judged[: request.top_n]


def _name(stage: Reranker) -> str:
    """What a stage's model is called."""
    model = stage.model or stage.base_url
    return model if isinstance(model, str) else type(model).__name__


def _checked_stages(stages: Any) -> tuple[tuple[Reranker, ...], tuple[int, ...]]:
    advice = "pass Rerankers, each but the last with how many it hands on: [(small, 20), large]"
    if isinstance(stages, str | bytes) or not isinstance(stages, Iterable):
        raise InvalidInputError(f"stages is {described(stages)}; {advice}")
    *pairs, last = [*stages] or [None]
    rerankers: list[Reranker] = []
    keep: list[int] = []
    for place, pair in enumerate([*pairs, (last, 1)]):
        whole = isinstance(pair, tuple | list) and len(pair) == 2
        if not whole or not isinstance(pair[0], Reranker):
            shown = last if place == len(pairs) else pair
            raise InvalidInputError(f"stages[{place}] is {described(shown)}; {advice}")
        if any(pair[0] is one for one in rerankers):
            raise InvalidInputError(
                f"stages[{place}] is a Reranker that stands before it already; pass another one"
            )
        rerankers.append(pair[0])
        keep.append(checked_count(f"keep of stages[{place}]", pair[1]))
    if not pairs:
        raise InvalidInputError(f"there is one stage, which needs no cascade; {advice}")
    del keep[-1]
    for place in range(1, len(keep)):
        if keep[place] >= keep[place - 1]:
            raise InvalidInputError(
                f"stages[{place}] hands on {keep[place]} of the {keep[place - 1]} that it gets, "
                "which saves nothing; lower it, or leave the stage out"
            )
    return tuple(rerankers), tuple(keep)


def _agreed(stages: Sequence[Reranker], name: str, given: Any) -> Any:
    """What all stages have, unless it is given."""
    if given is not None:
        return given
    found = [getattr(stage, name) for stage in stages]
    if other := next((one for one in found if one != found[-1]), None):
        raise InvalidInputError(
            f"the stages have different {name}, {other!r} and {found[-1]!r}; pass {name}= for all"
        )
    return found[-1]


def _made_again(
    kind: type[C], stages: tuple[Reranker, ...], keep: tuple[int, ...], options: dict[str, Any]
) -> C:
    return kind([*zip(stages, keep, strict=False), stages[-1]], **options)
