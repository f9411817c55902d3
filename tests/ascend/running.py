"""Commands that end, whatever happens: with a time limit, and nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from .pairs import ROOT


class TookTooLongError(Exception):
    """A command was ended, since its time was over."""


@contextmanager
def started(
    command: Sequence[str], environ: dict[str, str], log: Path, printed: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a process group of its own, of which nothing is left afterwards.

    What it prints is appended to `log`; its standard output to `printed`, where that is given.
    """
    with log.open("ab") as errors, (printed or log).open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(command: Sequence[str], environ: dict[str, str], log: Path, seconds: float) -> int:
    """The exit status of a command.

    Raises:
        TookTooLongError: it did not end within `seconds`.
    """
    with started(command, environ, log) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TookTooLongError(f"no end in {seconds:.0f} s") from None
