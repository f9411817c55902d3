"""A client finds out what a server is: any release, any route, in trouble, or none at all."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from threading import Timer
from typing import Any

import pytest

from qwen3_ascend_rerank import (
    AuthenticationError,
    EngineError,
    ModelNotFoundError,
    Reranker,
    RerankError,
    SelfcheckError,
    ServerUnavailableError,
    UnsupportedServerError,
)
from tests.support.dialects import VLLM, Jina, SGLang, good_template, short_template
from tests.support.faults import Fault, body, broken, page, status
from tests.support.served import DOCUMENTS, LIMIT, QUERY, cases, client, found, is_right
from tests.support.stand_in import FOR_EVER, StandIn

OPEN = {
    "everything": (),
    "ids": ("/v1/score", "/score", "/rerank", "/v1/rerank", "/v2/rerank"),
    "text": ("/classify", "/pooling"),
    "v1": ("/classify", "/pooling", "/score", "/rerank", "/tokenize", "/version", "/health"),
}
"""What a gateway lets through, and the paths that it hides then."""
TEXT = OPEN["text"]
RELEASES = {
    **dict.fromkeys(("0.9.2", "0.10.0", "0.10.1", "0.11.0"), ("everything", "text", "v1")),
    **dict.fromkeys(("0.11.1", "0.13.0", "0.14.0", "0.15.0", "0.18.0", "0.22.0", "0.30.0"), OPEN),
}
KEY = "sesame"


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn(VLLM()) as stand_in:
        yield stand_in


@pytest.mark.parametrize(
    ("release", "through"),
    cases(
        {f"{one}, {way}": (one, way) for one, ways in RELEASES.items() for way in ways},
        *("0.9.2, everything", "0.11.0, v1", "0.11.1, ids", "0.14.0, text", "0.30.0, everything"),
    ),
)
def test_every_release_is_asked_rightly(release: str, through: str) -> None:
    with StandIn(VLLM(version=release, api_key=KEY, hidden=OPEN[through])) as server:
        with client(server, api_key=KEY, selfcheck="auto") as reranker:
            exact = reranker.start().log_odds_exact
            assert is_right(found(reranker), 1e-3 if exact else 0.05)


FORMATTING = {
    f"{release}, {name}": (release, hidden)
    for release in ("0.14.0", "0.18.0", "0.22.0", "0.30.0")
    for name, hidden in {"ids": (), "text": TEXT, "no count": (*TEXT, "/tokenize")}.items()
}


@pytest.mark.parametrize(
    ("release", "hidden"),
    cases(FORMATTING, "0.14.0, text", "0.22.0, no count", "0.30.0, ids"),
)
def test_a_server_that_formats_is_not_given_formatted_texts(
    release: str, hidden: tuple[str, ...]
) -> None:
    with StandIn(VLLM(version=release, template=good_template, hidden=hidden)) as server:
        with client(server, selfcheck="auto") as reranker:
            assert is_right(found(reranker))


@pytest.mark.parametrize("release", ["0.14.0", "0.22.0", "0.30.0"])
def test_a_template_that_loses_a_newline_is_not_used(release: str) -> None:
    dialect = VLLM(version=release, template=short_template)
    with StandIn(dialect) as server, client(server) as reranker:
        assert is_right(found(reranker))
    dialect.hidden = TEXT
    with StandIn(dialect) as server, client(server, selfcheck="auto") as reranker:
        with pytest.raises((SelfcheckError, UnsupportedServerError)):
            found(reranker)


def test_an_instruction_reaches_the_prompt_or_is_refused(lexical: Reranker) -> None:
    """Until 0.22 a server's template cannot be told the instruction."""
    instruction = "Find the river"
    right = lexical.score(QUERY, DOCUMENTS, instruction=instruction)
    for release in ("0.14.0", "0.22.0"):
        dialect = VLLM(version=release, template=good_template, hidden=TEXT)
        with StandIn(dialect) as server, client(server) as reranker:
            if release == "0.14.0":
                with pytest.raises(RerankError, match="instruction"):
                    reranker.score(QUERY, DOCUMENTS, instruction=instruction)
            else:
                scores = reranker.score(QUERY, DOCUMENTS, instruction=instruction)
                assert scores == pytest.approx(right, abs=1e-4)


FOREIGN = {
    "SGLang": SGLang(),
    "SGLang with a key": SGLang(api_key=KEY),
    "Jina": Jina(),
    "Jina with a key": Jina(api_key=KEY),
    "Cohere": Jina(path="/v2/rerank"),
    "no version in the path": Jina(path="/rerank"),
}


@pytest.mark.parametrize("dialect", cases(FOREIGN))
def test_other_servers_are_understood(dialect: Any, lexical: Reranker) -> None:
    with StandIn(dialect) as server:
        with client(server, model="lexical", api_key=KEY) as reranker:
            scores = reranker.score(QUERY, DOCUMENTS)
            assert scores == pytest.approx(lexical.score(QUERY, DOCUMENTS), abs=1e-4)


# -- trouble at the start --------------------------------------------------------------------------

PATHS = ("/v1/models", "/version", "/tokenize", "/classify", "/health")
ONCE: dict[str, Fault] = {
    "reset": broken("nothing", "reset"),
    "stalled": broken("head", "stall"),
    "503": status(503),
    "429": status(429, retry_after="0"),
    "502": page(502),
}


@pytest.mark.parametrize(
    ("fault", "path"),
    cases(
        {f"{name} {path}": (fault, path) for name, fault in ONCE.items() for path in PATHS},
        *(f"503 {path}" for path in PATHS),
        *("reset /classify", "stalled /v1/models", "429 /classify", "502 /tokenize"),
    ),
)
def test_what_passes_at_the_start_is_tried_again(server: StandIn, fault: Fault, path: str) -> None:
    server.misbehave(fault, on=(path,))
    with client(server, selfcheck="auto", engine_options={"patience": 10}) as reranker:
        assert is_right(found(reranker))
        assert reranker.start().log_odds_exact


def test_a_server_that_is_still_loading_is_waited_for(server: StandIn) -> None:
    server.kill()
    timer = Timer(1.0, server.start)
    timer.start()
    with client(server, engine_options={"patience": 15}) as reranker:
        assert is_right(found(reranker))
    timer.join()


def test_a_failed_start_is_tried_anew(server: StandIn) -> None:
    server.kill()
    with client(server) as reranker:
        with pytest.raises(ServerUnavailableError):
            reranker.start()
        server.start()
        assert is_right(found(reranker))


UNUSABLE: dict[str, tuple[VLLM, dict[str, Any], type[RerankError]]] = {
    "no key": (VLLM(api_key=KEY), {}, AuthenticationError),
    "another key": (VLLM(api_key=KEY), {"api_key": "seed"}, AuthenticationError),
    "another model": (VLLM(), {"model": "Qwen/Qwen3-Reranker-4B"}, ModelNotFoundError),
    "a tiny context": (VLLM(max_model_len=64), {}, UnsupportedServerError),
    "no scores": (VLLM(hidden=(*TEXT, *OPEN["ids"])), {}, UnsupportedServerError),
}


@pytest.mark.parametrize(("dialect", "settings", "kind"), cases(UNUSABLE))
def test_a_server_that_cannot_be_used_is_refused(
    dialect: VLLM, settings: dict[str, Any], kind: type[RerankError]
) -> None:
    with StandIn(dialect) as server, client(server, **settings) as reranker:
        began = time.monotonic()
        with pytest.raises(kind) as caught:
            found(reranker)
        assert time.monotonic() - began < 3
        assert server.url in str(caught.value)


STRANGERS: dict[str, Fault] = {
    "a web page": page(200),
    "a page for everything": body(b"{}"),
    "lists": body(b"[]"),
    "words": body(b'"ok"'),
    "404": page(404),
    "nothing": body(b""),
    "moved": status(301, location="https://127.0.0.1:1/"),
    "models without a name": body(b'{"data": [{"object": "model"}]}'),
    "a model with another kind of name": body(b'{"data": [{"id": 7, "max_model_len": "many"}]}'),
}


@pytest.mark.parametrize("fault", cases(STRANGERS))
def test_what_is_no_server_of_models_is_refused(server: StandIn, fault: Fault) -> None:
    server.misbehave(fault, times=FOR_EVER, on=("",))
    with client(server) as reranker:
        began = time.monotonic()
        with pytest.raises(EngineError, match="127.0.0.1") as caught:
            found(reranker)
        assert time.monotonic() - began < LIMIT
        assert not isinstance(caught.value, ServerUnavailableError)


@pytest.mark.parametrize(
    "content", [b"{}", b"[]", b"null", b"<html>", b'{"version": 7}', b'{"version": "main"}']
)
def test_a_version_that_is_none_does_not_matter(server: StandIn, content: bytes) -> None:
    server.misbehave(body(content), on=("/version",))
    with client(server, selfcheck="auto") as reranker:
        assert is_right(found(reranker))


@pytest.mark.parametrize("guarded", [("/",), ("/v1",)])
@pytest.mark.parametrize("settings", [{}, {"api_key": KEY}])
def test_a_key_in_a_header_is_a_key(
    guarded: tuple[str, ...], settings: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Only a server that answers without the header, too, is told of as open."""
    dialect = VLLM(api_key=KEY)
    dialect.guarded = guarded
    headers = {"Authorization": f"Bearer {KEY}", "X-Tenant": "mine"}
    with StandIn(dialect) as server:
        with client(server, engine_options={"headers": headers}, **settings) as reranker:
            assert is_right(found(reranker))
        anybody = [one.headers for one in server.scored if "authorization" not in one.headers]
        assert not any("x-tenant" in one for one in anybody)
    assert len(anybody) == 1
    assert ("without the key" in caplog.text) == (guarded == ("/v1",))


def test_a_port_that_never_answers_is_an_error_in_time() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with client([], base_url=url) as reranker:
            began = time.monotonic()
            with pytest.raises(ServerUnavailableError, match=url):
                found(reranker)
            assert time.monotonic() - began < LIMIT


def test_http_where_https_was_expected_is_an_error_in_time(server: StandIn) -> None:
    url = server.url.replace("http:", "https:")
    with client([], base_url=url) as reranker:
        began = time.monotonic()
        with pytest.raises(EngineError, match=url):
            found(reranker)
        assert time.monotonic() - began < LIMIT


def test_a_name_that_is_none_is_an_error_in_time() -> None:
    with client([], base_url="http://no-such-host.invalid:8000") as reranker:
        began = time.monotonic()
        with pytest.raises(ServerUnavailableError, match=r"no-such-host\.invalid"):
            found(reranker)
        assert time.monotonic() - began < LIMIT
