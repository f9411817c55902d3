"""Long documents in passages: where they are cut, so that each passage is a document that fits.

A passage is a part of a document's text, from one character to another, and its prompt is the one
that this part has if it is passed as a document of its own. So its score is the score of that very
text, and whatever holds of prompts holds of it. Two neighbours share some tokens, so that a
sentence on the edge of one stands whole in the other.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from ..checks import checked_count
from ..errors import InvalidInputError
from .batch import PromptBatch, PromptMaker
from .tokenizer import QwenTokenizer, Reading

BACK = 8
"""Tokens by which a passage may become shorter so that it ends between words."""
_LONGEST_CHARACTER = 64
"""Code points of what is read as one character; what is longer may be cut."""
_JOINER = "\u200d"
_IDEOGRAPHS = "\u2e80"
"""From here on, letters are words, or syllables."""
_INK = re.compile(r"\S")
_SPLIT_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


@dataclass(frozen=True, slots=True)
class PassageRules:
    """How long documents are cut into passages."""

    tokens: int | None = None
    """Of a passage at most; None: as many as the prompt has room for."""
    overlap: int = 64
    """Tokens that a passage shares with the one before; never more than half of it."""
    limit: int = 4
    """Passages that are read of a document where only its first ones are."""

    @classmethod
    def checked(cls, tokens: int | None, overlap: int, limit: int) -> PassageRules:
        """Rules that can be kept.

        Raises:
            InvalidInputError: a value that cannot be used.
        """
        checked_count("passage_overlap", overlap, least=0)
        if tokens is not None and overlap > checked_count("passage_tokens", tokens) // 2:
            raise InvalidInputError(
                f"passage_overlap is {overlap} and passage_tokens is {tokens}: a passage may share "
                f"at most half of its tokens with the one before; pass passage_overlap <= "
                f"{tokens // 2}"
            )
        return cls(tokens, overlap, checked_count("passage_limit", limit))


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A prompt in which a document was read, in part or as a whole."""

    prompt: int
    """Its place in the batch."""
    span: tuple[int, int] | None
    """From which character of the document to which; None: the document as a whole."""


@dataclass(frozen=True, slots=True)
class Excerpts:
    """Prompts for documents of which some are read in passages, each prompt once."""

    batch: PromptBatch
    of: list[list[Excerpt]]
    """Of each document, in the order of its text."""
    whole: list[bool]
    """Whether each document is read to its end."""

    @classmethod
    def joined(cls, maker: PromptMaker, cuttings: Sequence[Cutting]) -> Excerpts:
        """What came of the documents; equal passages, of whichever document, have one prompt."""
        places: dict[Hashable, int] = {}
        prompts: list[PromptBatch] = []
        of: list[list[Excerpt]] = []
        for cutting in cuttings:
            own = []
            for span, prompt in cutting.passages:
                # What is cut inside its first character has no text.
                key = tuple(prompt.documents[0]) if prompt.truncated[0] else prompt.texts[0]
                if places.setdefault(key, len(prompts)) == len(prompts):
                    prompts.append(prompt)
                own.append(Excerpt(places[key], span))
            of.append(own)
        return cls(maker.whole(prompts), of, [cutting.whole for cutting in cuttings])

    @property
    def passages(self) -> int:
        """Prompts that hold a part of a document."""
        return len({one.prompt for own in self.of for one in own if one.span is not None})

    def owner(self, prompt: int) -> int:
        """The first document that is read in a prompt."""
        return next(
            place for place, own in enumerate(self.of) if any(one.prompt == prompt for one in own)
        )


class Cutting:
    """One document, as far as it was cut."""

    def __init__(
        self,
        maker: PromptMaker,
        tokenizer: QwenTokenizer,
        text: str,
        rules: PassageRules,
        limit: int | None,
    ) -> None:
        """Nothing is cut yet.

        Args:
            maker: makes the prompts.
            tokenizer: the one by which it does.
            text: the document.
            rules: how to cut it.
            limit: how many passages are wanted; None: all.
        """
        self.passages: list[tuple[tuple[int, int] | None, PromptBatch]] = []
        """Where in the text each is, and its prompt; alone and without a place: the whole text."""
        self.done = False
        """Whether no passage is missing."""
        self.whole = True
        """Whether all of the text is in `passages`, when they are done."""
        self._maker, self._tokenizer = maker, tokenizer
        self._text = tokenizer.readable(text)
        self._given = text
        self._size = min(maker.room, rules.tokens or maker.room)
        self._overlap = min(rules.overlap, self._size // 2)
        self._limit = limit
        self._start = self._end = 0
        self._reach = 6 * self._size + 16
        """Characters in which a passage is looked for."""

    def __len__(self) -> int:
        return len(self._text) - self._start

    def advance(self, characters: int) -> None:
        """Cut passages until about so many characters more are read, or all is done."""
        goal = self._start + characters
        while not self.done and self._start < goal:
            whole = None if self.passages else self._fitting(0, len(self._text))
            if whole is None:
                self._next()
            else:
                self.passages.append((None, self._maker.of([whole])))
                self.done = True

    def _next(self) -> None:
        """Cut off one passage, and find where the next one begins."""
        starts = self._starts()
        end, reading = self._ending(starts)
        if end > self._end:
            span = (self._start, end)
            if len(self._given) != len(self._text):
                span = _given_places(self._given, span)
            self.passages.append((span, self._maker.of([reading])))
            following, self._end = self._behind(starts, end), end
        else:  # it reaches no further than the one before
            following = end = self._end
        rest = _INK.search(self._text, end)
        self.whole = rest is None
        self.done = rest is None or len(self.passages) == self._limit
        if ink := _INK.search(self._text, following):
            self._start = ink.start()

    def _starts(self) -> list[int]:
        """Where the first tokens from here on begin, one more than a passage has, or all."""
        while True:
            part = self._text[self._start : self._start + self._reach]
            starts = [place - 1 for place in self._tokenizer.starts(f" {part}")]
            if len(starts) > self._size or len(part) < self._reach:
                return starts
            self._reach *= 2

    def _ending(self, starts: Sequence[int]) -> tuple[int, Reading]:
        """Where a passage ends that begins here, so that it fits; and what is read of it."""
        start, last = self._start, len(self._text)
        if len(starts) <= self._size and (fitting := self._fitting(start, last)):
            return last, fitting
        count = min(self._size, len(starts) - 1)
        while (end := self._between(starts, count)) is not None:
            reading = self._read(start, end)
            if self._fits(reading):
                self._reach = (end - start) * 5 // 4 + 64
                return end, reading
            tokens = len(reading.ids) * (end - start) // max(1, reading.end)
            count = min(count - 1, count * self._size // max(1, tokens))
        end = self._first_character()
        return end, self._read(start, end)

    def _between(self, starts: Sequence[int], count: int) -> int | None:
        """Where at most `count` tokens end, between words if possible; None: not one character."""
        places = [self._start + starts[place] for place in range(count, max(0, count - BACK), -1)]
        whole = (place for place in places if not _in_word(self._text, place))
        place = next(whole, places[0] if places else self._start)
        end = _between_characters(self._text, place, self._start)
        return end if end > self._start else None

    def _first_character(self) -> int:
        """Where the first character ends, though it may not fit."""
        last = min(self._start + _LONGEST_CHARACTER, len(self._text))
        places = range(self._start + 1, last)
        return next((one for one in places if not _in_character(self._text, one)), last)

    def _behind(self, starts: Sequence[int], end: int) -> int:
        """Where the passage after the one that ends at `end` begins."""
        tokens = bisect_left(starts, end - self._start)
        begin = self._between(starts, max(0, tokens - self._overlap)) if self._overlap else end
        return end if begin is None else min(begin, end)

    def _fitting(self, start: int, end: int) -> Reading | None:
        reading = self._read(start, end)
        return reading if self._fits(reading) else None

    def _read(self, start: int, end: int) -> Reading:
        return self._maker.read([self._text[start:end]], self._size)[0]

    def _fits(self, reading: Reading) -> bool:
        return reading.whole and len(reading.ids) <= self._size


def _in_word(text: str, place: int) -> bool:
    """Whether a cut would part a word of a script that has spaces between words."""
    before, here = text[place - 1], text[place]
    return before < _IDEOGRAPHS and here < _IDEOGRAPHS and before.isalnum() and here.isalnum()


def _between_characters(text: str, place: int, start: int) -> int:
    """`place`, or the last one before it, from `start`, that parts nothing read as one character.

    What is read as one and is longer than any character is parted at `place`.
    """
    last = max(start, place - _LONGEST_CHARACTER)
    found = (one for one in range(place, last, -1) if not _in_character(text, one))
    return next(found, start if last == start else place)


def _in_character(text: str, place: int) -> bool:
    """Whether a cut would part what is read as one character: a letter and its marks, an emoji.

    After Unicode Standard Annex #29, "Unicode Text Segmentation", extended grapheme clusters.
    """
    if not 0 < place < len(text):
        return False
    before, here = text[place - 1], text[place]
    if here < "\u0300":
        return before == "\r" and here == "\n"
    return (
        unicodedata.category(here)[0] == "M"
        or here == _JOINER
        or before == _JOINER
        or "\u1160" <= here <= "\u11ff"  # the later parts of a Korean syllable
        or "\ud7b0" <= here <= "\ud7ff"
        or "\U0001f3fb" <= here <= "\U0001f3ff"  # colours of skin
        or "\U000e0020" <= here <= "\U000e007f"  # the letters behind a flag
        or (_is_flag(here) and sum(1 for _ in _flags_before(text, place)) % 2 == 1)
    )


def _is_flag(letter: str) -> bool:
    """Whether it is half a flag: two of these are one."""
    return "\U0001f1e6" <= letter <= "\U0001f1ff"


def _flags_before(text: str, place: int) -> Iterator[int]:
    for one in range(place - 1, max(-1, place - 1 - _LONGEST_CHARACTER), -1):
        if not _is_flag(text[one]):
            return
        yield one


def _given_places(given: str, span: tuple[int, int]) -> tuple[int, int]:
    """Places in a text of which the readable form has one character for a split surrogate pair."""
    start, end = span
    for pair in _SPLIT_PAIR.finditer(given):
        if pair.start() < start:
            start += 1
        if pair.start() < end:
            end += 1
    return start, end
