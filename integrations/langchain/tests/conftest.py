"""What the unit and the integration tests share."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.tracers import BaseTracer
from langchain_core.tracers.schemas import Run
from langchain_qwen3_ascend_rerank import Qwen3AscendRerank

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.components.settings import ENVIRONMENT_PREFIX
from qwen3_ascend_rerank.testing import FakeEngine

LOG_ODDS = {"best": 4.0, "good": 0.0, "poor": -4.0}
"""What the fake engine says of a document that holds the word."""


class RecordingEngine(FakeEngine):
    """A fake that also remembers under which instruction it scored."""

    def __init__(self, **options: Any) -> None:
        super().__init__(lambda _query, text: LOG_ODDS.get(text.split(" ")[0], -8.0), **options)
        self.instructions: list[str] = []

    async def score(self, batch: Any) -> list[float]:
        self.instructions.append(batch.instruction)
        return await super().score(batch)


class RecordingTracer(BaseTracer):
    """Keeps every root run that ended."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.roots.append(run)

    def all_runs(self) -> list[Run]:
        runs = list(self.roots)
        for run in runs:
            runs.extend(run.child_runs)
        return runs

    def reranks(self) -> list[Run]:
        return [run for run in self.all_runs() if run.name == "Qwen3AscendRerank"]


@pytest.fixture(scope="session")
def loaded() -> Iterator[None]:
    """The lexical model, loaded once: whoever asks for it later shares this engine."""
    with Reranker("lexical") as reranker:
        reranker.start()
        yield


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(ENVIRONMENT_PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def tracer() -> RecordingTracer:
    return RecordingTracer()


@pytest.fixture
def closed_url() -> str:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def engine() -> RecordingEngine:
    return RecordingEngine()


@pytest.fixture
def make_engine() -> type[RecordingEngine]:
    return RecordingEngine


@pytest.fixture
def make() -> Iterator[Callable[..., Qwen3AscendRerank]]:
    """Make a compressor around an engine; its Reranker is closed after the test."""
    made: list[Reranker] = []

    def make(engine: FakeEngine, **fields: Any) -> Qwen3AscendRerank:
        made.append(Reranker(engine))
        return Qwen3AscendRerank(reranker=made[-1], **fields)

    yield make
    for reranker in made:
        reranker.close()


@pytest.fixture
def compressor(
    make: Callable[..., Qwen3AscendRerank], engine: RecordingEngine
) -> Qwen3AscendRerank:
    return make(engine)


@pytest.fixture
def documents() -> list[Document]:
    return [
        Document("poor answer", id="p", metadata={"source": "a.md", "score": 9.5}),
        Document("best answer", id="b", metadata={"source": "b.md", "relevance_score": 0.25}),
        Document("good answer", id="g", metadata={"source": "c.md", "tags": ["x"]}),
    ]
