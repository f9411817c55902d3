"""From a question to a `RerankResult`: the one place where scores come from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, reduce
from operator import add
from pathlib import Path

from ..engines.startup import open_tokenizer
from ..errors import InvalidInputError
from ..prompts import QwenTokenizer
from ..prompts.request import NOT_GIVEN, LongDocuments, NotGiven, checked_long_documents
from ..reranker import Ranker
from ..results import RerankResult, Usage
from .forms import Inquiry


class Scorer:
    """Asks the Reranker."""

    def __init__(self, reranker: Ranker) -> None:
        """Whose engine has started, or will."""
        self._reranker = reranker

    async def rank(
        self, question: Inquiry, timeout: float, tokenizer: str | Path | None = None
    ) -> RerankResult:
        """The ranking of the documents, by their places in the question.

        Args:
            question: what is asked.
            timeout: seconds that it may take.
            tokenizer: where the model's ``tokenizer.json`` is; needed to cut documents by tokens.

        Raises:
            RerankError: as `Reranker.rerank` does; InvalidInputError also for a document that is
                too long and must not be cut.
        """
        documents, most = question.documents, question.document_tokens
        shortened: frozenset[int] = frozenset()
        if most is not None and tokenizer is not None:
            documents, shortened = await asyncio.to_thread(
                _shortened, _tokenizer(tokenizer), documents, most
            )
        result = await self._asked(replace(question, documents=documents), timeout)
        if not question.cut and result.usage.documents_truncated:
            count = result.usage.documents_truncated
            raise InvalidInputError(
                f"{count} of {len(documents)} documents are longer than the model's context, and "
                "the request says that none may be cut; shorten them, or let them be cut"
            )
        return _with_whole_texts(result, question.documents, shortened) if shortened else result

    async def _asked(self, question: Inquiry, timeout: float) -> RerankResult:
        if len(question.queries) == 1:
            (query,) = question.queries
            return await self._one(question, query, question.documents, question.top_n, timeout)
        places: dict[str, list[int]] = {}
        for place, query in enumerate(question.queries):
            places.setdefault(query, []).append(place)
        texts = question.documents
        parts = await asyncio.gather(
            *(
                self._one(question, query, [texts[place] for place in own], None, timeout)
                for query, own in places.items()
            )
        )
        return _joined(parts, list(places.values()))

    async def _one(
        self,
        question: Inquiry,
        query: str,
        documents: Sequence[str],
        top_n: int | None,
        timeout: float,
    ) -> RerankResult:
        ranker = self._reranker.stages[-1] if question.comparable else self._reranker
        return await ranker.arerank(
            query,
            documents,
            top_n=top_n,
            threshold=None,
            instruction=question.instruction or NOT_GIVEN,
            timeout=timeout,
            long_documents=_checked_mode(question.long_documents),
        )


def _checked_mode(mode: str | None) -> LongDocuments | NotGiven:
    return NOT_GIVEN if mode is None else checked_long_documents(mode)


def _joined(results: Sequence[RerankResult], places: Sequence[Sequence[int]]) -> RerankResult:
    """One result of several queries; `places` has where the documents of each belong."""
    documents = [
        replace(one, index=own[one.index])
        for result, own in zip(results, places, strict=True)
        for one in result
    ]
    documents.sort(key=lambda one: (-one.log_odds, one.index))
    usage = reduce(add, (result.usage for result in results), Usage())
    usage = replace(usage, seconds=max(result.usage.seconds for result in results))
    exact = all(result.log_odds_exact for result in results)
    return replace(results[0], documents=tuple(documents), usage=usage, log_odds_exact=exact)


@lru_cache(maxsize=2)
def _tokenizer(where: str | Path) -> QwenTokenizer:
    return open_tokenizer(where)


def _shortened(
    tokenizer: QwenTokenizer, documents: Sequence[str], most: int
) -> tuple[list[str], frozenset[int]]:
    """The documents, of at most `most` tokens each; and the places of those that lost some."""
    kept, cut = [], set()
    for place, (text, reading) in enumerate(
        zip(documents, tokenizer.read(documents, most, lead=" "), strict=True)
    ):
        if len(reading.ids) > most:
            cut.add(place)
            text = tokenizer.beginning(reading.read, most)[1:]
        kept.append(text)
    return kept, frozenset(cut)


def _with_whole_texts(
    result: RerankResult, texts: Sequence[str], cut: frozenset[int]
) -> RerankResult:
    """`result` with the documents as they came, and those marked that were cut."""
    documents = tuple(
        replace(one, text=texts[one.index], truncated=one.truncated or one.index in cut)
        for one in result
    )
    return replace(result, documents=documents)
