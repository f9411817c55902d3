"""Where a model is served, and the key to it: read, checked, and kept out of sight."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...errors import InvalidInputError

if TYPE_CHECKING:
    from pydantic import SecretStr

API_KEY_VARIABLE = "QWEN3_RERANK_API_KEY"
"""Where the key is looked for when none is given."""


ROUTES = (
    *("/v1", "/v2", "/v1/models", "/info", "/health"),
    *("/classify", "/pooling", "/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank"),
    *("/v1/embeddings", "/v1/chat/completions", "/v1/completions"),
    *("/compatible-api/v1", "/compatible-api/v1/reranks"),
    "/api/v1/services/rerank/text-rerank/text-rerank",
)
"""Paths of servers themselves, with which platforms ask for an address."""


def checked_urls(base_url: str | Iterable[str] | None) -> tuple[str, ...]:
    """The servers' addresses, each once and in its plain form; none where nothing is given.

    Args:
        base_url: one URL, several, or several in one str with commas between them. A path in
            front of the server's own is kept; one of `ROUTES` at its end is not, so a server
            behind the path ``/rerank`` has the address ``https://host/rerank/v1``.

    Raises:
        InvalidInputError: not a plain http or https URL, or one with a password in it.
    """
    if base_url is None:
        return ()
    given: Any = base_url.split(",") if isinstance(base_url, str) else base_url
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise InvalidInputError(f"base_url is of type {type(base_url).__name__}; pass a URL")
    urls = tuple(dict.fromkeys(_checked_url(url) for url in given))
    if not urls:
        raise InvalidInputError("base_url is empty; pass a URL such as http://localhost:8000")
    return urls


def _checked_url(url: object) -> str:
    if not isinstance(url, str):
        raise InvalidInputError(f"base_url holds a {type(url).__name__}; pass URLs as str")
    url = url.strip()
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or any(map(str.isspace, url)):
        shown = re.split(r"[?#]", url.rpartition("@")[2])[0]  # the rest may be secret
        raise InvalidInputError(
            f"base_url is {shown!r}; pass a URL such as http://localhost:8000 or "
            "https://example.com/models"
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidInputError(
            f"base_url for {host} has a user, a query or a fragment in it; leave these out, and "
            "pass secrets as api_key"
        )
    return f"{parts.scheme}://{parts.netloc}{_before_route(parts.path.rstrip('/'))}"


def _before_route(path: str) -> str:
    """`path` without the longest route at its end."""
    ends = (route for route in sorted(ROUTES, key=len, reverse=True) if path.endswith(route))
    return path.removesuffix(next(ends, ""))


def checked_api_key(api_key: str | SecretStr | None) -> SecretStr | None:
    """The key as a secret; where none is given, from the environment.

    Raises:
        InvalidInputError: a key that cannot be sent in a header. It is not repeated.
    """
    from pydantic import SecretStr

    given = os.environ.get(API_KEY_VARIABLE) if api_key is None else api_key
    key = given.get_secret_value() if isinstance(given, SecretStr) else given
    if not key:
        return None
    if not isinstance(key, str) or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidInputError(
            "api_key cannot be sent: pass a str of ASCII letters, digits and signs, without "
            "spaces or line ends"
        )
    return SecretStr(key)
