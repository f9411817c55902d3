"""The doctor: looks at a machine and says what it found, why it matters and what to do about it.

`look()` gathers, `examine()` judges; neither imports torch, torch_npu or vllm, so that they also
work where one of these is broken. How it is printed is no concern of this room.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import cann, computer, models, npus, packages, settings, variables
from .diagnosis import SEVERITIES, Diagnosis, Severity, gravest
from .host import Host, look
from .settings import Wish

__all__ = ["SEVERITIES", "Diagnosis", "Host", "Severity", "Wish", "examine", "gravest", "look"]


def examine(host: Host, model: str | None, wish: Wish) -> Iterator[Diagnosis]:
    """Everything that can be told without loading anything, area by area.

    Args:
        host: from `look()`.
        model: the model that is to be run; None where it needs no files.
        wish: how it is to be run.
    """
    yield from npus.examine(host)
    yield from computer.examine(host)
    yield from packages.examine(host)
    yield from cann.examine(host)
    yield from variables.examine(host)
    yield from settings.examine(host, wish)
    yield from models.examine(host, model)
