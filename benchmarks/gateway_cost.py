"""What the gateway costs: its answers beside those of what it asks itself.

Ways take turns, each for a round of a few calls, with as many documents, and queries of which no
two are equal; compared are rounds that are neighbours in time. `direct` is a `Reranker` in this
process, `gateway` what `qwen3-rerank serve` runs in another. In process both have the lexical model
on the torch engine, and `least` is a server of a dozen lines around the same: what any answer by
HTTP from another process costs on this machine, whoever gives it. With ``--replicas N`` both ask N
bare servers of vLLM instead, which the gateway knows by ``--base-url``.

Short documents are the default: the longer a call computes, the more its unsteadiness hides the few
milliseconds that a gateway adds.

The same ratio came out a tenth higher or lower from one start of these programs to the next, so all
of them are started anew `--starts` times, and the medians count.

Alone: one call after another; together: as many callers as `--callers` says. The client of servers
is as little as asks by HTTP at all, since it takes its processor time from the same machine, as
clients elsewhere do not. Beside the time on the clock, which other programs change, there is the
processor time of a call, of several callers: of this process where it asks directly, and of the
server's.

    python -m benchmarks.gateway_cost
    python -m benchmarks.gateway_cost --replicas 2
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from statistics import median
from typing import Any

import httpx
import psutil

from qwen3_ascend_rerank import Reranker

WORDS = ("bread", "capital", "city", "flour", "moon", "old", "river", "runs", "sea", "北京", "首都")
MAX_LENGTH = 1024
HOST = "127.0.0.1"
PROGRAM = "from qwen3_ascend_rerank.commands import main; main()"
RATIO, MILLISECONDS = 0.95, 3.0
"""What is aimed at in process: at least so much of the throughput, and at most so many more at the
median."""
RATIO_OF_REPLICAS = 0.9
"""Before replicas: at least so much of the throughput."""
_START_SECONDS = 600
_KEEP_ALIVE = 75
"""Seconds for which the gateway, too, keeps an idle connection."""

Ask = Callable[[str, Sequence[str]], Awaitable[object]]


@dataclass(frozen=True)
class Way:
    """A way to be answered."""

    ask: Ask
    process: psutil.Process
    """What computes the answer, or asks the replicas for it."""


@dataclass(frozen=True)
class Round:
    """One way, measured once."""

    alone: list[float]
    """Milliseconds of each call, one after the other."""
    together: float
    """Calls a second of several callers."""
    processor: float
    """Milliseconds of processor time of a call, of several callers."""


class Client:
    """Asks over connections that stay open as long as the process."""

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
            sys.exit(f"the server refused: {answer.decode()}")
        self._idle.append((reader, writer))
        return json.loads(answer)


class Questions:
    """Queries of which no two are equal, with documents that are equal for all ways."""

    def __init__(self, documents: int, words: int) -> None:
        """`documents` of `words` words each belong to a question."""
        self._documents, self._words = documents, words
        self._numbers = count(10_000)

    def asked(self, seed: object) -> tuple[str, list[str]]:
        """A query and its documents; the same seed gives the same documents."""
        chosen = random.Random(str(seed)).choices
        texts = [" ".join(chosen(WORDS, k=self._words)) for _ in range(self._documents)]
        return f"which city {next(self._numbers)}", texts


async def alone(ways: dict[str, Way], asked: Questions, seed: object) -> dict[str, float]:
    """Milliseconds of one call of each way, the same documents asked of one right after another."""
    took = {}
    for name, way in ways.items():
        question = asked.asked(seed)
        began = time.perf_counter()
        await way.ask(*question)
        took[name] = (time.perf_counter() - began) * 1000
    return took


async def together(way: Way, questions: list[tuple[str, list[str]]], callers: int) -> Round:
    """How many calls a second there are of several callers, and what one costs."""
    left = iter(questions)

    async def caller() -> None:
        for asked in left:
            await way.ask(*asked)

    before, began = processor_seconds(way.process), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    speed = len(questions) / (time.perf_counter() - began)
    used = processor_seconds(way.process) - before
    return Round([], speed, used / len(questions) * 1000)


def processor_seconds(process: psutil.Process) -> float:
    """What it has taken since it began."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def compared(ways: dict[str, Way], options: argparse.Namespace) -> dict[str, list[Round]]:
    """All ways in turn; who comes first changes."""
    found: dict[str, list[Round]] = {name: [] for name in ways}
    questions = Questions(options.documents, options.words)
    for place in range(options.rounds + 1):
        names = list(ways)[:: 1 if place % 2 else -1]
        took: dict[str, list[float]] = {name: [] for name in ways}
        for call in range(options.calls):
            turn = call % len(names)
            order = {name: ways[name] for name in names[turn:] + names[:turn]}
            for name, one in (await alone(order, questions, (place, call))).items():
                took[name].append(one)
        for name in names:
            asked = [questions.asked((place, -call)) for call in range(options.calls * 2)]
            several = await together(ways[name], asked, options.callers)
            if place:  # the first warms all up
                found[name].append(replace(several, alone=took[name]))
    return found


def figures(found: dict[str, list[Round]]) -> dict[str, float]:
    """What the rounds show, each beside the direct one of its time."""
    direct = found["direct"]
    shown: dict[str, float] = {}
    for name, rounds in found.items():
        pairs = list(zip(direct, rounds, strict=True))
        shown[f"{name}_ms"] = median(one for each in rounds for one in each.alone)
        shown[f"{name}_calls_a_second"] = median(one.together for one in rounds)
        shown[f"{name}_processor_ms"] = median(one.processor for one in rounds)
        if rounds is not direct:
            calls = [
                own - other
                for straight, round_ in pairs
                for other, own in zip(straight.alone, round_.alone, strict=True)
            ]
            shown[f"{name}_more_ms"] = median(calls)
            shown[f"{name}_ratio"] = median(own.together / other.together for other, own in pairs)
    return shown


# ---- the servers -----------------------------------------------------------------------------


async def least(port: int) -> None:
    """Answer by HTTP with as little as that takes."""
    import uvicorn

    reranker = Reranker("lexical", max_length=MAX_LENGTH)
    await reranker.astart()

    async def app(_: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        asked = json.loads(body or b'{"query": "q", "documents": []}')
        result = await reranker.arerank(asked["query"], asked["documents"])
        rows = [{"index": one.index, "relevance_score": one.score} for one in result]
        answer = json.dumps({"results": rows}).encode()
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    config = uvicorn.Config(
        app,
        HOST,
        port,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=_KEEP_ALIVE,
    )
    await uvicorn.Server(config).serve()


class Served:
    """A server in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        """Start it; `arguments` are of Python, and what comes last is the option of the port."""
        with socket.create_server((HOST, 0)) as tried:
            self.port = int(tried.getsockname()[1])
        self.url = f"http://{HOST}:{self.port}"
        environment = {name: value for name, value in os.environ.items() if "API_KEY" not in name}
        command = [sys.executable, *arguments, str(self.port)]
        self._process = subprocess.Popen(  # noqa: S603
            command, env=environment, stdout=subprocess.DEVNULL
        )

    def way(self) -> Way:
        """The way of who asks it, once it is ready."""
        end = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/health").status_code == 200:
                    return Way(Client(self.port).ask, psutil.Process(self._process.pid))
            time.sleep(0.2)
        sys.exit("a server did not start")

    def end(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


@contextlib.contextmanager
def serving() -> Iterator[Callable[..., Served]]:
    """What starts servers, which end with it."""
    started: list[Served] = []

    def start(*arguments: str) -> Served:
        started.append(Served(*arguments))
        return started[-1]

    try:
        yield start
    finally:
        for one in reversed(started):
            one.end()


def in_process(options: argparse.Namespace) -> dict[str, list[Round]]:
    """The gateway with its engine beside a Reranker with its own."""
    with serving() as start, Reranker("lexical", max_length=MAX_LENGTH) as reranker:
        servers = {
            "least": start("-m", "benchmarks.gateway_cost", "--least"),
            "gateway": start(*_serve("lexical")),
        }
        reranker.start()
        direct = Way(reranker.arerank, psutil.Process())
        ways = {"direct": direct, **{name: one.way() for name, one in servers.items()}}
        return asyncio.run(compared(ways, options))


def before_replicas(options: argparse.Namespace) -> dict[str, list[Round]]:
    """The gateway beside our own client, which ask the same bare servers."""
    with serving() as start:
        bare = [start(*_serve("lexical", "--bare")) for _ in range(options.replicas)]
        for one in bare:
            one.way()
        urls = [one.url for one in bare]
        gateway = start(*_serve(*(word for url in urls for word in ("--base-url", url))))
        with Reranker(base_url=urls, max_length=MAX_LENGTH) as reranker:
            reranker.start()
            ways = {"direct": Way(reranker.arerank, psutil.Process()), "gateway": gateway.way()}
            return asyncio.run(compared(ways, options))


def _serve(*options: str) -> tuple[str, ...]:
    gateway = () if "--bare" in options else ("--no-log-requests",)
    length = ("--max-length", str(MAX_LENGTH))
    return ("-c", PROGRAM, "serve", *options, *gateway, *length, "--port")


def started_anew(options: argparse.Namespace) -> dict[str, float]:
    """The medians of as many starts of all processes, this one among them."""
    found: list[dict[str, float]] = []
    for _ in range(options.starts):
        given = {**vars(options), "starts": 1, "least": None}
        words = [f"--{name}={value}" for name, value in given.items() if value is not None]
        command = [sys.executable, "-m", "benchmarks.gateway_cost", *words]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603
        found.append(json.loads(done.stdout))
        print(found[-1], file=sys.stderr)
    return {name: median(one[name] for one in found) for name in found[0]}


def main() -> None:
    """Measure, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--starts", type=int, default=5, help="of all processes")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--calls", type=int, default=30, help="calls of a round, alone")
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--words", type=int, default=12, help="of a document")
    parser.add_argument("--replicas", type=int, default=0, help="bare servers; 0: in process")
    parser.add_argument("--least", type=int, metavar="PORT", help="be the least server there is")
    options = parser.parse_args()
    if options.least:
        asyncio.run(least(options.least))
        return
    if options.starts > 1:
        shown = started_anew(options)
    else:
        shown = figures(before_replicas(options) if options.replicas else in_process(options))
    print(json.dumps({name: round(value, 3) for name, value in shown.items()}, indent=1))
    good = (
        shown["gateway_ratio"] >= RATIO_OF_REPLICAS
        if options.replicas
        else shown["gateway_ratio"] >= RATIO and shown["gateway_more_ms"] <= MILLISECONDS
    )
    sys.exit(0 if good else "slower than was aimed at")


if __name__ == "__main__":
    main()
