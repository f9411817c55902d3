"""What was asked of an engine and what came back, and the error that says so."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ..errors import SelfcheckError

logger = logging.getLogger(__name__)


SHOWN = 3
"""How many failed checks an error spells out for each fault."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was asked of an engine, and what came back."""

    name: str
    """What is checked, e.g. ``alone and in a batch``."""
    asked: str
    """The pair, or pairs, for a person."""
    expected: str
    """What should have come back."""
    found: str
    """What came back."""
    passed: bool
    """Whether it is what should have come back."""
    fault: str
    """The known fault that fits if it is not, and what to change."""
    refuses: bool = True
    """Whether an engine that does not pass is refused; else it is only worth a warning."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was asked of an engine."""

    checks: tuple[Check, ...]
    """In the order in which they were made."""
    tokens: int
    """Prompt tokens that it took."""

    @property
    def failures(self) -> list[Check]:
        """The checks that did not pass, and for which an engine is refused."""
        return [check for check in self.checks if not check.passed and check.refuses]

    @property
    def warnings(self) -> list[Check]:
        """The checks that did not pass, which a person should know."""
        return [check for check in self.checks if not check.passed and not check.refuses]

    def demand(self, subject: str) -> None:
        """Raise unless everything passed that must; warn of the rest.

        Args:
            subject: what was checked.

        Raises:
            SelfcheckError: what was asked, what came back, which fault fits, what to change.
        """
        for check in self.warnings:
            logger.warning(
                "%s: %s: asked %s; expected %s, got %s. %s",
                subject, check.name, check.asked, check.expected, check.found, check.fault,
            )  # fmt: skip
        if self.failures:
            raise SelfcheckError(
                f"{subject} does not compute right scores:\n"
                + "".join(map(self._explain, dict.fromkeys(check.fault for check in self.failures)))
                + 'To use it in spite of this, pass selfcheck="off".'
            )

    def _explain(self, fault: str) -> str:
        """The checks that point to `fault`, no more than it takes to believe it."""
        checks = [check for check in self.failures if check.fault == fault]
        lines = [
            f"* {check.name}: asked {check.asked}; expected {check.expected}, got {check.found}.\n"
            for check in checks[:SHOWN]
        ]
        more = f"* and {len(checks) - SHOWN} more like these.\n" if len(checks) > SHOWN else ""
        return f"{''.join(lines)}{more}  {fault}\n"
