"""Keeps several servers running: restarts one that dies, and ends all of them with itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...serving.ready import answering
from .printing import Printer

_LEASH = Path(__file__).with_name("leash.py")
_LINE_END = re.compile(rb"\r\n|\n|\r")  # a progress bar ends its lines with a carriage return
_LONGEST_LINE = 2**16
_CHUNK = 2**16
_STANDARD_OUTPUT = 1


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """One server."""

    number: int
    """What it is called in messages."""
    command: Sequence[str]
    environment: Mapping[str, str]
    """All of its environment."""
    host: str
    """Where it can be reached from this machine."""
    port: int


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what; in seconds unless it says otherwise."""

    steady: float = 60.0
    """A server that has answered for so long is no failure when it dies."""
    failures: int = 3
    """How many failures in a row make it be given up."""
    pause: float = 2.0
    """Before the restart after a first failure; twice as long after each further one."""
    longest_pause: float = 30.0
    grace: float = 20.0
    """From the wish to end to the kill."""
    look: float = 0.5
    """Between two looks whether it answers."""
    reading: float = 2.0
    """In the end, for whoever reads what was printed."""


class Supervisor:
    """Runs replicas until it is told to end by SIGINT or SIGTERM, or all of them are given up.

    What they print goes to standard output, each line with the replica's number before it.
    """

    def __init__(
        self,
        replicas: Sequence[ServerProcess],
        announcement: str = "",
        patience: Patience | None = None,
    ) -> None:
        """Nothing is started yet.

        Args:
            replicas: what to run.
            announcement: what to say once all of them answer.
            patience: how long to wait for what.
        """
        self._replicas = replicas
        self._announcement = announcement
        self._patience = patience or Patience()
        self._silent = {replica.number for replica in replicas}
        self._output = Printer(_STANDARD_OUTPUT)
        self._running: set[Process] = set()
        self._received: int | None = None

    async def run(self) -> int | None:
        """Run them; returns the signal that ended them, None if they were given up."""
        keeping = asyncio.create_task(self.keep())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number, keeping)
        try:
            await keeping
        except asyncio.CancelledError:
            if self._received is None:
                raise
        return self._received

    async def keep(self) -> None:
        """Run them until all are given up; cancelling it ends them."""
        keepers = [asyncio.create_task(self._keep(replica)) for replica in self._replicas]
        try:
            ended, _ = await asyncio.wait(keepers, return_when=asyncio.FIRST_EXCEPTION)
            for keeper in ended:
                keeper.result()
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            self._output.close(self._patience.reading)

    def _stop(self, number: int, keeping: asyncio.Task[None]) -> None:
        if self._received is not None:  # asked twice: at once
            for process in self._running:
                _kill(process)
            return
        self._received = number
        keeping.cancel()

    async def _keep(self, replica: ServerProcess) -> None:
        """Live after live, until there were too many failures in a row."""
        failures, patience = 0, self._patience
        while True:
            status, served = await self._live(replica)
            failures = 1 if served >= patience.steady else failures + 1
            if failures == patience.failures:
                break
            pause = min(patience.pause * 2 ** (failures - 1), patience.longest_pause)
            self._say(replica, f"ended ({_described(status)}); starts again in {pause:g} s")
            await asyncio.sleep(pause)
        self._say(
            replica,
            f"ended ({_described(status)}), which makes {failures} failures in a row: given up; "
            "its output above names the cause",
        )

    async def _live(self, replica: ServerProcess) -> tuple[int, float]:
        """One life of a server; returns its exit status, and for how many seconds it answered."""
        process, printed = await _start(replica)
        self._running.add(process)
        output = asyncio.create_task(self._relay(printed, replica))
        answer = asyncio.create_task(self._first_answer(replica))
        try:
            status = await process.wait()
        finally:
            answer.cancel()
            await _end(process, self._patience.grace)
            self._running.discard(process)
            await output  # ends, since nothing is left that could print
        ended = asyncio.get_running_loop().time()
        answered = answer.done() and not answer.cancelled()
        return status, ended - answer.result() if answered else 0.0

    async def _first_answer(self, replica: ServerProcess) -> float:
        """Wait until the server takes connections; returns when that was."""
        await answering(replica.host, replica.port, self._patience.look)
        self._say(replica, f"answers on port {replica.port}")
        if self._silent:
            self._silent.discard(replica.number)
            if not self._silent:
                self._output.print([line.encode() for line in self._announcement.splitlines()])
        return asyncio.get_running_loop().time()

    async def _relay(self, printed: asyncio.StreamReader, replica: ServerProcess) -> None:
        """Print what a server prints, line by line."""
        rest = b""
        while chunk := await printed.read(_CHUNK):
            *lines, rest = _LINE_END.split(rest + chunk)
            if len(rest) > _LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            self._print(replica, lines)
        self._print(replica, [rest])

    def _say(self, replica: ServerProcess, message: str) -> None:
        self._print(replica, [f"-- replica {replica.number} {message}".encode()])

    def _print(self, replica: ServerProcess, lines: Sequence[bytes]) -> None:
        prefix = f"[{replica.number}] ".encode()
        self._output.print([prefix + line for line in lines if line])


async def _start(replica: ServerProcess) -> tuple[Process, asyncio.StreamReader]:
    """Start a server; what it prints is to be read."""
    read, write = os.pipe()
    printed = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(printed), os.fdopen(read, "rb")
    )
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(_LEASH), str(os.getpid())),
            *replica.command,
            env=dict(replica.environment),
            stdin=DEVNULL,
            stdout=write,  # not asyncio's own pipe: that has its wait() wait for grandchildren too
            stderr=write,
            start_new_session=True,  # so that Ctrl-C reaches the supervisor alone
        )
    finally:
        os.close(write)
    return process, printed


async def _end(process: Process, grace: float) -> None:
    """End a server, if it is there, and kill what is left of what it started."""
    if process.returncode is None:
        process.terminate()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), grace)
    _kill(process)
    await process.wait()


def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _described(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"
