"""What a Reranker itself costs beside the model, against what is aimed at.

The engine is a fake that answers at once, so that what is left is this package's own work; only the
growth of time with documents is taken from the lexical model. Rounds alternate between what is
compared.

    python -m benchmarks.own_cost --tokenizer tokenizer.json
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from unittest.mock import patch

from tokenizers import Tokenizer

from benchmarks.comparison.workload import Cell, Workload
from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.models import tokenizer_file
from qwen3_ascend_rerank.prompts import QwenTokenizer, load_tokenizer
from qwen3_ascend_rerank.testing import FakeEngine

DOCUMENTS, TOKENS = 100, 200
TOKENIZERS = 15
"""Pairs of them."""
GROWTH_COUNTS = (50, 100, 200, 400, 800, 1600)
GROWTH_WORDS = 20
WORDS = ("bread", "capital", "city", "flour", "moon", "old", "river", "runs", "sea", "北京")


@dataclass(frozen=True, slots=True)
class Figure:
    """Something measured, and the most that is aimed at."""

    what: str
    value: float
    unit: str
    aim: float


def own_work(workload: Workload, tokenizer: QwenTokenizer, file: Path, rounds: int) -> Figure:
    """Processor time of a call whose texts are tokenised already.

    The time of tokenising is not subtracted: it is many times as long and varies by more than what
    would be left.
    """
    request = workload.request(Cell(TOKENS, TOKENS, DOCUMENTS), seed=1)
    with (
        Reranker(FakeEngine(), tokenizer=str(file)) as reranker,
        patch.object(QwenTokenizer, "_encode", remembering(tokenizer._encode)),
    ):
        (taken,) = alternating(
            rounds,
            lambda: reranker.rerank(request.query, request.documents),
            clock=time.process_time,
        )
    return Figure(
        f"own work a document of {TOKENS} tokens, without tokenising",
        median(taken) / DOCUMENTS * 1e6,
        "µs",
        60.0,
    )


def remembering(
    encode: Callable[[Sequence[str]], list[list[int]]],
) -> Callable[[QwenTokenizer, Sequence[str]], list[list[int]]]:
    """`encode` as a method that knows the answer the second time."""
    known: dict[tuple[str, ...], list[list[int]]] = {}

    def remembered(_: QwenTokenizer, texts: Sequence[str]) -> list[list[int]]:
        asked = tuple(texts)
        if asked not in known:
            known[asked] = encode(texts)
        return [[*ids] for ids in known[asked]]

    return remembered


def tokenising(workload: Workload, file: Path, rounds: int) -> Figure:
    """Tokenising as it is done here, against `encode_batch_fast` with nothing around it.

    Each pair of tokenizers is new: one is up to 40 % faster than another just like it, by what its
    cache happened to take first, and stays so.
    """
    texts = workload.request(Cell(TOKENS, TOKENS, DOCUMENTS), seed=2).documents
    ratios = []
    for _ in range(TOKENIZERS):
        own = QwenTokenizer(file.read_text(encoding="utf-8"))
        bare = Tokenizer.from_file(str(file))
        ours, theirs = alternating(
            max(1, rounds // TOKENIZERS),
            lambda own=own: own.encode(texts),  # type: ignore[misc]
            lambda bare=bare: [  # type: ignore[misc]
                one.ids for one in bare.encode_batch_fast(texts, add_special_tokens=False)
            ],
        )
        ratios.append(median(ours) / median(theirs))
    return Figure("tokenising, times a bare encode_batch_fast", median(ratios), "", 1.1)


def remembered(workload: Workload, file: Path, rounds: int) -> Figure:
    """The same call again with the score cache on."""
    request = workload.request(Cell(TOKENS, TOKENS, DOCUMENTS), seed=3)
    with Reranker(FakeEngine(), tokenizer=str(file), cache_size=10_000) as reranker:
        reranker.rerank(request.query, request.documents)
        (taken,) = alternating(rounds, lambda: reranker.rerank(request.query, request.documents))
    return Figure(
        f"a second call with {DOCUMENTS} documents, cache on", median(taken) * 1e3, "ms", 1.0
    )


def growth(rounds: int) -> Figure:
    """Exponent of a call's time in documents, on the lexical model."""
    chance = random.Random(7)
    texts = [" ".join(chance.choices(WORDS, k=GROWTH_WORDS)) for _ in range(GROWTH_COUNTS[-1])]
    with Reranker("lexical") as reranker:
        reranker.rerank("warm up", texts[: GROWTH_COUNTS[0]])
        taken = alternating(
            rounds,
            *(
                lambda count=count: reranker.rerank("river city", texts[:count])  # type: ignore[misc]
                for count in GROWTH_COUNTS
            ),
        )
    value = exponent(GROWTH_COUNTS, [min(one) for one in taken])
    return Figure(
        f"exponent of time in documents, {GROWTH_COUNTS[0]} to {GROWTH_COUNTS[-1]:,}, lexical",
        value,
        "",
        1.05,
    )


def alternating(
    rounds: int, *calls: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> list[list[float]]:
    """Seconds of each call by `clock`, once a round, after a round not counted."""
    taken: list[list[float]] = [[] for _ in calls]
    for number in range(rounds + 1):
        for call, seconds in zip(calls, taken, strict=True):
            began = clock()
            call()
            if number:
                seconds.append(clock() - began)
    return taken


def exponent(counts: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of log seconds over log counts, least squares."""
    x, y = [math.log(one) for one in counts], [math.log(one) for one in seconds]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    across = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return across / sum((a - mean_x) ** 2 for a in x)


def main() -> None:
    """Measure, and print a Markdown table or JSON; status 1 if an aim was missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--tokenizer", help="folder or file of Qwen3's; not given: the lexical model's, smaller"
    )
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--growth-rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    file = tokenizer_file(given.tokenizer or "lexical")
    tokenizer = load_tokenizer(file)
    workload = Workload(tokenizer, file)
    figures = []
    for measure in (
        lambda: own_work(workload, tokenizer, file, given.rounds),
        lambda: tokenising(workload, file, given.rounds),
        lambda: remembered(workload, file, given.rounds),
        lambda: growth(given.growth_rounds),
    ):
        figures.append(measure())
        print(f"{figures[-1].what}: {figures[-1].value:.3g}", file=sys.stderr, flush=True)
    if given.json:
        print(json.dumps([asdict(one) for one in figures], ensure_ascii=False))
    else:
        print("| what | measured | at most |\n|---|---|---|")
        for one in figures:
            print(f"| {one.what} | {one.value:.3g} {one.unit} | {one.aim:g} {one.unit} |")
    sys.exit(any(one.value > one.aim for one in figures))


if __name__ == "__main__":
    main()
