"""Judging: from a request to what the model says of each of its documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..engines.held import HeldEngine
from ..errors import DocumentError
from ..prompts import PromptBatch, QwenTokenizer
from ..prompts.passages import Excerpts, PassageRules
from ..prompts.preparation import aside, prepare, prepare_passages, weight
from ..prompts.request import Request
from ..protocol import EngineInfo
from ..results import Usage
from ..results.cache import Flight, Judgement, Key, ScoreCache
from ..results.ranking import check_answer


class Judge:
    """Has documents scored by an engine, each pair once."""

    def __init__(
        self, held: HeldEngine, max_length: int, cache_size: int, rules: PassageRules
    ) -> None:
        """Nothing is known yet.

        Args:
            held: whom to ask.
            max_length: longest prompt, in tokens; an engine that takes less lowers it.
            cache_size: pairs that are remembered; 0: none.
            rules: how long documents are cut where a request wants passages.
        """
        self._held = held
        self._max_length = max_length
        self._cache = ScoreCache(cache_size)
        self._rules = rules

    async def judge(self, request: Request) -> tuple[list[Judgement], Usage]:
        """A judgement for each document, and what it took, but for the time.

        Equal documents are scored once, and known ones not at all. With a cache, nor are those that
        another call is having scored: this one waits for it, and asks for itself if nothing comes.

        Raises:
            RerankError: as `HeldEngine.started` and `HeldEngine.score`.
        """
        texts, documents = request.documents, weight(request.documents)
        keys = await aside(documents, self._cache.keys, _question(request), texts)
        text_of = await aside(documents, lambda: dict(zip(keys, texts, strict=True)))
        known: dict[Key, Judgement] = {}
        usage = Usage()
        wanted, alone = list(text_of), False
        while wanted:
            flight = Flight()
            try:
                outlook = await aside(len(wanted), self._cache.look_up, wanted, flight, alone=alone)
                if outlook.new:
                    judgements, took = await self._ask(
                        request, [text_of[key] for key in outlook.new]
                    )
                    usage += took
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
        found = await aside(len(keys), lambda: [known[key] for key in keys])
        return found, replace(
            usage,
            pairs_reused=len(found) - usage.pairs_scored,
            documents_truncated=sum(judgement.truncated for judgement in found),
        )

    async def _ask(self, request: Request, documents: list[str]) -> tuple[list[Judgement], Usage]:
        """What the engine says of `documents`, and what it took."""
        engine, tokenizer = await self._held.started()
        info = engine.info
        batch, excerpts = await self._prompts(info, tokenizer, request, documents)
        try:
            log_odds = await self._held.score(engine, batch)
        except DocumentError as error:  # it counts what it was asked, not what the caller passed
            place = excerpts.owner(error.index) if excerpts else error.index
            raise error.at(request.documents.index(documents[place])) from None
        check_answer(info.engine, log_odds, len(batch), info.dtype)
        judgements = (
            await aside(len(batch), _best, log_odds, excerpts)
            if excerpts
            else await aside(len(batch), _each, log_odds, batch)
        )
        return judgements, Usage(
            prompt_tokens=sum(batch.lengths()),
            pairs_scored=len(documents),
            passages_scored=excerpts.passages if excerpts else 0,
            texts_defused=batch.defused,
        )

    async def _prompts(
        self, info: EngineInfo, tokenizer: QwenTokenizer, request: Request, documents: list[str]
    ) -> tuple[PromptBatch, Excerpts | None]:
        """One prompt for each document; or several, and which of them are whose."""
        texts = (tokenizer, request.instruction, request.query, documents)
        length, mode = min(self._max_length, info.max_length), request.long_documents
        if mode == "truncate":
            return await prepare(*texts, length, as_text=info.takes_text), None
        limit = self._rules.limit if mode == "first_passages" else None
        excerpts = await prepare_passages(
            *texts, length, self._rules, limit, as_text=info.takes_text
        )
        return excerpts.batch, excerpts


def _question(request: Request) -> list[str]:
    """All that matters for a score beside the document."""
    mode = request.long_documents
    return [request.instruction, request.query, *([] if mode == "truncate" else [mode])]


def _each(log_odds: Sequence[float], batch: PromptBatch) -> list[Judgement]:
    return [
        Judgement(float(value), cut) for value, cut in zip(log_odds, batch.truncated, strict=True)
    ]


def _best(log_odds: Sequence[float], excerpts: Excerpts) -> list[Judgement]:
    """Of each document what is said of its best passage; of equal ones, of the first."""
    judgements = []
    for own, whole in zip(excerpts.of, excerpts.whole, strict=True):
        best = max(own, key=lambda one: log_odds[one.prompt])
        cut = not whole or any(excerpts.batch.truncated[one.prompt] for one in own)
        judgements.append(Judgement(float(log_odds[best.prompt]), cut, best.span))
    return judgements
