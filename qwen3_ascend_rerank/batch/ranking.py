"""Blocks ranked by one Reranker, whose engine never waits between two of them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import DocumentError, InvalidInputError, RerankError
from ..prompts.request import RerankRequest
from ..reranker import Ranker
from ..results import RankedDocument, RerankOutcome, RerankResult
from .blocks import Block, RankedBlock
from .maker import Maker
from .tasks import Reject, Task

INPUT_FAULTS = (InvalidInputError, DocumentError)
"""What is the fault of a row, and would be again; anything else ends the run."""


@dataclass(slots=True)
class _UnderWay:
    ranked: RankedBlock
    waiting: int
    """Requests of which the outcome is not there."""
    began: float
    """By `time.perf_counter`."""


def rank_blocks(
    reranker: Ranker,
    blocks: Iterable[Block],
    check: Callable[[tuple[Maker, ...]], object] | None,
    *,
    texts: bool,
) -> Iterator[RankedBlock]:
    """What comes of `blocks`, in order; each is read while others are ranked.

    Args:
        reranker: what ranks.
        blocks: read as there is room.
        check: told who scores, before the first request; raises where that must not be;
            None where it is known.
        texts: whether the documents' texts stand in the results.

    Raises:
        RerankError: the engine failed.
    """
    under_way: deque[_UnderWay] = deque()

    def requests() -> Iterator[RerankRequest]:
        known = False
        for block in blocks:
            if check and block.asks and not known:
                check(Maker.all_of(reranker))
                known = True
            begun = RankedBlock.begun(block)
            under_way.append(_UnderWay(begun, block.asks, time.perf_counter()))
            yield from (_named(task) for task in block.tasks if task.request is not None)

    def whole() -> Iterator[RankedBlock]:
        while under_way and not under_way[0].waiting:
            done = under_way.popleft()
            done.ranked.seconds = time.perf_counter() - done.began
            yield done.ranked

    for outcome in reranker.rerank_many(requests()):
        yield from whole()  # those with nothing to ask, before the one of this outcome
        under_way[0].waiting -= 1
        _take(outcome, under_way[0].ranked, texts=texts)
        yield from whole()
    yield from whole()


def _named(task: Task) -> RerankRequest:
    asked = task.request
    assert asked is not None  # noqa: S101 - only such tasks are asked
    return RerankRequest(asked.query, asked.documents, task, instruction=asked.instruction)


def _take(outcome: RerankOutcome, block: RankedBlock, *, texts: bool) -> None:
    task: Task = outcome.id
    if outcome.result is not None:
        usage = outcome.result.usage
        block.pairs += usage.pairs_scored + usage.pairs_reused
        block.tokens += usage.prompt_tokens
        block.truncated += usage.documents_truncated
        block.results.append(_written(task, outcome.result, texts=texts))
    elif isinstance(outcome.error, INPUT_FAULTS):
        reject = Reject(task.file, task.row, str(outcome.error), task.id, task.number)
        block.rejects.append(reject)
    else:
        raise outcome.error or RerankError("no outcome")


def _also(document: RankedDocument) -> dict[str, Any]:
    """What not every job has: where the best passage is, P(relevant), whose score it is."""
    start, end = document.span or (None, None)
    found = {
        "passage_start": start,
        "passage_end": end,
        "relevance": document.relevance,
        "stage": document.stage,
    }
    return {name: value for name, value in found.items() if value is not None}


def _written(task: Task, result: RerankResult, *, texts: bool) -> dict[str, Any]:
    ids = task.document_ids
    named_documents = any(id_ is not None for id_ in ids)

    def one(document: RankedDocument) -> dict[str, Any]:
        named = {"document_id": ids[document.index]} if named_documents else {}
        text = {"text": document.text} if texts else {}
        return {
            "index": task.places[document.index] if task.places else document.index,
            **named,
            "score": document.score,
            "log_odds": document.log_odds,
            "truncated": document.truncated,
            **_also(document),
            **text,
        }

    return {
        "request": task.number,
        "id": task.id,
        "query": result.query,
        "results": [one(document) for document in result],
    }
