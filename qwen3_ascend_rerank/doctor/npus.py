"""NPUs: whether they are there, reachable, healthy, free and visible."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator

from ..runtime.detect import NPUS_VARIABLE, family_of
from ..runtime.npu_smi import Chip
from .diagnosis import Diagnosis, Severity
from .host import Host
from .npu_faults import explain

BUSY = 0.1
"""Share of a chip's memory beyond which somebody uses it; idle ones hold up to 9 %."""

_HUAWEI, _ACCELERATOR = "0x19e5", "0x1200"
"""PCI vendor and class of an Ascend card."""
_ON_VLLM = {"A2", "A3", "A5", "310P"}
"""Families that vllm-ascend has code for."""

_NAMED = 4
"""Busy devices that are told of one by one."""
_SMALLEST = 0.2
"""Share of a device below which no reranker fits beside others."""

_HEALTH: dict[str, Severity] = {"OK": "ok", "Warning": "warning"}
"""Everything else is a problem."""


def examine(host: Host) -> Iterator[Diagnosis]:
    """Everything about NPUs; nothing but a note where there is none."""
    if not host.nodes and not host.chips:
        yield _absence(host)
        return
    yield from _tool(host)
    if host.chips:
        yield from _chips(host)
    yield from _visibility(host)
    yield from _memory(host)


def _absence(host: Host) -> Diagnosis:
    cards = _cards_on_the_bus(host)
    if not cards:
        return Diagnosis("npu.present", "note", "no Ascend NPU is plugged in")
    return Diagnosis(
        "npu.present",
        "problem",
        f"{cards} Ascend cards are on the PCI bus, but there is no /dev/davinci*",
        why="no program here can reach them",
        step="in a container start it with `docker run --device /dev/davinci0 --device "
        "/dev/davinci_manager --device /dev/devmm_svm --device /dev/hisi_hdc …`; on the machine "
        "itself install the driver and restart it",
        source="vllm-ascend, installation guide",
    )


def _cards_on_the_bus(host: Host) -> int:
    folders = host.path("/sys/bus/pci/devices").glob("*")
    names = [f"/sys/bus/pci/devices/{folder.name}" for folder in folders]
    return sum(
        host.read(f"{name}/vendor").strip() == _HUAWEI
        and host.read(f"{name}/class").startswith(_ACCELERATOR)
        for name in names
    )


# ---- npu-smi ----------------------------------------------------------------------------------


def _tool(host: Host) -> Iterator[Diagnosis]:
    check, answer = "npu.smi", host.npu_smi
    if answer.outcome == "missing":
        yield Diagnosis(
            check,
            "warning",
            f"{host.nodes} x /dev/davinci, but npu-smi is not on the PATH",
            why="which chip it is, its health and its memory cannot be told",
            step="mount `/usr/local/bin/npu-smi` into the container, or add `/usr/local/sbin` to "
            "the PATH",
            source="vllm-ascend, installation guide",
        )
    elif answer.outcome == "hung":
        yield Diagnosis(
            check,
            "problem",
            "npu-smi info did not answer within 10 seconds",
            why="the driver is stuck, and so is everything else that uses the NPU",
            step="look at `dmesg`, end the processes that hold the NPU, and restart the machine if "
            "that does not help",
        )
    elif not host.chips:
        said = _last_line(answer.printed, answer.complaint)
        fault, detail = explain(host, f"{answer.printed}\n{answer.complaint}")
        yield Diagnosis(
            check,
            "problem",
            f"npu-smi info fails: {said}" if said else "npu-smi info prints no NPU",
            why=fault.why.format(detail),
            step=fault.step,
            source=fault.source,
        )


def _last_line(*texts: str) -> str:
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


# ---- chips ------------------------------------------------------------------------------------


def _chips(host: Host) -> Iterator[Diagnosis]:
    kinds = Counter(_kind(chip) for chip in host.chips)
    driver = f", driver {host.machine.driver}" if host.machine.driver else ""
    found = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
    yield Diagnosis("npu.present", "ok", f"{found}{driver}")
    for number, chip in enumerate(host.chips):
        if chip.health != "OK":
            show = f"`npu-smi info -t health -i {chip.npu}` says what it is"
            yield Diagnosis(
                "npu.health",
                _HEALTH.get(chip.health, "problem"),
                f"device {number} (NPU {chip.npu}, chip {chip.number}) reports {chip.health}",
                why="a chip that is not well can stop, or compute wrongly",
                step="; ".join(filter(None, (show, _elsewhere(host)))),
                source="npu-smi, command reference",
            )
    strange = next((c for c in host.chips if family_of(c.name) not in _ON_VLLM), None)
    if strange is not None:
        yield Diagnosis(
            "npu.family",
            "warning",
            f"vllm-ascend has no code for {strange.name}",
            why="it supports A2, A3, 310P and, newly, 950",
            step='use `engine="torch"`',
            source="vllm-ascend, supported devices",
        )


def _kind(chip: Chip) -> str:
    family = family_of(chip.name)
    memory = f", {chip.total / 1024:.0f} GiB" if chip.total else ""
    return f"{chip.name} ({family or 'unknown family'}{memory})"


def _visibility(host: Host) -> Iterator[Diagnosis]:
    shown = host.environ.get(NPUS_VARIABLE)
    if shown is None:
        return
    if host.machine.platform != "npu":
        yield Diagnosis(
            "npu.visible",
            "problem",
            f"{NPUS_VARIABLE}={shown!r} hides every NPU from this process",
            why="it will run on a CPU",
            step=f"`unset {NPUS_VARIABLE}`, or name one: `export {NPUS_VARIABLE}=0`",
        )
    elif host.chips and len(host.visible) < len(shown.split(",")):
        yield Diagnosis(
            "npu.visible",
            "problem",
            f"{NPUS_VARIABLE}={shown!r} names an NPU that is not here; there are 0 to "
            f"{len(host.chips) - 1}",
            why="the list counts up to its first invalid entry",
            step=f"`export {NPUS_VARIABLE}=0`, or any others of them",
        )
    else:
        yield Diagnosis("npu.visible", "note", f"{NPUS_VARIABLE}={shown}: the others are hidden")


def _memory(host: Host) -> Iterator[Diagnosis]:
    known = [number for number in host.visible if family_of(host.chips[number].name) in _ON_VLLM]
    busy = [number for number in known if host.chips[number].in_use > BUSY]
    if not busy:
        if known:
            yield Diagnosis("npu.memory", "ok", "the memory of every visible NPU is free")
        return
    names = [_in_use(number, host.chips[number]) for number in busy[:_NAMED]]
    more = [f"{len(busy) - _NAMED} more"] if len(busy) > _NAMED else []
    yield Diagnosis(
        "npu.memory",
        "warning" if busy[0] == known[0] else "note",  # the first is what one replica takes
        "memory in use on " + "; ".join(names + more),
        why="vLLM plans with nine tenths of a device's memory unless told otherwise",
        step=_elsewhere(host) or _share(host, busy) or "wait, or end what holds it",
        source="vLLM, gpu_memory_utilization",
    )


def _in_use(number: int, chip: Chip) -> str:
    largest = sorted(chip.processes, key=lambda process: -process.megabytes)[:2]
    names = ", ".join(f"{each.name} pid {each.pid}" for each in largest)
    holders = f", by {names}" if names else ""
    return f"device {number}, {chip.used:,} of {chip.total:,} MB{holders}"


def _elsewhere(host: Host) -> str:
    """How to use a device that is well and free."""
    free = [
        str(number)
        for number, chip in enumerate(host.chips)
        if chip.total and chip.in_use <= BUSY and chip.health == "OK"
    ]
    others = f" (so are {', '.join(free[1:])})" if free[1:] else ""
    return f"`export {NPUS_VARIABLE}={free[0]}` for one that is free{others}" if free else ""


def _share(host: Host, busy: list[int]) -> str:
    """How to do with what the emptiest of `busy` has left, if that is enough for a model."""
    left = 0.95 - min(host.chips[number].in_use for number in busy)
    share = math.floor(10 * left) / 10
    option = json.dumps({"gpu_memory_utilization": share})
    return f"`--engine-options '{option}'` to do with what is left" if share >= _SMALLEST else ""
