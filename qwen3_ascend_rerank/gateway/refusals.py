"""From an error to what the client is told: a table, its rows in the order of `errors`."""

from __future__ import annotations

import logging
import traceback

from ..errors import (
    AuthenticationError,
    DocumentError,
    EngineDeadError,
    EngineError,
    InvalidInputError,
    ModelError,
    RerankerClosedError,
    RerankError,
    RerankTimeoutError,
    SelfcheckError,
    ServerUnavailableError,
)
from .forms import Refusal

logger = logging.getLogger(__name__)

SOON = 5
"""Seconds after which something that starts, or starts again, may be there."""
GONE = 499
"""The status in the log of a request whose client hung up; nothing is sent."""


class RequestRefusedError(Exception):
    """A request that goes no further."""

    def __init__(
        self,
        status: int,
        kind: str,
        reason: str,
        *,
        retry_after: int | None = None,
        allow: str | None = None,
    ) -> None:
        """Say why; the arguments are those of `Refusal`."""
        super().__init__(reason)
        self.refusal = Refusal(status, kind, reason, retry_after, allow)


UNAUTHORISED = Refusal(
    401,
    "AuthenticationError",
    "this gateway wants an API key; send it as `Authorization: Bearer …`",
)


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


_ROWS: tuple[tuple[type[RerankError], int, str, int | None], ...] = (
    (InvalidInputError, 400, "BadRequestError", None),
    (ModelError, 503, "ModelError", None),
    (DocumentError, 502, "DocumentError", None),
    (EngineDeadError, 503, "ServiceUnavailableError", SOON),
    (SelfcheckError, 503, "SelfcheckError", None),
    (ServerUnavailableError, 503, "ServiceUnavailableError", SOON),
    (AuthenticationError, 502, "UpstreamAuthenticationError", None),
    (EngineError, 502, "EngineError", None),
    (RerankTimeoutError, 504, "TimeoutError", None),
    (RerankerClosedError, 503, "ServiceUnavailableError", SOON),
    (RerankError, 503, "ServiceUnavailableError", SOON),
)
"""Kind of error, status, what a client calls it, and when to come again; the first fits."""
_SHOWN = (InvalidInputError, DocumentError, RerankTimeoutError)
"""Errors that are about the request, so that all of their message is the client's own."""


def refusal_of(error: Exception) -> Refusal:
    """What is told of `error`; what nobody foresaw is logged, without any text of a request.

    What is wrong behind the gateway names servers, folders and versions: that is for its log.
    """
    if isinstance(error, RequestRefusedError):
        return error.refusal
    for kind, status, name, retry_after in _ROWS:
        if isinstance(error, kind):
            if isinstance(error, _SHOWN):
                return Refusal(status, name, str(error), retry_after)
            logger.warning("%s: %s", type(error).__name__, error)
            reason = f"{_BEHIND[status]} ({type(error).__name__}); the gateway's log has the cause"
            return Refusal(status, name, reason, retry_after)
    steps = traceback.extract_tb(error.__traceback__)
    way = " > ".join(f"{step.filename}:{step.lineno} {step.name}" for step in steps[-6:])
    logger.error("a request failed with %s at %s", type(error).__name__, way)
    reason = "the gateway failed at this request; its log says where"
    return Refusal(500, "InternalServerError", reason)


_BEHIND = {
    502: "the engine failed at this request",
    503: "the model cannot be asked now",
}
"""What a client is told of what happened behind the gateway."""
