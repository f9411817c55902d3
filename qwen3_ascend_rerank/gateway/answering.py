"""One request for scores, from its bytes to its answer, whatever comes of it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from ..results import RerankResult
from .bodies import as_bytes, read_json
from .desk import Desk, Place
from .forms import JINA, Fields, Form, Inquiry, Refusal, Stamp, form_of
from .readiness import Readiness
from .refusals import GONE, SOON, ClientGoneError, RequestRefusedError, refusal_of
from .scoring import Scorer
from .settings import GatewaySettings
from .visits import Visit

T = TypeVar("T")

TIMEOUT_HEADER = "x-request-timeout"
"""In which a client says how many seconds it will wait."""
JSON = "application/json"


class Answering:
    """Answers requests for scores."""

    def __init__(
        self, settings: GatewaySettings, desk: Desk, readiness: Readiness, scorer: Scorer
    ) -> None:
        """Put together what it takes.

        Args:
            settings: limits and names.
            desk: how many may be inside.
            readiness: whether the engine may be asked.
            scorer: who asks it.
        """
        self._settings, self._desk = settings, desk
        self._readiness, self._scorer = readiness, scorer

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        visit, path = visit_of(request), request.url.path
        form = form_of(path, {}) or JINA
        try:
            _check_route(request)
            with self._desk.place() as place:
                body = await self._body(request, place)
                form = form_of(path, body) or form
                question = form.read(Fields(body))
                self._check(question)
                result = await self._ranked(request, question)
                answer = form.answer(question, result, self.stamp(visit))
        except ClientGoneError:
            visit.refused = ClientGoneError.__name__
            return Response(status_code=GONE)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told of it
            return self.refused(visit, form, refusal_of(error))
        visit.form, visit.usage = form.name, result.usage
        return Response(as_bytes(answer), media_type=JSON)

    def refused(self, visit: Visit, form: Form, refusal: Refusal) -> Response:
        """Why there is no score, in the shape of `form`."""
        visit.form, visit.refused = form.name, refusal.kind
        body = form.refuse(refusal, self.stamp(visit))
        response = Response(as_bytes(body), refusal.status, media_type=JSON)
        if refusal.retry_after is not None:
            response.headers["retry-after"] = str(refusal.retry_after)
        if refusal.allow is not None:
            response.headers["allow"] = refusal.allow
        return response

    def stamp(self, visit: Visit) -> Stamp:
        """What the answer says of itself."""
        name, *_ = self._settings.called(self._readiness.info)
        return Stamp(visit.id, name, int(time.time()))

    async def _body(self, request: Request, place: Place) -> dict[str, Any]:
        settings = self._settings
        return await read_json(request, place, settings.max_body_bytes, settings.body_timeout)

    async def _ranked(self, request: Request, question: Inquiry) -> RerankResult:
        info = self._readiness.info
        if info is None:
            reason = "the model is being loaded; /health says when it is ready"
            raise RequestRefusedError(503, "ServiceUnavailableError", reason, retry_after=SOON)
        work = self._scorer.rank(question, self._seconds(request), info.tokenizer)
        try:
            result = await _while_there(request, work)
        except Exception as error:
            self._readiness.note(error)
            raise
        self._readiness.note(None)
        return result

    def _seconds(self, request: Request) -> float:
        """How long the request may take: as long as the gateway, or the client, has patience."""
        limit = self._settings.request_timeout
        given = request.headers.get(TIMEOUT_HEADER)
        if given is None:
            return limit
        with contextlib.suppress(ValueError):
            if 0 < (seconds := float(given)) < math.inf:
                return min(seconds, limit)
        reason = f"{TIMEOUT_HEADER} must be a number of seconds above 0"
        raise RequestRefusedError(400, "BadRequestError", reason)

    def _check(self, question: Inquiry) -> None:
        """Refuse what is too much, and a model that is not here where that is wanted.

        Raises:
            RequestRefusedError: it is.
        """
        settings, count = self._settings, len(question.documents)
        if question.model is not None:
            settings.check_name(question.model, self._readiness.info)
        if count > settings.max_documents:
            most = f"a request may have {settings.max_documents:,}"
            raise _too_much(f"there are {count:,} documents, and {most}; send several requests")
        for name, texts in (("query", question.queries), ("documents", question.documents)):
            for place, text in enumerate(texts):
                if len(text) > settings.max_characters:
                    raise _too_much(
                        f"{name}[{place}] has {len(text):,} characters, and a text may have "
                        f"{settings.max_characters:,}; shorten it"
                    )


def visit_of(request: Request) -> Visit:
    """What is noted of a request."""
    visit: Visit = request.scope["visit"]
    return visit


def _too_much(reason: str) -> RequestRefusedError:
    return RequestRefusedError(422, "UnprocessableEntityError", reason)


def _check_route(request: Request) -> None:
    """Refuse a path on which no form comes, and a method in which none does.

    Raises:
        RequestRefusedError: it is one.
    """
    if form_of(request.url.path, {}) is None:
        if _is_told(request):
            raise _other_method("GET")
        reason = (
            "nothing is answered here; scores are at /v1/rerank, /rerank, /v2/rerank and /score, "
            "what is served at /v1/models"
        )
        raise RequestRefusedError(404, "NotFoundError", reason)
    if request.method != "POST":
        raise _other_method("POST")


def _is_told(request: Request) -> bool:
    """Whether this path tells something to who asks by GET."""
    asked = {**request.scope, "method": "GET"}
    routes = (one for one in request.app.routes if "POST" not in one.methods)
    return any(one.matches(asked)[0] is Match.FULL for one in routes)


def _other_method(allow: str) -> RequestRefusedError:
    return RequestRefusedError(405, "MethodNotAllowedError", f"send it by {allow}", allow=allow)


async def _while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; it is cancelled when the client hangs up.

    Raises:
        ClientGoneError: it did.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return working.result()
    finally:
        leaving.cancel()  # nothing waits for its end: an answer would come two turns later
        if not working.done():
            working.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
