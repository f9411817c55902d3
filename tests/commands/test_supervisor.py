"""The supervisor of replicas, with small processes that stand in for servers, and real ones."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.commands.serve.supervisor import Patience, ServerProcess, Supervisor
from tests.support.processes import group, wait_until
from tests.support.servers import ENVIRONMENT, PROGRAM, free_port

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs the leash that Linux has")

SERVER = """
import os, signal, socket, subprocess, sys, time
port, lives, manner = int(sys.argv[1]), sys.argv[2], sys.argv[3]
if manner == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = socket.create_server(("127.0.0.1", port))
# Another process, as vLLM has them: it holds the output open, and outlives a killed parent.
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
if manner == "orderly":
    def end(*_):
        child.kill()
        sys.exit(0)
    signal.signal(signal.SIGTERM, end)
with open(lives, "a") as file:
    file.write(f"{os.getpid()} {child.pid} ")
print("up", flush=True)
while True:
    server.accept()[0].close()
"""
QUICK = Patience(steady=0.3, failures=3, pause=0.05, longest_pause=0.1, grace=20.0, look=0.02)


class Lives:
    """The processes that stand-ins have started: two a life."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "lives"
        self.file.touch()

    def pids(self) -> list[int]:
        return [int(pid) for pid in self.file.read_text().split()]

    def are(self, count: int) -> bool:
        return len(self.pids()) == 2 * count

    def are_over(self) -> bool:
        return not any(map(is_alive, self.pids()))


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    lives = Lives(tmp_path)
    yield lives
    for pid in filter(is_alive, lives.pids()):
        os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stand_in(number: int, lives: Lives, manner: str = "orderly") -> ServerProcess:
    port = free_port()
    command = [sys.executable, "-c", SERVER, str(port), str(lives.file), manner]
    return ServerProcess(number, command, dict(os.environ), "127.0.0.1", port)


def failing(number: int, code: str) -> ServerProcess:
    command = [sys.executable, "-c", code]
    return ServerProcess(number, command, dict(os.environ), "127.0.0.1", free_port())


def supervised(
    replicas: list[ServerProcess],
    *steps: Callable[[], object],
    patience: Patience = QUICK,
    announcement: str = "",
) -> int | None:
    """Run `replicas` and, one after the other, `steps`, each until it gives something true."""

    async def work() -> int | None:
        running = asyncio.create_task(Supervisor(replicas, announcement, patience).run())
        for step in steps:
            end = asyncio.get_running_loop().time() + 30
            while not step():
                assert asyncio.get_running_loop().time() < end
                await asyncio.sleep(0.02)
        return await running

    return asyncio.run(work())


def send(number: signal.Signals, pid: Callable[[], int] = os.getpid) -> Callable[[], bool]:
    """A step that sends a signal."""

    def step() -> bool:
        os.kill(pid(), number)
        return True

    return step


def after(seconds: float) -> Callable[[], bool]:
    """A step that takes its time."""
    left = [int(seconds / 0.02)]

    def step() -> bool:
        left[0] -= 1
        return left[0] < 0

    return step


def test_one_that_is_killed_starts_again_and_nothing_is_left_of_it(
    lives: Lives, capfd: pytest.CaptureFixture[str]
) -> None:
    replicas = [stand_in(0, lives)]
    ended_by = supervised(
        replicas,
        lambda: lives.are(1),
        send(signal.SIGKILL, lambda: lives.pids()[0]),
        lambda: lives.are(2),
        lambda: not any(map(is_alive, lives.pids()[:2])),
        send(signal.SIGTERM),
    )
    assert ended_by == signal.SIGTERM
    assert lives.are(2)
    assert wait_until(lives.are_over)
    printed = capfd.readouterr().out
    assert printed.count("[0] up\n") == 2
    assert "[0] -- replica 0 ended (SIGKILL); starts again in 0.05 s\n" in printed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_all_end_with_it(lives: Lives, number: signal.Signals) -> None:
    replicas = [stand_in(number, lives) for number in range(3)]
    assert supervised(replicas, lambda: lives.are(3), send(number)) == number
    assert wait_until(lives.are_over)


def test_one_that_does_not_listen_is_killed_in_the_end(lives: Lives) -> None:
    patience = Patience(grace=0.2, look=0.02)
    replicas = [stand_in(0, lives, "deaf")]
    supervised(replicas, lambda: lives.are(1), send(signal.SIGTERM), patience=patience)
    assert wait_until(lives.are_over)


def test_a_second_signal_kills_at_once(lives: Lives) -> None:
    patience = Patience(grace=600, look=0.02)
    replicas = [stand_in(0, lives, "deaf")]
    supervised(
        replicas,
        lambda: lives.are(1),
        send(signal.SIGINT),
        after(0.2),
        send(signal.SIGINT),
        patience=patience,
    )
    assert wait_until(lives.are_over)


def test_one_that_fails_again_and_again_is_given_up(capfd: pytest.CaptureFixture[str]) -> None:
    assert supervised([failing(0, "raise SystemExit('no such card')")]) is None
    printed = capfd.readouterr().out
    assert printed.count("[0] no such card\n") == 3
    assert "starts again in 0.05 s" in printed
    assert "starts again in 0.1 s" in printed
    assert "ended (exit status 1), which makes 3 failures in a row: given up" in printed


def test_a_command_that_is_not_there_is_given_up(capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        supervised([ServerProcess(0, ["/no/such/program"], {}, "127.0.0.1", free_port())]) is None
    )
    printed = capfd.readouterr().out
    assert printed.count("[0] /no/such/program cannot be run: No such file or directory") == 3


def test_the_others_go_on_without_it(lives: Lives, capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []

    def is_given_up() -> bool:
        said.append(capfd.readouterr().out)
        return "given up" in "".join(said)

    replicas = [failing(0, "raise SystemExit(3)"), stand_in(1, lives)]
    ended_by = supervised(
        replicas, lambda: lives.are(1), is_given_up, after(0.2), send(signal.SIGTERM)
    )
    assert ended_by == signal.SIGTERM
    assert lives.are(1)


def test_one_that_has_long_answered_is_no_failure_when_it_dies(lives: Lives) -> None:
    kills = [
        step
        for life in range(3)
        for step in (
            lambda life=life: lives.are(life + 1),
            after(0.6),  # longer than is steady
            send(signal.SIGKILL, lambda: lives.pids()[-2]),
        )
    ]
    ended_by = supervised([stand_in(0, lives)], *kills, lambda: lives.are(4), send(signal.SIGTERM))
    assert ended_by == signal.SIGTERM


def test_what_is_printed_keeps_its_lines(capfd: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys; out = sys.stdout.buffer\n"
        "out.write(b'50%\\r100%\\n\\xff\\n' + b'#' * 200_000 + b'\\nlast'); out.flush()"
    )
    supervised([failing(7, code)], patience=Patience(failures=1))
    out = os.fsdecode(capfd.readouterr().out.encode("utf-8", "surrogateescape"))
    lines = out.splitlines()
    assert lines[:2] == ["[7] 50%", "[7] 100%"]
    assert "[7] last" in lines
    assert out.count("#") == 200_000
    assert all(line.startswith("[7] ") for line in lines)


def test_what_to_do_next_is_said_once_all_answer(
    lives: Lives, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def is_said() -> bool:
        said.append(capfd.readouterr().out)
        return "ready" in "".join(said)

    replicas = [stand_in(0, lives), stand_in(1, lives)]
    supervised(
        replicas,
        is_said,
        send(signal.SIGKILL, lambda: lives.pids()[0]),
        lambda: lives.are(3),
        after(0.2),
        send(signal.SIGTERM),
        announcement="ready    here\nothers   there",
    )
    lines = "".join([*said, capfd.readouterr().out]).splitlines()
    assert lines.count("ready    here") == 1
    place = lines.index("ready    here")
    assert lines[place + 1] == "others   there"
    assert sum("answers on port" in line for line in lines[:place]) == 2


TALKATIVE = f"{SERVER.rpartition('while True')[0]}\nwhile True:\n    print('x' * 10_000)"


def test_it_ends_though_nobody_reads_what_is_printed(lives: Lives) -> None:
    """As behind `| less`, or a log driver that hangs: the pipe is full, and stays so."""
    port = free_port()
    script = f"""
import asyncio, os, sys
from qwen3_ascend_rerank.commands.serve.supervisor import Patience, ServerProcess, Supervisor
command = [sys.executable, "-c", {TALKATIVE!r}, "{port}", {str(lives.file)!r}, "orderly"]
replica = ServerProcess(0, command, dict(os.environ), "127.0.0.1", {port})
asyncio.run(Supervisor([replica], patience=Patience(reading=0.2)).run())
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert wait_until(lambda: lives.are(1), 60)
            (server,) = psutil.Process(process.pid).children()
            before = server.cpu_times().user
            assert wait_until(lambda: server.cpu_times().user > before + 0.3, 60)  # it is not stuck
            process.terminate()
            assert process.wait(30) == 0
            assert wait_until(lives.are_over)
            assert process.stderr is not None
            assert process.stderr.read() == b""
        finally:
            process.kill()


@linux
def test_nothing_is_left_when_it_is_killed_itself(lives: Lives, tmp_path: Path) -> None:
    replica = stand_in(0, lives)
    script = (
        "import asyncio\n"
        "from qwen3_ascend_rerank.commands.serve.supervisor import ServerProcess, Supervisor\n"
        f"replica = ServerProcess(0, {replica.command!r}, {{}}, '127.0.0.1', {replica.port})\n"
        "asyncio.run(Supervisor([replica]).run())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL) as process:
        assert wait_until(lambda: lives.are(1))
        process.kill()
    assert wait_until(lives.are_over)


@pytest.fixture(scope="module")
def ports() -> list[int]:
    first = free_port()
    return [first, first + 1]


@pytest.fixture(scope="module")
def supervisor(
    ports: list[int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[psutil.Popen]:
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [*PROGRAM, "serve", "lexical", "--bare", "--replicas", "2", "--max-length", "400"]
    with log.open("wb") as file:
        process = psutil.Popen(
            [*command, "--port", str(ports[0])],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,
        )
    try:
        assert wait_until(lambda: all(map(answers, ports)), 400), log.read_text()[-4000:]
        yield process
    finally:
        left = [process, *process.children(recursive=True)] if process.is_running() else []
        for each in left:
            each.kill()
        process.wait()


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM")
class TestRealServers:
    """Two replicas of the lexical model."""

    def test_one_is_killed_and_comes_back(
        self, supervisor: psutil.Popen, ports: list[int], lexical: Reranker
    ) -> None:
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        texts = ["Bread needs flour.", "Beijing is the capital of China."]
        right = lexical.score("capital of China", texts)
        with Reranker(base_url=urls, api_key=ENVIRONMENT["VLLM_API_KEY"]) as reranker:
            assert reranker.score("capital of China", texts) == pytest.approx(right, abs=1e-4)
            first = min(supervisor.children(), key=psutil.Process.create_time)
            members = group(first.pid)
            assert len(members) > 1
            first.kill()
            assert wait_until(lambda: not group(first.pid))
            assert reranker.score("capital of China", texts) == pytest.approx(right, abs=1e-4)
            assert wait_until(lambda: all(map(answers, ports)), 400)

    def test_all_end_at_sigterm(self, supervisor: psutil.Popen) -> None:
        leaders = [child.pid for child in supervisor.children()]
        assert len(leaders) == 2
        supervisor.terminate()
        assert supervisor.wait(60) == 0
        assert not any(map(group, leaders))


def answers(port: int) -> bool:
    try:
        return bool(urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200)
    except OSError:
        return False
