"""A server's faults end in another try and right scores, or in an error that names them."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import psutil
import pytest

from qwen3_ascend_rerank import (
    AuthenticationError,
    EngineError,
    ModelNotFoundError,
    Reranker,
    RerankError,
    RerankTimeoutError,
    ServerUnavailableError,
)
from tests.support import faults
from tests.support.dialects import VLLM
from tests.support.faults import (
    Fault,
    body,
    broken,
    declared,
    edited,
    indexed,
    page,
    scored,
    status,
)
from tests.support.served import LIMIT, cases, client, found, is_right
from tests.support.stand_in import FOR_EVER, StandIn


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn(VLLM()) as stand_in:
        yield stand_in


@pytest.fixture
def reranker(server: StandIn) -> Iterator[Reranker]:
    """Started, so that what goes wrong goes wrong in a call."""
    with client(server) as reranker:
        reranker.start()
        server.requests.clear()
        yield reranker


def failure(reranker: Reranker, limit: float = LIMIT) -> RerankError:
    """The error in which a call ends, in time."""
    began = time.monotonic()
    with pytest.raises(RerankError) as caught:
        found(reranker)
    assert time.monotonic() - began < limit
    return caught.value


def in_a_second() -> str:
    return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=1), usegmt=True)


PASSING: dict[str, Fault] = {
    "slow": faults.slow(0.2),
    "byte by byte": faults.dripping(0.0002),
    "compressed": faults.compressed,
    "closed at once": broken("nothing", "close"),
    "closed after the head": broken("head", "close"),
    "closed in the body": broken("half", "close"),
    "reset at once": broken("nothing", "reset"),
    "reset after the head": broken("head", "reset"),
    "reset in the body": broken("half", "reset"),
    "silent": broken("nothing", "stall"),
    "stalled after the head": broken("head", "stall"),
    "stalled in the body": broken("half", "stall"),
    "shorter than declared": declared(5),
    "500": status(500),
    "502 of a proxy": page(502),
    "503": status(503),
    "503 of a proxy": page(503),
    "504": status(504),
    "429": status(429),
    "429, try again at once": status(429, retry_after="0"),
    "429, try again in a second": status(429, retry_after="1"),
    "429, at a time of day": status(429, retry_after=in_a_second()),
    "429, before yesterday": status(429, retry_after="Sat, 01 Jan 2000 00:00:00 GMT"),
    "429, at no time": status(429, retry_after="soon"),
    "429, in negative time": status(429, retry_after="-3"),
}
"""What may happen to any server, and passes."""


@pytest.mark.parametrize(
    "fault",
    cases(
        PASSING,
        *("slow", "byte by byte", "compressed", "closed at once", "reset in the body"),
        *("stalled in the body", "shorter than declared", "500", "502 of a proxy"),
        *("429", "429, at a time of day", "429, at no time", "429, in negative time"),
    ),
)
def test_what_passes_is_tried_again(reranker: Reranker, server: StandIn, fault: Fault) -> None:
    server.misbehave(fault)
    began = time.monotonic()
    assert is_right(found(reranker))
    assert time.monotonic() - began < LIMIT


@pytest.mark.parametrize("fault", [status(503), broken("half", "reset")], ids=["503", "reset"])
def test_it_is_tried_as_often_as_wanted(server: StandIn, fault: Fault) -> None:
    with client(server, engine_options={"attempts": 4}) as reranker:
        reranker.start()
        server.requests.clear()
        server.misbehave(fault, times=3)
        assert is_right(found(reranker))
        assert len(server.scored) == 5  # and once for the known pairs, before it is believed again


LASTING: dict[str, Fault] = {
    "slow": faults.slow(60),
    "byte by byte": faults.dripping(0.1),
    "closed": broken("nothing", "close"),
    "reset": broken("half", "reset"),
    "silent": broken("nothing", "stall"),
    "stalled": broken("half", "stall"),
    "500": status(500, "the engine is dead"),
    "502 of a proxy": page(502),
    "503": status(503),
    "429": status(429),
    "429, come back in 30 years": status(429, retry_after="1000000000"),
    "429, never come back": status(429, retry_after="inf"),
    "503, not a number": status(503, retry_after="nan"),
    "no HTTP": body(b"", content_length="many"),
}
"""What may pass, but does not."""


@pytest.mark.parametrize(
    "fault",
    cases(
        LASTING,
        *("byte by byte", "reset", "500", "502 of a proxy", "429"),
        *("429, come back in 30 years", "503, not a number", "no HTTP"),
    ),
)
def test_what_lasts_is_an_error_in_time(reranker: Reranker, server: StandIn, fault: Fault) -> None:
    server.misbehave(fault, times=FOR_EVER)
    error = failure(reranker)
    assert isinstance(error, ServerUnavailableError)
    assert server.url in str(error)
    server.behave()
    assert is_right(found(reranker, timeout=LIMIT))  # and when it is over, it is over


REFUSALS: dict[str, tuple[Fault, type[RerankError]]] = {
    "400": (status(400, "max_tokens is odd"), EngineError),
    "401": (status(401), AuthenticationError),
    "403": (page(403), AuthenticationError),
    "404 of the model": (status(404, "The model `lexical` does not exist."), ModelNotFoundError),
    "404 of the route": (page(404), EngineError),
    "405": (status(405), EngineError),
    "413": (page(413), EngineError),
    "422": (status(422), EngineError),
    "501": (status(501), EngineError),
    "418 with other JSON": (
        faults.refusal(418, {"detail": [{"msg": "short and stout"}]}),
        EngineError,
    ),
    "a moved server": (status(307, location="http://127.0.0.1:1/"), EngineError),
    "204": (page(204, ""), EngineError),
}


@pytest.mark.parametrize(("fault", "kind"), cases(REFUSALS))
def test_a_refusal_is_an_error_and_not_tried_again(
    reranker: Reranker, server: StandIn, fault: Fault, kind: type[RerankError]
) -> None:
    server.misbehave(fault, times=FOR_EVER)
    error = failure(reranker, limit=2)
    assert isinstance(error, kind)
    assert not isinstance(error, ServerUnavailableError)
    assert server.url in str(error)
    assert len(server.scored) == 1


NONSENSE: dict[str, Fault] = {
    "a page": page(200),
    "a page that says it is JSON": body(b"<html>Sign in</html>"),
    "nothing": body(b""),
    "half of the JSON": faults.truncated,
    "longer than declared": declared(-5),
    "null": body(b"null"),
    "a number": body(b"1"),
    "a string": body(b'"data"'),
    "an object": body(b"{}"),
    "an object of errors": body(b'{"error": "overloaded"}'),
    "rows that are none": body(b'{"data": 7}'),
    "rows of numbers": body(b'{"data": [1, 2, 3, 4]}'),
    "no text": body(b"\xff\xfe\x00"),
    "too deep": body(b"[" * 200_000),
    "no gzip": body(b"{}", content_encoding="gzip"),
    "NaN": scored(float("nan")),
    "infinity": scored(float("inf")),
    "minus infinity": scored(float("-inf")),
    "an integer beyond floats": body(b'{"data": [{"index": 0, "probs": [' + b"9" * 400 + b"]}]}"),
    "an index beyond integers": body(b'{"data": [{"index": 1e999, "probs": [0.5]}]}'),
    "a page of signs": body(b"<" * 100_000),
    "beyond floats": body(b'{"data": [{"index": 0, "probs": [1e999]}]}'),
    "digits without end": body(b'{"data": [{"index": 0, "probs": [' + b"9" * 5000 + b"]}]}"),
    "no score": scored(None),
    "a score in words": scored("0.5"),
    "a score that is true": scored(True),
    "a score that is a list": scored([0.5]),
    "two labels": edited(lambda rows: rows[0].update(probs=[0.1, 0.9], num_classes=2)),
    "no label": edited(lambda rows: rows[0].update(probs=[])),
    "no key": edited(lambda rows: rows[0].pop("probs") and None),
    "too few": edited(lambda rows: rows[:-1]),
    "none": edited(lambda rows: []),
    "too many": edited(lambda rows: [*rows, {**rows[0], "index": len(rows)}]),
    "the first twice": edited(lambda rows: [rows[0], *rows]),
    "the first instead of the last": indexed(0),
    "an index beyond": indexed(99),
    "a negative index": indexed(-1),
    "an index in words": indexed("last"),
    "an index that is true": edited(lambda rows: rows[1].update(index=True)),
    "an index between two": indexed(1.5),
    "no index for some": edited(lambda rows: rows[0].pop("index")),
}
"""Answers with status 200 from which no score may be taken."""


@pytest.mark.parametrize("fault", cases(NONSENSE))
def test_nonsense_is_an_error_and_never_a_score(
    reranker: Reranker, server: StandIn, fault: Fault
) -> None:
    server.misbehave(fault, times=FOR_EVER)
    error = failure(reranker)
    assert isinstance(error, EngineError)
    assert server.url in str(error)
    assert len(str(error)) < 1000
    server.behave()
    assert is_right(found(reranker))


def test_rows_in_another_order_go_to_their_documents(reranker: Reranker, server: StandIn) -> None:
    server.misbehave(edited(lambda rows: rows[::-1]))
    assert is_right(found(reranker))


def test_a_body_without_end_ends_in_time_and_space(reranker: Reranker, server: StandIn) -> None:
    server.misbehave(faults.endless, times=FOR_EVER)
    before = psutil.Process().memory_info().rss
    assert isinstance(failure(reranker), EngineError)
    assert psutil.Process().memory_info().rss - before < 300 * 2**20


def test_the_timeout_of_a_call_ends_its_tries(reranker: Reranker, server: StandIn) -> None:
    server.misbehave(status(503, retry_after="1"), times=FOR_EVER)
    with pytest.raises(RerankTimeoutError):  # and not the error of the last try
        found(reranker, timeout=0.3)


def test_a_connection_that_the_server_dropped_costs_nothing(
    reranker: Reranker, server: StandIn
) -> None:
    for _ in range(5):
        assert is_right(found(reranker))
        server.drop_idle()
    assert len(server.scored) == 5


def test_retry_after_is_waited_for(reranker: Reranker, server: StandIn) -> None:
    server.misbehave(status(429, retry_after="1"))
    began = time.monotonic()
    assert is_right(found(reranker))
    assert time.monotonic() - began >= 1
    assert len(server.scored) == 2


def test_one_bad_request_does_not_end_the_others(reranker: Reranker, server: StandIn) -> None:
    server.misbehave(status(400))
    with pytest.raises(EngineError):
        found(reranker)
    assert is_right(found(reranker))
