"""What the tests of the postprocessor share."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.instrumentation.span import SimpleSpan
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode
from llama_index.postprocessor.qwen3_ascend_rerank import Qwen3AscendRerank
from pydantic import Field

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.components.settings import ENVIRONMENT_PREFIX
from qwen3_ascend_rerank.testing import FakeEngine

LOG_ODDS = {"best": 4.0, "good": 0.0, "poor": -4.0}
"""What the fake engine says of a text that holds the word."""


class RecordingEngine(FakeEngine):
    """A fake that also remembers under which instruction it scored."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            lambda _query, text: next((LOG_ODDS[w] for w in LOG_ODDS if w in text), -8.0), **options
        )
        self.instructions: list[str] = []

    async def score(self, batch: Any) -> list[float]:
        self.instructions.append(batch.instruction)
        return await super().score(batch)


class EventRecorder(BaseEventHandler):
    """Keeps every event."""

    events: list[Any] = Field(default_factory=list)

    def handle(self, event: Any, **_kwargs: Any) -> None:
        self.events.append(event)

    def reranks(self) -> list[Any]:
        return [e for e in self.events if isinstance(e, ReRankStartEvent | ReRankEndEvent)]


class SpanRecorder(SimpleSpanHandler):
    """Keeps every span, ended or dropped."""

    def named(self, name: str) -> list[SimpleSpan]:
        spans = [*self.completed_spans, *self.dropped_spans]
        return [span for span in spans if span.id_.startswith(name)]


class LegacyRecorder(BaseCallbackHandler):
    """Keeps what the older callback system says."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.started: list[tuple[CBEventType, dict[Any, Any]]] = []
        self.ended: list[tuple[CBEventType, dict[Any, Any]]] = []

    def on_event_start(self, event_type, payload=None, event_id="", parent_id="", **_kwargs):
        self.started.append((event_type, payload or {}))
        return event_id

    def on_event_end(self, event_type, payload=None, event_id="", **_kwargs):
        self.ended.append((event_type, payload or {}))

    def start_trace(self, trace_id=None):
        pass

    def end_trace(self, trace_id=None, trace_map=None):
        pass


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
def events() -> Iterator[EventRecorder]:
    recorder = EventRecorder()
    root = get_dispatcher()
    root.add_event_handler(recorder)
    yield recorder
    root.event_handlers.remove(recorder)


@pytest.fixture
def spans() -> Iterator[SpanRecorder]:
    recorder = SpanRecorder()
    root = get_dispatcher()
    root.add_span_handler(recorder)
    yield recorder
    root.span_handlers.remove(recorder)


@pytest.fixture
def legacy() -> LegacyRecorder:
    return LegacyRecorder()


@pytest.fixture
def callbacks(legacy: LegacyRecorder) -> CallbackManager:
    return CallbackManager([legacy])


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
    """Make a postprocessor around an engine; its Reranker is closed after the test."""
    made: list[Reranker] = []

    def make(engine: FakeEngine, **fields: Any) -> Qwen3AscendRerank:
        made.append(Reranker(engine))
        return Qwen3AscendRerank(reranker=made[-1], **fields)

    yield make
    for reranker in made:
        reranker.close()


@pytest.fixture
def postprocessor(
    make: Callable[..., Qwen3AscendRerank], engine: RecordingEngine
) -> Qwen3AscendRerank:
    return make(engine)


@pytest.fixture
def nodes() -> list[NodeWithScore]:
    def node(name: str, text: str) -> TextNode:
        return TextNode(
            id_=name,
            text=text,
            metadata={"source": f"{name}.md"},
            embedding=[0.5, 0.5],
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"doc-{name}")},
        )

    return [
        NodeWithScore(node=node("p", "poor answer"), score=0.9),
        NodeWithScore(node=node("b", "best answer"), score=0.1),
        NodeWithScore(node=node("g", "good answer")),
    ]
