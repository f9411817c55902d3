"""Judging: from a request to what the model says of each of its documents."""

from __future__ import annotations

from collections.abc import Sequence

from ..engines.held import HeldEngine
from ..errors import DocumentError
from ..prompts import PromptBatch
from ..prompts.preparation import aside, prepare, weight
from ..prompts.request import Request
from ..protocol import EngineInfo
from ..results.cache import Flight, Judgement, Key, ScoreCache
from ..results.ranking import check_answer


class Judge:
    """Has documents scored by an engine, each pair once."""

    def __init__(self, held: HeldEngine, max_length: int, cache_size: int) -> None:
        """Nothing is known yet.

        Args:
            held: whom to ask.
            max_length: longest prompt, in tokens; an engine that takes less lowers it.
            cache_size: pairs that are remembered; 0: none.
        """
        self._held = held
        self._max_length = max_length
        self._cache = ScoreCache(cache_size)

    async def judge(self, request: Request) -> tuple[list[Judgement], list[PromptBatch]]:
        """A judgement for each document, and the prompts that the engine had to score for them.

        Equal documents are scored once, and known ones not at all. With a cache, nor are those that
        another call is having scored: this one waits for it, and asks for itself if nothing comes.

        Raises:
            RerankError: as `HeldEngine.started` and `HeldEngine.score`.
        """
        texts, documents = request.documents, weight(request.documents)
        keys = await aside(documents, self._cache.keys, request.instruction, request.query, texts)
        text_of = await aside(documents, lambda: dict(zip(keys, texts, strict=True)))
        known: dict[Key, Judgement] = {}
        batches: list[PromptBatch] = []
        wanted, alone = list(text_of), False
        while wanted:
            flight = Flight()
            try:
                outlook = await aside(len(wanted), self._cache.look_up, wanted, flight, alone=alone)
                if outlook.new:
                    batch, judgements = await self._ask(
                        request, [text_of[key] for key in outlook.new]
                    )
                    batches.append(batch)
                    judged = dict(zip(outlook.new, judgements, strict=True))
                    await aside(len(judged), self._cache.keep, flight, judged)
            except Exception:
                flight.failed = True
                raise
            finally:
                self._cache.end(flight)
                flight.land()
            known |= outlook.known | flight.judged
            others = set(outlook.awaited.values())
            for other in others:
                await other.landed()
                known |= {key: other.judged[key] for key in outlook.awaited if key in other.judged}
            wanted = [key for key in outlook.awaited if key not in known]
            alone = any(other.failed for other in others)
        return await aside(len(keys), lambda: [known[key] for key in keys]), batches

    async def _ask(
        self, request: Request, documents: list[str]
    ) -> tuple[PromptBatch, list[Judgement]]:
        """Prompts for `documents`, and what the engine says of them."""
        engine, tokenizer = await self._held.started()
        info = engine.info
        batch = await prepare(
            tokenizer,
            request.instruction,
            request.query,
            documents,
            min(self._max_length, info.max_length),
            as_text=info.takes_text,
        )
        try:
            log_odds = await self._held.score(engine, batch)
        except DocumentError as error:  # it counts what it was asked, not what the caller passed
            raise error.at(request.documents.index(documents[error.index])) from None
        return batch, await aside(len(batch), _judgements, info, log_odds, batch)


def _judgements(info: EngineInfo, log_odds: Sequence[float], batch: PromptBatch) -> list[Judgement]:
    check_answer(info.engine, log_odds, len(batch), info.dtype)
    return [
        Judgement(float(value), cut) for value, cut in zip(log_odds, batch.truncated, strict=True)
    ]
