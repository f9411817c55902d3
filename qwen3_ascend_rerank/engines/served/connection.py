"""One server over HTTP: connections that are kept, time that is bounded, faults that have names."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ...errors import EngineError, InvalidInputError, MissingDependencyError

try:
    import httpx
except ImportError as error:
    raise MissingDependencyError(
        "a served model is reached with httpx, which is not installed; "
        'pip install "qwen3-ascend-rerank[served]"'
    ) from error

from .faults import (
    LONG_SECRET,
    AnswerFaultError,
    GoneError,
    RefusedError,
    ServerFaultError,
    SilentError,
    error_of,
    excerpt,
)
from .lanes import Lanes

if TYPE_CHECKING:
    from pydantic import SecretStr

LARGEST_BODY = 32 * 2**20
"""Bytes of an answer at most; those that repeat the documents have some MiB."""

LOOK = (
    "`curl -i {url}/v1/models` shows whether address, port and firewall are right; "
    "`qwen3-rerank serve MODEL` starts a server"
)
"""The next step where nobody answers."""
_CREDENTIAL = re.compile("auth|cookie|key|secret|token", re.IGNORECASE)
"""What the name of a header says that lets its sender in."""


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """How a server is reached."""

    headers: Mapping[str, str | SecretStr] = field(default_factory=dict, repr=False)
    """Sent with every request; a value may be a `SecretStr`."""
    ca_file: str | None = None
    """Certificates of the authority that signed the server's, where the system does not know it."""
    client_certificate: str | Sequence[str] | None = None
    """File of the certificate that the server wants to see, or of it and of its key."""
    concurrency: int = 64
    """Requests in flight at most."""
    connect_timeout: float = 5.0
    """Seconds until a connection must stand."""
    request_timeout: float = 120.0
    """Seconds until an answer must be there, whole."""


class Connection:
    """A client of one server. Nothing is tried twice here."""

    def __init__(
        self, url: str, api_key: SecretStr | None, options: ConnectionOptions | None = None
    ) -> None:
        """Describe it; the first request opens it.

        Raises:
            InvalidInputError: a header or a certificate that cannot be used.
        """
        self.url = url
        self._options = options = options or ConnectionOptions()
        headers = dict(_checked_header(*header) for header in options.headers.items())
        key = api_key.get_secret_value() if api_key else None
        self._secrets = [*_secrets(headers), *filter(None, [key])]
        self._headers = httpx.Headers(headers)
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        self._slots = asyncio.Semaphore(options.concurrency)
        tls = _tls(options) if url.startswith("https:") else False
        timeout = httpx.Timeout(options.request_timeout, connect=options.connect_timeout, pool=None)
        self._lanes = Lanes(partial(httpx.AsyncClient, base_url=url, verify=tls, timeout=timeout))

    @property
    def has_key(self) -> bool:
        """Whether requests carry an API key, or a header that lets them in."""
        return any(map(_CREDENTIAL.search, self._headers))

    async def get(self, path: str, *, authorised: bool = True) -> Any:
        """The JSON at `path`, None where there is none; asked as anybody if not `authorised`."""
        return await self._send("GET", path, None, authorised)

    async def post(
        self, path: str, body: Mapping[str, Any], *, authorised: bool = True, new: bool = False
    ) -> Any:
        """The JSON that answers `body`; waits until fewer than `concurrency` are in flight.

        Args:
            path: where to.
            body: what to ask.
            authorised: whether with the key.
            new: by a new connection, which behind a balancer may lead elsewhere than those that
                are kept; it waits for nobody.

        Raises:
            AuthenticationError: the server wants another key.
            RefusedError: it refuses the request.
            ServerFaultError: it cannot be reached, or cannot answer now.
            AnswerFaultError: what it answers is no JSON.
        """
        if new:
            return await self._send("POST", path, body, authorised, new=True)
        async with self._slots:
            return await self._send("POST", path, body, authorised)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._lanes.aclose()

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        authorised: bool,
        *,
        new: bool = False,
    ) -> Any:
        limit = self._options.request_timeout
        try:
            response, content = await asyncio.wait_for(
                self._exchange(method, path, body, authorised, new), limit
            )
        except httpx.ConnectTimeout:
            limit = self._options.connect_timeout
            raise GoneError(self.url, f"took no connection within {limit:g} s") from None
        except (httpx.TimeoutException, asyncio.TimeoutError):
            raise SilentError(
                self.url, f"did not answer {path} within {limit:g} s (request_timeout)"
            ) from None
        except httpx.DecodingError:
            raise AnswerFaultError(
                self.url, f"answered {path} with a body that cannot be decompressed"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise self._unreached(error) from None
        if response.status_code != httpx.codes.OK:
            text = content.decode(errors="replace")
            raise error_of(
                *(self.url, path, response.status_code, response.headers, text, self._secrets),
                with_key=authorised and self.has_key,
            )
        return self._json(path, response, content)

    def _unreached(self, error: Exception) -> EngineError:
        """Why no answer came, and what to do about it."""
        said = excerpt(str(error), self._secrets) or type(error).__name__
        if isinstance(error, httpx.InvalidURL | UnicodeError):
            return RefusedError(f"{self.url} is no address that can be asked: {said}; check it")
        causes = list(_causes(error))
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
            return RefusedError(
                f"{self.url} shows a certificate that is not trusted here: {said}; name the file "
                "of its authority as ca_file in engine_options"
            )
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            plain = self.url.replace("https:", "http:", 1)
            return RefusedError(
                f"{self.url} does not speak TLS as it is asked to: {said}; if it speaks plain "
                f"HTTP, pass {plain} as base_url"
            )
        if isinstance(error, httpx.ConnectError):
            return GoneError(self.url, f"cannot be reached: {said}; {LOOK.format(url=self.url)}")
        return ServerFaultError(self.url, f"cannot be reached: {said}")

    async def _exchange(
        self, method: str, path: str, body: Mapping[str, Any] | None, authorised: bool, new: bool
    ) -> tuple[httpx.Response, bytes]:
        """The response and its body, as long as it has an end."""
        # One who has no key need not have the other headers either, which may open a gateway.
        headers = self._headers if authorised else None
        content = bytearray()
        async with (
            self._lanes.one(new=new) as client,
            client.stream(method, path, json=body, headers=headers) as response,
        ):
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > LARGEST_BODY:
                    raise AnswerFaultError(
                        self.url, f"answers {path} with more than {LARGEST_BODY >> 20} MiB"
                    )
        return response, bytes(content)

    def _json(self, path: str, response: httpx.Response, content: bytes) -> Any:
        if not content and response.request.method == "GET":
            return None
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            kind = excerpt(response.headers.get("content-type", "no content type"), self._secrets)
            said = excerpt(content.decode(errors="replace"), self._secrets)
            raise AnswerFaultError(
                self.url,
                f"answered {path} with what is no JSON ({kind}): {said!r}; is there a model "
                "server at this address?",
            ) from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _secrets(headers: Mapping[str, str]) -> Iterator[str]:
    """What no message may repeat: what lets in, and whatever is long enough to do so."""
    for name, value in headers.items():
        if _CREDENTIAL.search(name):
            yield value
            yield value.split()[-1] if value.split() else ""  # without its scheme
        elif len(value) >= LONG_SECRET:
            yield value


def _checked_header(name: str, value: str | SecretStr) -> tuple[str, str]:
    """A header that can be sent, its value in plain sight."""
    value = value if isinstance(value, str) else value.get_secret_value()
    if not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII):
        raise InvalidInputError("headers holds a name that cannot be one")
    if not (value.isascii() and value.isprintable()):
        raise InvalidInputError(
            f"the value of header {name} cannot be sent: pass ASCII text on one line"
        )
    return name, value


def _tls(options: ConnectionOptions) -> ssl.SSLContext:
    """What is checked of the server, and shown to it."""
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
        if certificate := options.client_certificate:
            files = [certificate] if isinstance(certificate, str) else certificate
            context.load_cert_chain(*files)
    except (OSError, TypeError) as error:  # ssl.SSLError is an OSError
        raise InvalidInputError(
            f"ca_file {options.ca_file!r} or client_certificate {options.client_certificate!r} "
            f"cannot be used: {error}"
        ) from error
    return context
