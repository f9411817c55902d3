"""What servers must have in common to stand for each other."""

from __future__ import annotations

from dataclasses import dataclass

from .discovery import Discovery
from .faults import listed


@dataclass(frozen=True, slots=True)
class Terms:
    """What all replicas of one engine must have in common."""

    first: Discovery
    """The server that the others must agree with."""
    max_length: int
    """Longest prompt, in tokens, that each must take."""
    most_documents: int | None
    """How many documents a request may hold at most, where one of them says so."""
    takes_text: bool
    """Whether prompts are made for servers that take text; those that take ids do as well."""

    @classmethod
    def of(cls, servers: list[Discovery], max_length: int) -> Terms:
        """Those of the first, and of what the others of its kind can do at best."""
        first = servers[0]
        alike = [one for one in servers if _strangeness(first, one) is None]
        limits = [one.max_length or max_length for one in alike]
        most = [one.model.most_documents for one in servers if one.model.most_documents]
        takes_text = any(one.takes_text for one in alike)
        return cls(first, min(max_length, max(limits)), min(most, default=None), takes_text)

    def objection(self, found: Discovery) -> str | None:
        """Why a server cannot be used beside the first; None if it can."""
        if strange := _strangeness(self.first, found):
            return strange
        if found.max_length is not None and found.max_length < self.max_length:
            return (
                f"takes {found.max_model_len} tokens, too few for prompts of {self.max_length}; "
                "raise its --max-model-len or lower max_length"
            )
        if found.takes_text and not self.takes_text:
            return "takes only text, where the others take token ids"
        if self.first.manner.log_odds and not found.manner.log_odds:
            return "gives only probabilities, where the others give log-odds"
        return None


def _strangeness(one: Discovery, other: Discovery) -> str | None:
    if one.model.origin != other.model.origin and one.model.name != other.model.name:
        return f"serves {other.model}, where {one.url} serves {one.model}"
    if not one.agrees(other.probe, exact=other.manner.log_odds):
        return (
            f"gives {listed(other.probe)} as log-odds of the pairs for which {one.url} gives "
            f"{listed(one.probe)}"
        )
    return None
