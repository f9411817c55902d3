"""The application: which path leads where."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..reranker import Ranker, Reranker
from ..trust import STRICTNESS, Level
from . import metrics
from .answering import JSON, Answering, visit_of
from .bodies import as_bytes
from .desk import Desk
from .forms import JINA, form_of
from .keys import Keys
from .page import Page
from .readiness import Readiness
from .refusals import UNAUTHORISED, RequestRefusedError
from .scoring import Scorer
from .settings import GatewaySettings
from .status import Status
from .tracing import traced
from .visits import App, Message, Receive, Send, Visit, Visits

Endpoint = Callable[[Request], Awaitable[Response]]

_KEY_WANTED = ("/v1/cluster/auth", "/v1/v1/cluster/auth")
"""Where Xinference's clients ask, without a key, whether one is wanted."""
_OPEN = frozenset({"/health", "/health/", *_KEY_WANTED})
"""Paths that are answered without a key."""
_ANY = "/{path:path}"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_PREFIXES = ("", "/v1", "/v1/v1")
"""What clients put before what they ask of the model."""


class Gateway:
    """All parts of the gateway, put together."""

    app: App
    """What an HTTP server runs."""

    def __init__(
        self,
        reranker: Ranker,
        settings: GatewaySettings,
        keys: Keys | None = None,
        *,
        selfcheck: Level | None = None,
        on_ready: Callable[[], None] = lambda: None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is started yet.

        Args:
            reranker: the only one who scores; closed when the application ends.
            settings: limits and names.
            keys: who may come in; None: everybody.
            selfcheck: what a ready engine has shown elsewhere; None: what `reranker` asks of it.
            on_ready: called once the engine has proven itself.
            on_failure: called where it never will; `readiness` has the error.
        """
        self.readiness = Readiness(reranker)
        self._reranker = reranker
        self._settings = settings
        self._keys = keys or Keys()
        self._on_ready, self._on_failure = on_ready, on_failure
        self._status = Status(settings, int(time.time()), selfcheck or _asked_of(reranker))
        self._page = Page() if settings.page else None
        desk = Desk(settings.max_requests, settings.max_bytes_inside)
        self._answering = Answering(settings, desk, self.readiness, Scorer(reranker))
        self._metrics = metrics.Metrics(
            lambda: desk.inside, lambda: self.readiness.ready, lambda: reranker.info
        )
        inner = Starlette(routes=self._routes(), lifespan=self._lifespan)
        self.app = Visits(traced(self._guarded(inner)), self._count)

    def _routes(self) -> list[Route]:
        status = self._status
        told = {
            "/version": self._tells(lambda _: status.version(self._reranker.info)),
            "/info": self._tells(lambda _: status.info(self.readiness.info)),
            "/models": self._tells(lambda _: status.models(self.readiness.info)),
            "/models/{name:path}": self._tells(self._model),
        }
        return [
            Route(_ANY, self._answering.__call__, methods=["POST"]),  # first, since most are these
            *(self._page.routes if self._page else ()),
            Route("/health", self._health),
            Route("/metrics", self._show_metrics),
            *(Route(path, self._tells(self._key_wanted)) for path in _KEY_WANTED),
            *(Route(before + path, tell) for path, tell in told.items() for before in _PREFIXES),
            Route(_ANY, self._answering.__call__, methods=_METHODS),
        ]

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        rising = asyncio.create_task(self.readiness.bring_up(self._on_ready, self._on_failure))
        try:
            yield
        finally:
            rising.cancel()
            await asyncio.gather(rising, return_exceptions=True)
            await self.readiness.aclose()
            await self._reranker.aclose()

    def _guarded(self, app: App) -> App:
        """`app`, for those who bring a key."""

        async def guarded(scope: Message, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and self._keys and not self._is_open(scope):
                request = Request(scope)
                visit = visit_of(request)
                visit.key = self._keys.owner(request.headers)
                if visit.key is None:
                    form = form_of(scope["path"], {}) or JINA
                    response = self._answering.refused(visit, form, UNAUTHORISED)
                    response.headers["www-authenticate"] = "Bearer"
                    await response(scope, receive, send)
                    return
            await app(scope, receive, send)

        return guarded

    def _is_open(self, scope: Message) -> bool:
        """Whether a request is answered without a key."""
        method, path = scope["method"], scope["path"]
        return path in _OPEN or (self._page is not None and self._page.has(method, path))

    def _tells(self, tell: Callable[[Request], Any]) -> Endpoint:
        """A route that answers with what `tell` says."""

        async def route(request: Request) -> Response:
            try:
                return Response(as_bytes(tell(request)), media_type=JSON)
            except RequestRefusedError as error:
                return self._answering.refused(visit_of(request), JINA, error.refusal)

        return route

    def _key_wanted(self, _: Request) -> Any:
        return {"auth": bool(self._keys)}

    def _model(self, request: Request) -> Any:
        info, asked = self.readiness.info, request.path_params["name"]
        names = self._settings.called(info)
        self._settings.check_name(asked, info)
        return self._status.model(asked if asked in names else names[0], info)

    async def _health(self, _: Request) -> Response:
        state = self.readiness.state
        status = 200 if state == "ready" else 503
        return Response(as_bytes({"status": state}), status, media_type=JSON)

    async def _show_metrics(self, _: Request) -> Response:
        return Response(self._metrics.text(), media_type=metrics.CONTENT_TYPE)

    def _count(self, visit: Visit, seconds: float) -> None:
        self._metrics.count(visit.form, visit.status, seconds, visit.usage)


def _asked_of(reranker: Ranker) -> Level:
    """What its engines must all show before their first scores."""
    return min(map(_asked_of_one, reranker.stages), key=STRICTNESS.__getitem__)


def _asked_of_one(stage: Reranker) -> Level:
    """Of a ready engine nothing is asked, unless it is said."""
    ready_made = not isinstance(stage.model, str | None)
    return "off" if ready_made and stage.selfcheck == "auto" else stage.selfcheck
