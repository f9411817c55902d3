"""Every form, and how a request is told to be of one: by its path, then by its body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .dashscope import DASHSCOPE, RERANKS
from .fields import Fields
from .form import Form
from .nvidia import NVIDIA
from .rerank import COHERE, INFINITY, JINA, SGLANG, VOYAGE
from .score import SCORE
from .tei import TEI

FORMS = (
    COHERE,
    TEI,
    VOYAGE,
    INFINITY,
    SGLANG,
    JINA,
    SCORE,
    DASHSCOPE,
    RERANKS,
    NVIDIA,
)
"""The first that is meant is the one: JINA is meant wherever no other is."""

_BEFORE = re.compile(r"v\d|api|compatible-api|compatible-mode|openai")
"""What clients put before a route, once, twice or not at all."""


@dataclass(frozen=True, slots=True)
class Destination:
    """What a path asks for."""

    named: str
    """The form that it names; empty where it names none."""
    version: str
    """The last version in it, e.g. ``v1``; empty where there is none."""
    route: str
    """What follows."""


@lru_cache(maxsize=256)
def place_of(path: str) -> Destination:
    """Take a path apart: slashes and versions may be doubled or missing."""
    parts = [part for part in path.split("/") if part]
    names = {form.name for form in FORMS}
    named = version = ""
    while parts and (parts[0] in names or _BEFORE.fullmatch(parts[0])):
        part = parts.pop(0)
        if part in names:
            named = part
        elif part[0] == "v":
            version = part
    return Destination(named, version, "/".join(parts))


def form_of(path: str, body: Mapping[str, Any]) -> Form | None:
    """The form of a request; None where no form comes on this path."""
    place, fields = place_of(path), Fields(body)
    for form in FORMS:
        if place.route in form.routes and (
            form.name == place.named if place.named else form.is_meant(place.version, fields)
        ):
            return form
    return None
