"""Real vLLM servers on the loopback, started by `serve --bare`: lexical, with an API key."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psutil
from typing_extensions import Self

from .processes import group, wait_until

API_KEY = "sesame-4f1d"
MODEL = "lexical"
PROGRAM = [sys.executable, "-c", "from qwen3_ascend_rerank.commands import main; main()"]
MAX_MODEL_LEN = 401
START_SECONDS = 240.0
ENVIRONMENT = {
    "VLLM_API_KEY": API_KEY,
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "OMP_NUM_THREADS": "1",
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class VLLMServer:
    """Started as a user would, with `options` of `serve`, those for vLLM after ``--``.

    It keeps its port. With `template`, vLLM is started without `serve`, as others do it: with this
    file as its template, and no gate.
    """

    api_key = API_KEY

    def __init__(
        self, *options: str, max_model_len: int = MAX_MODEL_LEN, template: Path | None = None
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = Path(tempfile.mkstemp(prefix="vllm-server-", suffix=".log")[1])
        self._command = [
            *(*PROGRAM, "serve", MODEL, "--bare", "--port", str(self.port)),
            *("--max-length", str(max_model_len - 1), *options),
        ]
        self._template = template
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it and wait until it answers."""
        command = self._command if self._template is None else self._others(self._template)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **ENVIRONMENT},
                start_new_session=True,
            )
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise AssertionError(f"vLLM did not start: {self._log.read_text()[-4000:]}")
            time.sleep(0.2)
        return self

    def _others(self, template: Path) -> list[str]:
        """vLLM's own command, as `serve` would run it but for its template and its gate."""
        command = [*self._command, "--no-template", "--dry-run"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        words = [word for word in shlex.split(done.stdout) if not word.startswith("VLLM_API_KEY")]
        place = words.index("--middleware")
        return [*words[:place], *words[place + 2 :], "--chat-template", str(template)]

    def printed(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def command_line(self) -> list[str]:
        """What the process list shows of it."""
        assert self._process is not None
        return psutil.Process(self._process.pid).cmdline()

    def kill(self) -> None:
        """End it and its processes as a crash does."""
        self._end(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self._end(signal.SIGTERM)
        self._log.unlink()

    def _end(self, sign: signal.Signals) -> None:
        if self._process is None:
            return
        leader = self._process.pid
        for process in group(leader) if sign is signal.SIGKILL else [self._process]:
            process.send_signal(sign)
        self._process.wait(60)
        wait_until(lambda: not group(leader), 10)
        for process in group(leader):
            process.kill()
        self._process = None

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/health", timeout=5) as response:
                return bool(response.status == 200)
        except (URLError, OSError):
            return False
