"""Gives a call to servers up when none of them shows a sign of life.

A server that is slow, busy or still loading answers ``/health``; one that is gone or hangs does
not. So the first kind is waited for, and the second is not, whatever the call itself still tries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import RerankError, RerankTimeoutError, ServerUnavailableError

if TYPE_CHECKING:
    from ..engines.served.connection import Connection
    from ..reranker import Reranker

T = TypeVar("T")

LOOKS = 4
"""How often servers are looked at while patience lasts."""
PATH = "/health"


async def unless_silent(
    call: Coroutine[Any, Any, T], reranker: Reranker, patience: float | None
) -> T:
    """The outcome of `call`, which asks the servers of `reranker`.

    Args:
        call: what takes its time.
        reranker: says where the servers are; one whose model is loaded here has none.
        patience: seconds without a sign of life from any of them; None: `call` decides.

    Raises:
        ServerUnavailableError: there was none for so long, or until the call's own timeout.
    """
    if patience is None or not reranker.base_url:
        return await call
    watch = _Watch(patience)
    calling = asyncio.ensure_future(call)
    watching = asyncio.ensure_future(watch.wait_for_silence(reranker))
    try:
        await asyncio.wait({calling, watching}, return_when=asyncio.FIRST_COMPLETED)
        if calling.done():
            return await calling
        raise await watching
    except RerankTimeoutError:
        if watch.fault is not None:  # the better reason
            raise watch.fault from None
        raise
    finally:
        calling.cancel()
        watching.cancel()
        await asyncio.gather(calling, watching, return_exceptions=True)


class _Watch:
    def __init__(self, patience: float) -> None:
        self.fault: ServerUnavailableError | None = None
        """Why no server showed a sign of life when it was last looked."""
        self._patience = patience

    async def wait_for_silence(self, reranker: Reranker) -> ServerUnavailableError:
        """What is wrong with the servers, once that has lasted for `patience`."""
        clock = asyncio.get_running_loop().time
        end = clock() + self._patience
        pause = self._patience / LOOKS
        await asyncio.sleep(pause)  # most calls are over by then
        connections = _connections(reranker, self._patience)
        try:
            while True:
                limit = self._patience / 2
                faults = await asyncio.gather(*(_fault(one, limit) for one in connections))
                if all(faults):
                    said = "; ".join(dict.fromkeys(map(str, faults)))
                    confirmed = self.fault is not None  # a first look may be slow by itself
                    self.fault = ServerUnavailableError(said)
                    if confirmed and clock() >= end:
                        return self.fault
                    await asyncio.sleep(min(pause, max(0.0, end - clock())))
                else:
                    self.fault = None
                    await asyncio.sleep(self._patience)
                    end = clock() + self._patience
        finally:
            await asyncio.gather(*(one.aclose() for one in connections))


async def _fault(connection: Connection, limit: float) -> RerankError | None:
    """Why the server shows no sign of life; an answer of any kind is one, unless it says so."""
    from ..engines.served.faults import BUSY, ServerFaultError

    try:
        await asyncio.wait_for(connection.get(PATH), limit)
    except asyncio.TimeoutError:
        return ServerUnavailableError(
            f"{connection.url} takes connections and answers nothing, {PATH} neither"
        )
    except ServerFaultError as error:
        return None if error.status == BUSY else error
    except RerankError:
        return None
    return None


def _connections(reranker: Reranker, limit: float) -> Sequence[Connection]:
    from ..engines.served.address import checked_urls
    from ..engines.served.connection import Connection, ConnectionOptions

    names = ("headers", "ca_file", "client_certificate")
    given = {k: v for k, v in reranker.engine_options.items() if k in names and v is not None}
    # The time is kept by the watch itself.
    options = ConnectionOptions(**given, connect_timeout=2 * limit, request_timeout=2 * limit)
    return [Connection(url, reranker.api_key, options) for url in checked_urls(reranker.base_url)]
