"""Which devices each of several engines gets: on one machine, or placed by Ray."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from ..errors import InvalidInputError
from .detect import Machine, Platform, glance

Kind: TypeAlias = Literal["auto", "npu", "gpu", "cpu"]
PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
"""Options of vLLM whose product is how many devices one engine takes."""

VISIBLE = {
    "npu": ("ASCEND_RT_VISIBLE_DEVICES", "NPUs"),
    "cuda": ("CUDA_VISIBLE_DEVICES", "GPUs"),
}
"""The variable that shows a process only some devices, by their numbers from 0; their name."""
CPU_CORES = "VLLM_CPU_OMP_THREADS_BIND"
"""The variable that gives vLLM on a CPU its cores: ``0,1``, with ``|`` between its workers."""
RAY_RESOURCES = {"npu": "NPU", "gpu": "GPU"}
"""Kind of device → what Ray calls it."""


def devices_taken(options: Mapping[str, Any]) -> int:
    """How many devices one engine with these options of vLLM takes."""
    return math.prod(int(options.get(name) or 1) for name in PARALLEL)


def ray_options(kind: Kind, devices: int, cpus: float) -> dict[str, Any]:
    """What Ray places an engine by, as the options of an actor.

    Args:
        kind: of device; ``auto``: what is plugged in here.
        devices: how many of it an engine takes.
        cpus: CPU cores that it is given beside them.
    """
    if kind == "auto":
        platform = glance().platform
        kind = "gpu" if platform == "cuda" else platform
    options: dict[str, Any] = {"num_cpus": cpus}
    if kind == "gpu":
        options["num_gpus"] = devices
    elif kind in RAY_RESOURCES:
        options["resources"] = {RAY_RESOURCES[kind]: devices}
    return options


def share(
    machine: Machine,
    servers: int,
    each: int,
    environ: Mapping[str, str] | None = None,
    *,
    platform: Platform | None = None,
) -> list[dict[str, str]]:
    """The environment variables that give each of `servers` its own `each` devices, in order.

    On CPUs a device is an equal part of the cores that this process may use, unless the
    environment gives out cores already. A single server needs none: it takes what it sees.

    Args:
        machine: what is there.
        servers: how many there will be.
        each: devices that one takes.
        environ: of this process.
        platform: where they compute; not given: where the installed vLLM does.

    Raises:
        InvalidInputError: there are not that many.
    """
    environ = os.environ if environ is None else environ
    platform = platform or machine.vllm_platform
    if servers == 1:
        return [{}]
    if platform in VISIBLE:
        variable, kind = VISIBLE[platform]
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
