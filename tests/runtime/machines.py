"""Machines that the tables are read for, and the recorded signatures of each vLLM."""

import json
from pathlib import Path

import pytest

from qwen3_ascend_rerank.errors import EngineError
from qwen3_ascend_rerank.runtime.detect import Machine
from qwen3_ascend_rerank.runtime.plan import Deployment, plan
from qwen3_ascend_rerank.runtime.probes import Signatures

RECORDED = Path(__file__).parent / "recorded"
VERSIONS = [
    *("0.9.2", "0.10.0", "0.10.1", "0.10.2", "0.11.0", "0.11.1", "0.12.0", "0.13.0"),
    *("0.14.0", "0.15.0", "0.18.0", "0.23.0", "0.30.0", "0.32.0", "0.33.0"),
]


def recorded(version):
    text = (RECORDED / f"vllm-{version}.json").read_text(encoding="utf-8")
    return Signatures.from_lists(json.loads(text))


def npu(vllm_ascend, chip="910B3", vllm=None):
    return Machine(
        "npu",
        1,
        chip=chip,
        vllm=vllm or vllm_ascend.split("rc")[0],
        vllm_ascend=vllm_ascend,
        vllm_platform="npu",
    )


def cuda(vllm):
    return Machine("cuda", 1, chip="NVIDIA H100", vllm=vllm, vllm_platform="cuda")


def cpu(vllm):
    return Machine("cpu", 0, vllm=vllm, vllm_platform="cpu")


def planned(machine, *, max_length=8192, quantization=None, config=None, environ=None, **options):
    request = Deployment(max_length, options, quantization or {}, config or {})
    return plan(machine, request, environ or {})


def refused(machine, match, **request):
    made = planned(machine, **request)
    with pytest.raises(EngineError, match=match):
        made.check()
    return True


def accepted(machine, **request):
    planned(machine, **request).check()
    return True
