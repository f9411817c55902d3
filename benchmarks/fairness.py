"""What a small call waits for beside a huge one: its time then, and alone.

Both calls ask the lexical model through one engine, with texts of which no two are equal. Rounds
alternate: small calls alone, then small calls while a huge one is under way.

    python -m benchmarks.fairness --engine torch
    python -m benchmarks.fairness --engine vllm
    python -m benchmarks.fairness --base-url http://127.0.0.1:8000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from itertools import count
from statistics import median

from qwen3_ascend_rerank import Reranker

WORDS = ("bread", "capital", "city", "flour", "moon", "old", "river", "runs", "sea", "北京", "首都")
WORDS_A_DOCUMENT = 60
TIMES = 3.0
"""As long as alone, at most, is what is aimed at."""


def main() -> None:
    """Measure, and print what was found as JSON; the exit status says whether the aim is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engine", default="torch", help="torch or vllm")
    parser.add_argument("--base-url", help="of a server of the lexical model, instead of an engine")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=5, help="small calls of a round, each way")
    parser.add_argument("--small", type=int, default=10, help="documents of a small call")
    parser.add_argument("--huge", type=int, default=2000, help="documents of a huge call")
    options = parser.parse_args()
    where = {"base_url": options.base_url} if options.base_url else {"engine": options.engine}
    with Reranker("lexical", **where) as reranker:
        reranker.start()
        found = asyncio.run(measured(reranker, options))
    print(json.dumps(found, indent=1))
    sys.exit(0 if found["times"] <= TIMES else f"more than {TIMES} times as long as alone")


async def measured(reranker: Reranker, options: argparse.Namespace) -> dict[str, float]:
    """Seconds at the median, alone and beside, and the median of the rounds' ratios."""
    question = _questions()

    async def seconds() -> float:
        asked = question(options.small)
        began = time.perf_counter()
        await reranker.arerank(*asked)
        return time.perf_counter() - began

    await reranker.arerank(*question(options.small))
    alone, beside, ratios = [], [], []
    for _ in range(options.rounds):
        one = [await seconds() for _ in range(options.calls)]
        huge = asyncio.create_task(reranker.arerank(*question(options.huge)))
        await asyncio.sleep(max(0.3, 2 * median(one)))
        other = []
        for _ in range(options.calls):
            took = await seconds()
            if huge.done():
                break
            other.append(took)
        huge.cancel()
        await asyncio.gather(huge, return_exceptions=True)
        if not other:
            sys.exit(f"a call of {options.huge} documents ended at once; give --huge more")
        alone += one
        beside += other
        ratios.append(median(other) / median(one))
    return {
        "alone_s": round(median(alone), 4),
        "beside_s": round(median(beside), 4),
        "times": round(median(ratios), 2),
        "least_times": round(min(ratios), 2),
        "most_times": round(max(ratios), 2),
    }


def _questions() -> Callable[[int], tuple[str, list[str]]]:
    chance, numbers = random.Random(1), count()

    def question(documents: int) -> tuple[str, list[str]]:
        texts = [" ".join(chance.choices(WORDS, k=WORDS_A_DOCUMENT)) for _ in range(documents)]
        return f"which city {next(numbers)}", texts

    return question


if __name__ == "__main__":
    main()
