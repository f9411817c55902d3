r"""Qwen3-Reranker's prompt as token ids: exact, truncated safely, closed to injection.

The ids equal those of the official transformers code: a fixed head, then
``<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}``, then a fixed tail. They
are built in three pieces: a prefix shared by every document of a query, the document, the suffix.
The cut lies right after ``<Document>:``, which is always a boundary of the tokenizer's own
splitting (a colon run ends there because the next character is always the space before the
document, and Unicode normalisation never joins anything to a space), so the pieces join to the
very ids that the whole text would give. An added token that reaches over the cut is refused (see
`added`).

Source of the strings: https://github.com/QwenLM/Qwen3-Embedding, README, "Transformers Usage".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import ne

from ..errors import QueryTooLongError
from .ids import IdLists
from .template import HEAD, TAIL, opening
from .tokenizer import QwenTokenizer, Reading


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """One query and its documents, ready for an engine: a shared prefix, and one tail each."""

    prefix: list[int]
    """Ids shared by every prompt: the head, the instruction, the query, up to ``<Document>:``."""
    documents: Sequence[list[int]]
    """Ids of each document, cut so that its prompt has at most `max_length` tokens."""
    suffix: list[int]
    """Ids that end every prompt; the score is read at the last one."""
    instruction: str
    """The instruction as text."""
    query: str
    """The query as text."""
    texts: list[str]
    """Each document as text, cut where its ids are cut: for engines that take only text."""
    truncated: list[bool]
    """Whether each document was cut."""
    defused: int = 0
    """Texts, of instruction, query and documents, in which control tokens were broken up."""

    def __len__(self) -> int:
        return len(self.documents)

    @property
    def opening(self) -> str:
        """The text of `prefix`."""
        return HEAD + opening(self.instruction, self.query)

    def closings(self) -> list[str]:
        """The text that follows `opening` in each prompt: a document and the end."""
        return [f" {text}{TAIL}" for text in self.texts]

    def part(self, start: int, stop: int) -> PromptBatch:
        """The same query with some of its documents."""
        return replace(
            self,
            documents=self.documents[start:stop],
            texts=self.texts[start:stop],
            truncated=self.truncated[start:stop],
        )

    def prompts(self) -> Iterator[list[int]]:
        """The whole prompts, one list of ids per document."""
        for document in self.documents:
            yield self.prefix + document + self.suffix

    def lengths(self) -> list[int]:
        """Tokens of each whole prompt."""
        fixed = len(self.prefix) + len(self.suffix)
        documents = self.documents
        if isinstance(documents, IdLists):
            return [fixed + length for length in documents.lengths()]
        return [fixed + len(document) for document in documents]


class PromptMaker:
    """What all prompts of a query have in common, and how its documents become prompts."""

    def __init__(
        self,
        tokenizer: QwenTokenizer,
        instruction: str,
        query: str,
        max_length: int,
        *,
        as_text: bool = False,
    ) -> None:
        """Read instruction and query; the arguments and errors are those of `build_batch`."""
        self._tokenizer = tokenizer
        self._as_text = as_text
        self._texts = [instruction, query]
        self._defused = 0
        if as_text:
            given = [tokenizer.readable(text) for text in self._texts]
            self._texts = [tokenizer.defuse(text) for text in given]
            self._defused = sum(map(ne, given, self._texts))
        fixed = len(tokenizer.head) + len(tokenizer.tail)
        (shared,) = tokenizer.read([opening(*self._texts)], max(max_length - fixed, 0))
        self._prefix = tokenizer.head + shared.ids
        self.room = max_length - fixed - len(shared.ids)
        """How many tokens a document may take."""
        if self.room < 1:
            least = "" if shared.whole else "at least "
            raise QueryTooLongError(
                f"max_length is {max_length} but the prompt without a document takes {least}"
                f"{fixed + len(shared.ids)} tokens ({len(shared.ids)} of them instruction and "
                "query); shorten the query or the instruction, or raise max_length"
            )

    def part(self, documents: Sequence[str]) -> PromptBatch:
        """The prompts of some of the documents."""
        return self.of(self.read(documents, self.room))

    def read(self, documents: Sequence[str], count: int) -> list[Reading]:
        """Each of the documents, until there are more than `count` ids or to its end."""
        return self._tokenizer.read(documents, count, lead=" ", defused=self._as_text)

    def of(self, readings: Sequence[Reading]) -> PromptBatch:
        """The prompts of documents that are read as far as there is room, or to their ends."""
        fitted = [self._fitted(reading) for reading in readings]
        return self._batch(
            IdLists(ids for ids, _ in fitted),
            [text for _, text in fitted],
            [len(reading.ids) > self.room for reading in readings],
            sum(reading.defused for reading in readings),
        )

    def whole(self, parts: Sequence[PromptBatch]) -> PromptBatch:
        """The prompts of all `parts`."""
        return self._batch(
            IdLists.joined(part.documents for part in parts),
            [text for part in parts for text in part.texts],
            [cut for part in parts for cut in part.truncated],
            self._defused + sum(part.defused for part in parts),
        )

    def _batch(
        self, documents: IdLists, texts: list[str], truncated: list[bool], defused: int
    ) -> PromptBatch:
        instruction, query = self._texts
        return PromptBatch(
            prefix=self._prefix,
            documents=documents,
            suffix=self._tokenizer.tail,
            instruction=instruction,
            query=query,
            texts=texts,
            truncated=truncated,
            defused=defused,
        )

    def _fitted(self, reading: Reading) -> tuple[list[int], str]:
        """The ids of a document, cut to the room there is, and their text.

        As text, the longest beginning that fits when it is read anew: a text that ends elsewhere
        can be split otherwise, so the two are not quite the same.
        """
        tokenizer, room = self._tokenizer, self.room
        if len(reading.ids) <= room:
            return reading.ids, reading.read[1:] if self._as_text else reading.text
        text = tokenizer.beginning(reading.read, room)[1:]
        if not self._as_text:
            return reading.ids[:room], text
        count = room
        while len(again := tokenizer.encode([" " + text])[0]) > room:
            count -= 1
            text = tokenizer.beginning(reading.read, count)[1:]
        return again, text


def build_batch(
    tokenizer: QwenTokenizer,
    instruction: str,
    query: str,
    documents: Sequence[str],
    max_length: int,
    *,
    as_text: bool = False,
) -> PromptBatch:
    """The prompts of one query and its documents, each of at most `max_length` tokens.

    Only a document's tail is ever cut: never the query, the instruction or the suffix. The ids are
    those of the official code at the same `max_length`.

    Args:
        tokenizer: the tokenizer of the model.
        instruction: what makes a document relevant.
        query: what is asked.
        documents: the texts to judge.
        max_length: longest prompt, in tokens.
        as_text: for engines that send text to another tokenizer: the texts are made safe for it
            first, and `texts` are what gives the ids when it is read anew.

    Raises:
        QueryTooLongError: instruction and query leave no room for a single token of a document.
    """
    question = PromptMaker(tokenizer, instruction, query, max_length, as_text=as_text)
    return question.whole([question.part(documents)])
