"""Which routes of a server answer, and which of them answer anybody."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...doctor import Diagnosis
from ...engines.served.connection import Connection
from ...engines.served.dialects import DIALECTS, Formatting
from ...engines.served.discovery import Discovery
from ...engines.served.faults import AnswerFaultError
from ...engines.served.manner import Manner
from ...errors import EngineError
from ...prompts import DEFAULT_INSTRUCTION, QwenTokenizer, build_batch

_READ = ("/v1/models", "/version", "/health", "/metrics", "/load", "/openapi.json")
"""Routes that tell of the server."""
_USE = "/tokenize"
_LOOPBACK = ("localhost", "127.", "::1")
_SHORT = 128
"""Tokens that are enough for a probe."""


@dataclass(frozen=True, slots=True)
class _Route:
    """One route, and a request that is small and in order."""

    path: str
    bodies: tuple[dict[str, Any], ...] = ()
    """What to post, one after the other until one is taken; none: it is to be read."""

    async def answers(self, connection: Connection, *, authorised: bool) -> bool:
        """Whether it can be used."""
        if not self.bodies:
            return await self._reads(connection, authorised=authorised)
        for body in self.bodies:
            with suppress(EngineError):
                await connection.post(self.path, body, authorised=authorised)
                return True
        return False

    async def _reads(self, connection: Connection, *, authorised: bool) -> bool:
        try:
            await connection.get(self.path, authorised=authorised)
        except AnswerFaultError:
            return True  # /metrics is no JSON
        except EngineError:
            return False
        return True


async def examine(
    connection: Connection, found: Discovery, tokenizer: QwenTokenizer
) -> list[Diagnosis]:
    """Try every known route with the key and, if there is one, without."""
    routes = _routes(found, tokenizer)
    here = [route for route in routes if await route.answers(connection, authorised=True)]
    answering = ", ".join(route.path for route in here if route.bodies)
    diagnoses = [Diagnosis("server.routes", "ok", f"routes that answer: {answering}")]
    if not connection.has_key:
        return [*diagnoses, _without_key(found.url)]
    open_ = [route for route in here if await route.answers(connection, authorised=False)]
    usable = [route.path for route in open_ if route.bodies]
    telling = [route.path for route in open_ if not route.bodies and route.path != "/health"]
    if usable:
        return [*diagnoses, _open(found.url, usable)]
    if telling:
        told = f"without the key only {', '.join(telling)} answer"
        return [*diagnoses, Diagnosis("server.key", "note", told, why="they tell of the server")]
    return [
        *diagnoses,
        Diagnosis("server.key", "ok", "nothing but /health answers without the key"),
    ]


def _routes(found: Discovery, tokenizer: QwenTokenizer) -> list[_Route]:
    name = found.manner.model
    routes = {path: _Route(path) for path in _READ}
    routes[_USE] = _Route(_USE, ({"model": name, "prompt": "yes"},))
    for dialect in DIALECTS:
        batch = build_batch(
            tokenizer, DEFAULT_INSTRUCTION, "yes", ["no"], _SHORT, as_text=dialect.takes_text
        )
        makers: tuple[Formatting, ...] = ("client", "server") if dialect.takes_text else ("client",)
        bodies = tuple(Manner(dialect, name, maker).request(batch) for maker in makers)
        routes.setdefault(dialect.path, _Route(dialect.path, bodies))
    return list(routes.values())


def _is_loopback(url: str) -> bool:
    return (urlsplit(url).hostname or "").startswith(_LOOPBACK)


def _without_key(url: str) -> Diagnosis:
    return Diagnosis(
        "server.key",
        "note" if _is_loopback(url) else "warning",
        "it is asked without a key, and answers",
        why="whoever reaches the port can use the model",
        step="set `QWEN3_RERANK_API_KEY` for the server and for its clients, and let only trusted "
        "hosts reach the port",
    )


def _open(url: str, routes: list[str]) -> Diagnosis:
    return Diagnosis(
        "server.key",
        "note" if _is_loopback(url) else "warning",
        f"without the key these answer too: {', '.join(routes)}",
        why="vLLM asks for the key below /v1 alone; whoever reaches the port can use the model",
        step="put a proxy before it that asks for the key everywhere, and listen on it alone: "
        "`qwen3-rerank serve --host 127.0.0.1 …`",
        source="vllm-project/vllm, serve/middleware/authenticate.py",
    )
