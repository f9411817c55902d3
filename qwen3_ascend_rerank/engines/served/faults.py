"""What can go wrong between here and a server, and whether it is worth another try."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar

from ...errors import (
    AuthenticationError,
    EngineError,
    ModelNotFoundError,
    RerankError,
    ServerUnavailableError,
    UnsupportedServerError,
)

Result = TypeVar("Result")

PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that another try may not meet again."""
BUSY = 429
BROKEN = 500
"""Status of what fails by itself: a route, a request, or the server; the others may work."""
START = (
    "`qwen3-rerank serve MODEL` starts a server that gives right scores; pass its address, without "
    "the path of a route, as base_url"
)
"""The next step where what answers is not such a server."""
NO_SUCH_MODEL = re.compile(r"\bmodel\b.*\b(not exist|not found)", re.IGNORECASE)
"""What tells a model that is not there from a route that is not."""
LONGEST_EXCERPT = 200
"""Characters of an answer that an error repeats."""
LONG_SECRET = 8
"""Characters of a secret that is one wherever it is found, and no part of another word."""
LONGEST_READ = 4000
"""Characters of an answer in which its message is looked for."""


class PassingError(EngineError):
    """Something that another try, here or at another replica, may not meet."""

    def __init__(
        self, url: str, what: str, *, status: int | None = None, retry_after: float = 0.0
    ) -> None:
        """Describe it.

        Args:
            url: the server.
            what: what it did, to follow its address in a sentence.
            status: of its answer, if it answered.
            retry_after: seconds for which it asks to be left alone.
        """
        super().__init__(f"{url} {what}")
        self.url = url
        self.what = what
        self.status = status
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        make = partial(type(self), status=self.status, retry_after=self.retry_after)
        return make, (self.url, self.what)


class ServerFaultError(PassingError, ServerUnavailableError):
    """It cannot be reached, or says that it cannot answer now."""


class GoneError(ServerFaultError):
    """Nobody listens there."""


class SilentError(ServerFaultError):
    """It does not answer in time."""


class FoundAnewError(ServerFaultError):
    """It was found anew since it was asked: what it answers is of the time before."""


class AnswerFaultError(PassingError):
    """Its answer is no answer to what was asked."""


class RequestFaultError(PassingError):
    """It fails at this request, and is well otherwise."""


class RefusedError(EngineError):
    """The server refuses the request, and would again."""

    reply = ""
    """Status and words of the refusal, in short."""


class MovedError(RefusedError):
    """What was asked for is not there, or is elsewhere."""


class RedirectError(MovedError):
    """It is elsewhere."""


class UnknownModelError(RefusedError, ModelNotFoundError):
    """The server has no model of that name, or says so of whatever it does not have."""


class ReplacedError(UnsupportedServerError):
    """Its scores are no longer those of the model that was found there."""


CHANGED = (AuthenticationError, ModelNotFoundError, MovedError, ReplacedError)
"""What says that a server is no longer what it was."""


NO_KEY = "pass its key as api_key, or set QWEN3_RERANK_API_KEY"
WRONG_KEY = (
    "the key that was sent, from api_key or QWEN3_RERANK_API_KEY, is not the one that it was "
    "started with; ask whoever runs it"
)


def error_of(
    url: str,
    path: str,
    status: int,
    headers: Mapping[str, str],
    body: str,
    secrets: Iterable[str],
    *,
    with_key: bool = False,
) -> RerankError:
    """The error for an answer that is not 200; nothing of `secrets` is in it.

    `with_key` says whether a key was sent.
    """
    said = excerpt(body, secrets)
    answered = f"answered {path} with {status}" + (f": {said}" if said else "")
    if status in (401, 403):
        return AuthenticationError(f"{url} {answered}; {WRONG_KEY if with_key else NO_KEY}")
    if status in PASSING:
        wait = retry_after(headers.get("retry-after"))
        return ServerFaultError(url, answered, status=status, retry_after=wait)
    kind, step = _kind_of(status, body)
    if kind is RedirectError:
        place = excerpt(headers.get("location", "elsewhere"), secrets)
        answered, step, said = f"redirects {path} to {place}", _way_to(place, path), f"to {place}"
    error = kind(f"{url} {answered}{step}")
    error.reply = f"{status} ({said})" if said else str(status)
    return error


def _kind_of(status: int, body: str) -> tuple[type[RefusedError], str]:
    """What a refusal is, and what to do about it."""
    if 300 <= status < 400:
        return RedirectError, ""
    if status == 404 and NO_SUCH_MODEL.search(excerpt(body)):
        return UnknownModelError, "; pass the name of a served one as model"
    return (MovedError if status in (404, 405) else RefusedError), ""


def _way_to(place: str, path: str) -> str:
    """Which address to pass instead of one that redirects `path` to `place`."""
    address = place.removesuffix("/").removesuffix(path)
    known = address != place and address.startswith("http")
    return f"; pass {address if known else 'the final address'} as base_url"


async def fault_of(url: str, work: Awaitable[object]) -> RerankError | None:
    """What went wrong in `work` with a server, whatever it was; None if nothing did."""
    try:
        await work
    except RerankError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a fault of one server must not end the others
        return EngineError(f"{url} cannot be used: {type(error).__name__}: {error}")
    return None


async def unless(
    event: asyncio.Event, work: Coroutine[Any, Any, Result], otherwise: Callable[[], RerankError]
) -> Result:
    """The result of `work`; or the error that `otherwise` makes as soon as `event` comes."""
    call = asyncio.ensure_future(work)
    end = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({call, end}, return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            raise otherwise()
        return call.result()
    finally:
        end.cancel()
        if not call.done():
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)


def brief(error: RerankError) -> str:
    """What a server answered, in as few words as tell."""
    if isinstance(error, RefusedError):
        return error.reply or str(error)
    return error.what if isinstance(error, PassingError) else str(error)


def together(replies: Mapping[str, str]) -> str:
    """What came back from each path, equal answers told once."""
    paths: dict[str, list[str]] = {}
    for path, reply in replies.items():
        paths.setdefault(reply, []).append(path)
    return "; ".join(f"{reply} from {', '.join(places)}" for reply, places in paths.items())


def listed(values: Iterable[float]) -> str:
    """Log-odds, or other scores, as a message shows them."""
    return ", ".join(f"{value:.3f}" for value in values)


def retry_after(value: str | None, now: datetime | None = None) -> float:
    """Seconds to stay away, from a ``Retry-After`` header in either form; 0 where it is none."""
    try:
        seconds = float(value or 0)
    except ValueError:
        seconds = _seconds_until(str(value), now or datetime.now(timezone.utc))
    return max(0.0, seconds) if not math.isnan(seconds) else 0.0


def _seconds_until(date: str, now: datetime) -> float:
    try:
        until = parsedate_to_datetime(date)
    except ValueError:
        return 0.0
    return (until.replace(tzinfo=until.tzinfo or timezone.utc) - now).total_seconds()


def excerpt(body: str, secrets: Iterable[str] = ()) -> str:
    """What a server says is wrong, on one line of bounded length, without secrets."""
    text = _masked(_message(body[:LONGEST_READ]), secrets)
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_EXCERPT else f"{text[:LONGEST_EXCERPT]}…"


def _masked(text: str, secrets: Iterable[str]) -> str:
    """`text` with three stars for each secret; a short one must stand by itself to be one."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        literal = re.escape(secret)
        known = literal if len(secret) >= LONG_SECRET else rf"(?<!\w){literal}(?!\w)"
        text = re.sub(known, "***", text)
    return text


def _message(body: str) -> str:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return re.sub(r"<[^<>]*>", " ", body)
    return _said(said) or body


def _said(value: Any) -> str:
    """The sentence in any of the forms that servers have for an error."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, map(_said, value)))
    if isinstance(value, dict):
        fields = (value.get(name) for name in ("error", "message", "detail", "msg"))
        return next(filter(None, map(_said, fields)), "")
    return ""
