"""What an examination comes to: one sentence each, how grave it is, and the next step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from ..runtime.rules import Finding

Severity = Literal["ok", "note", "warning", "problem"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From all is well to will not work; only a problem makes the exit status 1."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at."""

    check: str
    """What was looked at, e.g. ``npu.health``: the same in every release, for scripts."""
    severity: Severity
    """``ok``; ``note``: good to know; ``warning``: may fail or cost; ``problem``: will not work."""
    found: str
    """What was found."""
    why: str = ""
    """Why it matters."""
    step: str = ""
    """What to do next; commands and settings stand in backquotes."""
    source: str = ""
    """Where this is known from, if not from looking."""

    @classmethod
    def of(cls, check: str, severity: Severity, finding: Finding) -> Diagnosis:
        """What the tables of `versions.py` say."""
        found = f"{finding.subject}: {finding.why}"
        return cls(check, severity, found, step=finding.what, source=finding.source)


def gravest(diagnoses: Iterable[Diagnosis]) -> Severity:
    """The gravest severity among `diagnoses`."""
    found = {diagnosis.severity for diagnosis in diagnoses}
    return next((severity for severity in reversed(SEVERITIES) if severity in found), "ok")
