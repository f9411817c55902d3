"""What came of one of many requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import RerankError
from .result import RerankResult


@dataclass(frozen=True, slots=True)
class RerankOutcome:
    """A result, or the error that stands in its place; never both."""

    index: int
    """Position of the request among those that were passed in, from 0."""
    id: Any
    """That of the request; None where it has none."""
    result: RerankResult | None = None
    """The ranking; None where there is an error."""
    error: RerankError | None = None
    """Why there is no ranking; None where there is one."""

    def unwrap(self) -> RerankResult:
        """The result.

        Raises:
            RerankError: what stands in its place.
        """
        if self.result is None:
            raise self.error or RerankError("neither a result nor an error")
        return self.result
