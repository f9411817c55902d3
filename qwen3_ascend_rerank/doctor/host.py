"""What the examination looks at: one machine, its tools' answers and this process's environment."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..runtime.detect import (
    NPU_SMI,
    NPUS_VARIABLE,
    Answer,
    Machine,
    ask_command,
    detect,
    device_nodes,
    package_version,
)
from ..runtime.npu_smi import Chip, parse
from ..runtime.torch_npu import AUTOLOAD

Ask = Callable[[Sequence[str]], Answer]

IMPORT_TORCH_NPU = (
    sys.executable,
    "-c",
    f"import os; os.environ['{AUTOLOAD}'] = '0'; import torch, torch_npu",
)
IMPORT_SECONDS = 60.0
"""How long that may take."""


@dataclass(frozen=True, slots=True)
class Host:
    """A machine as it was found."""

    root: Path
    """Folder that stands for the file system's root."""
    environ: Mapping[str, str]
    packages: Sequence[str] | None
    """Folders of installed packages; None: those of this process."""
    python: str
    machine: Machine
    nodes: int
    """How many NPUs have a device file here, visible to this process or not."""
    npu_smi: Answer
    """What came of ``npu-smi info``."""
    chips: tuple[Chip, ...]
    """What it printed, in the order in which devices are numbered."""
    torch_npu: Answer | None = None
    """What came of an import of torch_npu; None where it is not installed."""

    def path(self, name: str) -> Path:
        """A path of this machine."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str:
        """A file's text; empty where it cannot be read."""
        try:
            return self.path(name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def has_package(self, name: str) -> bool:
        """Whether the distribution `name` is installed."""
        return package_version(name, self.packages) is not None

    @property
    def visible(self) -> list[int]:
        """The numbers of the chips that this process may use."""
        shown = self.environ.get(NPUS_VARIABLE)
        if shown is None:
            return list(range(len(self.chips)))
        numbers = []
        for entry in shown.split(","):
            if not entry.strip().isdecimal() or int(entry) >= len(self.chips):
                break  # the list counts up to its first invalid entry
            numbers.append(int(entry))
        return numbers


def patiently(command: Sequence[str]) -> Answer:
    """Run a command of the examination."""
    patience = {"seconds": IMPORT_SECONDS} if command == IMPORT_TORCH_NPU else {}
    return ask_command(command, **patience)


def look(
    *,
    root: Path = Path("/"),
    environ: Mapping[str, str] | None = None,
    ask: Ask = patiently,
    packages: Sequence[str] | None = None,
    python: str | None = None,
) -> Host:
    """Look at this machine; imports neither torch nor vLLM, and takes a second or two.

    Where torch_npu is installed, a process of its own tries to import it, which takes longer.

    Args:
        root: folder that stands for the file system's root.
        environ: environment variables; those of this process.
        ask: runs a command.
        packages: folders of installed packages; ``sys.path``.
        python: version of Python; that of this process.
    """
    environ = dict(os.environ) if environ is None else environ
    answers: dict[tuple[str, ...], Answer] = {}

    def ask_once(command: Sequence[str]) -> Answer:
        if tuple(command) not in answers:
            answers[tuple(command)] = ask(command)
        return answers[tuple(command)]

    def run(command: Sequence[str]) -> str | None:
        answer = ask_once(command)
        return answer.printed if answer.outcome == "done" else None

    answer = ask_once(NPU_SMI)
    machine = detect(root=root, environ=environ, run=run, packages=packages)
    return Host(
        root=root,
        environ=environ,
        packages=packages,
        python=python or platform.python_version().rstrip("+"),  # which a build from git has
        machine=machine,
        nodes=device_nodes(root, "davinci"),
        npu_smi=answer,
        chips=parse(answer.printed).chips if answer.outcome == "done" else (),
        torch_npu=ask_once(IMPORT_TORCH_NPU) if machine.torch_npu else None,
    )
