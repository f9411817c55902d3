"""The settings that both integrations, the command line and the environment share.

Every field has the name and the meaning that it has in `Reranker`. What is not given is read from
the environment as ``QWEN3_RERANK_<FIELD>``, e.g. ``QWEN3_RERANK_MODEL``; `engine_options` as JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Literal, cast, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    field_serializer,
    field_validator,
    model_validator,
)

from ..checks import checked_count, checked_seconds, unknown_name
from ..engines import checked_engine
from ..engines.options import checked_options, public_options
from ..engines.served.address import checked_api_key, checked_urls
from ..errors import InvalidInputError
from ..models.location import Location
from ..prompts import DEFAULT_INSTRUCTION
from ..prompts.fields import checked_fields
from ..prompts.request import CALL_OPTIONS
from ..reranker import DEFAULT_MODEL, CascadeReranker, Ranker, Reranker
from ..results.calibration import calibration_of
from ..trust import checked_level
from .environment import ENVIRONMENT_PREFIX, from_environment
from .stages import Stage, checked_cascade

__all__ = ["ENVIRONMENT_PREFIX", "RERANKER_FIELDS", "RerankSettings"]

OnFailure = Literal["raise", "keep_order"]


def checked_on_failure(value: Any) -> OnFailure:
    """What to do where reranking fails."""
    if value not in get_args(OnFailure):
        raise InvalidInputError(
            f"on_failure is {value!r}; use one of {', '.join(get_args(OnFailure))}"
        )
    return cast("OnFailure", value)


def checked_patience(patience: float | None) -> float | None:
    """Seconds above 0; None: as long as the engine tries."""
    return None if patience is None else checked_seconds("patience", patience)


def checked_passage_tokens(tokens: int | None) -> int | None:
    """A whole number above 0; None: as many as there is room for."""
    return None if tokens is None else checked_count("passage_tokens", tokens)


def checked_calibration(given: Any) -> dict[str, Any] | None:
    """What the calibration holds, so that it goes wherever the settings go; None: there is none."""
    calibration = calibration_of(given)
    return calibration.to_dict() if calibration else None


def refuse_unknown(kind: type[BaseModel], given: Iterable[str]) -> None:
    """Raise for a setting that `kind` has not, with the nearest that it has."""
    fields = kind.model_fields
    names = [field.alias or name for name, field in fields.items()]
    if unknown := sorted(set(given).difference(names, fields)):
        raise unknown_name(unknown[0], f"setting of {kind.__name__}", names)


class _RerankerFields(BaseModel):
    model: str | None = Field(
        None,
        description="Hub id, folder, or `lexical`, which matches words and is no language model; "
        f"not given: {DEFAULT_MODEL}, or what is served.",
    )
    base_url: str | list[str] | None = Field(
        None,
        description="Where the model is served, instead of being loaded here: one URL, or several "
        "with commas between them.",
    )
    api_key: SecretStr | None = Field(
        None, exclude=True, repr=False, description="The servers' key; never written down."
    )
    engine: str = Field(
        "auto", description="`vllm`, `torch`, or `auto` for the best one that is there."
    )
    tokenizer: str | None = Field(
        None, description="Where tokenizer.json is when it is not beside the model."
    )
    instruction: str = Field(DEFAULT_INSTRUCTION, description="What makes a document relevant.")
    max_length: int = Field(8192, description="Longest prompt, in tokens.")
    top_n: int | None = Field(
        None, description="How many documents to keep at most; not given: all."
    )
    threshold: float | None = Field(
        None, description="Lowest score in [0, 1] to keep; applied before top_n."
    )
    long_documents: str = Field(
        "truncate",
        description="What becomes of a document that is too long: `truncate` scores its beginning; "
        "`max_passage` its best passage, of all that it is cut into; `first_passages` the best of "
        "its first ones.",
    )
    passage_tokens: int | None = Field(
        None,
        description="Tokens of a passage at most; not given: as many as the prompt has room for.",
    )
    passage_overlap: int = Field(
        64, description="Tokens that a passage shares with the one before; at most half of it."
    )
    passage_limit: int = Field(
        4, description="How many passages `first_passages` scores of a document."
    )
    cache_size: int = Field(0, description="Pairs whose scores are remembered; 0: none.")
    selfcheck: str = Field(
        "auto", description="What the engine must show: auto, full, invariants, off."
    )
    timeout: float | None = Field(
        None, description="Seconds that one call may take, loading included; not given: no limit."
    )
    engine_options: dict[str, Any] = Field(
        default_factory=dict,
        description="What the engine itself takes; as text a JSON object. torch: "
        '{"device": "npu:1", "dtype": "float16", "batch_tokens": 4096, "compile": true}; vllm: '
        'any of its engine arguments, {"tensor_parallel_size": 2}; servers: {"attempts": 5, '
        '"request_timeout": 30, "headers": {…}}.',
    )

    calibration: str | dict[str, Any] | None = Field(
        None,
        description="File that `qwen3-rerank calibrate` wrote: results have P(relevant) as "
        "`relevance`, for the model and the instruction that it was fitted for.",
    )

    @field_validator("calibration", mode="before")
    @classmethod
    def _read_calibration(cls, given: Any) -> dict[str, Any] | None:
        return checked_calibration(given)

    @field_validator("engine_options")
    @classmethod
    def _hide_secrets(cls, options: dict[str, Any]) -> dict[str, Any]:
        return checked_options(options)

    @field_serializer("engine_options")
    def _leave_out_secrets(self, options: dict[str, Any]) -> dict[str, Any]:
        return public_options(options)


class _Fields(_RerankerFields):
    cascade: str | list[str] | None = Field(
        None,
        description="Smaller models that are asked first, each with how many documents it hands "
        "on: `SMALL:KEEP`, or several with commas between them. SMALL is a hub id, a folder, or "
        "the URL where it is served.",
    )

    @field_validator("cascade", mode="before")
    @classmethod
    def _read_cascade(cls, given: Any) -> list[str] | None:
        return checked_cascade(given)

    metadata_fields: str | list[str] | None = Field(
        None,
        description="Fields of a document's metadata that are read before its text, a line each, "
        "e.g. `title,date`.",
    )

    @field_validator("metadata_fields", mode="before")
    @classmethod
    def _read_fields(cls, given: Any) -> list[str] | None:
        return checked_fields(given)

    on_failure: OnFailure = Field(
        "raise",
        description="`raise`, or `keep_order`: go on with the documents as they came, cut to "
        "top_n and marked, and log a warning. Wrong arguments are raised in either case.",
    )
    patience: float | None = Field(
        2.0,
        description="Seconds without a sign of life from any server after which `keep_order` goes "
        "on without it; null: as long as the engine tries. A model that is loaded here, or a "
        "server that is slow, is waited for.",
    )

    @field_validator("patience")
    @classmethod
    def _check_patience(cls, patience: float | None) -> float | None:
        return checked_patience(patience)


CHECKS: dict[str, Callable[[Any], Any]] = {
    **CALL_OPTIONS,
    "api_key": checked_api_key,
    "base_url": checked_urls,
    "calibration": checked_calibration,
    "cascade": checked_cascade,
    "cache_size": partial(checked_count, "cache_size", least=0),
    "engine": checked_engine,
    "engine_options": checked_options,
    "max_length": partial(checked_count, "max_length"),
    "metadata_fields": checked_fields,
    "on_failure": checked_on_failure,
    "passage_limit": partial(checked_count, "passage_limit"),
    "passage_overlap": partial(checked_count, "passage_overlap", least=0),
    "passage_tokens": checked_passage_tokens,
    "patience": checked_patience,
    "selfcheck": checked_level,
}
"""What makes sure that a setting can be used, where that can be told from it alone."""
RERANKER_FIELDS = tuple(_RerankerFields.model_fields)
"""The settings that a `Reranker` itself takes."""


class RerankSettings(_Fields):
    """All that describes a `Reranker`, and what its user does where it fails.

    What is not given comes from the environment.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    _places: dict[str, Location] = PrivateAttr(default_factory=dict)
    _stage_places: dict[str, Location] = PrivateAttr(default_factory=dict)
    """Of the models of a cascade, by their names."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_environment(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        refuse_unknown(cls, values)
        filled = {**from_environment(_Fields.model_fields, CHECKS, values), **values}
        if filled.get("model") is None and filled.get("base_url") is None:
            filled["model"] = DEFAULT_MODEL
        return filled

    def model_post_init(self, context: Any, /) -> None:
        """Find the model now: a relative path may mean another folder when it is needed."""
        super().model_post_init(context)
        if self.base_url is None:
            asked = {"model": self.model, "tokenizer": self.tokenizer}
            self._places = {name: Location.of(one) for name, one in asked.items() if one}
        self._stage_places = {
            one.model: Location.of(one.model) for one in self.stages if not one.served
        }

    @property
    def stages(self) -> list[Stage]:
        """Who is asked before the model itself."""
        return [Stage.of(text) for text in checked_cascade(self.cascade) or ()]

    def _located(self) -> dict[str, Location]:
        """Where those settings are that have not been set anew since."""
        places = self._places.items()
        return {name: place for name, place in places if place.asked == getattr(self, name)}

    def _absolute_cascade(self) -> list[str] | None:
        """`cascade` as it means the same below any working folder."""
        places = self._stage_places
        found = [
            str(
                replace(one, model=places[one.model].absolute if one.model in places else one.model)
            )
            for one in self.stages
        ]
        return found or None

    def make_reranker(self) -> Ranker:
        """What ranks with these settings: a `Reranker`, or a cascade; nothing is loaded yet.

        Raises:
            InvalidInputError: a value that cannot be used.
        """
        settings = {name: getattr(self, name) for name in RERANKER_FIELDS}
        if self.base_url is None and any(stage.served for stage in self.stages):
            settings["api_key"] = None  # it is that stage's
        return self.in_cascade(Reranker(**{**settings, **self._located()}))

    def in_cascade(self, last: Reranker) -> Ranker:
        """`last` behind the models of `cascade`; without such `last` itself.

        Raises:
            InvalidInputError: a value that cannot be used.
        """
        stages = self.stages
        if not stages:
            return last
        settings = {name: getattr(self, name) for name in RERANKER_FIELDS}
        before = [
            (one.reranker(settings, self._stage_places.get(one.model)), one.keep) for one in stages
        ]
        return CascadeReranker(
            [*before, last], top_n=self.top_n, threshold=self.threshold, timeout=self.timeout
        )
