"""Every limit of the gateway, with its default."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..checks import checked_count, checked_seconds
from ..protocol import EngineInfo
from .refusals import RequestRefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """What the gateway takes, and what it says of itself."""

    names: tuple[str, ...] = ()
    """What the model is called; answers carry the first. None: what the engine calls it."""
    strict_names: bool = False
    """Whether a request for a model of another name is refused instead of answered."""
    request_timeout: float = 300.0
    """Seconds that a request may take, from its last byte to its answer."""
    body_timeout: float = 60.0
    """Seconds in which a request's body must have come."""
    max_body_bytes: int = 32 * 2**20
    """Bytes of a request's body."""
    max_documents: int = 10_000
    """Documents of a request."""
    max_characters: int = 2_000_000
    """Characters of one text. What lies beyond `max_length` tokens is not read in any case."""
    max_requests: int = 256
    """Requests inside at once; one more is told to come again."""
    max_bytes_inside: int = 256 * 2**20
    """Bytes of their bodies, all together."""
    page: bool = True
    """Whether there is a page for people at ``/``."""
    drain_seconds: float = 30.0
    """From the wish to end to the end of what is still being answered."""

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            InvalidInputError: a limit that is no positive number.
        """
        for one in fields(self):
            value = getattr(self, one.name)
            if one.type == "int":
                checked_count(one.name, value)
            elif one.type == "float":
                checked_seconds(one.name, value)

    def called(self, info: EngineInfo | None) -> tuple[str, ...]:
        """All names of what runs."""
        return self.names or (info.model if info else "reranker",)

    def check_name(self, name: str, info: EngineInfo | None) -> None:
        """Refuse a model of another name, where that is wanted.

        Raises:
            RequestRefusedError: it is none of its names.
        """
        names = self.called(info)
        if self.strict_names and name not in names:
            known = ", ".join(names)
            reason = f"there is no model of this name here; ask for {known}, or for none"
            raise RequestRefusedError(404, "NotFoundError", reason)
