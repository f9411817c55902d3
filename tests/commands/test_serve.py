"""`qwen3-rerank serve`: what it refuses, what it prints, and the supervisor of several servers."""

import asyncio
import os
import signal
import socket
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qwen3_ascend_rerank.commands.program import app
from qwen3_ascend_rerank.commands.serve.address import check_free, is_loopback, near, url
from qwen3_ascend_rerank.commands.serve.secret import find_key
from qwen3_ascend_rerank.commands.serve.supervisor import Patience, Replica, Supervisor
from qwen3_ascend_rerank.commands.serve.view import shell_line
from qwen3_ascend_rerank.errors import InvalidInputError

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM")
SECRET = "sesame-open-7"


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["serve", *arguments], env=environment)
    return done.exit_code, done.output


class TestDryRun:
    @needs_vllm
    def test_prints_a_command_and_no_secret(self) -> None:
        status, printed = run("lexical", "--dry-run", VLLM_API_KEY=SECRET)
        assert status == 0
        assert "--runner pooling" in printed
        assert '$VLLM_API_KEY"' in printed
        assert SECRET not in printed
        assert 'Reranker(base_url="http://127.0.0.1:8000", api_key=…)' in printed

    @needs_vllm
    def test_gives_replicas_a_port_each(self) -> None:
        status, printed = run("lexical", "--dry-run", "--replicas", "2", "--port", "9000")
        assert status == 0
        assert "--port 9000" in printed
        assert "--port 9001" in printed

    @needs_vllm
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--", "--api-key", SECRET], "list of processes"),
            (["--", "--max-model-len", "many"], "vLLM does not take this"),
            (["--replicas", "500"], "need 500 cores"),
            (["--template", "--", "--chat-template", "x"], "exclude each other"),
        ],
    )
    def test_refuses_what_contradicts(self, options: list[str], message: str) -> None:
        status, printed = run("lexical", "--dry-run", *options)
        assert status == 1
        assert message in " ".join(printed.split())
        assert SECRET not in printed

    def test_a_model_that_is_not_there_is_named(self) -> None:
        status, printed = run("./no/such/folder", "--dry-run")
        assert status == 1
        assert "no/such/folder" in printed or "needs vLLM" in printed


class TestAddresses:
    def test_a_port_in_use_is_named(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(InvalidInputError, match=f"port {port} of 127.0.0.1"):
                check_free("127.0.0.1", port, 1)

    def test_ports_beyond_the_last_are_refused(self) -> None:
        with pytest.raises(InvalidInputError, match="beyond 65535"):
            check_free("127.0.0.1", 65535, 2)

    @pytest.mark.parametrize(
        ("host", "loopback", "reached"),
        [
            ("127.0.0.1", True, "127.0.0.1"),
            ("localhost", True, "localhost"),
            ("::1", True, "::1"),
            ("0.0.0.0", False, "127.0.0.1"),
            ("10.0.0.5", False, "10.0.0.5"),
        ],
    )
    def test_are_told_apart(self, host: str, loopback: bool, reached: str) -> None:
        assert is_loopback(host) is loopback
        assert near(host) == reached

    def test_a_client_is_given_one_that_it_can_use(self) -> None:
        assert url("::1", 80) == "http://[::1]:80"
        assert url("0.0.0.0", 80) == f"http://{socket.gethostname()}:80"


class TestTheKey:
    def test_comes_from_a_file_before_the_environment(self, tmp_path: Path) -> None:
        file = tmp_path / "the key"
        file.write_text(f"{SECRET}\n")
        key = find_key(file, {"VLLM_API_KEY": "other"})
        assert key is not None
        assert key.value == SECRET
        assert SECRET not in repr(key)
        assert SECRET not in shell_line(["x"], {}, key)

    def test_may_be_absent(self) -> None:
        assert find_key(None, {"VLLM_API_KEY": " "}) is None

    @pytest.mark.parametrize("content", [b"", b"two\nlines", b"\xff\xfe"])
    def test_must_be_alone_in_its_file(self, content: bytes, tmp_path: Path) -> None:
        file = tmp_path / "key"
        file.write_bytes(content)
        with pytest.raises(InvalidInputError, match="API key file"):
            find_key(file, {})


QUICK = Patience(steady=0.5, failures=2, pause=0.05, longest_pause=0.1, grace=2.0, look=0.02)
LISTENS = """
import os, signal, socket, subprocess, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[2], "a").write(f"{os.getpid()} {child.pid}\\n")
print("up", flush=True)
while True:
    server.accept()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def replica(number: int, command: list[str], port: int = 1) -> Replica:
    return Replica(number, command, dict(os.environ), "127.0.0.1", port)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def until(happens: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not happens():  # type: ignore[operator]
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
class TestTheSupervisor:
    def test_restarts_what_dies_and_ends_all_with_itself(self, tmp_path: Path) -> None:
        lives = tmp_path / "lives"
        lives.touch()
        commands = [[sys.executable, "-c", LISTENS], [sys.executable, "-c", LISTENS]]
        ports = [free_port(), free_port()]
        replicas = [
            replica(number, [*command, str(port), str(lives)], port)
            for number, (command, port) in enumerate(zip(commands, ports, strict=True))
        ]

        def pids() -> list[int]:
            return [int(pid) for pid in lives.read_text().split()]

        async def work() -> int | None:
            running = asyncio.create_task(Supervisor(replicas, QUICK).run())
            await until(lambda: len(pids()) == 4)
            await asyncio.sleep(0.7)  # it has been steady
            os.kill(pids()[0], signal.SIGKILL)
            await until(lambda: len(pids()) == 6)
            os.kill(os.getpid(), signal.SIGTERM)
            return await running

        assert asyncio.run(work()) == signal.SIGTERM
        assert len(pids()) == 6
        assert not any(map(is_alive, pids()))

    def test_gives_up_what_fails_again_and_again(self, capfdbinary: object) -> None:
        replicas = [
            replica(0, [sys.executable, "-c", "print('why', flush=True); raise SystemExit(3)"])
        ]
        assert asyncio.run(Supervisor(replicas, QUICK).run()) is None
        printed = capfdbinary.readouterr().out.decode()  # type: ignore[attr-defined]
        assert printed.count("[0] why") == 2
        assert "ended (exit status 3), which makes 2 failures in a row: given up" in printed

    def test_leaves_nothing_when_it_is_killed_itself(self, tmp_path: Path) -> None:
        lives = tmp_path / "lives"
        lives.touch()
        port = free_port()
        script = (
            "import asyncio, sys\n"
            "from qwen3_ascend_rerank.commands.serve.supervisor import Replica, Supervisor\n"
            f"command = [sys.executable, '-c', {LISTENS!r}, '{port}', {str(lives)!r}]\n"
            f"replica = Replica(0, command, {{}}, '127.0.0.1', {port})\n"
            "asyncio.run(Supervisor([replica]).run())\n"
        )

        async def work() -> int:
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
            await until(lambda: len(lives.read_text().split()) == 2)
            server = int(lives.read_text().split()[0])
            process.kill()
            await process.wait()
            await until(lambda: not is_alive(server))
            return int(lives.read_text().split()[1])

        grandchild = asyncio.run(work())
        os.kill(grandchild, signal.SIGKILL)  # a server ends its own, which this one does not


@needs_vllm
@pytest.mark.full
def test_a_real_server_answers_and_ends_at_sigterm(tmp_path: Path) -> None:
    import subprocess
    from urllib.request import urlopen

    from tests.support.processes import group, wait_until

    port = free_port()
    command = [Path(sys.executable).with_name("qwen3-rerank"), "serve", "lexical"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--max-length", "400"],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def answers() -> bool:
        assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
        try:
            return bool(urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200)
        except OSError:
            return False

    try:
        assert wait_until(answers, 240)
        process.terminate()
        process.wait(60)
        assert wait_until(lambda: not group(process.pid), 20)
    finally:
        for left in group(process.pid):
            left.kill()
