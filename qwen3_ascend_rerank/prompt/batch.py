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
from .template import HEAD, TAIL, opening
from .tokenizer import QwenTokenizer


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """One query and its documents, ready for an engine: a shared prefix, and one tail each."""

    prefix: list[int]
    """Ids shared by every prompt: the head, the instruction, the query, up to ``<Document>:``."""
    documents: list[list[int]]
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
        return [fixed + len(document) for document in self.documents]


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
    defused = 0
    if as_text:
        given = [tokenizer.readable(text) for text in (instruction, query, *documents)]
        instruction, query, *documents = safe = [tokenizer.defuse(text) for text in given]
        defused = sum(map(ne, given, safe))
    shared, *encoded = tokenizer.encode(
        [opening(instruction, query), *(" " + document for document in documents)]
    )
    prefix = tokenizer.head + shared
    room = max_length - len(prefix) - len(tokenizer.tail)
    if room < 1:
        raise QueryTooLongError(
            f"max_length is {max_length} but the prompt without a document takes "
            f"{len(prefix) + len(tokenizer.tail)} tokens ({len(shared)} of them instruction and "
            "query); shorten the query or the instruction, or raise max_length"
        )
    truncated = [len(ids) > room for ids in encoded]
    kept, texts = list(encoded), list(documents)
    for place, ids in enumerate(encoded):
        if truncated[place]:
            kept[place], texts[place] = _shortened(tokenizer, documents[place], ids, room, as_text)
    return PromptBatch(
        prefix=prefix,
        documents=kept,
        suffix=tokenizer.tail,
        instruction=instruction,
        query=query,
        texts=texts,
        truncated=truncated,
        defused=defused,
    )


def _shortened(
    tokenizer: QwenTokenizer, document: str, ids: list[int], room: int, as_text: bool
) -> tuple[list[int], str]:
    """The first `room` ids of a document, and their text; or the longest text that fits.

    A text that ends elsewhere can be split otherwise, so the two are not quite the same.
    """
    kept = ids[:room]
    text = tokenizer.beginning(" " + document, room)[1:]
    if not as_text:
        return kept, text
    count = room
    while len(again := tokenizer.encode([" " + text])[0]) > room:
        count -= 1
        text = tokenizer.beginning(" " + document, count)[1:]
    return again, text
