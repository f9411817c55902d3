"""CANN and NNAL: whether they are installed, and whether this process sees them."""

from __future__ import annotations

from collections.abc import Iterator

from ..runtime.detect import CANN_HOMES, find_cann
from ..runtime.torch_npu import diagnose, set_env
from . import pairs
from .diagnosis import Diagnosis
from .host import Host

GUIDE = "vllm-ascend, installation guide"


def examine(host: Host) -> Iterator[Diagnosis]:
    """Both, where there is an NPU; and whether torch_npu loads, wherever it is installed."""
    yield from _torch_npu(host)
    if host.machine.platform != "npu":
        return
    found = find_cann(host.root, host.environ)
    if found is None:
        row = pairs.row_of(host) or pairs.recommended(host)
        yield Diagnosis(
            "software.cann",
            "problem",
            "no CANN toolkit is found",
            why="torch_npu and vllm-ascend need its libraries",
            step=f"{pairs.install_cann(row, host)}; the image {pairs.IMAGE} has it inside",
            source=GUIDE,
        )
        return
    folder, version = found
    if _is_in_use(host, folder):
        yield Diagnosis("software.cann", "ok", f"CANN {version} in {folder}")
    else:
        yield Diagnosis(
            "software.cann",
            "problem",
            f"CANN {version} in {folder} is installed, but this process does not see it",
            why=f"{CANN_HOMES[0]} or LD_LIBRARY_PATH does not lead there, so torch_npu cannot load",
            step=f"`source {set_env(host.root, folder)}` before starting, or in your profile",
            source=GUIDE,
        )
    yield from _nnal(host)


def _torch_npu(host: Host) -> Iterator[Diagnosis]:
    """What came of its import, in a process of its own."""
    version, answer = host.machine.torch_npu, host.torch_npu
    if version is None or answer is None or answer.outcome not in ("done", "failed"):
        return
    if answer.outcome == "done":
        yield Diagnosis("software.torch_npu", "ok", f"torch_npu {version} can be loaded")
        return
    *_, last = answer.complaint.strip().splitlines() or ["it says nothing"]
    said = last.partition("Error: ")[2] or last
    why, step = diagnose(said, host.root, host.environ)
    yield Diagnosis(
        "software.torch_npu",
        "problem",
        f"torch_npu {version} is installed but cannot be loaded ({said})",
        why=f"{why}, and a plain import of torch fails with it",
        step=step,
        source="tried in a process of its own",
    )


def _is_in_use(host: Host, folder: str) -> bool:
    """Whether ``set_env.sh`` has been run: it sets the home and the library path together."""
    home = host.environ.get(CANN_HOMES[0])
    libraries = host.environ.get("LD_LIBRARY_PATH", "").split(":")
    return home is not None and any(
        path.startswith((f"{folder}/", f"{home.rstrip('/')}/")) for path in libraries
    )


_NNAL = "/usr/local/Ascend/nnal/atb"


def _nnal(host: Host) -> Iterator[Diagnosis]:
    """vllm-ascend loads libatb.so, which comes with NNAL."""
    libraries = host.environ.get("LD_LIBRARY_PATH", "")
    if host.machine.vllm_ascend is None or "atb" in libraries or "ATB_HOME_PATH" in host.environ:
        return
    there = host.path(f"{_NNAL}/set_env.sh").exists()
    yield Diagnosis(
        "software.nnal",
        "warning",
        "NNAL is installed, but this process does not see it" if there else "no NNAL is found",
        why="vllm-ascend needs its libatb.so",
        step=f"`source {_NNAL}/set_env.sh`"
        if there
        else f"install the NNAL of this CANN from {pairs.CANN_DOWNLOAD}, then "
        f"`source {_NNAL}/set_env.sh`",
        source="vllm-project/vllm-ascend#152",
    )
