"""What Prometheus reads at ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ..protocol import EngineInfo
from ..results import Usage

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "qwen3_rerank_"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_COUNTED = {
    "prompt_tokens": "Tokens of the prompts that were scored.",
    "pairs_scored": "Pairs of a query and a document that the engine scored.",
    "pairs_reused": "Pairs answered without the engine.",
    "passages_scored": "Passages of long documents that the engine scored.",
    "documents_truncated": "Documents of which the model saw only the beginning.",
    "texts_defused": "Texts in which a control token's spelling was broken up.",
}
"""Fields of `Usage`, and what they count."""


class Metrics:
    """Counts of one application, in a registry of its own."""

    def __init__(
        self,
        inside: Callable[[], int],
        ready: Callable[[], bool],
        info: Callable[[], EngineInfo | None],
    ) -> None:
        """Nothing is counted yet.

        Args:
            inside: says how many requests are inside.
            ready: says whether the engine can be asked.
            info: says what runs at this moment.
        """

        def replicas_up() -> int:
            runs = info()
            return runs.replicas_up if runs and ready() else 0

        def replicas() -> int:
            runs = info()
            return runs.replicas if runs else 0

        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            f"{_PREFIX}requests", "Requests.", ["form", "status"], registry=registry
        )
        self._seconds = Histogram(
            f"{_PREFIX}request_seconds",
            "From a request to its answer.",
            ["form"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._usage = {
            name: Counter(_PREFIX + name, said, registry=registry)
            for name, said in _COUNTED.items()
        }
        for name, said, value in (
            ("requests_inside", "Requests that wait or are being scored.", inside),
            ("ready", "Whether the engine has proven itself and can be asked.", ready),
            ("replicas", "Servers behind the gateway; 1: an engine in its process.", replicas),
            ("replicas_up", "Those of them that take work.", replicas_up),
        ):
            Gauge(_PREFIX + name, said, registry=registry).set_function(value)

    def count(self, form: str, status: int, seconds: float, usage: Usage | None) -> None:
        """Count one request."""
        self._requests.labels(form, str(status)).inc()
        self._seconds.labels(form).observe(seconds)
        for name, counter in self._usage.items() if usage else ():
            counter.inc(getattr(usage, name))

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return bytes(generate_latest(self._registry))
