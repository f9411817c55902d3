"""Hands the files of the page out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FILES = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "main.js": "text/javascript; charset=utf-8",
    "reading.js": "text/javascript; charset=utf-8",
    "texts.json": "application/json",
    "icon.svg": "image/svg+xml",
}
"""The files, and what each of them is."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""What a browser lets the page do: ask this server, and run what came from it as a file."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_METHODS = frozenset({"GET", "HEAD"})


def page_path(name: str) -> str:
    """Where a file of the page is."""
    return "/" if name == "index.html" else f"/page/{name}"


class Page:
    """The page, read once."""

    def __init__(self) -> None:
        """Read it."""
        folder = resources.files(__package__)
        self.routes = [
            Route(page_path(name), _shows(folder.joinpath(name).read_bytes(), kind))
            for name, kind in FILES.items()
        ]
        """Where it is."""
        self._paths = frozenset(map(page_path, FILES))

    def has(self, method: str, path: str) -> bool:
        """Whether this asks for the page, which is no secret and needs no key."""
        return method in _METHODS and path in self._paths


def _shows(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def show(_: Request) -> Response:
        return Response(content, media_type=kind, headers=HEADERS)

    return show
