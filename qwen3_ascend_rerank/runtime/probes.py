"""What the installed vLLM accepts, read off its own classes.

Names of engine arguments and pooling parameters come and go between releases. They are not looked
up by version but probed, so that a release nobody has seen yet still works.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any

from ..errors import EngineError, InvalidInputError
from .versions import NEWEST_KNOWN


@dataclass(frozen=True, slots=True)
class Signatures:
    """The names that a vLLM accepts."""

    engine_args: frozenset[str]
    """Arguments of ``AsyncEngineArgs``."""
    pooling_params: frozenset[str]
    """Arguments of ``PoolingParams``."""
    pooler_config: frozenset[str]
    """Arguments of ``PoolerConfig``."""
    encode: tuple[str, ...]
    """Parameters of ``AsyncLLM.encode``, in order."""
    from_engine_args: tuple[str, ...]
    """Parameters of ``AsyncLLM.from_engine_args``, in order."""

    @classmethod
    def of(
        cls, *, engine_args: type, pooling_params: type, pooler_config: type, async_llm: Any
    ) -> Signatures:
        """Read off the classes themselves."""
        return cls(
            engine_args=_fields(engine_args),
            pooling_params=_fields(pooling_params),
            pooler_config=_fields(pooler_config),
            encode=tuple(inspect.signature(async_llm.encode).parameters)[1:],
            from_engine_args=tuple(inspect.signature(async_llm.from_engine_args).parameters),
        )

    @classmethod
    def installed(cls) -> Signatures:
        """Read off the installed vLLM, which is imported."""
        return cls.of(
            engine_args=import_module("vllm.engine.arg_utils").AsyncEngineArgs,
            pooling_params=import_module("vllm.pooling_params").PoolingParams,
            pooler_config=import_module("vllm.config").PoolerConfig,
            async_llm=import_module("vllm.v1.engine.async_llm").AsyncLLM,
        )

    @classmethod
    def from_lists(cls, lists: Mapping[str, Iterable[str]]) -> Signatures:
        """From a record made with `as_lists()`."""
        return cls(
            engine_args=frozenset(lists["engine_args"]),
            pooling_params=frozenset(lists["pooling_params"]),
            pooler_config=frozenset(lists["pooler_config"]),
            encode=tuple(lists["encode"]),
            from_engine_args=tuple(lists["from_engine_args"]),
        )

    def as_lists(self) -> dict[str, list[str]]:
        """For a record."""
        return {
            "engine_args": sorted(self.engine_args),
            "pooling_params": sorted(self.pooling_params),
            "pooler_config": sorted(self.pooler_config),
            "encode": list(self.encode),
            "from_engine_args": list(self.from_engine_args),
        }


def _fields(kind: Any) -> frozenset[str]:
    """The fields of a dataclass or of a msgspec structure."""
    names: Iterable[str] = getattr(kind, "__struct_fields__", None) or (
        each.name for each in dataclasses.fields(kind)
    )
    return frozenset(names)


HF_OVERRIDES = MappingProxyType(
    {
        "architectures": ["Qwen3ForSequenceClassification"],
        "classifier_from_token": ["no", "yes"],
        "is_original_qwen3_reranker": True,
    }
)
"""Makes vLLM read the score off the rows of "no" and "yes" of an original checkpoint."""

_POOLING = (("runner", "pooling"), ("task", "score"))
"""What makes the engine one that pools, newest name first."""

_QUIET = (("disable_log_requests", True),)
"""Up to 0.10.0 every request is logged unless it is turned off."""

_POOLER_CONFIG = ("pooler_config", "override_pooler_config")
"""The engine argument that takes a pooler configuration, newest name first."""

_LOG_ODDS = ("use_activation", "activation")
"""The pooling parameter that is False for log-odds instead of probabilities, newest name first.

From 0.11.1 to 0.13.0 there are both, and ``activation=False`` has no effect.
"""


def engine_arguments(
    signatures: Signatures,
    *,
    converted: bool,
    overrides: Mapping[str, Any] = MappingProxyType({}),
    options: Mapping[str, Any] = MappingProxyType({}),
    log_odds: bool = True,
) -> dict[str, Any]:
    """The arguments for ``AsyncEngineArgs``: `options`, and what makes it a reranker.

    Args:
        signatures: what the installed vLLM accepts.
        converted: whether the checkpoint is a sequence classification model already.
        overrides: what else vLLM must be told of the checkpoint (`models.vllm_overrides`).
        options: the user's engine arguments and those of a `Plan`.
        log_odds: whether to ask for log-odds where that takes an engine argument (vLLM 0.9.2);
            clients of a server expect probabilities.

    Raises:
        InvalidInputError: an option that this vLLM does not know, or that contradicts ours.
        EngineError: this vLLM has no way to pool that is known.
    """
    for name in options:
        _check_option(name, signatures.engine_args)
    ours = dict([_first(_POOLING, signatures.engine_args)])
    ours |= {name: value for name, value in _QUIET if name in signatures.engine_args}
    if of_model := {**overrides, **({} if converted else HF_OVERRIDES)}:
        ours["hf_overrides"] = of_model
    if log_odds and _softmax_is_the_switch(signatures):
        name, _ = _first([(each, None) for each in _POOLER_CONFIG], signatures.engine_args)
        ours[name] = {"softmax": False}
    merged = {name: _merge(name, options.get(name), value) for name, value in ours.items()}
    return {**options, **merged}


def pooling_parameters(signatures: Signatures) -> dict[str, Any]:
    """The arguments for ``PoolingParams`` that give log-odds where this vLLM can."""
    parameters: dict[str, Any] = {}
    if "task" in signatures.pooling_params:
        parameters["task"] = "classify"
    switch = _log_odds_switch(signatures)
    return {**parameters, switch: False} if switch else parameters


def log_odds_are_exact(signatures: Signatures) -> bool:
    """Whether log-odds come out, or only probabilities (vLLM 0.10.0)."""
    return _log_odds_switch(signatures) is not None or _softmax_is_the_switch(signatures)


def _log_odds_switch(signatures: Signatures) -> str | None:
    return next((name for name in _LOG_ODDS if name in signatures.pooling_params), None)


def _softmax_is_the_switch(signatures: Signatures) -> bool:
    # Only in 0.9.2 does it govern scores; 0.10.0 keeps the field for reward models, and is told
    # apart by the tasks that its pooling parameters have.
    return (
        _log_odds_switch(signatures) is None
        and "task" not in signatures.pooling_params
        and "softmax" in signatures.pooler_config
    )


def _first(choices: Iterable[tuple[str, Any]], accepted: frozenset[str]) -> tuple[str, Any]:
    choices = list(choices)
    for name, value in choices:
        if name in accepted:
            return name, value
    names = " nor ".join(name for name, _ in choices)
    raise EngineError(
        f"this vLLM takes neither {names} as an engine argument; use a version up to "
        f'{NEWEST_KNOWN["vLLM"]}, or engine="torch"'
    )


def _check_option(name: str, accepted: frozenset[str]) -> None:
    if name in accepted:
        return
    close = difflib.get_close_matches(name, accepted, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise InvalidInputError(f"the installed vLLM has no engine argument {name}{hint}")


def _merge(name: str, theirs: Any, ours: Any) -> Any:
    """Our value, entry by entry where both are mappings, unless the user's contradicts it."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        merged = {key: _merge(f"{name}[{key!r}]", theirs.get(key), ours[key]) for key in ours}
        return {**theirs, **merged}
    if theirs is None or theirs == ours:
        return ours
    raise InvalidInputError(f"{name} must be {ours!r} for a reranker, not {theirs!r}; leave it out")
