"""Says in a vLLM server, once it answers, how it is used: the last words of a long start.

vLLM takes it as ``--middleware qwen3_ascend_rerank.serving.ready.Ready``; what it says reaches it
through the environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import Any

from .gate import App, Message, Receive, Send

VARIABLE = "QWEN3_RERANK_READY"
"""Where host, port and text are, as JSON."""
MIDDLEWARE = f"{__name__}.Ready"
"""What ``--middleware`` takes."""

_LOOK = 0.2
"""Seconds between two looks whether it answers."""
_PATIENCE = 60.0
"""Seconds after which it listens elsewhere, as with ``--uds``, and nothing is said."""
_STANDARD_ERROR = 2


def variables(host: str, port: int, text: str) -> dict[str, str]:
    """What must be in the environment of the server."""
    return {VARIABLE: json.dumps({"host": host, "port": port, "text": text})}


async def answering(host: str, port: int, look: float = _LOOK) -> None:
    """Wait until something takes connections there."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return
        await asyncio.sleep(look)


class Ready:
    """ASGI middleware that touches no request."""

    def __init__(self, app: App) -> None:
        """Read from the environment what is to be said.

        Raises:
            KeyError, ValueError: it is not there.
        """
        self._app = app
        self._said: dict[str, Any] = json.loads(os.environ[VARIABLE])
        self._announcing: asyncio.Task[None] | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection."""

        async def send_and_say(message: Message) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                self._announcing = asyncio.create_task(self._announce())

        await self._app(scope, receive, send_and_say if scope["type"] == "lifespan" else send)

    async def _announce(self) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(answering(self._said["host"], self._said["port"]), _PATIENCE)
            text = f"{self._said['text']}\n".encode()
            os.write(
                _STANDARD_ERROR, text
            )  # vLLM puts a prefix before what goes through sys.stderr
