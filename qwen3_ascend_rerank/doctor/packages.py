"""What is installed, and whether it pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from ..runtime.detect import Machine
from ..runtime.plan import mismatches, newer_than_known
from ..runtime.rules import Pairing, parse, same_release
from . import pairs
from .diagnosis import Diagnosis, Severity
from .host import Host

_PAIRED: dict[str, Severity] = {
    "vllm": "problem",
    "torch": "problem",
    "torch_npu": "warning",
    "cann": "warning",
    "transformers": "problem",
}
"""How grave it is where one is not what vllm-ascend was made for.

It is compiled against one torch and patches modules of one vLLM; CANN and torch_npu of a
neighbouring release often work. Another transformers has no name that its vLLM calls.
"""


def examine(host: Host) -> Iterator[Diagnosis]:
    """Python, packages, and what vllm-ascend was made for."""
    yield from _python(host)
    yield from _installed(host)
    yield from _pairing(host)


def _python(host: Host) -> Iterator[Diagnosis]:
    row = pairs.row_of(host)
    if row is None or pairs.fits(row, host):
        yield Diagnosis("software.python", "ok", f"Python {host.python}")
        return
    yield Diagnosis(
        "software.python",
        "problem",
        f"Python {host.python}, but vllm-ascend {row.vllm_ascend} is made for {row.python}",
        why="its compiled parts do not load in another Python",
        step=pairs.install(row, host),
        source=pairs.POLICY,
    )


def _installed(host: Host) -> Iterator[Diagnosis]:
    machine = host.machine
    versions = {
        "torch": machine.torch,
        "torch_npu": machine.torch_npu,
        "transformers": machine.transformers,
        "vLLM": machine.vllm,
        "vllm-ascend": machine.vllm_ascend,
    }
    there = [f"{name} {version}" for name, version in versions.items() if version]
    found = ", ".join(there) or "neither torch nor vLLM"
    torch_runs = machine.torch is not None and machine.transformers is not None
    if torch_runs or machine.vllm is not None:
        yield Diagnosis("software.packages", "ok", found)
    else:
        extra = "npu" if machine.platform == "npu" else "torch"
        yield Diagnosis(
            "software.packages",
            "problem",
            found,
            why="no engine can run here; only served models can be used",
            step=f'`pip install "qwen3-ascend-rerank[{extra}]"`',
        )
    for finding in newer_than_known(machine):
        yield Diagnosis.of("software.versions", "warning", finding)


def _pairing(host: Host) -> Iterator[Diagnosis]:
    machine, check = host.machine, "software.pairing"
    if machine.vllm_ascend is not None:
        yield from _pair(host, machine.vllm_ascend)
    elif machine.platform == "npu":
        if machine.torch_npu is None:
            yield Diagnosis(
                check,
                "problem",
                "neither torch_npu nor vllm-ascend is installed",
                why="nothing here can use the NPU",
                step=pairs.install(pairs.recommended(host), host),
                source=pairs.POLICY,
            )
        else:
            yield Diagnosis(
                check,
                "note",
                "vllm-ascend is not installed, so the torch engine will be used",
                why="vLLM batches all callers together, which is faster",
                step=pairs.install(pairs.recommended(host), host),
                source=pairs.POLICY,
            )
    if (
        pairs.row_of(host) is None
        and machine.torch
        and machine.torch_npu
        and not same_release(machine.torch, machine.torch_npu)
    ):
        yield Diagnosis(
            check,
            "problem",
            f"torch_npu {machine.torch_npu} is made for torch {_release(machine.torch_npu)}, "
            f"found {machine.torch}",
            why="its compiled parts do not load beside another torch",
            step=f"`pip install torch=={_release(machine.torch_npu)}`",
            source="Ascend/pytorch, version pairs",
        )


def _pair(host: Host, vllm_ascend: str) -> Iterator[Diagnosis]:
    machine, check, row = host.machine, "software.pairing", pairs.row_of(host)
    if row is None:
        yield Diagnosis(
            check,
            "note",
            f"what vllm-ascend {vllm_ascend} is made for is not known here",
            step="compare with its own versioning policy",
            source=pairs.POLICY,
        )
        return
    if machine.vllm is None:
        yield Diagnosis(
            check,
            "problem",
            f"vllm-ascend {vllm_ascend} without vLLM",
            why="it is a plug-in of vLLM",
            step=pairs.install(row, host),
            source=pairs.POLICY,
        )
    found = [
        Diagnosis(
            check,
            severity,
            f"{finding.subject}: {finding.why}",
            step=_step(name, row, host),
            source=finding.source,
        )
        for name, severity in _PAIRED.items()
        for finding in mismatches(_with_only(name, machine))
    ]
    yield from found
    if machine.vllm is not None and not found:
        yield Diagnosis(check, "ok", f"vllm-ascend {vllm_ascend} has everything it is made for")


def _step(name: str, row: Pairing, host: Host) -> str:
    if name == "transformers":
        return pairs.install_transformers(row)
    return pairs.install_cann(row, host) if name == "cann" else pairs.install(row, host)


def _with_only(name: str, machine: Machine) -> Machine:
    """`machine` without all that vllm-ascend is paired with but one."""
    others: dict[str, Any] = dict.fromkeys(_PAIRED.keys() - {name})
    return dataclasses.replace(machine, **others)


def _release(version: str) -> str:
    parsed = parse(version)
    return parsed.base_version if parsed else version
