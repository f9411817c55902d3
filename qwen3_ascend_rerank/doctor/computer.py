"""What else there is to compute on: GPUs, the CPU and its memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from .diagnosis import Diagnosis
from .host import Host

_BF16 = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16", "bf16": "BF16"}
"""Flags of processors that compute in bfloat16: Intel and AMD, and Arm."""
_WIDE = {"avx512f": "AVX512", "avx2": "AVX2", "sve": "SVE", "asimd": "NEON"}
"""Flags of wide registers, the widest first."""

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where a container's limit is: cgroup 2, and before."""


def examine(host: Host) -> Iterator[Diagnosis]:
    """What there is; nothing here can be wrong by itself."""
    machine = host.machine
    if machine.platform == "cuda":
        name = machine.chip or "unknown GPU"
        yield Diagnosis("computer.gpu", "ok", f"{machine.devices} x {name}")
    flags = processor_flags(host)
    features = [name for flag, name in _WIDE.items() if flag in flags][:1]
    features += [name for flag, name in _BF16.items() if flag in flags]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = f"{usable} cores"
    yield Diagnosis("computer.cpu", "ok", ", ".join([cores, *(features or ["no wide registers"])]))
    total, available = memory(host)
    if total:
        found = f"{total / 2**30:.1f} GiB, {available / 2**30:.1f} GiB available"
        yield Diagnosis("computer.memory", "ok", found)


def processor_flags(host: Host) -> set[str]:
    """What the processor can do, as the kernel names it."""
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", host.read("/proc/cpuinfo"), re.MULTILINE)
    return set(line[1].split()) if line else set()


def memory(host: Host) -> tuple[int, int]:
    """Main memory in all and what of it can be had, in bytes; a container's limit counts."""
    text = host.read("/proc/meminfo")
    total, available = (
        int(found[1]) * 1024 if found else 0
        for found in (re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE) for name in _MEMORY)
    )
    limits = [int(text) for name in _LIMITS if (text := host.read(name).strip()).isdecimal()]
    return min([total, *limits]), min([available, *limits])


_MEMORY = ("MemTotal", "MemAvailable")
