"""No key, password or secret header is found in an error, a log, a repr or a pickle."""

import logging
import pickle
import traceback
from collections.abc import Iterator

import pytest

from qwen3_ascend_rerank import (
    AuthenticationError,
    InvalidInputError,
    ModelNotFoundError,
    Reranker,
    RerankError,
)
from tests.support import faults
from tests.support.dialects import VLLM
from tests.support.faults import Fault, broken, page, status
from tests.support.served import cases, client, found, is_right
from tests.support.stand_in import FOR_EVER, StandIn

KEY, HEADER, PASSWORD = "key-4f1d", "header-77ab", "password-c03e"
SECRETS = (KEY, HEADER, PASSWORD)

ECHO = f"Bearer {KEY} and {HEADER} are refused"
FAULTS: dict[str, Fault] = {
    "slow": faults.slow(60),
    "reset": broken("half", "reset"),
    "500": status(500, ECHO),
    "503 of a proxy": page(503, ECHO),
    "429": status(429, ECHO),
    "400": status(400, ECHO),
    "401": status(401, ECHO),
    "401 in a string": faults.refusal(401, {"error": ECHO}),
    "403 of a proxy": page(403, ECHO),
    "404": status(404, ECHO),
    "moved": status(307, ECHO, location=f"http://other/?token={KEY}"),
    "a page": page(200, ECHO),
    "no JSON": faults.body(ECHO.encode()),
    "other JSON": faults.body(f'{{"error": "{ECHO}"}}'.encode()),
    "a score in words": faults.scored(ECHO),
    "an index in words": faults.indexed(ECHO),
}


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn(VLLM(api_key=KEY)) as stand_in:
        yield stand_in


def secretive(server: StandIn, **settings: object) -> Reranker:
    options = {"patience": 0.2, "request_timeout": 0.3, "headers": {"X-Gateway": HEADER}}
    return client(server, api_key=KEY, engine_options=options, **settings)


def assert_no_secret(*texts: object) -> None:
    for text in map(str, texts):
        assert not [secret for secret in SECRETS if secret in text], text


def told(error: BaseException) -> str:
    """All that a handler can print of an error, its causes and its frames' lines."""
    lines = traceback.TracebackException.from_exception(error, capture_locals=False).format()
    return f"{error!r} {error.args} {''.join(lines)}"


@pytest.mark.parametrize("fault", cases(FAULTS))
@pytest.mark.parametrize("when", ["call", pytest.param("start", marks=pytest.mark.full)])
def test_no_error_and_no_log_tells_a_secret(
    server: StandIn, fault: Fault, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "httpcore")  # at DEBUG it shows a server's headers as they come
    paths = ("",) if when == "start" else ("/classify",)
    with secretive(server) as reranker:
        if when == "call":
            reranker.start()
        server.misbehave(fault, times=FOR_EVER, on=paths)
        with pytest.raises(RerankError) as caught:
            found(reranker)
    assert_no_secret(told(caught.value), caplog.text, *(vars(one) for one in caplog.records))


def test_no_log_of_what_goes_well_tells_a_secret(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with secretive(server, selfcheck="auto") as reranker:
        assert is_right(found(reranker))
        assert_no_secret(repr(reranker.start()), reranker.rerank("query", ["document"]))
    assert_no_secret(caplog.text, *(vars(one) for one in caplog.records))
    known = [one for one in server.requests if "authorization" in one.headers]
    assert {one.headers.get("x-gateway") for one in known} == {HEADER}


def test_no_repr_and_no_pickle_tells_a_secret(server: StandIn) -> None:
    with secretive(server) as reranker:
        assert_no_secret(repr(reranker), pickle.dumps(reranker))


def test_a_reranker_without_the_key_does_not_use_the_engine_of_one_with_it(
    server: StandIn,
) -> None:
    server.dialect = VLLM(api_key=KEY, hidden=("/classify", "/pooling", "/score", "/rerank"))
    with client(server, api_key=KEY) as reranker:
        assert is_right(found(reranker))
        for other in (client(server), client(server, api_key="other")):
            with other, pytest.raises(AuthenticationError):
                found(other)
        with pickle.loads(pickle.dumps(reranker)) as copy, pytest.raises(AuthenticationError):
            found(copy)


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": f"ftp://user:{PASSWORD}@host"},
        {"base_url": f"http://user:{PASSWORD}@host:port"},
        {"base_url": f"http://user:{PASSWORD}@"},
        {"base_url": f"user:{PASSWORD}@host"},
        {"base_url": f"http://user:{PASSWORD}@host"},
        {"base_url": f"http://host/?token={PASSWORD}"},
        {"base_url": f"http://host:port/?token={PASSWORD}"},
        {"base_url": [f"http://user:{PASSWORD}@host", 7]},
        {"base_url": "http://host", "api_key": [KEY]},
        {"base_url": "http://host", "api_key": f"{KEY}\r\nX-Evil: 1"},
        {"base_url": "http://host", "api_key": f"{KEY} 密"},
        {"base_url": "http://host", "engine_options": {"headers": {"X-Gateway": [HEADER]}}},
        {
            "base_url": "http://host",
            "engine_options": {"headers": {"X-Gateway": f"{HEADER}\r\nX: 1"}},
        },
        {"base_url": "http://host", "engine_options": {"headers": {"X-Gateway": f"{HEADER}密"}}},
        {"base_url": "http://host", "engine_options": {"headers": [HEADER]}},
        {"base_url": "http://host", "engine_options": {"header": {"X-Gateway": HEADER}}},
    ],
    ids=str,
)
def test_no_refusal_of_settings_tells_a_secret(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError) as caught, Reranker(**settings) as reranker:
        reranker.start()
    assert_no_secret(told(caught.value))


def test_a_redirect_carries_no_secret_elsewhere(server: StandIn) -> None:
    with StandIn(VLLM()) as elsewhere, secretive(server) as reranker:
        reranker.start()
        server.misbehave(status(307, location=f"{elsewhere.url}/classify"), times=FOR_EVER)
        with pytest.raises(RerankError):
            found(reranker)
        assert not elsewhere.requests


def test_a_short_header_garbles_no_message_and_changes_no_error(server: StandIn) -> None:
    headers = {"X-Stage": "e", "X-Tenant": "model", "X-Cache": "not", "X-Trace": "1"}
    server.misbehave(status(404, "The model `lexical` does not exist."), times=FOR_EVER)
    options = {"patience": 0.2, "headers": headers}
    with client(server, api_key=KEY, engine_options=options) as reranker:
        with pytest.raises(ModelNotFoundError, match="The model `lexical` does not exist") as error:
            found(reranker)
    assert "***" not in str(error.value)


def test_the_key_in_a_header_is_no_more_told_than_the_header(server: StandIn) -> None:
    server.dialect = VLLM(api_key="another")
    server.misbehave(status(400, f"{KEY} is odd"), times=FOR_EVER)
    options = {"patience": 0.2, "headers": {"Authorization": f"Bearer {KEY}"}}
    with client(server, engine_options=options) as reranker:
        with pytest.raises(RerankError) as caught:
            found(reranker)
    assert_no_secret(told(caught.value))
