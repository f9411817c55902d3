"""Commands, as in a terminal, and servers that end with the notebook."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

import httpx
import qwen3_ascend_rerank

BINARIES = Path(sys.prefix, "bin")
COLUMNS = 96
"""Width of the terminal that commands are told of."""


def run(command: str, **environment: str) -> None:
    """Run `command`, and print it with what it says; folders of this machine are shortened."""
    done = subprocess.run(  # noqa: S603
        shlex.split(command),
        env=_environment(environment),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    given = "".join(f"{name}={value} " for name, value in environment.items())
    print(f"$ {given}{command}")
    print(_shortened(done.stdout))


class Servers:
    """`qwen3-rerank serve --bare` in the background."""

    def __init__(self, command: str, urls: Sequence[str], seconds: float = 300) -> None:
        """Start `command`, and wait until each of `urls` answers.

        Raises:
            RuntimeError: it ended, or took longer; with the end of what it wrote.
        """
        self._log = TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - for as long as the servers run
        self._process = subprocess.Popen(  # noqa: S603
            shlex.split(command),
            env=_environment({}),
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + seconds
        while not all(map(_healthy, urls)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                end = self._end_of_log()
                self.stop()
                raise RuntimeError(f"no server at {urls}:\n{end}")
            time.sleep(0.5)

    def stop(self) -> None:
        """End the servers, and wait until they are gone."""
        self._process.terminate()
        self._process.wait(60)
        self._log.close()

    def _end_of_log(self) -> str:
        self._log.seek(0)
        return self._log.read()[-2000:]


def free_ports(count: int) -> int:
    """The first of `count` neighbouring ports that are free."""
    for port in range(8100, 9000, count):
        if all(_free(port + place) for place in range(count)):
            return port
    raise RuntimeError(f"no {count} neighbouring ports are free")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False


def _environment(more: dict[str, str]) -> dict[str, str]:
    # A kernel asks for colour, which here would also bring progress bars.
    kept = {name: value for name, value in os.environ.items() if "COLOR" not in name}
    path = os.pathsep.join([str(BINARIES), kept.get("PATH", "")])
    return {**kept, "PATH": path, "COLUMNS": str(COLUMNS), "TERM": "dumb", **more}


def _shortened(output: str) -> str:
    package = str(Path(qwen3_ascend_rerank.__file__).parents[1])
    known = {sys.prefix: "…", os.path.realpath(sys.prefix): "…", package: "…"}
    known[str(Path.home())] = "~"
    for folder, name in known.items():
        output = output.replace(folder, name)
    return "\n".join(line.rstrip() for line in output.splitlines())
