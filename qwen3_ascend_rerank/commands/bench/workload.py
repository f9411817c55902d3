"""What is asked: requests drawn at random, or the user's own."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

from ...errors import InvalidInputError
from ..inputs import Passage, RankRequest, parse_request, read_lines

_WORD = re.compile("\u0120[A-Za-z]+")
"""A word with the space before it, in the letters that stand for bytes. Such words stay apart when
they are tokenised, so a text of so many has as many tokens."""


def random_requests(
    tokenizer: Path, tokens: int, documents: int, seed: int
) -> Iterator[RankRequest]:
    """Requests without end, each with a query and documents that no other has.

    Args:
        tokenizer: a Qwen3 ``tokenizer.json``.
        tokens: of each query and document together, in equal parts, as `vllm bench serve` draws
            them for reranking; the prompt around them not counted.
        documents: of each request.
        seed: equal ones draw equal requests.
    """
    vocabulary = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"]
    words = [token[1:] for token in vocabulary if _WORD.fullmatch(token)]
    chance = random.Random(seed)  # noqa: S311 - a load, no secret
    of_query = tokens // 2

    def text(length: int) -> str:
        return " ".join(chance.choices(words, k=length))

    while True:
        passages = [Passage(text(tokens - of_query)) for _ in range(documents)]
        yield RankRequest(text(of_query), passages, options={}, extra={})


def read_requests(source: str) -> list[RankRequest]:
    """The requests of a file, or of standard input for ``-``: one a line.

    Raises:
        InvalidInputError: it cannot be read, a line is no request, or it holds none.
    """
    requests = []
    for line in read_lines(source):
        with line.named():
            requests.append(parse_request(line.json()))
    if not requests:
        raise InvalidInputError(f"{source} holds no request; give one a line")
    return requests
