"""How long a server takes for one short pair, and for a long query that it has seen before."""

from __future__ import annotations

import itertools
import time
from statistics import median

from ...doctor import Diagnosis
from ...prompts import DEFAULT_INSTRUCTION, PromptBatch, QwenTokenizer, build_batch
from ...protocol import Engine

ROUNDS = 5
_LONG = 600
"""Tokens of a long query, where they fit: several blocks of any prefix cache."""
_SPARE = 32
"""Tokens that are left for a document and for words of another length."""
_SAVED = 0.75
"""Share of the time below which a cached prefix shows."""

_number = itertools.count(time.time_ns() % 1_000_000)


async def examine(engine: Engine, tokenizer: QwenTokenizer) -> list[Diagnosis]:
    """Ask a few times; every query is new, so that nobody's cache answers."""
    words = _words(engine, tokenizer)
    short, new, seen = [], [], []
    for _ in range(ROUNDS):
        short.append(await _seconds(engine, _batch(engine, tokenizer, _query(1), "yes")))
        query = _query(words)
        new.append(await _seconds(engine, _batch(engine, tokenizer, query, "yes")))
        seen.append(await _seconds(engine, _batch(engine, tokenizer, query, "no")))
    (tokens,) = _batch(engine, tokenizer, _query(words), "yes").lengths()
    told = f"{_ms(new)} for a pair of {tokens} tokens, {_ms(seen)} where its query was seen"
    shows = median(seen) < _SAVED * median(new)
    return [
        Diagnosis("server.latency", "ok", f"{_ms(short)} for one short pair (median of {ROUNDS})"),
        Diagnosis("server.prefix_cache", "ok", f"the prefix cache shows: {told}")
        if shows
        else Diagnosis(
            "server.prefix_cache",
            "note",
            f"no prefix cache shows: {told}",
            why="it is off, the server is busy, or the model is too small for it to matter",
        ),
    ]


def _words(engine: Engine, tokenizer: QwenTokenizer) -> int:
    """How many words make a long query, or as long a one as fits."""
    one, two = (_batch(engine, tokenizer, _query(words), "").lengths()[0] for words in (1, 2))
    room = min(_LONG, engine.info.max_length - _SPARE) - one
    return 1 + max(room // max(two - one + 1, 1), 0)


async def _seconds(engine: Engine, batch: PromptBatch) -> float:
    begin = time.perf_counter()
    await engine.score(batch)
    return time.perf_counter() - begin


def _query(words: int) -> str:
    return " ".join(f"question {next(_number)}" for _ in range(words))


def _batch(engine: Engine, tokenizer: QwenTokenizer, query: str, document: str) -> PromptBatch:
    info = engine.info
    return build_batch(
        tokenizer,
        DEFAULT_INSTRUCTION,
        query,
        [document],
        info.max_length,
        as_text=info.takes_text,
    )


def _ms(seconds: list[float]) -> str:
    return f"{median(seconds) * 1000:.0f} ms"
