"""What vLLM's own server does not do in which releases, as data."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from ..runtime.rules import Releases

Name = Literal["template", "instruction"]


@dataclass(frozen=True, slots=True)
class Ability:
    """Something that a server can do, but not in every release."""

    missing: Releases
    """Those that take it and do not heed it."""
    since: str
    """The first release that does."""
    source: str


ABILITIES = MappingProxyType(
    {
        "template": Ability(Releases(until="0.14"), "0.14", "vllm-project/vllm#30550"),
        "instruction": Ability(Releases(until="0.22"), "0.22", "vllm-project/vllm#42391"),
    }
)
"""``template``: apply a template to scores. ``instruction``: take one with a request.

A release that nobody has seen yet is taken to have them: what it gets wrong is found by the
selfcheck and the doctor.
"""


def can(vllm: str | None, name: Name) -> bool:
    """Whether this release of vLLM has the ability."""
    return vllm not in ABILITIES[name].missing
