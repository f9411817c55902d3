"""One client under load: how its throughput compares with raw requests, and whether it grows.

Rounds alternate between `Reranker.arerank` and bare httpx requests to `/classify` with the token
ids that the client sends, made beforehand. The queries of a round differ between the two in one
digit only, so that the server's prefix cache helps neither. The server is started with
`vllm serve` or `qwen3-rerank serve --bare`, release 0.15 or newer, on the model `lexical`:

    qwen3-rerank serve lexical --bare --port 8000
    python benchmarks/served_load.py --url http://127.0.0.1:8000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import httpx

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.engines.startup import open_tokenizer
from qwen3_ascend_rerank.prompts import DEFAULT_INSTRUCTION, build_batch

Item = TypeVar("Item")

WORDS = ("bread", "capital", "city", "flour", "moon", "old", "river", "runs", "sea", "北京", "首都")
MAX_LENGTH = 512
KEY = "QWEN3_RERANK_API_KEY"
RATIO, GROWTH = 0.9, 16.0
"""What is aimed at: at least so much of the raw throughput, at most so many MiB more."""


@dataclass(frozen=True)
class Query:
    """What is asked in one call."""

    query: str
    documents: list[str]


@dataclass(frozen=True)
class Pace:
    """How fast one way of asking was."""

    rate: float
    """Queries a second."""
    cpu: float
    """Milliseconds of this process for a query."""


@dataclass(frozen=True)
class Round:
    """Both ways, one after the other."""

    client: Pace
    raw: Pace
    memory: float
    """Resident MiB of this process at the end."""


def figures(rounds: Sequence[Round]) -> dict[str, float]:
    """What the rounds show: medians, and how much memory grew after the first fifth."""
    return {
        "client": median(one.client.rate for one in rounds),
        "raw": median(one.raw.rate for one in rounds),
        "ratio": median(one.client.rate / one.raw.rate for one in rounds),
        "client_cpu": median(one.client.cpu for one in rounds),
        "raw_cpu": median(one.raw.cpu for one in rounds),
        "growth": rounds[-1].memory - rounds[len(rounds) // 5].memory,
    }


def make_queries(count: int, documents: int, seed: int) -> list[Query]:
    """Queries of some words, with documents of 10 to 50."""
    chance = random.Random(seed)
    return [
        Query(
            f"0{seed:03d}{number:05d} {' '.join(chance.choices(WORDS, k=8))}",
            [" ".join(chance.choices(WORDS, k=chance.randint(10, 50))) for _ in range(documents)],
        )
        for number in range(count)
    ]


def payloads(model: str, queries: Sequence[Query]) -> list[bytes]:
    """The bodies that the client would send for `queries`, with one digit changed in each."""
    tokenizer = open_tokenizer("lexical")
    bodies = []
    for one in queries:
        query = f"1{one.query[1:]}"
        batch = build_batch(tokenizer, DEFAULT_INSTRUCTION, query, one.documents, MAX_LENGTH)
        body = {"model": model, "input": list(batch.prompts()), "use_activation": False}
        bodies.append(json.dumps(body, separators=(",", ":")).encode())
    return bodies


async def timed(
    ask: Callable[[Item], Awaitable[int]], items: Sequence[Item], concurrency: int, documents: int
) -> Pace:
    """Ask with so many in flight; each has to give as many scores as `documents`."""
    waiting: Iterator[Item] = iter(items)

    async def work() -> None:
        for item in waiting:
            if (count := await ask(item)) != documents:
                raise SystemExit(f"{count} scores for {documents} documents")

    began, spent = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    count = len(items)
    return Pace(count / (time.perf_counter() - began), 1000 * (time.process_time() - spent) / count)


async def measure(
    url: str, queries: int, documents: int, concurrency: int, rounds: int
) -> list[Round]:
    """Alternate between the client and bare requests, and in which of them comes first."""
    key = os.environ.get(KEY)
    headers = {"content-type": "application/json"}
    headers |= {"authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=concurrency, keepalive_expiry=4)
    options = {"concurrency": concurrency}
    done: list[Round] = []
    async with (
        httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=120) as http,
        Reranker(base_url=url, max_length=MAX_LENGTH, engine_options=options) as reranker,
    ):
        model = (await reranker.astart()).model

        async def through_client(one: Query) -> int:
            return len(await reranker.arerank(one.query, one.documents))

        async def bare(body: bytes) -> int:
            response = await http.post("/classify", content=body)
            return len(response.raise_for_status().json()["data"])

        for number in range(rounds):
            asked = make_queries(queries // rounds, documents, number)
            runs = {
                "client": partial(timed, through_client, asked, concurrency, documents),
                "raw": partial(timed, bare, payloads(model, asked), concurrency, documents),
            }
            paces = {name: await runs[name]() for name in sorted(runs, reverse=number % 2 > 0)}
            done.append(Round(**paces, memory=resident()))
            print(f"round {number}: {done[-1]}", file=sys.stderr)
    return done


def resident() -> float:
    """Resident memory of this process in MiB; its peak where the system tells no more."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Measure, and print a Markdown table or JSON; status 1 if an aim was missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--url", required=True, help=f"the server; its key is taken from {KEY}")
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--documents", type=int, default=20, help="documents in each query")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = figures(
        asyncio.run(
            measure(given.url, given.queries, given.documents, given.concurrency, given.rounds)
        )
    )
    if given.json:
        print(json.dumps(found))
    else:
        print(
            f"{given.queries} queries of {given.documents} documents, {given.concurrency} at once:"
            " queries/s, their ratio, CPU ms a query, MiB.\n"
        )
        print(f"| {' | '.join(found)} |")
        print("|---" * len(found) + "|")
        print(f"| {' | '.join(f'{value:.3g}' for value in found.values())} |")
    sys.exit(found["ratio"] < RATIO or found["growth"] > GROWTH)


if __name__ == "__main__":
    main()
