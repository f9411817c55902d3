"""From the bytes of a request to a JSON object, within limits; and from an answer to bytes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request

from .desk import Place
from .refusals import ClientGoneError, RequestRefusedError

_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w-]{1,40})", re.IGNORECASE)
_READ_AS_SAID = ("utf", "us-ascii", "iso-8859-1")
"""Charsets that are no reason to doubt; the last is what some clients say of UTF-8."""
_DRAINED = 8
"""How many times the limit is read and thrown away, so that a client comes to read why."""


async def read_json(
    request: Request, place: Place, most_bytes: int, seconds: float
) -> dict[str, Any]:
    """The JSON object that a request sends.

    Raises:
        RequestRefusedError: it is too large, too slow, or no JSON object.
        ClientGoneError: it never came.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        reason = "the body is compressed; send it as it is"
        raise RequestRefusedError(415, "UnsupportedMediaTypeError", reason)
    try:
        body = await asyncio.wait_for(_read(request, place, most_bytes), seconds)
    except (TimeoutError, asyncio.TimeoutError):
        reason = f"the body did not come within {seconds:g} s"
        raise RequestRefusedError(408, "RequestTimeoutError", reason) from None
    except ClientDisconnect:
        raise ClientGoneError from None
    _check_charset(request.headers.get("content-type", ""), body)
    return _parsed(body)


def _check_charset(content_type: str, body: bytes) -> None:
    """Refuse what says of itself that it is not in UTF-8: read as that, it may be other texts.

    Raises:
        RequestRefusedError: it does, and has more than ASCII.
    """
    if body.isascii() or not (found := _CHARSET.search(content_type)):
        return
    if not found[1].lower().startswith(_READ_AS_SAID):
        reason = f"the body is in {found[1]}, and JSON is in UTF-8; send it so"
        raise RequestRefusedError(415, "UnsupportedMediaTypeError", reason)


async def _read(request: Request, place: Place, most_bytes: int) -> bytes:
    chunks, size, stream = [], 0, request.stream()
    async for chunk in stream:
        size += len(chunk)
        if size > most_bytes:
            await _throw_away(stream, _DRAINED * most_bytes)
            reason = f"the body has more than {most_bytes:,} bytes; send fewer or shorter documents"
            raise RequestRefusedError(413, "PayloadTooLargeError", reason)
        place.hold(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


async def _throw_away(stream: AsyncIterator[bytes], most_bytes: int) -> None:
    async for chunk in stream:
        most_bytes -= len(chunk)
        if most_bytes < 0:
            return


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        why = "its objects lie too deep" if isinstance(error, RecursionError) else _brief(error)
        reason = f"the body is no JSON: {why}; send a JSON object"
        raise RequestRefusedError(400, "BadRequestError", reason) from None
    if not isinstance(content, dict):
        reason = f"the body is a JSON {type(content).__name__}; send a JSON object"
        raise RequestRefusedError(400, "BadRequestError", reason)
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _brief(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return str(error)


def as_bytes(content: Mapping[str, Any] | list[Any]) -> bytes:
    """JSON in UTF-8; where a text holds half of a character, which UTF-8 has not, in ASCII."""
    try:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(content, separators=(",", ":")).encode()
