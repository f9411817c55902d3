"""The one background loop goes on while a Reranker starts where the tools are slow."""

import asyncio
import threading
import time
from pathlib import Path

import pytest

from qwen3_ascend_rerank import Reranker, SelfcheckError
from qwen3_ascend_rerank.bridge.loop import submit
from qwen3_ascend_rerank.runtime import detect
from qwen3_ascend_rerank.testing import FakeEngine

TOOL = "#!/bin/sh\necho asked >> {log}\nsleep 1\n"
LIMIT = 0.8
"""Seconds by which the loop may be late; a tool takes 1."""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slow tools on a machine with NPUs; a file with a line for each time that one is asked."""
    log = tmp_path / "asked"
    for name in ("npu-smi", "nvidia-smi"):
        tool = tmp_path / name
        tool.write_text(TOOL.format(log=log))
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(detect, "_told", {})
    monkeypatch.setattr(detect, "device_nodes", lambda _, name: 8 * (name == "davinci"))
    monkeypatch.delenv(detect.NPUS_VARIABLE, raising=False)
    return log


class Heartbeat:
    """The longest time for which the loop was held up."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.beating = threading.Event()
        self.enough = False

    async def beat(self) -> None:
        while not self.enough:
            due = time.perf_counter() + 0.005
            await asyncio.sleep(0.005)
            self.longest = max(self.longest, time.perf_counter() - due)
            self.beating.set()


def test_is_not_held_up_by_the_start_of_another(
    asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qwen3_ascend_rerank.engines.EngineSpec.make", lambda _: FakeEngine())
    found = []
    for number in range(3):  # a loop that is really held up is so each time
        detect._told.clear()
        with Reranker("lexical", selfcheck="auto", max_length=4000 + number) as reranker:
            heart = Heartbeat()
            beating = submit(heart.beat())
            assert heart.beating.wait(10)
            with pytest.raises(SelfcheckError):  # a fake one gets so far
                reranker.start()
            heart.enough = True
            beating.result(10)
            found.append(heart.longest)
            assert asked.read_text().count("asked") == number + 1
        if found[-1] < LIMIT:
            return
    pytest.fail(f"held up for {found} seconds")


def test_making_a_reranker_asks_no_tool(asked: Path) -> None:
    for _ in range(3):
        Reranker("some/model").close()
    assert not asked.exists()
