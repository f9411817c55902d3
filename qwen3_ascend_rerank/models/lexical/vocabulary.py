"""The words that the lexical model knows, and how much each of them says about a text.

The vocabulary is a part of Qwen's own (``scripts/make_lexical_vocabulary.py``). No corpus is
needed for rarity: BPE learnt its tokens roughly from the commonest to the rarest, so a token's
rank is a measure of how rare it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

DATA_FILE = "vocabulary.txt"
"""One token a line, in the order of the ids: its rank among Qwen's, and the pieces it joins."""

_COMMON, _RARE = 300, 20_000
"""Ranks of words: weightless up to the first, of weight 1 at the second."""
_COMMON_CHARACTER, _RARE_CHARACTER = 20, 8_000
"""The same for characters, counted among themselves."""
_SMALL = 0.2
"""Weight of a digit, and of a byte of a character that the vocabulary lacks: they recur often."""
_LEAST = 0.05
"""Lighter words are as good as weightless."""
_FIRST_EAST_ASIAN = "\u2e80"


@dataclass(frozen=True)
class Token:
    """A token by the pieces that BPE joins to make it, in the letters that stand for bytes."""

    rank: int
    """Its place among Qwen's 151,643 tokens; the commoner, the lower."""
    pieces: tuple[str, ...]
    """Two tokens, or one letter: a byte."""

    @cached_property
    def spelling(self) -> str:
        """The token in the letters that stand for bytes, as ``tokenizer.json`` has it."""
        return "".join(self.pieces)

    @cached_property
    def word(self) -> str:
        """What the token says: tokens that differ only in case or a leading space say the same.

        Bytes that are no whole character speak for themselves, in the letters of `spelling`.
        """
        data = bytes(_BYTES[letter] for letter in self.spelling)
        try:
            return data.decode().strip().lower() or self.spelling
        except UnicodeDecodeError:
            return f"\0{self.spelling}"


def byte_letters() -> dict[int, str]:
    """GPT-2's alphabet of bytes: a printable letter for each of the 256."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in printable}
    hidden = (byte for byte in range(0x100) if byte not in letters)
    return letters | {byte: chr(0x100 + place) for place, byte in enumerate(hidden)}


_BYTES = {letter: byte for byte, letter in byte_letters().items()}


@cache
def read_vocabulary() -> tuple[Token, ...]:
    """The shipped vocabulary; a token's place is its id."""
    text = files(__package__).joinpath(DATA_FILE).read_text(encoding="utf-8")
    rows = (line.split(" ") for line in text.splitlines())
    return tuple(Token(int(rank), tuple(pieces)) for rank, *pieces in rows)


def word_weights(vocabulary: Sequence[Token]) -> dict[str, float]:
    """How much each word says, from 0 (nothing: punctuation, "the", "的") to 1 (a rare word).

    Of the spellings of a word the commonest decides. Weights are multiples of 1/1024, so that
    they do not depend on the last bit of a machine's logarithm.
    """
    weights: dict[str, float] = {}
    characters = 0
    for token in vocabulary:
        word = token.word
        if word in weights:
            continue
        if len(word) == 1 and word.isalpha() and word >= _FIRST_EAST_ASIAN:
            characters += 1
            weight = _rarity(characters, _COMMON_CHARACTER, _RARE_CHARACTER)
        elif word.isdecimal() or word.startswith("\0"):
            weight = _SMALL
        else:
            weight = _rarity(token.rank, _COMMON, _RARE) if word.isalpha() else 0.0
        weights[word] = round(weight * 1024) / 1024 if weight >= _LEAST else 0.0
    return weights


def _rarity(place: int, common: int, rare: int) -> float:
    """0 up to `common`, 1 from `rare`, the logarithm between."""
    return min(max(math.log(max(place, 1) / common) / math.log(rare / common), 0.0), 1.0)
