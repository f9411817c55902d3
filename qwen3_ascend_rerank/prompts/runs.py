"""The first ids of a run without end: a word, or white space, of megabytes.

The tokenizer's own splitting has no boundary in it, so byte-pair encoding would have to join all of
it before its first id is known for sure. What can be known sooner rests on two facts:

* A sequence of tokens is the encoding of a text if and only if each two neighbours are the encoding
  of what they spell together: the first merge across a boundary, if there is one, depends on these
  two alone. So what lies before a boundary is encoded as if it were all, and the encoding of every
  beginning of a text can be found token by token. (See crates/bpe in
  https://github.com/github/rust-gems.)
* Of any places in a row, as many as the longest token has letters, one is a boundary.

So the encodings of all beginnings that end within the last of these places are followed back to
where they have become one: up to there they are the encoding of the whole, whatever follows.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer

LONG = 1024
"""Letters of a run of one and the same that are looked at."""
_LAST_SPACE = 4
"""Letters of a white space, at most: the last of a run may belong to what follows."""


class Runs:
    """Of the texts that one tokenizer reads, which must be a byte-level BPE."""

    def __init__(self, tokenizer: Tokenizer, *, stripping: bool) -> None:
        """Nothing is made ready before it is needed.

        Args:
            tokenizer: the tokenizer.
            stripping: whether an added token may take white space that stands before it.
        """
        self._tokenizer = tokenizer
        self._stripping = stripping
        self._vocabulary: dict[str, int] = {}
        self._longest = 0
        self._neighbours = lru_cache(maxsize=2**16)(self._are_neighbours)

    def first(self, text: str) -> list[int]:
        """Ids with which every text begins that goes on behind `text`, which holds no added token.

        What follows must not be composed with the end of `text`.
        """
        if not self._vocabulary:
            self._vocabulary = self._tokenizer.get_vocab(with_added_tokens=False)
            self._longest = max(map(len, self._vocabulary))
        composed = self._tokenizer.normalizer.normalize_str(text)
        split = self._tokenizer.pre_tokenizer.pre_tokenize_str(composed)
        spelt = [(letters, composed[start:end]) for letters, (start, end) in split]
        if self._stripping:
            while spelt and spelt[-1][1].isspace():
                spelt.pop()
        elif len(spelt) > 1 and spelt[-1][1].isspace() and spelt[-2][1].isspace():
            spelt.pop()  # with more white space behind it, it could be part of the one before
        if not spelt:
            return []
        *whole, (run, _) = spelt
        ids = [token.id for letters, _ in whole for token in self._model.tokenize(letters)]
        return ids + [self._vocabulary[token] for token in self._beginning(run)]

    @property
    def _model(self) -> Any:
        return self._tokenizer.model

    def _beginning(self, run: str) -> list[str]:
        """Tokens with which every run begins that goes on behind `run`, or ends before its last."""
        if len(run) > LONG and run.count(run[0]) == len(run):
            # What is sure first is so again behind it, as long as as many letters are left.
            sure = self._beginning(run[:LONG])
            return sure[:1] * ((len(run) - LONG) // max(1, len("".join(sure[:1])))) + sure
        before = self._last_tokens(run)
        heads = set(range(max(0, len(run) - _LAST_SPACE - self._longest), len(run) + 1))
        while len(heads) > 1:
            last = max(heads)
            heads.remove(last)
            heads.add(before[last])
        end, tokens = heads.pop(), []
        while end:
            tokens.append(run[before[end] : end])
            end = before[end]
        return tokens[::-1]

    def _last_tokens(self, run: str) -> list[int]:
        """Where the last token of the encoding of each beginning of `run` begins."""
        before = [0]
        for end in range(1, len(run) + 1):
            for start in range(end - 1, max(-1, end - self._longest - 1), -1):
                token = run[start:end]
                left = run[before[start] : start]
                if token in self._vocabulary and self._neighbours(left, token):
                    before.append(start)
                    break
        return before

    def _are_neighbours(self, left: str, right: str) -> bool:
        """Whether these tokens are the encoding of what they spell; `left` may be empty."""
        encoded = [token.value for token in self._model.tokenize(left + right)]
        return encoded == ([left, right] if left else [right])


def may_compose(letter: str) -> bool:
    """Whether `letter` may become one with what stands before it; in doubt, yes."""
    return letter > "\x7f" and (
        unicodedata.category(letter)[0] not in "LNPSZ"
        or letter > "\uffff"
        or "\u1100" <= letter <= "\u11ff"  # parts of Korean syllables
        or "\ua960" <= letter <= "\ua97f"
        or "\ud7b0" <= letter <= "\ud7ff"
    )
