"""The HTTP server around the application: uvicorn, its sockets, its signals, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from logging.handlers import QueueHandler, QueueListener
from typing import Any

import uvicorn

from ..reranker import Ranker
from .app import Gateway
from .keys import Keys
from .settings import GatewaySettings
from .visits import access_log

_LINES = 10_000
"""Lines of the log that may wait to be read; what comes on top is lost."""
_READING = 2.0
"""Seconds in the end, for whoever reads them."""
_KEEP_ALIVE = 75
"""Seconds for which an idle connection is kept: longer than by proxies that may stand before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """Where it listens."""

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: str | None = None
    """File with the certificate chain, for TLS."""
    private_key: str | None = None
    """File with its key."""


def run(
    reranker: Ranker,
    settings: GatewaySettings,
    keys: Keys,
    socket: Socket,
    *,
    on_ready: Callable[[], None] = lambda: None,
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
    log_requests: bool = True,
) -> None:
    """Serve until SIGINT or SIGTERM; what is being answered then is answered.

    Args:
        reranker: the only one who scores; closed at the end.
        settings: limits and names.
        keys: who may come in.
        socket: where to listen.
        on_ready: called once the engine has proven itself.
        beside: what runs as long as the server does, and ends it by ending; cancelled at its end.
        log_requests: whether each request is a line on standard error.

    Raises:
        RerankError: the engine can never be used; or what `beside` raised.
        KeyboardInterrupt: it was ended by SIGINT.
    """
    lines = written_aside() if log_requests else None
    try:
        asyncio.run(_run(reranker, settings, keys, socket, on_ready, beside))
    finally:
        if lines:
            _written(lines)


async def _run(
    reranker: Ranker,
    settings: GatewaySettings,
    keys: Keys,
    socket: Socket,
    on_ready: Callable[[], None],
    beside: Callable[[], Coroutine[Any, Any, None]] | None,
) -> None:
    def end() -> None:
        server.should_exit = True

    gateway = Gateway(reranker, settings, keys, on_ready=on_ready, on_failure=end)
    config = uvicorn.Config(
        gateway.app,
        host=socket.host,
        port=socket.port,
        ssl_certfile=socket.certificate,
        ssl_keyfile=socket.private_key,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=round(settings.drain_seconds),
    )
    logging.getLogger("uvicorn.access").disabled = True  # it would write queries of paths down
    server = uvicorn.Server(config)
    companion = asyncio.create_task(beside()) if beside else None
    if companion:
        companion.add_done_callback(lambda _: end())
    # uvicorn raises the signal that ended it once more, for whoever had it before.
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        await server.serve()
    finally:
        if companion and not companion.done():
            companion.cancel()
            await asyncio.gather(companion, return_exceptions=True)
    if gateway.readiness.failure:
        raise gateway.readiness.failure
    if companion and not companion.cancelled():
        companion.result()


def written_aside() -> QueueListener:
    """Have the lines written by a thread: whoever reads them too slowly holds up no request."""
    lines: queue.Queue[logging.LogRecord] = queue.Queue(_LINES)
    writer = logging.StreamHandler(sys.stderr)
    writer.setFormatter(logging.Formatter("%(message)s"))
    access_log.handlers = [_Dropping(lines)]
    access_log.setLevel(logging.INFO)
    access_log.propagate = False
    listener = QueueListener(lines, writer)
    listener.start()
    return listener


class _Dropping(QueueHandler):
    """Loses what there is no room for."""

    def enqueue(self, record: logging.LogRecord) -> None:
        """Hand a line over."""
        with contextlib.suppress(queue.Full):
            self.queue.put_nowait(record)


def _written(lines: QueueListener) -> None:
    """Wait until all lines are written, if anybody reads them."""
    ending = threading.Thread(target=lines.stop, daemon=True)
    ending.start()
    ending.join(_READING)
