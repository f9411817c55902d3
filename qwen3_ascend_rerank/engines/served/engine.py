"""ServedEngine: a model that one or several servers run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from ...bridge.turns import Turns
from ...checks import checked_count, checked_file, checked_seconds
from ...errors import EngineError, InvalidInputError
from ...prompts import PromptBatch
from ...protocol import EngineInfo, closed_for_good
from ..options import checked_headers
from .connection import Connection, ConnectionOptions
from .dialects import Formatting, wanted_dialects
from .discovery import discover
from .dispatch import Dispatcher
from .faults import unless
from .pace import paced
from .replica import NAME, RECHECK, Replica
from .replicas import Check, Replicas

if TYPE_CHECKING:
    from pydantic import SecretStr

TOKENS_PER_REQUEST = 65_536
"""Prompt tokens of one request at most, unless a single prompt has more."""
DOCUMENTS_OF_MANY = 16
"""Documents of one request at most, where there are too many for one: so that it is soon done, and
others have their turn."""

Part: TypeAlias = tuple[int, PromptBatch]
"""Some documents of a call, and the place of the first."""


class ServedEngine:
    """Asks `vllm serve`, or a server like it, on one or several machines.

    Nothing is loaded here. Each server is asked what it serves and how it can be asked for right
    scores: by token ids where it takes them, else by text, with the prompt made exactly once.
    Requests are bounded in size, number and time, and tried again, at another server if there is
    one, where that can help.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        base_url: Sequence[str],
        api_key: SecretStr | None = None,
        max_length: int = 8192,
        tokenizer: str | None = None,
        headers: Mapping[str, str | SecretStr] | None = None,
        ca_file: str | None = None,
        client_certificate: str | Sequence[str] | None = None,
        concurrency: int = 64,
        documents_per_request: int = 64,
        connect_timeout: float = 5.0,
        request_timeout: float = 120.0,
        attempts: int = 4,
        patience: float = 1.0,
        recheck: float = RECHECK,
        dialect: str | None = None,
        formatting: Formatting | Literal["auto"] = "auto",
    ) -> None:
        """Describe the engine; `start()` finds the servers.

        Args:
            model: what must be served: a served name, a hub id or a folder; None: whatever is.
            base_url: an address for each server.
            api_key: sent as bearer token.
            max_length: longest prompt, in tokens; less where the servers take less.
            tokenizer: where ``tokenizer.json`` is; None: that of the served model.
            headers: sent with every request; a value may be a `SecretStr`.
            ca_file: certificates of the authority that signed the servers', if it is a private one.
            client_certificate: file of the certificate to show, or of it and of its key.
            concurrency: requests in flight at each server, at most.
            documents_per_request: more are sent in several smaller requests, to any of the servers.
            connect_timeout: seconds until a connection must stand.
            request_timeout: seconds until an answer must be there.
            attempts: how often a request is tried; once more for each further server.
            patience: seconds to wait while no server is up; more where one may still be loading.
            recheck: seconds after which a server must show again that it serves the same model.
            dialect: how to ask, instead of trying: a name of the table in `dialects`.
            formatting: who makes the prompt where text is sent: ``client``, ``server``, or
                ``auto``, which finds out.

        Raises:
            InvalidInputError: an option that cannot be used.
        """
        wanted_dialects(dialect)
        if formatting not in ("auto", "client", "server"):
            raise InvalidInputError(f"formatting is {formatting!r}; use auto, client or server")
        self._model = model
        self._documents = checked_count("documents_per_request", documents_per_request)
        self._closing = asyncio.Event()
        self._concurrency = checked_count("concurrency", concurrency)
        self._turns = Turns(self._concurrency)
        options = ConnectionOptions(
            headers={} if headers is None else checked_headers(headers),
            ca_file=checked_file("ca_file", ca_file),
            client_certificate=_checked_certificate(client_certificate),
            concurrency=self._concurrency,
            connect_timeout=checked_seconds("connect_timeout", connect_timeout),
            request_timeout=checked_seconds("request_timeout", request_timeout),
        )
        find = partial(
            discover, model=model, tokenizer=tokenizer, dialect=dialect, formatting=formatting
        )
        recheck = checked_seconds("recheck", recheck)
        self._replicas = Replicas(
            [
                Replica(Connection(url, api_key, options), find, max_length, recheck)
                for url in base_url
            ],
            max_length=max_length,
            patience=checked_seconds("patience", patience),
        )
        self._dispatcher = Dispatcher(self._replicas, checked_count("attempts", attempts))

    @property
    def info(self) -> EngineInfo:
        """What runs, and where."""
        terms, up = self._replicas.terms, len(self._replicas.up)
        first = terms.first
        more = f" and {up - 1} more" if up > 1 else ""
        return EngineInfo(
            model=self._model or first.model.name or first.url,
            engine=NAME,
            version=f"{first.software} at {first.url}{more}",
            device="remote",
            dtype="unknown",
            max_length=terms.max_length,
            tokenizer=first.tokenizer,
            log_odds_exact=first.manner.log_odds,
            takes_text=terms.takes_text,
            replicas=len(self._replicas),
            replicas_up=up,
        )

    async def start(self) -> None:
        """Find out what the servers are.

        Raises:
            ServerUnavailableError: none can be reached.
            AuthenticationError: the key is not the right one.
            ModelNotFoundError: another model is served; or no tokenizer is to be found.
            UnsupportedServerError: none can be asked for right scores.
        """
        if self._closing.is_set():
            raise closed_for_good()
        await self._replicas.start()

    async def admit(self, check: Check) -> None:
        """Use only servers that pass `check`, now and when they come back.

        Raises:
            RerankError: what was wrong, if none passes.
        """
        await self._replicas.admit(check)

    async def score(self, batch: PromptBatch) -> list[float]:
        """Log-odds of "yes", shape (len(batch),)."""
        return await unless(
            self._closing,
            self._score(batch),
            lambda: EngineError("the engine is closed, and the call with it"),
        )

    async def _score(self, batch: PromptBatch) -> list[float]:
        servers = len(self._replicas.up) or 1
        self._turns.limit = self._concurrency * servers
        parts = list(self._parts(batch))
        answers = (
            await paced(self._in_turn, parts, servers)
            if len(parts) > 1
            else [await self._in_turn(part) for part in parts]
        )
        return [value for answer in answers for value in answer]

    async def _in_turn(self, part: Part) -> list[float]:
        """The answers for one request, made when it may be sent."""
        (answer,) = await self._turns.map(self._ask, [part])
        return answer

    async def _ask(self, part: Part) -> list[float]:
        start, batch = part
        return await self._dispatcher.score(batch, start)

    async def aclose(self) -> None:
        """End what runs, with an error that says so, and close the connections."""
        self._closing.set()
        await self._replicas.aclose()

    def _parts(self, batch: PromptBatch) -> Iterator[Part]:
        """Pieces that a request can carry, with their places; of a small batch there is one."""
        most = min(self._documents, self._replicas.most_documents or self._documents)
        if len(batch) > most:
            most = min(most, DOCUMENTS_OF_MANY)
        start = tokens = 0
        for place, length in enumerate(batch.lengths()):
            full = place - start == most or tokens + length > TOKENS_PER_REQUEST
            if full and place > start:
                yield start, batch.part(start, place)
                start, tokens = place, 0
            tokens += length
        if start < len(batch):
            yield start, batch.part(start, len(batch))


def _checked_certificate(given: str | Sequence[str] | None) -> str | Sequence[str] | None:
    """A file, or those of a certificate and of its key."""
    if not isinstance(given, (list, tuple)):
        return checked_file("client_certificate", cast("str | None", given))
    return [
        str(checked_file(f"client_certificate[{index}]", one)) for index, one in enumerate(given)
    ]
