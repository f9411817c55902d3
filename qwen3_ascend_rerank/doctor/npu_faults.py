"""Why ``npu-smi info`` fails: what it says then, what is behind it, and the way out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from .host import Host

_CONTROL_NODES = ("davinci_manager", "devmm_svm", "hisi_hdc")
"""Device files that every process needs beside the one of its NPU."""


def _no_access(host: Host) -> str:
    """A device file that is there and closed to this user."""
    nodes = [f"/dev/{name}" for name in ("davinci0", *_CONTROL_NODES)]
    closed = (node for node in nodes if host.path(node).exists())
    return next((node for node in closed if not os.access(host.path(node), os.R_OK)), "")


def _missing_nodes(host: Host) -> str:
    missing = [f"/dev/{name}" for name in _CONTROL_NODES if not host.path(f"/dev/{name}").exists()]
    return ", ".join(missing)


@dataclass(frozen=True, slots=True)
class Fault:
    """A way in which ``npu-smi info`` fails."""

    said: str
    """What it prints then."""
    why: str
    step: str
    source: str
    when: Callable[[Host], str] = lambda _: "-"
    """What must hold besides; `{}` in `why` and `step` stands for what it returns."""


_FAULTS = (
    Fault(
        r"-8020|device is used",
        "another container holds the device, which serves one at a time",
        "stop the other container, give this one another `--device /dev/davinciN`, or share it on "
        "the host with `npu-smi set -t device-share -i 0 -d 1`",
        "Ascend/cann-container-image#46",
    ),
    Fault(
        "",
        "this user may not open {}",
        "`sudo usermod -aG HwHiAiUser $USER`, then log in again",
        "CANN installation guide, user of the driver",
        when=_no_access,
    ),
    Fault(
        r"-8005",
        "{} missing here, without which the driver does not answer",
        "in a container add `--device` for each of them and mount `/usr/local/Ascend/driver` and "
        "`/usr/local/dcmi`; on the machine itself install the driver again",
        "vllm-project/vllm-ascend#2698",
        when=_missing_nodes,
    ),
    Fault(
        r"-8005",
        "the driver is not running: it was upgraded without a restart, or another container holds "
        "the device",
        "restart the machine after an upgrade of driver or firmware; in a container stop the other "
        "one or use `docker run --privileged …`",
        "vllm-project/vllm-ascend#2698",
    ),
    Fault(
        r"cannot open shared object|libdrvdsmi|libdcmi",
        "npu-smi does not find the driver's libraries",
        "mount `/usr/local/Ascend/driver` and `/usr/local/dcmi` into the container, and "
        "`export LD_LIBRARY_PATH=/usr/local/Ascend/driver/lib64:$LD_LIBRARY_PATH`",
        "vllm-ascend, installation guide",
    ),
    Fault(
        "",
        "the driver does not answer it",
        "run `npu-smi info` by hand and look at `dmesg`; restart the machine after an upgrade",
        "",
    ),
)
"""The first that fits."""


def explain(host: Host, said: str) -> tuple[Fault, str]:
    """The fault that fits what npu-smi `said`, and what its sentences are about."""
    for fault in _FAULTS[:-1]:
        if re.search(fault.said, said) and (detail := fault.when(host)):
            return fault, detail
    return _FAULTS[-1], ""
