"""A small server that stands in for vLLM and its like, answers rightly, and misbehaves to order.

It speaks a dialect (`tests.support.dialects`) with the lexical model's true scores, so that a wrong
answer is seen; `misbehave` spoils chosen answers (`tests.support.faults`), down to the last byte.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread
from typing import Any, Protocol

from typing_extensions import Self

from .wire import Answer, Connection, Request

Fault = Callable[[Answer], Answer]
FOR_EVER = 10**9
SCORING = ("/classify", "/pooling", "/score", "/rerank")
"""How the paths end that give scores."""


class Dialect(Protocol):
    async def answer(self, request: Request) -> Answer:
        """The right answer."""
        ...


@dataclass
class _Order:
    fault: Fault
    paths: tuple[str, ...]
    left: int


class StandIn:
    """One server in a thread of its own, on a port of the loopback that it keeps when restarted."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.requests: list[Request] = []
        """All that came, in order."""
        self.most_at_once = 0
        """The most scoring requests that were in work at one time."""
        self._at_once = 0
        self._orders: list[_Order] = []
        self._open: set[Connection] = set()
        self._port = 0
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="stand-in", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    @property
    def scored(self) -> list[Request]:
        """The requests for scores among those that came."""
        return [one for one in self.requests if one.path.endswith(SCORING)]

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def start(self) -> Self:
        """Listen; a second start takes the port of the first."""
        self._run(self._listen())
        return self

    def kill(self) -> None:
        """Be gone at once, as a server that was killed: every connection is reset."""
        self._run(self._vanish())

    def drop_idle(self) -> None:
        """Close the connections on which nothing happens, as servers do after some seconds."""
        self._run(self._drop_idle())

    def misbehave(self, *faults: Fault, times: int = 1, on: tuple[str, ...] = SCORING) -> None:
        """Spoil the next answers to paths that end in `on`: by each of `faults`, `times` times."""
        self._orders += [_Order(fault, on, times) for fault in faults]

    def behave(self) -> None:
        """Forget the faults still due."""
        self._orders.clear()

    def close(self) -> None:
        self.kill()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await self._loop.create_server(
            lambda: Connection(self._handle, self._open), "127.0.0.1", self._port
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def _vanish(self) -> None:
        if self._server:
            self._server.close()
        for _ in range(10):  # one that was just accepted shows only some steps of the loop later
            if accepting := [task for task in asyncio.all_tasks() if _accepts(task)]:
                await asyncio.wait(accepting)
            for connection in list(self._open):
                connection.reset()
            await asyncio.sleep(0)

    async def _drop_idle(self) -> None:
        for connection in list(self._open):
            if connection.idle:
                connection.close()

    async def _handle(self, request: Request) -> Answer:
        self.requests.append(request)
        fault = self._due(request.path)
        scoring = request.path.endswith(SCORING)
        self._at_once += scoring
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            answer = await self.dialect.answer(request)
            answer = fault(answer) if fault else answer
            await asyncio.sleep(answer.delay)
        finally:
            self._at_once -= scoring
        return answer

    def _due(self, path: str) -> Fault | None:
        order = next((one for one in self._orders if one.left and path.endswith(one.paths)), None)
        if order is None:
            return None
        order.left -= 1
        return order.fault


def _accepts(task: "asyncio.Task[Any]") -> bool:
    """Whether asyncio makes a connection ready in it."""
    return "_accept_connection" in getattr(task.get_coro(), "__qualname__", "")
