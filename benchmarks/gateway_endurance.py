"""Whether the gateway lasts: many callers for minutes, over two servers that do not.

`qwen3-rerank serve` before two servers of the lexical model on the torch engine is asked by more
callers than it takes at once. On the way one server is killed, and another one started later in its
place; then the other one is frozen for a while; all the time requests come that are over a limit.
In the end the gateway gets SIGTERM while it answers. Reported are answers that were lost or wrong,
refusals by kind, and the resident memory of the gateway.

    python -m benchmarks.gateway_endurance --minutes 10
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import psutil

from qwen3_ascend_rerank import Reranker

WORDS = ("bread", "capital", "city", "flour", "moon", "old", "river", "runs", "sea", "北京", "首都")
PROGRAM = "from qwen3_ascend_rerank.commands import main; main()"
KEY = "endurance"
MAX_LENGTH, MAX_DOCUMENTS, MAX_BODY_MIB = 400, 100, 1
INSIDE = 0.875
"""Part of the callers that may be inside at once; the others are told to come again."""
KILLED, RESTARTED, FROZEN, THAWED = 0.2, 0.3, 0.6, 0.7
"""When, as parts of the whole."""
WORST, GROWTH = 1e-4, 16.0
"""What is aimed at: scores that differ by no more, and at most so many MiB more after the first
fifth of the time."""
_START_SECONDS = 600
REFUSED = {
    "a wrong key": (401, "key"),
    "a body that is too large": (413, "bytes"),
    "too many documents": (422, "documents"),
}
"""What is sent over a limit: the status, and a word of the reason."""


@dataclass(frozen=True)
class Question:
    """What is asked, and the right scores."""

    query: str
    documents: list[str]
    scores: list[float]


@dataclass
class Found:
    """What was seen."""

    answers: int = 0
    worst: float = 0.0
    """Largest difference to a right score."""
    lost: list[str] = field(default_factory=list)
    """What came instead of an answer."""
    refused: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)
    """Refusals without their reason."""
    seconds: list[float] = field(default_factory=list)
    drained: int = 0
    """Questions that were inside when the gateway was told to end."""
    memory: list[float] = field(default_factory=list)
    """Resident MiB of the gateway, in equal steps."""

    def figures(self) -> dict[str, Any]:
        """As they are printed."""
        fifth = len(self.memory) // 5
        return {
            "answers": self.answers,
            "lost": len(self.lost),
            "worst_difference": self.worst,
            "refused": dict(self.refused),
            "refused_without_reason": len(self.unexplained),
            "inside_at_sigterm": self.drained,
            "median_seconds": round(median(self.seconds), 3),
            "p99_seconds": round(quantiles(self.seconds, n=100)[-1], 3),
            "longest_seconds": round(max(self.seconds), 1),
            "memory_mib": {
                name: round(self.memory[place], 1)
                for name, place in (
                    ("first", 0),
                    ("after a fifth", fifth),
                    ("middle", len(self.memory) // 2),
                    ("last", -1),
                )
            },
            "growth_mib": round(self.memory[-1] - self.memory[fifth], 1),
        }

    @property
    def is_good(self) -> bool:
        """Whether it is as aimed at."""
        grown = self.memory[-1] - self.memory[len(self.memory) // 5]
        seen = set(self.refused) >= {"the queue is full", *REFUSED}
        clean = not (self.lost or self.unexplained)
        return clean and seen and self.worst <= WORST and grown <= GROWTH


def questions(count: int, documents: int) -> list[Question]:
    """Questions of some words, scored by the torch engine in this process."""
    chance = random.Random(0)
    made = []
    with Reranker("lexical", engine="torch", max_length=MAX_LENGTH) as reranker:
        for number in range(count):
            query = f"{number} {' '.join(chance.choices(WORDS, k=6))}"
            texts = [
                " ".join(chance.choices(WORDS, k=chance.randint(5, 40))) for _ in range(documents)
            ]
            made.append(Question(query, texts, reranker.score(query, texts)))
    return made


class Load:
    """All who ask."""

    def __init__(self, url: str, asked: Sequence[Question], found: Found) -> None:
        """They are told the address, what to ask, and where to note what they find."""
        self._asked, self._found = asked, found
        self.stopped = False
        """Whether nobody asks anything more."""
        self.pending = 0
        """Questions that are not answered yet."""
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=400,
            limits=httpx.Limits(max_connections=None),
        )

    async def run(self, callers: int, script: Callable[[], Awaitable[None]]) -> None:
        """Ask until `script` is through, and all that was begun is answered."""
        async with self._client:
            asking = [asyncio.create_task(self._caller(number)) for number in range(callers)]
            asking.append(asyncio.create_task(self._trespasser()))
            await script()
            await asyncio.gather(*asking)

    async def stop(self) -> int:
        """Let nobody ask more; how many questions are left inside."""
        self.stopped = True
        while self.pending:
            said = await self._client.get("/metrics")
            inside = re.search(r"^qwen3_rerank_requests_inside (\S+)$", said.text, re.MULTILINE)
            if inside and float(inside[1]) == self.pending:
                break
            await asyncio.sleep(0.05)
        return self.pending

    async def _caller(self, number: int) -> None:
        chance = random.Random(number)
        while not self.stopped:
            one, began = chance.choice(self._asked), time.monotonic()
            body = {"query": one.query, "documents": one.documents, "return_documents": False}
            self.pending += 1
            try:
                answer = await self._client.post("/v1/rerank", json=body)
            except httpx.HTTPError as error:
                self._found.lost.append(f"{type(error).__name__}: {error}")
                continue
            finally:
                self.pending -= 1
            if answer.status_code == 429:
                await self._come_again(answer)
            elif answer.status_code == 200:
                self._check(one, answer.json(), time.monotonic() - began)
            else:
                self._found.lost.append(answer.text)

    def _check(self, one: Question, said: Any, seconds: float) -> None:
        found = {row["index"]: row["relevance_score"] for row in said["results"]}
        if found.keys() != set(range(len(one.scores))):
            self._found.lost.append(f"rows {sorted(found)}")
            return
        differences = (abs(found[place] - right) for place, right in enumerate(one.scores))
        self._found.answers += 1
        self._found.worst = max(self._found.worst, *differences)
        self._found.seconds.append(seconds)

    async def _come_again(self, answer: httpx.Response) -> None:
        self._found.refused["the queue is full"] += 1
        wait = answer.headers.get("retry-after", "")
        if not wait.isdigit() or "inside already" not in answer.json()["message"]:
            self._found.unexplained.append(answer.text)
        await asyncio.sleep(min(int(wait or 1), 2))

    async def _trespasser(self) -> None:
        """Sends what is over a limit, in turn."""
        many = {"query": "x", "documents": ["x"] * (MAX_DOCUMENTS + 1)}
        large = {"query": "x", "documents": ["x" * (MAX_BODY_MIB * 2**20 + 1)]}
        plain = {"query": "x", "documents": ["x"]}
        sent: dict[str, tuple[Any, dict[str, str]]] = {
            "a wrong key": (plain, {"Authorization": "Bearer wrong"}),
            "a body that is too large": (large, {}),
            "too many documents": (many, {}),
        }
        while not self.stopped:
            for name, (body, headers) in sent.items():
                status, word = REFUSED[name]
                try:
                    answer = await self._client.post("/v1/rerank", json=body, headers=headers)
                except httpx.HTTPError as error:
                    self._found.unexplained.append(f"{name}: {error!r}")
                    continue
                if answer.status_code == 429:
                    continue  # the queue was full, and comes first
                self._found.refused[name] += 1
                if answer.status_code != status or word not in answer.json()["message"]:
                    self._found.unexplained.append(f"{name}: {answer.text}")
            await asyncio.sleep(1)


class Served:
    """`qwen3-rerank serve`, in a process of its own."""

    def __init__(self, folder: Path, *options: str | int, port: int | None = None) -> None:
        """Start it, on `port` or a free one."""
        self.port = port or _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        words = [*map(str, options), "--port", str(self.port), "--max-length", str(MAX_LENGTH)]
        command = [sys.executable, "-c", PROGRAM, "serve", *words, "--no-log-requests"]
        environment = {name: value for name, value in os.environ.items() if "API_KEY" not in name}
        with (folder / f"{self.port}.log").open("ab") as log:
            self.process = psutil.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment
            )

    async def ready(self) -> None:
        """Wait until its engine has proven itself."""
        end = time.monotonic() + _START_SECONDS
        async with httpx.AsyncClient() as client:
            while time.monotonic() < end and self.process.is_running():
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"{self.url}/health")).status_code == 200:
                        return
                await asyncio.sleep(0.5)
        sys.exit("a server did not start")

    @property
    def memory(self) -> float:
        """Resident MiB."""
        return float(self.process.memory_info().rss / 2**20)

    def end(self) -> None:
        """Kill what is left of it."""
        if self.process.is_running():
            self.process.kill()
        self.process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as tried:
        return int(tried.getsockname()[1])


async def endured(options: argparse.Namespace, folder: Path) -> tuple[Found, int]:
    """What was found, and the exit status of the gateway."""
    found, seconds = Found(), options.minutes * 60
    asked = questions(options.questions, options.documents)
    key = folder / "key"
    key.write_text(KEY, encoding="utf-8")
    servers = [Served(folder, "lexical") for _ in range(2)]
    limits = {
        "--max-requests": int(options.callers * INSIDE),
        "--max-documents": MAX_DOCUMENTS,
        "--max-body-mib": MAX_BODY_MIB,
    }
    before = [word for server in servers for word in ("--base-url", server.url)]
    words = [word for pair in limits.items() for word in pair]
    gateway = Served(folder, *before, *words, "--api-key-file", str(key))
    try:
        for one in (*servers, gateway):
            await one.ready()
        load = Load(gateway.url, asked, found)
        began = time.monotonic()

        async def until(part: float) -> None:
            while time.monotonic() < began + part * seconds:
                found.memory.append(gateway.memory)
                await asyncio.sleep(1)

        async def script() -> None:
            await until(KILLED)
            servers[0].end()
            await until(RESTARTED)
            servers[0] = Served(folder, "lexical", port=servers[0].port)
            await servers[0].ready()
            await until(FROZEN)
            servers[1].process.suspend()
            await until(THAWED)
            servers[1].process.resume()
            await until(1.0)
            found.drained = await load.stop()
            gateway.process.send_signal(signal.SIGTERM)

        await load.run(options.callers, script)
        return found, await asyncio.to_thread(gateway.process.wait, 90)
    finally:
        for one in (*servers, gateway):
            one.end()


def main() -> None:
    """Endure, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--documents", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found, status = asyncio.run(endured(options, Path(folder)))
    print(json.dumps({**found.figures(), "exit_status": status}, indent=1, ensure_ascii=False))
    for one in (*found.lost, *found.unexplained)[:5]:
        print(one, file=sys.stderr)
    sys.exit(0 if found.is_good and status == 0 else "not as was aimed at")


if __name__ == "__main__":
    main()
