"""What servers have in common: routes, a key, errors, and the lexical model's true scores."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tokenizers import Tokenizer

from qwen3_ascend_rerank.models.lexical import tokenizer_file

from .oracle import oracle
from .wire import Answer, Request

Compute = Callable[[list[list[int]]], Awaitable[list[float]]]
"""Token ids to log-odds."""
Route = Callable[[Any], Awaitable[Any]]
Routes = dict[tuple[str, str], Route]
"""Method and path to what makes the content of an answer from that of a request."""


@dataclass
class Server:
    """What all have in common."""

    compute: Compute = field(default_factory=lambda: oracle().score, repr=False)
    model: str = "lexical"
    api_key: str | None = None
    hidden: tuple[str, ...] = ()
    """Paths that a gateway in front of it does not let through: their beginnings."""
    guarded: tuple[str, ...] = ("/",)
    """Beginnings of the paths that want the key."""

    async def answer(self, request: Request) -> Answer:
        if self.api_key and request.path.startswith(self.guarded) and not self._knows(request):
            return Answer.of({"error": "Unauthorized"}, 401)
        route = self.routes().get((request.method, request.path))
        if route is None or request.path.startswith(self.hidden or ("?",)):
            return Answer.of({"detail": "Not Found"}, 404)
        try:
            content = await self._content(route, request)
        except RefusedError as refusal:
            return Answer.of(self.error(refusal), refusal.status)
        return Answer(200) if content is None else Answer.of(content)

    async def _content(self, route: Route, request: Request) -> Any:
        try:
            return await route(request.json)
        except (KeyError, TypeError, ValueError) as error:
            raise RefusedError(f"1 validation error: {error!r}") from error

    def _knows(self, request: Request) -> bool:
        return request.headers.get("authorization") == f"Bearer {self.api_key}"

    def routes(self) -> Routes:
        return {}

    def error(self, refusal: "RefusedError") -> Any:
        return {"object": "error", **refusal.parts}

    def ids(self, text: str) -> list[int]:
        return list(_tokenizer().encode(text).ids)

    async def healthy(self, _: Any) -> None:
        return None

    def check_model(self, body: Any) -> None:
        if body.get("model", self.model) != self.model:
            raise RefusedError(f"The model `{body['model']}` does not exist.", 404, "NotFoundError")


class RefusedError(Exception):
    """An answer other than 200."""

    def __init__(self, message: str, status: int = 400, kind: str = "BadRequestError") -> None:
        super().__init__(message)
        self.status = status
        self.parts = {"message": message, "type": kind, "param": None, "code": status}


@cache
def _tokenizer() -> Tokenizer:
    """As servers use it: control tokens in a text are control tokens."""
    return Tokenizer.from_file(str(tokenizer_file()))


def ranked(documents: list[str], values: list[float], top_n: int | None) -> list[dict[str, Any]]:
    order = sorted(range(len(values)), key=values.__getitem__, reverse=True)[:top_n]
    return [
        {"index": n, "document": {"text": documents[n]}, "relevance_score": values[n]}
        for n in order
    ]
