"""A span of OpenTelemetry for each request for scores, where its API is installed.

The span continues the caller's trace. No text, key or header is in it. Whoever starts the program
says where spans go: ``opentelemetry-instrument qwen3-rerank serve MODEL``, and OTEL_* variables.
"""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers

from .forms import form_of, place_of
from .visits import App, Message, Receive, Send, Visit

_PREFIX = "qwen3_rerank."
_USED = (
    *("prompt_tokens", "pairs_scored", "pairs_reused", "passages_scored", "documents_truncated"),
    "texts_defused",
)
"""Fields of `Usage` that a span has."""


def traced(app: App) -> App:
    """`app`, with a span around each request for scores; itself where there is no OpenTelemetry."""
    try:
        from opentelemetry import propagate, trace
    except ModuleNotFoundError:
        return app
    tracer = trace.get_tracer(__package__)

    async def with_span(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or form_of(scope["path"], {}) is None:
            await app(scope, receive, send)
            return
        visit: Visit = scope["visit"]
        route = f"/{place_of(scope['path']).route}"
        with tracer.start_as_current_span(
            f"{visit.method} {route}",
            context=propagate.extract(Headers(scope=scope)),
            kind=trace.SpanKind.SERVER,
            attributes={
                "http.request.method": visit.method,
                "http.route": route,
                "url.path": visit.path,
                "url.scheme": scope["scheme"],
                f"{_PREFIX}request_id": visit.id,
            },
        ) as span:
            if span.get_span_context().is_valid:
                visit.trace = trace.format_trace_id(span.get_span_context().trace_id)
            await app(scope, receive, send)
            span.set_attributes(_outcome(visit))
            if visit.status >= 500:
                span.set_status(trace.StatusCode.ERROR, visit.refused)

    return with_span


def _outcome(visit: Visit) -> dict[str, Any]:
    said: dict[str, Any] = {"http.response.status_code": visit.status}
    if visit.form:
        said[f"{_PREFIX}form"] = visit.form
    if visit.refused:
        said["error.type"] = visit.refused
    if visit.usage:
        said |= {_PREFIX + name: getattr(visit.usage, name) for name in _USED}
    return said
