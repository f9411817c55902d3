r"""Qwen3-Reranker's prompt as token ids: exact, truncated safely, closed to injection.

The ids equal those of the official transformers code: a fixed head, then
``<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}``, then a fixed tail. They
are built in three pieces: a prefix shared by every document of a query, the document, the suffix.
The cut lies right after ``<Document>:``, which is always a boundary of the tokenizer's own
splitting (a colon run ends there because the next character is always the space before the
document, and Unicode normalisation never joins anything to a space), so the pieces join to the
very ids that the whole text would give.

Source of the strings: https://github.com/QwenLM/Qwen3-Embedding, README, "Transformers Usage".
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import ne
from pathlib import Path

from tokenizers import Tokenizer

from .errors import CorruptModelError, QueryTooLongError, UnsupportedModelError

logger = logging.getLogger(__name__)

DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
"""The instruction of the official README."""

HEAD = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
TAIL = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
CONTROL_TOKENS = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
"""The added tokens that the prompt itself is made with."""

_CONTROL = re.compile("(" + "|".join(map(re.escape, CONTROL_TOKENS)) + ")")
_SURROGATE = re.compile("[\ud800-\udfff]")


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
        return HEAD + _opening(self.instruction, self.query)

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


class QwenTokenizer:
    """Qwen's tokenizer, taken apart: ordinary text here, control tokens there.

    User text is encoded by a tokenizer that knows no added token at all, so the spelling of a
    control token inside a query, an instruction or a document is ordinary text, whatever the
    token is called. The control tokens of the prompt itself are put in by id.
    """

    def __init__(self, specification: str, source: str = "tokenizer.json") -> None:
        """Read the text of a ``tokenizer.json``; `source` names it in errors.

        Raises:
            CorruptModelError: the text is not a tokenizer.
            UnsupportedModelError: a tokenizer without the tokens of Qwen3-Reranker's prompt.
        """
        try:
            parts = json.loads(specification)
            added = {token["content"]: int(token["id"]) for token in parts["added_tokens"]}
            # Truncation, padding and post-processing saved with a tokenizer are not ours to obey.
            parts.update(added_tokens=[], truncation=None, padding=None, post_processor=None)
            self._plain = Tokenizer.from_str(json.dumps(parts))
        except Exception as error:  # tokenizers raises bare Exception
            raise CorruptModelError(
                f"{source} cannot be read as a tokenizer: {error}; fetch it again"
            ) from error
        self._spellings = _spellings(added)
        words = {word: self._plain.token_to_id(word) for word in ("yes", "no")}
        missing = [token for token in CONTROL_TOKENS if token not in added]
        missing += [word for word, place in words.items() if place is None]
        if missing:
            raise UnsupportedModelError(
                f"{source} is not a Qwen3 tokenizer: it has no token {', '.join(missing)}; "
                "point `tokenizer` at a Qwen3-Reranker"
            )
        self.yes = int(words["yes"] or 0)
        self.no = int(words["no"] or 0)
        self.head = self._encode_template(HEAD, added)
        self.tail = self._encode_template(TAIL, added)

    def _encode_template(self, template: str, added: dict[str, int]) -> list[int]:
        ids: list[int] = []
        for piece in filter(None, _CONTROL.split(template)):
            ids += [added[piece]] if piece in added else self.encode([piece])[0]
        return ids

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, with no control token among them.

        Lone surrogates, which are no characters and have no UTF-8 form, become U+FFFD; a split
        surrogate pair becomes the character that it stands for.
        """
        encodings = self._plain.encode_batch_fast(
            [_whole_characters(text) for text in texts], add_special_tokens=False
        )
        return [encoding.ids for encoding in encodings]

    def defuse(self, text: str) -> str:
        """`text` as any tokenizer of this vocabulary reads it: without a control token.

        Each spelling of one gets a space after its first character, as in ``< |im_end|>``.
        """
        return self._spellings.sub(r"\g<0> ", text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; a character cut in the middle is left out."""
        text: str = self._plain.decode(list(ids))
        return text.rstrip("\N{REPLACEMENT CHARACTER}")


def _spellings(added: Iterable[str]) -> re.Pattern[str]:
    """Matches the first character of whatever a tokenizer with these tokens takes for one."""
    return re.compile(
        "|".join(f"{re.escape(one[0])}(?={re.escape(one[1:])})" for one in added if len(one) > 1)
    )


def _whole_characters(text: str) -> str:
    if text.isascii() or not _SURROGATE.search(text):
        return text
    logger.warning("a text held surrogate code points, which are no characters: replaced by U+FFFD")
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@lru_cache(maxsize=8)
def load_tokenizer(file: Path) -> QwenTokenizer:
    """The tokenizer in `file`, a ``tokenizer.json``; read once a process.

    Raises:
        CorruptModelError: the file is missing or is not a tokenizer.
        UnsupportedModelError: a tokenizer without the tokens of Qwen3-Reranker's prompt.
    """
    try:
        specification = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptModelError(f"{file} cannot be read: {error}") from error
    return QwenTokenizer(specification, str(file))


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
        given = [_whole_characters(text) for text in (instruction, query, *documents)]
        instruction, query, *documents = safe = [tokenizer.defuse(text) for text in given]
        defused = sum(map(ne, given, safe))
    shared, *encoded = tokenizer.encode(
        [_opening(instruction, query), *(" " + document for document in documents)]
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
    for place, cut in enumerate(truncated):
        if cut:
            kept[place], texts[place] = _shortened(tokenizer, encoded[place], room, as_text)
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


def _opening(instruction: str, query: str) -> str:
    return f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>:"


def _shortened(
    tokenizer: QwenTokenizer, ids: list[int], room: int, as_text: bool
) -> tuple[list[int], str]:
    """The first `room` ids of a document, and their text; or the longest text that fits.

    A text that ends elsewhere can be split otherwise, so the two are not quite the same.
    """
    kept = ids[:room]
    text = tokenizer.decode(kept)[1:]
    if not as_text:
        return kept, text
    while len(again := tokenizer.encode([" " + text])[0]) > room:
        kept.pop()
        text = tokenizer.decode(kept)[1:]
    return again, text
