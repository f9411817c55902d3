"""Which engine runs a model, and all that it takes to make it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..checks import nearest
from ..errors import InvalidInputError
from ..models import lexical
from ..protocol import Engine
from ..runtime.detect import glance
from .options import revealed

if TYPE_CHECKING:
    from pydantic import SecretStr

SERVED = "served"
ENGINES = {
    "torch": ("torch", "TorchEngine"),
    "vllm": ("vllm", "VLLMEngine"),
    SERVED: ("served.engine", "ServedEngine"),
}
"""Engine name → module of this package and class in it; imported when first used."""
SEVERAL_DEVICES = (
    "engine_options has devices; one engine runs on one device or, with vLLM's "
    "tensor_parallel_size, on several as one. For a copy of the model on each of N: "
    "`qwen3-rerank serve MODEL --replicas N` and Reranker(base_url=...); for files "
    "`qwen3-rerank batch --replicas N`, in Python LocalProcesses(N)"
)
_SALT = os.urandom(16)


def checked_engine(wanted: str) -> str:
    """``auto``, or one of `ENGINES`."""
    if wanted not in ("auto", *ENGINES):
        raise InvalidInputError(f"engine is {wanted!r}; use auto or one of {', '.join(ENGINES)}")
    return wanted


def choose_engine(wanted: str, model: str | None = None, *, served: bool = False) -> str:
    """The engine that ``auto`` stands for; any other name, checked.

    ``auto`` is the served one where a `base_url` is given. Else it is vLLM where that is installed
    for the NPU or GPU that is there, else torch; and torch for the lexical model, which is too
    small to need more.
    """
    checked_engine(wanted)
    if served != (wanted == SERVED) and wanted != "auto":
        raise InvalidInputError(
            f"engine is {wanted!r} but the model is served at base_url; leave engine out"
            if served
            else f"engine is {wanted!r} but there is no base_url; pass the server's address"
        )
    if wanted != "auto":
        return wanted
    if served:
        return SERVED
    return "torch" if model == lexical.NAME else glance().best_engine


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """All that it takes to make an engine."""

    name: str
    """One of `ENGINES`."""
    model: str | None
    """A folder, a hub id or ``lexical``; None: whatever is served. See `Location.real`."""
    max_length: int
    """Longest prompt, in tokens."""
    tokenizer: str | None
    """Where ``tokenizer.json`` is when it is not beside the model."""
    options: Mapping[str, Any]
    """What the engine itself takes."""
    base_url: tuple[str, ...] = ()
    """Where the model is served; empty: it is loaded here."""
    api_key: SecretStr | None = None
    """The servers' key."""
    called: str | None = None
    """What the model is called; None: as `model`."""
    state: Hashable = None
    """Of the files of model and tokenizer: other files are another engine."""

    @property
    def served(self) -> bool:
        """Whether the model runs elsewhere."""
        return self.name == SERVED

    @property
    def key(self) -> Hashable:
        """Equal for engines that can stand for each other; no secret can be read from it."""
        hidden = repr((revealed(self.api_key), sorted(revealed(self.options).items())))
        digest = blake2b(hidden.encode(errors="backslashreplace"), key=_SALT).hexdigest()
        return (
            self.name,
            self.model,
            self.max_length,
            self.tokenizer,
            self.base_url,
            digest,
            self.state,
        )

    def make(self) -> Engine:
        """An engine that has not started.

        Raises:
            InvalidInputError: an option that this engine does not take.
        """
        module, attribute = ENGINES[self.name]
        make = getattr(import_module(f".{module}", __package__), attribute)
        parameters = inspect.signature(make).parameters.values()
        own = {"model", "max_length", "tokenizer", "base_url", "api_key", "name"}
        known = {one.name for one in parameters if one.kind is not one.VAR_KEYWORD} - own
        takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
        if taken := sorted(own & set(self.options)):
            raise InvalidInputError(
                f"engine_options has {', '.join(taken)}, which the Reranker itself sets; "
                "pass it there"
            )
        if "devices" in self.options:
            raise InvalidInputError(SEVERAL_DEVICES)
        if not takes_any and (unknown := sorted(set(self.options) - known)):
            near = nearest(unknown[0], known)
            hint = f"did you mean {near}? It takes" if near else "it takes"
            raise InvalidInputError(
                f"the {self.name} engine takes no option {', '.join(unknown)}; {hint} "
                f"{', '.join(sorted(known))}"
            )
        where: dict[str, Any] = {"name": self.called}
        if self.served:
            where = {"base_url": self.base_url, "api_key": self.api_key}
        engine: Engine = make(
            self.model,
            max_length=self.max_length,
            tokenizer=self.tokenizer,
            **where,
            **revealed(self.options),
        )
        return engine
