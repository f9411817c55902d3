"""vLLM's processes: their death is named, and they end with their engine and with their owner."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_rerank import EngineDeadError, Reranker, RerankerClosedError
from qwen3_ascend_rerank.engines.vllm.processes import Watchdog
from tests.support.pairs import make_documents

if find_spec("vllm") is None:
    pytest.skip("needs vLLM", allow_module_level=True)

import psutil

from tests.support.processes import ROOT, children, run_script, wait_until

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("ignore"),  # those of vLLM and all that it imports
]
LENGTH = 300


class TestProcesses:
    def test_killed_end_calls_by_name_and_a_new_reranker_works(self) -> None:
        before = children()
        settings: dict[str, Any] = {"engine": "vllm", "max_length": LENGTH}
        with Reranker("lexical", **settings) as reranker:
            reranker.start()
            core, _ = split(children() - before)
            self.assert_death_is_named(reranker, core)
            with Reranker("lexical", **settings) as successor:
                assert successor.score("capital", ["capital", "flour"])[0] > 0.5
                _, workers = split({each for each in children() - before if each != core})
                for worker in workers:  # of which older versions have none on a CPU
                    self.assert_death_is_named(successor, worker)
        assert wait_until(lambda: not children() - before)

    def assert_death_is_named(self, reranker: Reranker, process: Any) -> None:
        process.suspend()  # so that calls are in flight
        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(reranker.score, "query", make_documents(50)) for _ in range(8)]
            assert wait_until(lambda: len(reranker._calls._running) == 8)
            time.sleep(0.5)
            assert not any(call.done() for call in calls)
            process.send_signal(signal.SIGKILL)
            for call in calls:
                with pytest.raises(EngineDeadError, match=r"process of vllm 0.* has died"):
                    call.result(60)
        with pytest.raises(EngineDeadError, match="make a new one"):
            reranker.score("query", ["document"])

    def test_of_a_start_end_with_it(self) -> None:
        before = children()
        reranker = Reranker("lexical", engine="vllm", max_length=LENGTH)
        with ThreadPoolExecutor(1) as pool:
            start = pool.submit(reranker.start)
            assert wait_until(lambda: bool(of_vllm(children() - before)), 120)
            reranker.close()
            with pytest.raises(RerankerClosedError):
                start.result(60)
        assert wait_until(lambda: not children() - before)


def split(processes: set[psutil.Process]) -> tuple[psutil.Process, list[psutil.Process]]:
    """The engine core, a child of this process, and the workers, its children."""
    (core,) = (each for each in of_vllm(processes) if each.ppid() == os.getpid())
    return core, [each for each in of_vllm(processes) if each != core]


def of_vllm(processes: set[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if "watchdog.py" not in str(each.cmdline())]


UNGUARDED = """
import logging
from qwen3_ascend_rerank import Reranker

logger = logging.getLogger(__name__)
with Reranker("lexical", engine="vllm") as reranker:
    reranker.rerank("query", ["document"])
"""

FAILING = """
from qwen3_ascend_rerank import Reranker

if __name__ == "__main__":
    reranker = Reranker("lexical", engine="vllm", max_length=300)
    scores = reranker.score("capital of China", ["Beijing, capital of China", "bread"])
    print("right order:", scores[0] > scores[1])
    raise SystemError("a mistake of the user's own")
"""

IMPATIENT = """
import threading, time
from qwen3_ascend_rerank import Reranker

if __name__ == "__main__":
    reranker = Reranker("lexical", engine="vllm", max_length=300)
    threading.Thread(target=reranker.start, daemon=True).start()
    time.sleep(15)
    print("leaving")
"""


class TestScript:
    def test_without_a_guard_gets_one_error_that_names_it(self, tmp_path: Path) -> None:
        run = run_script(tmp_path / "unguarded.py", UNGUARDED)
        assert run.status == 1
        assert run.printed.count("Traceback") == 1
        assert 'if __name__ == "__main__":' in run.printed.splitlines()[-3]
        assert not run.left

    def test_that_fails_without_closing_leaves_nothing(self, tmp_path: Path) -> None:
        run = run_script(tmp_path / "failing.py", FAILING)
        assert "right order: True" in run.printed
        assert run.status == 1
        assert "a mistake of the user's own" in run.printed
        assert run.printed.count("Traceback") == 1
        assert "leaked" not in run.printed
        assert "deprecated" not in run.printed
        assert not run.left

    @pytest.mark.full
    def test_that_ends_during_the_start_leaves_nothing(self, tmp_path: Path) -> None:
        run = run_script(tmp_path / "impatient.py", IMPATIENT)
        assert "leaving" in run.printed
        assert run.status == 0
        assert not run.left


WAITING = """
import time
from qwen3_ascend_rerank import Reranker

if __name__ == "__main__":
    reranker = Reranker("lexical", engine="vllm", max_length=300)
    reranker.start()
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.full)]
)
def test_an_owner_that_is_killed_leaves_nothing(how: signal.Signals, tmp_path: Path) -> None:
    with start_script(tmp_path / "waiting.py", WAITING) as owner:
        assert owner.stdout is not None
        assert "ready\n" in iter(owner.stdout.readline, "")
        family = psutil.Process(owner.pid).children(recursive=True)
        owner.send_signal(how)
        _, left = psutil.wait_procs(family, timeout=10)
        assert family
        assert not left


@pytest.mark.full
def test_an_owner_that_is_killed_during_the_start_leaves_nothing(tmp_path: Path) -> None:
    with start_script(tmp_path / "waiting.py", WAITING) as owner:
        process = psutil.Process(owner.pid)
        assert wait_until(lambda: "spawn_main" in str(commands(process)), 60)
        time.sleep(0.5)
        family = process.children(recursive=True)
        owner.kill()
        _, left = psutil.wait_procs(family, timeout=10)
        assert not left


def commands(process: psutil.Process) -> list[list[str]]:
    return [child.cmdline() for child in process.children()]


def start_script(file: Path, source: str) -> "subprocess.Popen[str]":
    file.write_text(source, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(file)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


class TestWatchdog:
    @pytest.fixture
    def sleeper(self) -> Iterator[psutil.Process]:
        with subprocess.Popen(["sleep", "60"]) as process:
            yield psutil.Process(process.pid)
            process.kill()

    def test_ends_what_it_watches_when_it_is_closed(self, sleeper: psutil.Process) -> None:
        watchdog = Watchdog()
        watchdog.watch(sleeper.pid)
        assert sleeper.is_running()
        watchdog.close()
        assert wait_until(lambda: not is_alive(sleeper), 30)  # it sleeps for 60

    def test_ends_what_does_not_listen_and_its_children(self, tmp_path: Path) -> None:
        deaf = "trap '' TERM; sleep 61 & echo; wait"
        with subprocess.Popen(["bash", "-c", deaf], stdout=subprocess.PIPE) as shell:
            assert shell.stdout is not None
            shell.stdout.readline()
            family = [process := psutil.Process(shell.pid), *process.children()]
            assert len(family) == 2
            watchdog = Watchdog()
            watchdog.watch(shell.pid)
            watchdog.close()
            assert not any(map(is_alive, family))

    def test_leaves_others_alone(self, sleeper: psutil.Process) -> None:
        watchdog = Watchdog()
        with subprocess.Popen(["true"]) as gone:
            watchdog.watch(gone.pid)
        watchdog.watch(None)
        watchdog.close()
        assert is_alive(sleeper)

    def test_is_not_kept_waiting_by_a_forked_child(self, sleeper: psutil.Process) -> None:
        watchdog = Watchdog()
        watchdog.watch(sleeper.pid)
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        try:
            watchdog.close()
            assert not is_alive(sleeper)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def test_does_not_hear_ctrl_c(self) -> None:
        watchdog = Watchdog()
        assert os.getsid(watchdog._process.pid) != os.getsid(0)
        watchdog.close()

    def test_that_was_killed_harms_nobody(self, sleeper: psutil.Process) -> None:
        watchdog = Watchdog()
        watchdog._process.kill()
        watchdog._process.wait()
        watchdog.watch(sleeper.pid)
        watchdog.close()
        assert is_alive(sleeper)

    def test_that_cannot_start_is_told_of(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise OSError("Resource temporarily unavailable")

        monkeypatch.setattr(subprocess, "Popen", fail)
        watchdog = Watchdog()
        assert "if this process is killed, vLLM's live on" in caplog.text
        watchdog.watch(1)
        watchdog.close()


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
