"""HTTP/1.1 as bytes: requests as they arrive, and answers as they leave, or fail to."""

import asyncio
import itertools
import json
import socket
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

Sent = Literal["nothing", "head", "half", "all"]
Ending = Literal["keep", "close", "reset", "stall", "endless"]

_LINGER_ZERO = struct.pack("ii", 1, 0)  # closing sends RST at once


@dataclass
class Request:
    """One request, complete."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    connection: int
    """Which connection it came by, counted from 0."""
    answered: bool = False
    """Whether an answer left whole."""
    abandoned: bool = False
    """Whether the client hung up before its answer left."""

    @property
    def json(self) -> Any:
        return json.loads(self.body or b"null")


@dataclass(frozen=True)
class Answer:
    """A response, and how it is delivered."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds of work before the first byte."""
    sent: Sent = "all"
    """How much of it leaves."""
    ending: Ending = "keep"
    """What happens to the connection then; ``endless``: spaces follow for ever."""
    pause: float = 0.0
    """Seconds between single bytes of the body."""

    @classmethod
    def of(cls, content: Any, status: int = 200, **headers: str) -> "Answer":
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        return cls(status, body, {"content-type": "application/json", **headers})

    def head(self) -> bytes:
        headers = {"content-length": str(len(self.body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} Some", *(f"{k}: {v}" for k, v in headers.items() if v)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


Handler = Callable[[Request], Coroutine[Any, Any, Answer]]


class Connection(asyncio.Protocol):
    """One client's connection: a request at a time, each given to `handler`."""

    _numbers = itertools.count()

    def __init__(self, handler: Handler, open_ones: "set[Connection]") -> None:
        self._handler = handler
        self._open = open_ones
        self._number = next(self._numbers)
        self._received = b""
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        if self._task:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received[:1].isalpha():  # TLS, for one
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            self.close()
            return
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self._received = rest[length:]
        method, target, _ = first.split(" ", 2)
        path = target.partition("?")[0]
        request = Request(method, path, headers, rest[:length], self._number)
        self._task = asyncio.get_running_loop().create_task(self._exchange(request))

    @property
    def idle(self) -> bool:
        return self._task is None or self._task.done()

    def close(self) -> None:
        self._transport.close()

    def reset(self) -> None:
        """Hang up as a kernel does for a process that was killed."""
        raw = self._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()

    async def _exchange(self, request: Request) -> None:
        try:
            answer = await self._handler(request)
            await self._deliver(answer)
            request.answered = answer.sent == "all"
        except asyncio.CancelledError:
            request.abandoned = True

    async def _deliver(self, answer: Answer) -> None:
        half = answer.body[: len(answer.body) // 2]
        body = {"nothing": b"", "head": b"", "half": half, "all": answer.body}[answer.sent]
        if answer.sent != "nothing":
            self._transport.write(answer.head())
        if answer.pause:
            for byte in body:
                self._transport.write(bytes([byte]))
                await asyncio.sleep(answer.pause)
        else:
            self._transport.write(body)
        if answer.ending == "close":
            self.close()
        elif answer.ending == "reset":
            await asyncio.sleep(0.02)  # what was written arrives first
            self.reset()
        elif answer.ending == "stall":
            await asyncio.Event().wait()
        elif answer.ending == "endless":
            await self._never_stop()

    async def _never_stop(self) -> None:
        while True:
            if self._transport.get_write_buffer_size() < 1 << 20:
                self._transport.write(b" " * (1 << 16))
            await asyncio.sleep(0.001)
