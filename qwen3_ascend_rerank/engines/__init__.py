"""Engines: what runs the model. One file an engine, one protocol for all."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from .. import lexical
from ..errors import InvalidInputError
from ..runtime.detect import detect
from .base import Engine, EngineInfo, PromptBatch

__all__ = ["ENGINES", "Engine", "EngineInfo", "PromptBatch", "choose_engine", "create_engine"]

ENGINES = {"torch": ("torch", "TorchEngine"), "vllm": ("vllm", "VLLMEngine")}
"""Engine name → module of this package and class in it; imported when first used."""


def choose_engine(wanted: str, model: str) -> str:
    """The engine that ``auto`` stands for on this machine; any other name, checked.

    ``auto`` is vLLM where it is installed for the NPU or GPU that is there, else torch; and torch
    for the lexical model, which is too small to need more.
    """
    if wanted == "auto":
        return "torch" if model == lexical.NAME else detect().best_engine
    if wanted not in ENGINES:
        raise InvalidInputError(f"engine is {wanted!r}; use auto or one of {', '.join(ENGINES)}")
    return wanted


def create_engine(
    name: str, model: str, *, max_length: int, tokenizer: str | None, options: Mapping[str, Any]
) -> Engine:
    """An engine that has not started.

    Raises:
        InvalidInputError: an option that this engine does not take.
    """
    module, attribute = ENGINES[name]
    make: Callable[..., Engine] = getattr(import_module(f".{module}", __package__), attribute)
    parameters = inspect.signature(make).parameters
    known = set(parameters) - {"model", "max_length", "tokenizer"}
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    if not takes_any and (unknown := sorted(set(options) - known)):
        raise InvalidInputError(
            f"the {name} engine takes no option {', '.join(unknown)}; "
            f"it takes {', '.join(sorted(known))}"
        )
    return make(model, max_length=max_length, tokenizer=tokenizer, **options)
