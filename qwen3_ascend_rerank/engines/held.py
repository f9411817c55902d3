"""An engine as one Reranker has it: chosen by its settings, and shared with those of equal ones."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from ..errors import EngineDeadError, EngineError, InvalidInputError, RerankError
from ..models.location import Location
from ..prompts import PromptBatch, QwenTokenizer
from ..protocol import Engine, EngineInfo
from ..trust import STRICTNESS, Level
from .shared import EngineLease
from .spec import EngineSpec
from .startup import begin, examine_again, open_tokenizer


class HeldEngine:
    """A share in an engine, what it must show, and the tokenizer that belongs to it."""

    def __init__(
        self, source: Engine | EngineSpec, level: Level, places: Mapping[str, Location]
    ) -> None:
        """Nothing is made or started yet.

        Args:
            source: a ready engine, or all that it takes to make one.
            level: what it must show before it is used.
            places: of ``model`` and ``tokenizer``, those that are paths or could be one.
        """
        self.source = source
        self.key = source.key if isinstance(source, EngineSpec) else ("ready", id(source))
        """By which engines are shared."""
        self.tokenizer: QwenTokenizer | None = None
        """None before the start."""
        self.info: EngineInfo | None = None
        """What runs where, by the name that the model was asked for; None before the start."""
        self._level = level
        self._places = places
        self.lease = self._new_lease()

    async def start(self) -> EngineInfo:
        """Start it, unless it runs, and say what runs where."""
        engine, _ = await self.started()
        return self.info or engine.info

    def now(self) -> EngineInfo | None:
        """What runs where at this moment; None where nothing has started. Waits for nothing."""
        engine = self.lease.running
        return None if engine is None else self._called(engine.info)

    async def started(self) -> tuple[Engine, QwenTokenizer]:
        """The engine and its tokenizer, when it has shown what it must.

        Raises:
            InvalidInputError: a path has become another model than the one that it was.
            RerankError: it could not start, or does not compute right scores.
        """
        if self.lease.stale:
            self.lease = self._new_lease()
        self._refuse_other_folders()
        engine = await self.lease.engine()
        await self.lease.demand(STRICTNESS[self._level], self._examine)
        if self.tokenizer is None:
            self.tokenizer = await asyncio.to_thread(
                open_tokenizer, self._tokenizer_file or engine.info.tokenizer
            )
            self.info = self._called(engine.info)
        return engine, self.tokenizer

    async def score(self, engine: Engine, batch: PromptBatch) -> Sequence[float]:
        """What `engine`, which `started` gave, says of each prompt: log-odds.

        Raises:
            RerankError: it failed; errors of other kinds are the cause of one.
        """
        try:
            return await engine.score(batch)
        except EngineDeadError:
            self.lease.disown()
            raise
        except RerankError:
            raise
        except Exception as error:
            raise EngineError(
                f"the {engine.info.engine} engine failed on {len(batch)} documents: "
                f"{type(error).__name__}: {error}"
            ) from error

    async def release(self) -> None:
        """Give the share back; who was the last waits until the engine has ended."""
        await self.lease.release()

    def _called(self, info: EngineInfo) -> EngineInfo:
        # The engine may have been started by somebody who calls the same model otherwise.
        model = self._places.get("model")
        return replace(info, model=model.asked) if model else info

    @property
    def _tokenizer_file(self) -> str | None:
        place = self._places.get("tokenizer")
        return place.real if place else None

    def _new_lease(self) -> EngineLease:
        start = partial(begin, self.source, self._level, self._tokenizer_file)
        lease = EngineLease(self.key, start, STRICTNESS[self._level])
        weakref.finalize(self, lease.drop).atexit = False
        return lease

    async def _examine(self, engine: Engine) -> None:
        await examine_again(engine, self.source, self._level, self._tokenizer_file)

    def _refuse_other_folders(self) -> None:
        for name, place in self._places.items():
            if place.mistaken:
                raise InvalidInputError(
                    f"{name} is {place.asked!r}, which was no folder when this Reranker was made, "
                    f"and is one now; make another one with {name}='./{place.asked}' for the "
                    "folder, or rename it to have the hub's"
                )
