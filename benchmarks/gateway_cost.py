"""What the gateway costs: its answers beside those of the `Reranker` that it asks.

Rounds alternate between calls of `Reranker.rerank` in this process and requests to a gateway that
`qwen3-rerank serve` runs in another, both with the lexical model on the torch engine, with the same
number of documents, and queries of which no two are equal. Alone: one call after another; together:
as many callers as `--callers` says. The client is as little as asks by HTTP at all, since it takes
its processor time from the same machine as the gateway, as clients elsewhere do not.

Beside the time on the clock, which other programs change, there is the processor time of a call, of
several callers: of this process where it computes itself, and of the gateway's.

    python -m benchmarks.gateway_cost --rounds 5
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import median

import httpx
import psutil

from qwen3_ascend_rerank import Reranker

WORDS = ("bread", "capital", "city", "flour", "moon", "old", "river", "runs", "sea", "北京", "首都")
WORDS_A_DOCUMENT = 60
HOST = "127.0.0.1"
PROGRAM = "from qwen3_ascend_rerank.commands import main; main()"
RATIO, MILLISECONDS = 0.95, 3.0
"""What is aimed at: at least so much of the throughput, at most so many more at the median."""
_START_SECONDS = 120

Ask = Callable[[str, Sequence[str]], Awaitable[object]]


@dataclass(frozen=True)
class Round:
    """One way, measured once."""

    alone: float
    """Milliseconds of a call at the median, one after the other."""
    together: float
    """Calls a second of several callers."""
    processor: float
    """Milliseconds of processor time of a call, in the process that scores."""


class Client:
    """Asks over connections that stay open."""

    def __init__(self, port: int) -> None:
        """Nothing is open yet."""
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, query: str, documents: Sequence[str]) -> object:
        """The answer's JSON."""
        asked = {"query": query, "documents": documents, "return_documents": False}
        body = json.dumps(asked).encode()
        head = f"POST /v1/rerank HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n"
        reader, writer = (
            self._idle.pop() if self._idle else await asyncio.open_connection(HOST, self._port)
        )
        writer.write(head.encode() + body)
        said = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        answer = await reader.readexactly(int(said.partition("content-length: ")[2].split()[0]))
        if " 200 " not in said.partition("\r\n")[0]:
            sys.exit(f"the gateway refused: {answer.decode()}")
        self._idle.append((reader, writer))
        return json.loads(answer)

    def close(self) -> None:
        """Close the connections."""
        for _, writer in self._idle:
            writer.close()


async def measured(
    ask: Ask, scorer: psutil.Process, documents: int, calls: int, callers: int, seed: int
) -> Round:
    """How fast `ask` is, and what it costs the process that scores."""
    random.seed(seed)
    numbers = count()

    def question() -> tuple[str, list[str]]:
        texts = [" ".join(random.choices(WORDS, k=WORDS_A_DOCUMENT)) for _ in range(documents)]
        return f"which city {seed} {next(numbers)}", texts

    seconds = []
    for _ in range(calls):
        asked = question()
        began = time.perf_counter()
        await ask(*asked)
        seconds.append(time.perf_counter() - began)
    questions = [question() for _ in range(calls * 2)]
    left = iter(questions)

    async def caller() -> None:
        for asked in left:
            await ask(*asked)

    before, began = processor_seconds(scorer), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    together = len(questions) / (time.perf_counter() - began)
    used = processor_seconds(scorer) - before
    return Round(median(seconds) * 1000, together, used / len(questions) * 1000)


def processor_seconds(process: psutil.Process) -> float:
    """What it has taken since it began."""
    times = process.cpu_times()
    return float(times.user + times.system)


def figures(direct: Sequence[Round], gateway: Sequence[Round]) -> dict[str, float]:
    """What the rounds show, each gateway's beside the direct one of its time."""
    pairs = list(zip(direct, gateway, strict=True))
    return {
        "direct_ms": median(one.alone for one in direct),
        "gateway_ms": median(one.alone for one in gateway),
        "more_ms": median(other.alone - one.alone for one, other in pairs),
        "direct_calls_a_second": median(one.together for one in direct),
        "gateway_calls_a_second": median(one.together for one in gateway),
        "ratio": median(other.together / one.together for one, other in pairs),
        "direct_processor_ms": median(one.processor for one in direct),
        "gateway_processor_ms": median(one.processor for one in gateway),
    }


async def compared(options: argparse.Namespace, port: int, server: int) -> dict[str, float]:
    """Both ways in turn."""
    direct: list[Round] = []
    gateway: list[Round] = []
    here, there = psutil.Process(), psutil.Process(server)
    client = Client(port)
    with Reranker("lexical") as reranker:
        reranker.start()
        for place in range(options.rounds + 1):
            size = (options.documents, options.calls, options.callers)
            one = await measured(reranker.arerank, here, *size, seed=2 * place)
            other = await measured(client.ask, there, *size, seed=2 * place + 1)
            if place:  # the first warms both up
                direct.append(one)
                gateway.append(other)
    client.close()
    return figures(direct, gateway)


def main() -> None:
    """Measure, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=20, help="calls of a round, alone")
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--documents", type=int, default=20)
    options = parser.parse_args()
    with socket.create_server((HOST, 0)) as tried:
        port = tried.getsockname()[1]
    url = f"http://{HOST}:{port}"
    command = [sys.executable, "-c", PROGRAM, "serve", "lexical", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if "API_KEY" not in name}
    server = subprocess.Popen([*command, "--no-log-requests"], env=environment)  # noqa: S603
    try:
        _wait(url, server)
        found = asyncio.run(compared(options, port, server.pid))
    finally:
        server.terminate()
        server.wait()
    print(json.dumps({name: round(value, 3) for name, value in found.items()}, indent=1))
    good = found["ratio"] >= RATIO and found["more_ms"] <= MILLISECONDS
    sys.exit(0 if good else "slower than was aimed at")


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < end:
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    sys.exit("the gateway did not start")


if __name__ == "__main__":
    main()
