"""Engines: what runs the model. One file an engine, one protocol for all."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .. import lexical
from ..errors import InvalidInputError
from ..runtime.detect import detect
from .base import Engine, EngineInfo, PromptBatch

__all__ = ["ENGINES", "Engine", "EngineInfo", "EngineSpec", "PromptBatch", "choose_engine"]

ENGINES = {"torch": ("torch", "TorchEngine"), "vllm": ("vllm", "VLLMEngine")}
"""Engine name → module of this package and class in it; imported when first used."""


def choose_engine(wanted: str, model: str | None = None) -> str:
    """The engine that ``auto`` stands for on this machine; any other name, checked.

    ``auto`` is vLLM where it is installed for the NPU or GPU that is there, else torch; and torch
    for the lexical model, which is too small to need more.
    """
    if wanted == "auto":
        return "torch" if model == lexical.NAME else detect().best_engine
    if wanted not in ENGINES:
        raise InvalidInputError(f"engine is {wanted!r}; use auto or one of {', '.join(ENGINES)}")
    return wanted


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """All that it takes to make an engine."""

    name: str
    """One of `ENGINES`."""
    model: str
    """A folder, a hub id or ``lexical``."""
    max_length: int
    """Longest prompt, in tokens."""
    tokenizer: str | None
    """Where ``tokenizer.json`` is when it is not beside the model."""
    options: Mapping[str, Any]
    """What the engine itself takes."""

    @property
    def key(self) -> Hashable:
        """Equal for engines that can stand for each other."""
        return (
            self.name,
            self.model,
            self.max_length,
            self.tokenizer,
            repr(sorted(self.options.items())),
        )

    def make(self) -> Engine:
        """An engine that has not started.

        Raises:
            InvalidInputError: an option that this engine does not take.
        """
        module, attribute = ENGINES[self.name]
        make = getattr(import_module(f".{module}", __package__), attribute)
        parameters = inspect.signature(make).parameters.values()
        known = {one.name for one in parameters} - {"model", "max_length", "tokenizer"}
        takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
        if not takes_any and (unknown := sorted(set(self.options) - known)):
            raise InvalidInputError(
                f"the {self.name} engine takes no option {', '.join(unknown)}; "
                f"it takes {', '.join(sorted(known))}"
            )
        engine: Engine = make(
            self.model, max_length=self.max_length, tokenizer=self.tokenizer, **self.options
        )
        return engine
