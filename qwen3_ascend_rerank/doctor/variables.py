"""Environment variables that decide more than they seem to."""

from __future__ import annotations

from collections.abc import Iterator

from .diagnosis import Diagnosis
from .host import Host

_ON = ("1", "true")


def examine(host: Host) -> Iterator[Diagnosis]:
    """Those that are set."""
    check, environ, machine = "software.variables", host.environ, host.machine
    plugins = environ.get("VLLM_PLUGINS")
    if plugins is not None and machine.vllm_ascend and "ascend" not in plugins.split(","):
        yield Diagnosis(
            check,
            "warning" if machine.platform == "npu" else "note",
            f"VLLM_PLUGINS={plugins!r} turns vllm-ascend off",
            why="vLLM does not use an NPU without it",
            step="`unset VLLM_PLUGINS` to use the NPU",
            source="vllm-project/vllm-ascend, entry point vllm.platform_plugins",
        )
    if environ.get("ASCEND_LAUNCH_BLOCKING") == "1" and machine.vllm_platform == "npu":
        yield Diagnosis(
            check,
            "problem",
            "ASCEND_LAUNCH_BLOCKING=1",
            why="vllm-ascend does not start with it unless graphs are off",
            step="`unset ASCEND_LAUNCH_BLOCKING`, or give "
            "`--engine-options '{\"enforce_eager\": true}'`",
            source="vllm-project/vllm-ascend, vllm_ascend/platform.py",
        )
    if environ.get("VLLM_USE_MODELSCOPE", "").lower() in _ON and not host.has_package("modelscope"):
        yield Diagnosis(
            check,
            "problem",
            "VLLM_USE_MODELSCOPE is set, but modelscope is not installed",
            why="no model can be fetched",
            step='`pip install "qwen3-ascend-rerank[modelscope]"`, or `unset VLLM_USE_MODELSCOPE`',
        )
