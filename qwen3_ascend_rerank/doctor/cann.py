"""CANN and NNAL: whether they are installed, and whether this process sees them."""

from __future__ import annotations

from collections.abc import Iterator

from ..runtime.detect import CANN_HOMES, find_cann
from . import pairs
from .diagnosis import Diagnosis
from .host import Host

GUIDE = "vllm-ascend, installation guide"


def examine(host: Host) -> Iterator[Diagnosis]:
    """Both, where there is an NPU."""
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
            step=f"`source {_set_env(host, folder)}` before starting, or in your shell's profile",
            source=GUIDE,
        )
    yield from _nnal(host)


def _is_in_use(host: Host, folder: str) -> bool:
    """Whether ``set_env.sh`` has been run: it sets the home and the library path together."""
    home = host.environ.get(CANN_HOMES[0])
    libraries = host.environ.get("LD_LIBRARY_PATH", "").split(":")
    return home is not None and any(
        path.startswith((f"{folder}/", f"{home.rstrip('/')}/")) for path in libraries
    )


def _set_env(host: Host, folder: str) -> str:
    beside = f"{folder.rpartition('/')[0]}/set_env.sh"  # of ascend-toolkit/latest
    own = f"{folder}/set_env.sh"
    return beside if host.path(beside).exists() and not host.path(own).exists() else own


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
