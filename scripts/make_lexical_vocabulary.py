"""Make the vocabulary of the lexical model from the BPE ranks of Qwen's own tokenizer.

The ranks come with the `dashscope` package (``qwen.tiktoken``, Apache-2.0). Kept are the 256
bytes, the English words and word pieces among the first `WORDS` ranks, every single character of
Chinese, Japanese and Korean writing, what BPE needs on the way to these, and the two marks of the
prompt. Longer Chinese tokens are left out on purpose: pairs of neighbouring characters match more
robustly than words that segmentation may cut either way. Run it twice and the bytes are the same.

    pip install dashscope==2.0.2
    python scripts/make_lexical_vocabulary.py
"""

from __future__ import annotations

import argparse
import base64
import re
from collections.abc import Iterable
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import qwen3_ascend_rerank.models.lexical
from qwen3_ascend_rerank.models.lexical.vocabulary import DATA_FILE, Token, byte_letters

WORDS = 20_000
"""Ranks below this one may be words of letters A to Z."""
MARKS = {b"<Document": (b"<", b"Document"), b"<Query": (b"<", b"Query")}
"""Tokens that mark where the document and the query begin, and their halves.

Being tokens of their own, they cannot be taken for a word of a text.
"""

LAST = b"\n\n"
"""The token that the prompt ends with, by which the model knows that nothing was cut off."""

_WORD = re.compile(rb" ?[A-Za-z]+")
_FIRST_EAST_ASIAN, _LAST_EAST_ASIAN = "\u3000", "\uffef"


def read_ranks() -> dict[bytes, int]:
    """Qwen's tokens and their ranks: the order in which BPE learnt them, commonest first."""
    lines = files("dashscope").joinpath("resources/qwen.tiktoken").read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}


def is_wanted(token: bytes, rank: int) -> bool:
    """Whether the lexical model has `token` for its own sake."""
    if len(token) == 1 or token == LAST:
        return True
    if _WORD.fullmatch(token):
        return rank < WORDS
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return False
    return len(text) == 1 and _FIRST_EAST_ASIAN <= text <= _LAST_EAST_ASIAN


def halves(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, ...]:
    """The two tokens that BPE joins last on its way to `token`."""
    pieces = [token[place : place + 1] for place in range(len(token))]
    while len(pieces) > 2:
        joined = [left + right for left, right in pairwise(pieces)]
        first = min(range(len(joined)), key=lambda place: ranks.get(joined[place], len(ranks)))
        pieces[first : first + 2] = [joined[first]]
    return tuple(pieces)


def close(wanted: Iterable[bytes], ranks: dict[bytes, int]) -> dict[bytes, tuple[bytes, ...]]:
    """The wanted tokens and all that they are made of, each with its halves."""
    closed: dict[bytes, tuple[bytes, ...]] = {}
    waiting = list(wanted)
    while waiting:
        token = waiting.pop()
        if token not in closed:
            closed[token] = halves(token, ranks)
            waiting += [piece for piece in closed[token] if piece != token]
    return closed


def make_vocabulary(ranks: dict[bytes, int]) -> list[Token]:
    """The tokens of the lexical model, in the order of their ranks."""
    tokens = close((token for token, rank in ranks.items() if is_wanted(token, rank)), ranks)
    tokens |= MARKS
    last, letters = len(ranks), byte_letters()
    in_order = sorted(tokens, key=lambda token: (ranks.get(token, last), token))
    return [
        Token(
            ranks.get(token, last),
            tuple("".join(letters[byte] for byte in piece) for piece in tokens[token]),
        )
        for token in in_order
    ]


def main() -> None:
    """Write the data file."""
    package = Path(qwen3_ascend_rerank.models.lexical.__file__).parent
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--output", type=Path, default=package / DATA_FILE)
    output = parser.parse_args().output
    vocabulary = make_vocabulary(read_ranks())
    lines = [f"{token.rank} {' '.join(token.pieces)}\n" for token in vocabulary]
    output.write_bytes("".join(lines).encode())
    print(f"{output}: {len(vocabulary)} tokens, {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
