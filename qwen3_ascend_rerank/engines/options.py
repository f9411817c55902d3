"""`engine_options`: read-only, and with their secrets kept out of sight.

A secret is told by its name, or by its form. It is a `SecretStr` wherever options are kept, so that
no repr shows it; it is left out wherever they are written down; an engine gets it in plain sight.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from ..errors import InvalidInputError

HEADERS = "headers"
"""The option of the served engine that is sent along with every request."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET = re.compile(
    "apikey|authorization|bearer|cookies?|credentials?|headers?|pass(phrase|wd|words?)|pwd|secrets?"
)
"""A word that makes any name one of a secret."""
_KEY_TO = re.compile(
    "access|account|api|auth|bearer|client|encryption|hf|id|license|private|refresh|secret|service|"
    "session|signing|ssh|ssl|subscription|tls"
)
"""What stands before ``key``, ``keys`` or ``tokens`` where these are secrets."""
_TOKEN_OF_TEXT = re.compile(
    "bos|cls|end|eos|false|image|mask|no|pad|per|sep|special|start|stop|true|unk|video|yes"
)
"""What stands before ``token`` where it is one of a text."""
_FORM = re.compile(
    r"[a-z][a-z0-9+.-]*://[^/\s]*:[^/\s]*@"  # a URL with a password
    r"|(bearer|basic)\s+\S"
    r"|(hf_|sk-|gh[opsu]_|glpat-|xox[a-z]-)[\w-]{16,}$",
    re.IGNORECASE,
)


class EngineOptions(dict[str, Any]):
    """Options as they were given; what is assigned later could have no effect, and is refused."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise InvalidInputError(
            "engine_options cannot be changed: the engine was made with them; make another "
            "Reranker with those wanted"
        )

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __copy__(self) -> EngineOptions:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> EngineOptions:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (public_options(self),)


def checked_options(options: Mapping[str, Any] | None) -> EngineOptions:
    """`options`, which show no secret when they are printed.

    Raises:
        InvalidInputError: no mapping of names, or headers that are no mapping of texts. Values are
            not repeated.
    """
    options = {} if options is None else options
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise InvalidInputError(
            f"engine_options is of type {type(options).__name__}; pass a dict of names and values, "
            'such as {"device": "npu:1"}'
        )
    if HEADERS in options:
        checked_headers(options[HEADERS])
    return EngineOptions(_hidden(options))


def checked_headers(headers: Any) -> Mapping[str, Any]:
    """Headers by name, each a text or a secret one.

    Raises:
        InvalidInputError: anything else. It is not repeated.
    """
    if isinstance(headers, Mapping) and all(
        isinstance(name, str) and (isinstance(value, str) or _is_hidden(value))
        for name, value in headers.items()
    ):
        return headers
    raise InvalidInputError("headers in engine_options must map names to values, all str")


def public_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` without their secrets, to be written down."""
    return {name: _public(value) for name, value in options.items() if not _holds_secret(value)}


def revealed(value: Any) -> Any:
    """A copy of `value` with its secrets in plain sight, for who must use them."""
    if isinstance(value, Mapping):
        return {name: revealed(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return _same_kind(value, map(revealed, value))
    return value.get_secret_value() if _is_hidden(value) else value


def names_secret(name: object) -> bool:
    """Whether a value of this name is a secret: ``hf_token`` is one, ``max_tokens`` is none."""
    *before, last = [word.lower() for word in _WORD.findall(str(name))] or [""]
    if any(map(_SECRET.fullmatch, [*before, last])):
        return True
    if last in ("key", "keys", "tokens"):
        return bool(_KEY_TO.fullmatch(before[-1])) if before else last == "key"
    return last == "auth" or (last == "token" and not any(map(_TOKEN_OF_TEXT.fullmatch, before)))


def _hidden(value: Any, *, secret: bool = False) -> Any:
    from pydantic import SecretBytes, SecretStr

    if isinstance(value, Mapping):
        return {
            name: _hidden(one, secret=secret or names_secret(name)) for name, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return _same_kind(value, (_hidden(one, secret=secret) for one in value))
    if isinstance(value, str) and (secret or _FORM.match(value)):
        return SecretStr(value)
    if isinstance(value, bytes) and secret:
        return SecretBytes(value)
    return value


def _same_kind(value: Any, items: Iterable[Any]) -> Any:
    return tuple(items) if isinstance(value, tuple) else list(items)


def _is_hidden(value: Any) -> bool:
    return hasattr(value, "get_secret_value")


def _holds_secret(value: Any) -> bool:
    """Whether nothing is left of `value` without its secrets, or no part can be left out."""
    if isinstance(value, Mapping):
        return bool(value) and all(map(_holds_secret, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_holds_secret, value))
    return _is_hidden(value)


def _public(value: Any) -> Any:
    if isinstance(value, Mapping):
        return public_options(value)
    if isinstance(value, (list, tuple)):
        return _same_kind(value, map(_public, value))
    return value
