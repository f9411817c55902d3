"""Everything that can be told of a machine without loading anything."""

from __future__ import annotations

from collections.abc import Iterator

from . import cann, computer, models, npus, packages, settings, variables
from .diagnosis import Diagnosis
from .host import Host
from .settings import Target


def examine(host: Host, model: str | None, target: Target) -> Iterator[Diagnosis]:
    """Everything that can be told without loading anything, area by area.

    Args:
        host: from `look()`.
        model: the model that is to be run; None where it needs no files.
        target: how it is to be run.
    """
    yield from npus.examine(host)
    yield from computer.examine(host)
    yield from packages.examine(host)
    yield from cann.examine(host)
    yield from variables.examine(host)
    yield from settings.examine(host, target)
    yield from models.examine(host, model)
