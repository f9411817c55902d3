"""Stands in a vLLM server before its routes, and refuses what could not get a right score.

vLLM takes it as ``--middleware qwen3_ascend_rerank.serving.gate.Gate``; what the server was started
with reaches it through the environment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .judgement import ServerSetup, complaint, mended

VARIABLE = "QWEN3_RERANK_GATE"
"""Where the `ServerSetup` is, as JSON."""
MIDDLEWARE = f"{__name__}.Gate"
"""What ``--middleware`` takes."""

_AROUND = ("VLLM_USE_RUST_FRONTEND",)
"""Variables by which vLLM answers without Python, and so without middleware."""
_SCORING = frozenset({"score", "rerank", "classify", "pooling", "invocations"})
"""The last parts of the paths below which vLLM gives scores, in all releases."""
_BAD_REQUEST = 400

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def variables(setup: ServerSetup) -> dict[str, str | None]:
    """What must be in the environment of the server, and (None) what must not."""
    gone: dict[str, str | None] = {name: None for name in _AROUND if name in os.environ}
    return {**gone, VARIABLE: json.dumps(setup.as_dict())}


class Gate:
    """ASGI middleware: lets a request through if its score will be right, else says why not."""

    def __init__(self, app: App) -> None:
        """Read the setup from the environment.

        Raises:
            KeyError, TypeError, ValueError: they are not there, or damaged: the server must not
                start without them.
        """
        self._app = app
        self._setup = ServerSetup(**json.loads(os.environ[VARIABLE]))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if not _scores(scope):
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:
            return  # the client went away
        request = _parsed(body)
        if request is not None:
            better = mended(request)
            if reason := complaint(better, self._setup):
                await _refuse(send, reason)
                return
            if better != request:
                body = json.dumps(better).encode()
                scope = _resized(scope, len(body))
        await self._app(scope, _again(body, receive), send)


def _scores(scope: Message) -> bool:
    return (
        scope["type"] == "http"
        and scope["method"] == "POST"
        and str(scope["path"]).rstrip("/").rpartition("/")[2] in _SCORING
    )


async def _body(receive: Receive) -> bytes | None:
    parts = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
    return None


def _parsed(body: bytes) -> dict[str, Any] | None:
    """The request as vLLM reads it; None where it is none, which vLLM itself refuses."""
    try:
        request = json.loads(body)
    except ValueError:
        return None
    return request if isinstance(request, dict) else None


def _resized(scope: Message, length: int) -> Message:
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
    return {**scope, "headers": [*headers, (b"content-length", str(length).encode())]}


def _again(body: bytes, receive: Receive) -> Receive:
    """What the application receives: the body, and then what comes from the client."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return left.pop() if left else await receive()

    return receive_again


async def _refuse(send: Send, reason: str) -> None:
    """Answer as vLLM does to a bad request."""
    error = {"message": reason, "type": "BadRequestError", "param": None, "code": _BAD_REQUEST}
    body = json.dumps({"error": error}, ensure_ascii=False).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": _BAD_REQUEST, "headers": headers})
    await send({"type": "http.response.body", "body": body})
