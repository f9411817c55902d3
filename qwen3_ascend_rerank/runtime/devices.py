"""Which devices each of several servers on one machine gets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import pairwise

from ..errors import InvalidInputError
from .detect import Machine

VISIBLE = {
    "npu": ("ASCEND_RT_VISIBLE_DEVICES", "NPUs"),
    "cuda": ("CUDA_VISIBLE_DEVICES", "GPUs"),
}
"""The variable that shows a process only some devices, by their numbers from 0; their name."""
CPU_CORES = "VLLM_CPU_OMP_THREADS_BIND"
"""The variable that gives vLLM on a CPU its cores: ``0,1``, with ``|`` between its workers."""


def share(
    machine: Machine, servers: int, each: int, environ: Mapping[str, str] | None = None
) -> list[dict[str, str]]:
    """The environment variables that give each of `servers` its own `each` devices, in order.

    On CPUs a device is an equal part of the cores that this process may use, unless the
    environment gives out cores already. A single server needs none: it takes what it sees.

    Raises:
        InvalidInputError: there are not that many.
    """
    environ = os.environ if environ is None else environ
    if servers == 1:
        return [{}]
    if machine.vllm_platform in VISIBLE:
        variable, kind = VISIBLE[machine.vllm_platform]
        shown = environ.get(variable)
        listed = shown.split(",") if shown else map(str, range(machine.devices))
        devices = [name.strip() for name in listed]
        return _deal(devices[: machine.devices], kind, servers, each, variable, ",")
    if environ.get(CPU_CORES, "auto") != "auto":
        return [{}] * servers
    return _deal(_parts(_cores(), servers * each), "cores", servers, each, CPU_CORES, "|")


def _deal(
    devices: list[str], kind: str, servers: int, each: int, variable: str, separator: str
) -> list[dict[str, str]]:
    needed = servers * each
    if len(devices) < needed:
        raise InvalidInputError(
            f"{servers} replicas of {each} need {needed} {kind} and {len(devices)} can be seen; "
            "ask for fewer"
        )
    hands = [devices[first : first + each] for first in range(0, needed, each)]
    return [{variable: separator.join(hand)} for hand in hands]


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _parts(cores: list[int], parts: int) -> list[str]:
    """`cores` in `parts` parts as equal as can be; as many as there are cores if they are fewer."""
    parts = min(parts, len(cores))
    bounds = [number * len(cores) // parts for number in range(parts + 1)]
    return [",".join(map(str, cores[start:end])) for start, end in pairwise(bounds)]
