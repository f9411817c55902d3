"""From texts to prompts beside the background loop, in small pieces, the calls in turn.

Tokenising thousands of documents takes all processors for seconds, and `tokenizers` serves whoever
came first. So the texts of all calls of all Rerankers go through one place, a few dozen at a time:
a small call goes beside a huge one, one that has ended leaves only the piece behind that is under
way, and the loop is free throughout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from typing_extensions import ParamSpec

from ..bridge.forks import in_child
from ..bridge.turns import Turns
from .batch import PromptBatch, PromptMaker
from .passages import Cutting, Excerpts, PassageRules
from .tokenizer import QwenTokenizer

P = ParamSpec("P")
Item = TypeVar("Item")
Text = TypeVar("Text", str, Cutting)
Result = TypeVar("Result")

THREADS = 2
"""While one tokenises, another takes apart what was tokenised."""
TEXTS = 32
CHARACTERS = 16_384
"""Of a piece, at most, unless it is one text: some milliseconds of work."""
AT_ONCE = 200
"""Documents of which a loop may do some small thing for each without holding up anybody."""
CHARACTERS_A_DOCUMENT = 5_000


class Workshop:
    """Threads that work on texts, and whose turn it is."""

    def __init__(self) -> None:
        """No thread runs before it is needed."""
        self._turns = Turns(THREADS)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="qwen3-ascend-rerank-texts")

    async def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """What `work` gives for each of `items`, in their order."""
        return await self._turns.map(partial(self._run, work), items)

    async def _run(self, work: Callable[[Item], Result], item: Item) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, item)


_workshop: Workshop | None = None


@in_child
def _close_down() -> None:
    global _workshop
    _workshop = None


async def prepare(
    tokenizer: QwenTokenizer,
    instruction: str,
    query: str,
    documents: Sequence[str],
    max_length: int,
    *,
    as_text: bool = False,
) -> PromptBatch:
    """`build_batch` in the background loop; cancelling it ends the work after the piece at hand."""
    workshop = _open_workshop()

    def begin(piece: Sequence[str]) -> tuple[PromptMaker, PromptBatch]:
        question = PromptMaker(tokenizer, instruction, query, max_length, as_text=as_text)
        return question, question.part(piece)

    pieces = _pieces(documents)
    ((question, first),) = await workshop.map(begin, [next(pieces, ())])
    others = await workshop.map(question.part, pieces)
    return await aside(len(documents), question.whole, [first, *others])


async def prepare_passages(
    tokenizer: QwenTokenizer,
    instruction: str,
    query: str,
    documents: Sequence[str],
    max_length: int,
    rules: PassageRules,
    limit: int | None,
    *,
    as_text: bool = False,
) -> Excerpts:
    """`prepare` for documents of which the long ones are cut into passages.

    Args:
        tokenizer: and the others: as those of `build_batch`.
        instruction: what makes a document relevant.
        query: what is asked.
        documents: the texts to judge.
        max_length: longest prompt, in tokens.
        rules: how to cut them.
        limit: how many passages of a document are wanted; None: all.
        as_text: for engines that send text to another tokenizer.

    Raises:
        QueryTooLongError: as `build_batch`.
    """
    workshop = _open_workshop()

    def begin(piece: Sequence[str]) -> tuple[PromptMaker, list[Cutting]]:
        maker = PromptMaker(tokenizer, instruction, query, max_length, as_text=as_text)
        return maker, [Cutting(maker, tokenizer, text, rules, limit) for text in piece]

    made = await workshop.map(begin, _pieces(documents))
    (maker, _), cuttings = made[0], [cutting for _, own in made for cutting in own]
    undone = cuttings
    while undone:  # a piece of each after the other, so that a book holds up nobody
        await workshop.map(_advance, _pieces(undone))
        undone = [cutting for cutting in undone if not cutting.done]
    return await asyncio.to_thread(Excerpts.joined, maker, cuttings)


def _advance(cuttings: Sequence[Cutting]) -> None:
    for cutting in cuttings:
        cutting.advance(CHARACTERS)


def _open_workshop() -> Workshop:
    global _workshop
    _workshop = _workshop or Workshop()
    return _workshop


def _pieces(documents: Sequence[Text]) -> Iterator[Sequence[Text]]:
    start = characters = 0
    for end, document in enumerate(documents):
        characters += len(document)
        if end > start and (end - start == TEXTS or characters > CHARACTERS):
            yield documents[start:end]
            start, characters = end, len(document)
    if start < len(documents):
        yield documents[start:]


async def aside(count: int, work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """Do something for each of `count` documents, in a thread where they are many."""
    if count <= AT_ONCE:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


def weight(documents: Sequence[str]) -> int:
    """How many ordinary documents are as much to read as `documents`."""
    return len(documents) + sum(map(len, documents)) // CHARACTERS_A_DOCUMENT
