"""Reads the tables of `versions.py` for one machine and one model."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ..errors import EngineError
from .detect import Machine
from .kinds import check_kinds
from .rules import Deployment, Draft, Finding, Pairing, Situation, parse, same_release
from .versions import HAZARDS, NEWEST_KNOWN, PAIRINGS, max_length_and_one

__all__ = [
    "Deployment",
    "Finding",
    "Plan",
    "mismatches",
    "newer_than_known",
    "pairing_of",
    "plan",
    "unpaired",
]

_POLICY = "vllm-project/vllm-ascend, versioning policy"


@dataclass(frozen=True, slots=True)
class Plan:
    """How to start vLLM on this machine so that scores are right."""

    settings: Mapping[str, Any]
    """Engine arguments to pass beside the user's; none of them contradicts the user's."""
    environment: Mapping[str, str | None]
    """Environment variables to set while vLLM starts; None: to remove."""
    adjustments: tuple[Finding, ...]
    """What `settings` and `environment` change, and why."""
    warnings: tuple[Finding, ...]
    """What cannot be changed from here; the selfcheck decides."""
    refusals: tuple[Finding, ...]
    """Why scores could not be right, and the ways out."""

    def check(self) -> None:
        """Raise `EngineError` if there is a reason not to start."""
        if self.refusals:
            raise EngineError("\n".join(str(refusal) for refusal in self.refusals))


def plan(machine: Machine, request: Deployment, environ: Mapping[str, str] | None = None) -> Plan:
    """What vLLM needs on `machine` to score `request` rightly.

    Args:
        machine: from `detect()`.
        request: what is to be started.
        environ: environment variables; those of this process.

    Raises:
        InvalidInputError: an engine argument that no rule could read.
    """
    check_kinds(request.options)
    if machine.vllm_platform != "npu":
        machine = dataclasses.replace(machine, vllm_ascend=None)  # not there, or turned off
    situation = Situation(machine, request, os.environ if environ is None else environ)
    draft = Draft(situation)
    draft.warnings += [*newer_than_known(machine), *mismatches(machine)]
    if situation.option("max_model_len") is None:
        draft.set("max_model_len", max_length_and_one(draft))
    for hazard in HAZARDS:
        if hazard.applies(situation):
            changes = [change for each in hazard.effects if (change := each.apply(draft, hazard))]
            if changes:
                draft.adjustments.append(hazard.finding(machine, f"therefore {', '.join(changes)}"))
    return Plan(
        settings=draft.settings,
        environment=draft.environment,
        adjustments=tuple(draft.adjustments),
        warnings=tuple(draft.warnings),
        refusals=tuple(draft.refusals),
    )


def newer_than_known(machine: Machine) -> list[Finding]:
    """Releases that the tables have nothing to say about."""
    installed = {"vLLM": machine.vllm, "vllm-ascend": machine.vllm_ascend}
    return [
        Finding(
            subject=f"{name} {version}",
            why=f"nothing is known of it yet, the newest known is {NEWEST_KNOWN[name]}",
            what="its arguments are probed and the selfcheck decides",
            source="qwen3_ascend_rerank/runtime/versions.py",
        )
        for name, version in installed.items()
        if version is not None and _is_newer(version, NEWEST_KNOWN[name])
    ]


def pairing_of(vllm_ascend: str) -> Pairing | None:
    """What a vllm-ascend was made for; a post-release counts as its release."""
    return next((row for row in PAIRINGS if same_release(row.vllm_ascend, vllm_ascend)), None)


def mismatches(machine: Machine) -> list[Finding]:
    """Where what is installed is not what the installed vllm-ascend was made for."""
    row = pairing_of(machine.vllm_ascend) if machine.vllm_ascend else None
    if row is None:
        return []
    made_for = {
        "vLLM": (machine.vllm, row.vllm),
        "CANN": (machine.cann, (row.cann,) if row.cann else ()),
        "torch": (machine.torch, (row.torch,)),
        "torch_npu": (machine.torch_npu, (row.torch_npu,)),
    }
    found = {
        name: (there, " or ".join(expected))
        for name, (there, expected) in made_for.items()
        if there and expected and not any(same_release(each, there) for each in expected)
    }
    if machine.transformers and not _takes(row, machine.transformers):
        found["transformers"] = machine.transformers, row.transformers
    return [
        Finding(
            subject=f"vllm-ascend {machine.vllm_ascend}",
            why=f"made for {name} {expected}, found {there}",
            what="install the pair",
            source=_POLICY,
        )
        for name, (there, expected) in found.items()
    ]


def unpaired(machine: Machine) -> str:
    """The `mismatches` and the next step in one sentence; empty where there are none."""
    found = mismatches(machine)
    if not found:
        return ""
    whys = ", ".join(one.why for one in found)
    return f"{found[0].subject} is {whys}: {found[0].what}, which `qwen3-rerank doctor` names"


def _takes(row: Pairing, transformers: str) -> bool:
    """Whether a release takes this transformers; what is no version cannot be told."""
    asked = SpecifierSet(row.transformers)
    return parse(transformers) is None or asked.contains(transformers, prereleases=True)


def _is_newer(version: str, newest: str) -> bool:
    parsed = parse(version)
    return parsed is None or parsed.release[:2] > Version(newest).release
