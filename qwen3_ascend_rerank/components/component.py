"""What a framework's component has around its Reranker: settings, a life, and a way to fail.

No framework is known here. A component prepares texts, calls `_rerank` or `_arerank`, and applies
the outcome to its own kind of document.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

from pydantic import Field, InstanceOf, PrivateAttr, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema
from typing_extensions import Self, TypedDict

from ..bridge.calls import wait
from ..bridge.lifetime import Closing
from ..bridge.loop import submit
from ..checks import unknown_name
from ..engines import EngineInfo
from ..engines.options import public_options
from ..errors import InvalidInputError, QueryTooLongError, UnknownNameError
from ..prompts.fields import checked_fields, with_fields
from ..prompts.request import CALL_OPTIONS, LongDocuments, call_options
from ..reranker import Ranker, fixed_setting
from ..results import RankedDocument, RerankResult
from ..results.fusion import WEIGHTED_CASCADE, Fusion, fused
from .settings import RERANKER_FIELDS, RerankSettings, checked_on_failure, checked_patience
from .silence import unless_silent

logger = logging.getLogger("qwen3_ascend_rerank")

MAKING = (*RERANKER_FIELDS, "cascade")
"""Settings that a Reranker is made by, so that they are what they are."""
Outcome: TypeAlias = RerankResult | Exception
"""A ranking, or the failure in spite of which the answer goes on."""

RELEVANCE_SCORE = "relevance_score"
"""Metadata key of P("yes"), the score of this rerank."""
RELEVANCE_SPAN = "relevance_span"
"""Metadata key of where in the text the best passage is, [start, end) in characters; only where the
document was read in passages."""
RELEVANCE_STAGE = "relevance_stage"
"""Metadata key of the stage of a cascade that the score is of, from 1."""
RETRIEVAL_SCORE = "retrieval_score"
"""Metadata key of the score that the document came with."""
RELEVANCE = "relevance"
"""Metadata key of P(relevant), where there is a calibration."""
RERANK_FAILURE = "rerank_failure"
"""Metadata key that marks a document whose order was kept: the name of the error."""


def marked_metadata(
    metadata: Mapping[str, Any], marks: Mapping[str, Any], earlier: float | None = None
) -> dict[str, Any]:
    """`metadata` with `marks` instead of an earlier rerank's, and the retriever's score kept.

    That score is `retrieval_score` if there is one, else `earlier`, else what the metadata have as
    ``relevance_score`` or ``score``.
    """
    gone = {RELEVANCE_SCORE, RELEVANCE_SPAN, RELEVANCE_STAGE, RERANK_FAILURE, *marks}
    if RELEVANCE_SCORE in metadata:  # else a key of that name is its owner's
        gone.add(RELEVANCE)
    kept = {k: v for k, v in metadata.items() if k not in gone}
    if earlier is None:
        earlier = metadata.get(RELEVANCE_SCORE, metadata.get("score"))
    if earlier is not None:
        kept.setdefault(RETRIEVAL_SCORE, earlier)
    return {**kept, **marks}


def marks_of(document: RankedDocument, text: str) -> dict[str, Any]:
    """What the metadata say of a ranking.

    Args:
        document: what was scored.
        text: the framework's own text of it, which stands at the end of what was scored.
    """
    marks: dict[str, Any] = {RELEVANCE_SCORE: document.score}
    if document.relevance is not None:
        marks[RELEVANCE] = document.relevance
    if document.stage is not None:
        marks[RELEVANCE_STAGE] = document.stage
    if document.span is not None:
        before = document.text.rfind(text)
        start, end = (min(max(place - before, 0), len(text)) for place in document.span)
        if before >= 0 and start < end:
            marks[RELEVANCE_SPAN] = [start, end]
    return marks


def checked_fusion(given: Any) -> str | None:
    """One of the forms of `Fusion`; None: none."""
    return None if given is None else str(Fusion.of(given))


class CallOptions(TypedDict, total=False):
    """What one call may set differently. None: no limit, whatever the component says."""

    top_n: int | None
    threshold: float | None
    instruction: str | None
    timeout: float | None
    long_documents: LongDocuments | None


class RerankComponent(RerankSettings, Closing):
    """The settings, and the Reranker made from them when it is first needed, or handed in.

    Copies have a Reranker of their own on the same engine. A pickle holds the settings only.
    """

    reranker: SkipJsonSchema[InstanceOf[Ranker] | None] = Field(
        None,
        exclude=True,
        repr=False,
        description="A ready Reranker or CascadeReranker, instead of the settings that would make "
        "one; whoever made it closes it.",
    )
    fusion: str | None = Field(
        None,
        description="The retriever's score counts in the order: `rrf`, `rrf:CONSTANT`, or "
        "`weighted:WEIGHT` with the model's weight in [0, 1]; not given: the model's alone does. "
        "Scores and threshold are the model's in any case.",
    )
    _own: Ranker | None = PrivateAttr(None)
    _CHECKS: ClassVar[dict[str, Callable[[Any], Any]]] = {
        **CALL_OPTIONS,
        "fusion": checked_fusion,
        "metadata_fields": checked_fields,
        "on_failure": checked_on_failure,
        "patience": checked_patience,
    }
    """What may be assigned later, and what makes sure that it can be used."""

    if not TYPE_CHECKING:  # who checks types makes the signature from the fields

        def __init__(self, *args: Any, **settings: Any) -> None:
            """Say what pydantic would say in words of its own."""
            if args:
                raise UnknownNameError(
                    f"{type(self).__name__} takes its settings by name; pass model={args[0]!r}"
                )
            super().__init__(**settings)

    @field_validator("fusion", mode="before")
    @classmethod
    def _read_fusion(cls, given: Any) -> str | None:
        return checked_fusion(given)

    @model_validator(mode="before")
    @classmethod
    def _ask_reranker(cls, values: Any) -> Any:
        """A Reranker that is handed in says what is not given, rather than the environment."""
        reranker = values.get("reranker") if isinstance(values, dict) else None
        if not isinstance(reranker, Ranker):
            return values
        its = {name: getattr(reranker.stages[-1], name) for name in RERANKER_FIELDS}
        its |= {name: getattr(reranker, name) for name in ("model", *CALL_OPTIONS)}
        its["cascade"] = None  # it is one already, or it is none
        if not isinstance(its["model"], str | None):
            its["model"] = type(its["model"]).__name__
        fixed = its.keys() - CALL_OPTIONS.keys()
        if other := sorted(name for name in fixed if values.get(name, its[name]) != its[name]):
            raise InvalidInputError(
                f"{', '.join(other)} given beside reranker, which has its own; leave one out"
            )
        return {**its, **values}

    def model_post_init(self, context: Any, /) -> None:
        """Refuse wrong settings now rather than at the first call."""
        super().model_post_init(context)
        self._check_fusion(self.fusion)

    if not TYPE_CHECKING:  # who checks types sees the fields themselves

        def __setattr__(self, name: str, value: Any) -> None:
            """Let a field be assigned that still has an effect, and be a value that can be used."""
            value = self._assignable(name, value)
            if name == "fusion":
                self._check_fusion(value)
            super().__setattr__(name, value)

    def _assignable(self, name: str, value: Any) -> Any:
        """`value` as field `name` holds it from now on; private names are nobody's business.

        Raises:
            InvalidInputError: no such field, one that has no effect any more, or a wrong value.
        """
        kind = type(self)
        if name in self._CHECKS:
            return self._CHECKS[name](value)
        if name in (*MAKING, "reranker"):
            raise fixed_setting(name, kind.__name__)
        if not (name in kind.model_fields or name.startswith("_") or hasattr(kind, name)):
            raise unknown_name(name, f"setting of {kind.__name__}", kind.model_fields)
        return value

    def start(self) -> EngineInfo:
        """Load the model now instead of at the first call, and say what runs where."""
        return self._core.start(timeout=self.timeout)

    async def astart(self) -> EngineInfo:
        """`start` for asyncio."""
        return await self._core.astart(timeout=self.timeout)

    def close(self) -> None:
        """End calls in flight and give the engine back; a `reranker` handed in stays open."""
        if self.reranker is None:
            self._core.close()

    async def aclose(self) -> None:
        """`close` for asyncio."""
        if self.reranker is None:
            await self._core.aclose()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with the settings of `update` instead of its own, each checked.

        Raises:
            InvalidInputError: one that there is not, that cannot be used, or that the Reranker
                handed in has already.
        """
        copied = super().model_copy(deep=deep)
        for name, value in (update or {}).items():
            remade = self.reranker is None and name in MAKING
            copied.__dict__[name] = value if remade else self._assignable(name, value)
        copied.__pydantic_fields_set__.update(update or {})
        copied._check_fusion(copied.fusion)  # makes its Reranker, which refuses what cannot be used
        return copied

    def __copy__(self) -> Self:
        return super().__copy__()._disowned()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return super().__deepcopy__(memo)._disowned()

    def __reduce__(self) -> tuple[Any, ...]:
        # Secrets and other excluded fields stay behind; the environment fills them again.
        state = {**self._state(), "engine_options": public_options(self.engine_options)}
        if self.reranker is None:
            state |= {name: place.absolute for name, place in self._located().items()}
            state["cascade"] = self._absolute_cascade()
        return partial(type(self), **state), ()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._state() == other._state()

    __hash__ = None  # type: ignore[assignment]

    def _state(self) -> dict[str, Any]:
        """What makes two components equal: the settings that are no secret, and the Reranker."""
        fields = type(self).model_fields.items()
        kept = {name: getattr(self, name) for name, field in fields if not field.exclude}
        return {**kept, "reranker": self.reranker}

    def _disowned(self) -> Self:
        self._own = None
        return self

    @property
    def _model_name(self) -> str:
        """What traces call the model: its name, or where it is served."""
        return self.model or str(self.base_url)

    @property
    def _core(self) -> Ranker:
        if self.reranker is not None:
            return self.reranker
        if self._own is None:
            self._own = self.make_reranker()
        return self._own

    def _text(self, text: str, metadata: Mapping[str, Any]) -> str:
        """What is scored of a document: its text, behind the fields that are read."""
        return with_fields(text, metadata, cast("list[str] | None", self.metadata_fields))

    def _options(self, **given: Any) -> CallOptions:
        """The options of one call: those given, and for the rest the component's."""
        return cast("CallOptions", call_options(self, given))

    def _check_fusion(self, fusion: str | None) -> None:
        """Refuse what could not be fused at the first call, when it is set.

        Raises:
            InvalidInputError: the scores of a cascade would be weighted.
        """
        weighs = fusion is not None and Fusion.of(fusion).kind == "weighted"
        if len(self._core.stages) > 1 and weighs:
            raise InvalidInputError(WEIGHTED_CASCADE)

    def _rerank(
        self,
        query: str,
        texts: list[str],
        options: CallOptions,
        retrieved: Sequence[float] | None = None,
    ) -> Outcome:
        """The ranking, or the failure that is excused.

        Args:
            query: what is asked.
            texts: the documents.
            options: of this call.
            retrieved: the retriever's score of each, where there is a `fusion`.
        """
        try:
            asked = _all_of_them(options) if self.fusion else options
            if self._is_hurried:
                result = wait(submit(self._hurried(query, texts, asked)))
            else:
                result = self._core.rerank(query, texts, **asked)
            return self._fused(result, retrieved, options)
        except Exception as error:  # noqa: BLE001 - whatever failed, `keep_order` promises an answer
            return self._excused(error)

    async def _arerank(
        self,
        query: str,
        texts: list[str],
        options: CallOptions,
        retrieved: Sequence[float] | None = None,
    ) -> Outcome:
        """`_rerank` for asyncio."""
        try:
            asked = _all_of_them(options) if self.fusion else options
            if self._is_hurried:
                call = submit(self._hurried(query, texts, asked))
                result = await asyncio.wrap_future(call)
            else:
                result = await self._core.arerank(query, texts, **asked)
            return self._fused(result, retrieved, options)
        except Exception as error:  # noqa: BLE001
            return self._excused(error)

    def _fused(
        self, result: RerankResult, retrieved: Sequence[float] | None, options: CallOptions
    ) -> RerankResult:
        if self.fusion is None or retrieved is None:
            return result
        return fused(
            result,
            retrieved,
            Fusion.of(self.fusion),
            threshold=options["threshold"],
            top_n=options["top_n"],
        )

    @property
    def _is_hurried(self) -> bool:
        """Whether servers may be given up before the engine gives them up."""
        return self.on_failure == "keep_order" and any(
            stage.base_url is not None for stage in self._core.stages
        )

    async def _hurried(self, query: str, texts: list[str], options: CallOptions) -> RerankResult:
        """The ranking, unless the servers are silent; runs in the background loop."""
        call = self._core.arerank(query, texts, **options)
        for stage in self._core.stages:
            call = unless_silent(call, stage, self.patience)
        return await call

    def _excused(self, error: Exception) -> Exception:
        misused = isinstance(error, InvalidInputError) and not isinstance(error, QueryTooLongError)
        if misused or self.on_failure == "raise":
            raise error
        logger.warning("reranking failed, order kept: %s: %s", type(error).__name__, error)
        return error


def _all_of_them(options: CallOptions) -> CallOptions:
    """`options` for a call that leaves nothing out, since what is left out is found later."""
    return {**options, "top_n": None, "threshold": None}
