"""Each request for scores is a span of the caller's trace, in which no text stands."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from qwen3_ascend_rerank import Reranker, errors
from qwen3_ascend_rerank.gateway.visits import access_log
from qwen3_ascend_rerank.testing import FakeEngine
from tests.support.gateways import KEY, RunningGateway
from tests.support.processes import wait_until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
ASKED = {"query": "SECRET QUESTION", "documents": ["SECRET TEXT", "SECRET TEXT", "other"]}


@pytest.fixture(scope="module")
def exporter() -> Iterator[InMemorySpanExporter]:
    """Where the spans of this process go while these tests run."""
    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "get_tracer", provider.get_tracer)
        yield found
    provider.shutdown()


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


@pytest.fixture(scope="module")
def traced(exporter: InMemorySpanExporter) -> Iterator[RunningGateway]:
    def judge(query: str, document: str) -> float:
        if query == "fail":
            raise errors.EngineError("gave nan")
        return float(len(document))

    with RunningGateway(Reranker(FakeEngine(judge))) as running:
        yield running


def the_span(spans: InMemorySpanExporter) -> ReadableSpan:
    assert wait_until(lambda: len(spans.get_finished_spans()) == 1, 30)
    (span,) = spans.get_finished_spans()
    return span


def test_continues_the_callers_trace_and_says_what_it_took(
    traced: RunningGateway, spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, access_log.name)
    answer = traced.post("/v1/rerank", ASKED, **CALLER)
    assert answer.status_code == 200
    span = the_span(spans)
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert (span.name, span.kind) == ("POST /rerank", trace.SpanKind.SERVER)
    said = dict(span.attributes or {})
    assert said["http.response.status_code"] == 200
    assert said["url.path"] == "/v1/rerank"
    assert said["qwen3_rerank.request_id"] == answer.headers["x-request-id"]
    assert said["qwen3_rerank.form"] == "jina"
    counts = [said[f"qwen3_rerank.{name}"] for name in ("pairs_scored", "pairs_reused")]
    assert counts == [2, 1]
    assert said["qwen3_rerank.prompt_tokens"] == answer.json()["usage"]["prompt_tokens"]
    assert "SECRET" not in span.to_json()
    assert KEY not in span.to_json()

    def logged() -> list[str]:
        lines = [one.message for one in caplog.records if one.name == access_log.name]
        return [json.loads(line)["trace"] for line in lines]

    assert wait_until(lambda: logged() == [TRACE], 30)


def test_begins_one_where_the_caller_has_none(
    traced: RunningGateway, spans: InMemorySpanExporter
) -> None:
    traced.post("/rerank", {"query": "a", "texts": ["b"]})
    span = the_span(spans)
    assert span.parent is None
    assert (span.attributes or {})["qwen3_rerank.form"] == "tei"


@pytest.mark.parametrize(
    ("headers", "body", "status", "kind", "code"),
    [
        ({}, {**ASKED, "top_n": -1}, 400, "BadRequestError", trace.StatusCode.UNSET),
        ({"Authorization": "Bearer no"}, ASKED, 401, "AuthenticationError", trace.StatusCode.UNSET),
        ({}, {**ASKED, "query": "fail"}, 502, "EngineError", trace.StatusCode.ERROR),
    ],
)
def test_says_why_there_is_no_score(
    traced: RunningGateway,
    spans: InMemorySpanExporter,
    headers: dict[str, str],
    body: Any,
    status: int,
    kind: str,
    code: trace.StatusCode,
) -> None:
    assert traced.post("/v1/rerank", body, **CALLER, **headers).status_code == status
    span = the_span(spans)
    said = span.attributes or {}
    assert (said["http.response.status_code"], said["error.type"]) == (status, kind)
    assert span.status.status_code == code


def test_is_there_for_requests_for_scores_alone(
    traced: RunningGateway, spans: InMemorySpanExporter
) -> None:
    for path in ("/health", "/metrics", "/v1/models", "/page/main.js", "/nothing"):
        traced.client.get(path)
    traced.post("/score", {"text_1": "a", "text_2": "b"})
    assert the_span(spans).name == "POST /score"


def test_is_not_there_without_opentelemetry() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from qwen3_ascend_rerank.gateway.tracing import traced\n"
        "def app(): pass\n"
        "assert traced(app) is app"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
