"""Which engine would run a model here, with which settings, and why."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..models.quantization import read_quantization
from ..runtime.plan import Deployment, Finding, Plan, mismatches, newer_than_known, plan
from .diagnosis import Diagnosis
from .host import Host
from .models import Caches

ASCEND_BLOCK = 128
"""Tokens of a block of the prefix cache on Ascend; vllm-ascend takes no smaller one."""

_DTYPES = {"npu": "bfloat16", "cuda": "bfloat16 (float16 where the card has none)"}
"""What the torch engine computes in, by platform; float32 on a CPU."""

_EXTRAS = {"npu": "npu", "cuda": "vllm", "cpu": "vllm"}
"""The extra that brings vLLM, by platform."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be run."""

    engine: str
    """``vllm`` or ``torch``."""
    request: Deployment

    @classmethod
    def of(
        cls, host: Host, model: str | None, engine: str, max_length: int, options: Mapping[str, Any]
    ) -> Target:
        """`model` on `engine`, with what its checkpoint says of itself where it is here already."""
        folder = Caches.of(host.environ).find(model) if model else None
        quantization = read_quantization(folder) if folder else {}
        return cls(engine, Deployment(max_length, options, quantization, _config(folder)))


def _config(folder: Path | None) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8")) if folder else {}
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def examine(host: Host, target: Target) -> Iterator[Diagnosis]:
    """The engine, its settings, and the known faults of the versions that are here."""
    examine_engine = _vllm if target.engine == "vllm" else _torch
    yield from examine_engine(host, target)


def _torch(host: Host, target: Target) -> Iterator[Diagnosis]:
    machine = host.machine
    if machine.torch is None or machine.transformers is None:
        if machine.vllm is None:
            return  # said with the software
        yield Diagnosis(
            "settings.engine",
            "problem",
            "the torch engine would be used, but torch or transformers is not installed",
            step='`pip install "qwen3-ascend-rerank[torch]"`',
        )
        return
    usable = machine.platform != "npu" or machine.torch_npu is not None
    platform = machine.platform if usable else "cpu"
    dtype = "float16" if machine.family == "310P" and usable else _DTYPES.get(platform, "float32")
    dtype = target.request.options.get("dtype", dtype)
    device = target.request.options.get("device", platform)
    yield Diagnosis("settings.engine", "ok", f"the torch engine on {device}, in {dtype}")


def _vllm(host: Host, target: Target) -> Iterator[Diagnosis]:
    machine = host.machine
    if machine.vllm is None:
        yield Diagnosis(
            "settings.engine",
            "problem",
            "the vllm engine is asked for, but vLLM is not installed",
            step=f'`pip install "qwen3-ascend-rerank[{_EXTRAS[machine.platform]}]"`',
        )
        return
    ascend = f" and vllm-ascend {machine.vllm_ascend}" if machine.vllm_platform == "npu" else ""
    found = f"the vllm engine on {machine.vllm_platform}, vLLM {machine.vllm}{ascend}"
    yield Diagnosis("settings.engine", "ok", found)
    made = plan(machine, target.request, host.environ)
    said = [*newer_than_known(machine), *mismatches(machine)]  # with the software
    yield from _settings(made, said)
    if machine.vllm_platform == "npu":
        yield _prefix_cache(made)


def _settings(made: Plan, said: Collection[Finding]) -> Iterator[Diagnosis]:
    for finding in made.refusals:
        yield Diagnosis.of("settings.refused", "problem", finding)
    for finding in made.adjustments:
        yield Diagnosis(
            "settings.changed",
            "note",
            finding.what.replace("therefore", "sets", 1),
            why=f"{finding.subject}: {finding.why}",
            source=finding.source,
        )
    for finding in made.warnings:
        if finding not in said:
            yield Diagnosis.of("settings.hazard", "warning", finding)


def _prefix_cache(made: Plan) -> Diagnosis:
    if made.settings.get("enable_prefix_caching") is False:
        return Diagnosis(
            "settings.prefix_cache",
            "note",
            "prefixes are not reused between documents",
            why="prefix caching is off, see above",
        )
    return Diagnosis(
        "settings.prefix_cache",
        "note",
        f"a shared prefix below {ASCEND_BLOCK} tokens cannot be reused",
        why=f"blocks have {ASCEND_BLOCK} tokens on Ascend, whatever is asked for; the default "
        "instruction and a short query make about 70",
        source="vllm-project/vllm-ascend#8705",
    )
