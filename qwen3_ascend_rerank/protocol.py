"""What an engine is: token ids in, log-odds out."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from .errors import EngineError
from .prompts import PromptBatch

__all__ = ["Engine", "EngineInfo", "PromptBatch", "ReplicatedEngine", "log_odds_of"]

CLAMP = 1e-7
"""Probabilities are kept this far from 0 and 1 where log-odds are recovered from them."""


def log_odds_of(probability: float) -> float:
    """The log-odds of a probability in [0, 1], for runtimes that give nothing better.

    Within ±16.2, since a float32 probability says no more about what is nearly certain.
    """
    kept = min(max(probability, CLAMP), 1 - CLAMP)
    return math.log(kept) - math.log1p(-kept)


def closed_for_good() -> EngineError:
    """The error of an engine that is started when it cannot be any more."""
    return EngineError(
        "this engine is closed: its last Reranker was, or its start failed; make a new engine"
    )


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine runs, and where."""

    model: str
    """The model as it was asked for."""
    engine: str
    """The engine's name: ``torch``, ``vllm``, …"""
    version: str
    """Versions of what computes, e.g. ``torch 2.13.0, transformers 5.23.0``."""
    device: str
    """``cpu``, ``cuda:0``, ``npu:0``, …"""
    dtype: str
    """Precision of the model's body; the head is always float32."""
    max_length: int
    """Longest prompt that the engine takes, in tokens."""
    tokenizer: str | Path
    """Where the model's ``tokenizer.json`` is: a folder, a hub id, or the file."""
    cache_block: int = 0
    """Tokens of a block of the prefix cache; 0 where none is kept between calls."""
    chunk: int = 0
    """Longest piece of a prompt that is computed at once; 0 where prompts are never cut."""
    log_odds_exact: bool = True
    """False where the runtime gives only probabilities."""
    takes_text: bool = False
    """Whether the engine sends text, which another tokenizer reads, rather than ids."""
    replicas: int = 1
    """Servers that it asks; 1 for one that runs in this process."""
    replicas_up: int = 1
    """Those that take work at this moment."""


@runtime_checkable
class Engine(Protocol):
    """Runs the model. Its coroutines are only ever awaited in one event loop, the Reranker's."""

    @property
    def info(self) -> EngineInfo:
        """What runs, and where. Complete only after `start()`."""
        ...

    async def start(self) -> None:
        """Load the model; called once, before the first `score()`."""
        ...

    async def score(self, batch: PromptBatch) -> list[float]:
        """Log-odds of "yes" for each document of `batch`, shape (len(batch),), in its order.

        Called concurrently; cancelling a call withdraws its work.
        """
        ...

    async def aclose(self) -> None:
        """Give everything back; calls that are still running end. May be called twice."""
        ...


@runtime_checkable
class ReplicatedEngine(Engine, Protocol):
    """An engine of several parts, of which each must be trusted by itself."""

    async def admit(self, check: Callable[[Engine], Awaitable[None]]) -> None:
        """Use only the parts that pass `check`, now and whenever one is started anew.

        Raises:
            Exception: what `check` raised, if no part passes.
        """
        ...
