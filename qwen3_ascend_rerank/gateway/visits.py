"""Every request: an id, a line in the log, a count. No key, header or text of it is kept."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders

from ..results import Usage
from .refusals import GONE

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

access_log = logging.getLogger("qwen3_ascend_rerank.gateway.access")

ID_HEADER = "x-request-id"
_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
"""Ids of callers that are taken over; others could forge lines."""
_LONGEST_PATH = 200


@dataclass(slots=True)
class Visit:
    """What is noted of a request on its way."""

    id: str
    method: str
    path: str
    began: float = field(default_factory=time.perf_counter)
    key: str | None = None
    """The name of the key that it came with."""
    form: str = ""
    """The form that it has; empty for what asks for no scores."""
    usage: Usage | None = None
    """What it took, where it was scored."""
    refused: str | None = None
    """The kind of the refusal, where it was refused."""
    status: int = GONE
    """Of the answer."""
    trace: str | None = None
    """The trace that it belongs to, where there is one."""

    def line(self) -> str:
        """The line in the log."""
        said: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "id": self.id,
            "key": self.key,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "seconds": round(time.perf_counter() - self.began, 4),
            "form": self.form or None,
            "refused": self.refused,
            "trace": self.trace,
        }
        if self.usage:
            said |= {
                "pairs": self.usage.pairs_scored + self.usage.pairs_reused,
                "tokens": self.usage.prompt_tokens,
                "truncated": self.usage.documents_truncated,
            }
        return json.dumps({name: value for name, value in said.items() if value is not None})


class Visits:
    """ASGI middleware around everything else."""

    def __init__(self, app: App, count: Callable[[Visit, float], None]) -> None:
        """Stand around `app`; `count` is told of each request in the end, and its seconds."""
        self._app, self._count = app, count

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(ID_HEADER, "")
        identity = given if _ID.fullmatch(given) else uuid.uuid4().hex
        visit = scope["visit"] = Visit(
            identity, scope["method"], str(scope["path"])[:_LONGEST_PATH]
        )

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                MutableHeaders(scope=message)[ID_HEADER] = identity
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            self._count(visit, time.perf_counter() - visit.began)
            if access_log.isEnabledFor(logging.INFO):
                access_log.info("%s", visit.line())
