"""A client finds out what a server is: any release, any route, in trouble, or none at all."""

import asyncio
import socket
import time
import traceback
from collections.abc import Iterator
from contextlib import closing
from threading import Timer
from typing import Any

import pytest

from qwen3_ascend_rerank import (
    AuthenticationError,
    EngineError,
    InvalidInputError,
    ModelNotFoundError,
    Reranker,
    RerankError,
    SelfcheckError,
    ServerUnavailableError,
    UnsupportedServerError,
)
from qwen3_ascend_rerank.engines.served.dialects import DIALECTS
from qwen3_ascend_rerank.prompts import DEFAULT_INSTRUCTION
from qwen3_ascend_rerank.results import probability
from tests.support.answering import Server
from tests.support.dialects import (
    TEI,
    VLLM,
    ChatVLLM,
    DashScope,
    Embeddings,
    Jina,
    LlamaCpp,
    Ollama,
    SGLang,
    Voyage,
    as_cohere,
    as_litellm,
    as_siliconflow,
    good_template,
    short_template,
)
from tests.support.faults import Fault, body, broken, page, status
from tests.support.oracle import by_length
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


FOREIGN: dict[str, tuple[Any, dict[str, Any]]] = {
    "SGLang": (SGLang(), {}),
    "SGLang with a key": (SGLang(api_key=KEY), {}),
    "Jina": (Jina(), {}),
    "Jina with a key": (Jina(api_key=KEY), {}),
    "Cohere": (Jina(path="/v2/rerank"), {}),
    "Cohere, counting searches": (
        Jina(path="/v2/rerank", counted=as_cohere),
        {"formatting": "server"},
    ),
    "no version in the path": (Jina(path="/rerank"), {}),
    "SiliconFlow": (Jina(counted=as_siliconflow), {}),
    "LiteLLM": (Jina(counted=as_litellm), {}),
    "Voyage": (Voyage(), {}),
    "DashScope": (DashScope(), {}),
    "DashScope, compatible": (DashScope(native=False), {}),
    "Text Embeddings Inference": (TEI(), {"formatting": "client"}),
    "in the form of Text Embeddings Inference": (
        TEI(template=good_template),
        {"formatting": "server"},
    ),
    "llama.cpp": (LlamaCpp(), {}),
    "llama.cpp, as Text Embeddings Inference": (
        LlamaCpp(),
        {"dialect": "tei", "formatting": "server"},
    ),
}


@pytest.mark.parametrize(("dialect", "options"), cases(FOREIGN))
def test_other_servers_are_understood(
    dialect: Any, options: dict[str, Any], lexical: Reranker
) -> None:
    documents = [*DOCUMENTS, *(f"{number} Chinese rivers" for number in range(70))]
    with StandIn(dialect) as server:
        settings = {"model": "lexical", "api_key": KEY, "engine_options": options}
        with client(server, selfcheck="auto", **settings) as reranker:
            scores = reranker.score(QUERY, documents)
            assert scores == pytest.approx(lexical.score(QUERY, documents), abs=1e-4)


def test_what_a_server_says_of_itself_is_heeded() -> None:
    """So nothing is sent that it would refuse: neither too many documents nor too long ones."""
    for dialect, model in ((TEI(most=7), None), (LlamaCpp(context=300), None)):
        with StandIn(dialect) as server:
            options = {"formatting": "server" if isinstance(dialect, LlamaCpp) else "client"}
            with client(server, model=model, engine_options=options) as reranker:
                assert reranker.start().model == "lexical"
                assert len(reranker.score(QUERY, ["moon " * 500, *map(str, range(40))])) == 41


@pytest.mark.parametrize("counted", [as_cohere, lambda _: {}, lambda _: {"usage": {}}])
def test_who_makes_the_prompt_must_be_known(counted: Any) -> None:
    with StandIn(Jina(counted=counted)) as server, client(server, model="lexical") as reranker:
        with pytest.raises(UnsupportedServerError, match="does not say how many tokens"):
            reranker.start()


EACH, PARTED = "each of them for itself", "by where it is parted"
ONE_BY_ONE = {"paired": True, "ends": 0}
EMBEDDINGS: dict[str, tuple[dict[str, Any], str, str]] = {
    "as 0.30 counts": ({}, "auto", EACH),
    "as 0.30 counts, said to make prompts": ({}, "server", EACH),
    "as 0.30 counts, said to make none": ({}, "client", PARTED),
    "without a token at the end": ({"ends": 0}, "auto", EACH),
    "counted in pairs": ({"paired": True}, "auto", EACH),
    "counted as rerankers do": (ONE_BY_ONE, "auto", PARTED),
    "counted as rerankers do, asked to rerank": (
        {**ONE_BY_ONE, "hidden": (*TEXT, "/score", "/v1/score")},
        "auto",
        PARTED,
    ),
}


@pytest.mark.parametrize(("made", "formatting", "why"), cases(EMBEDDINGS))
def test_cosines_of_embeddings_are_no_scores(
    made: dict[str, Any], formatting: str, why: str
) -> None:
    """vLLM answers ``/score`` and ``/rerank`` with them for any embedding model."""
    with StandIn(Embeddings(model="embedding", **made)) as server:
        options = {"formatting": formatting}
        with client(server, tokenizer="lexical", engine_options=options) as reranker:
            with pytest.raises(UnsupportedServerError, match=why) as caught:
                reranker.start()
    assert "compares embeddings" in str(caught.value)
    assert "serve a reranker" in str(caught.value)


# -- instructions ----------------------------------------------------------------------------------

INSTRUCTION = "Find the river"


def uncounted(_: int) -> Any:
    return {}


FORCED = {"formatting": "server"}
HEEDED: dict[str, tuple[Any, dict[str, Any]]] = {
    "vLLM": (VLLM(template=good_template, hidden=TEXT), {}),
    "vLLM, told": (VLLM(template=good_template, hidden=TEXT), FORCED),
    "instruction": (Jina(heeds="instruction"), {}),
    "instruct": (Jina(heeds="instruct"), {}),
    "instruct, told": (Jina(heeds="instruct"), FORCED),
    "seen by scores": (Jina(heeds="instruct", counted=uncounted), FORCED),
    "SGLang": (SGLang(), {}),
    "DashScope": (DashScope(), {}),
    "DashScope, compatible": (DashScope(native=False), {}),
}
IGNORED: dict[str, tuple[Any, dict[str, Any]]] = {
    "vLLM before 0.22": (VLLM(version="0.14.0", template=good_template, hidden=TEXT), {}),
    "vLLM before 0.22, told": (VLLM(version="0.14.0", template=good_template, hidden=TEXT), FORCED),
    "a gateway that ignores what it does not know": (Jina(), {}),
    "the same, told": (Jina(), FORCED),
    "without counts": (Jina(counted=uncounted), FORCED),
    "in another field": (Jina(heeds="task"), FORCED),
    "llama.cpp": (LlamaCpp(), {}),
    "llama.cpp, told": (LlamaCpp(), FORCED),
    "in the form of Text Embeddings Inference": (TEI(template=good_template), FORCED),
    "Voyage": (Voyage(), FORCED),
}


@pytest.mark.parametrize(("dialect", "options"), cases(HEEDED))
def test_an_instruction_that_is_seen_to_reach_the_prompt_is_sent(
    dialect: Any, options: dict[str, Any]
) -> None:
    dialect.compute = by_length
    with StandIn(dialect) as server:
        with client(server, model="lexical", engine_options=options) as reranker:
            for instruction in (INSTRUCTION, DEFAULT_INSTRUCTION):
                prompts = [
                    dialect.ids(good_template(QUERY, text, instruction)) for text in DOCUMENTS
                ]
                right = [probability(value) for value in asyncio.run(by_length(prompts))]
                scores = reranker.score(QUERY, DOCUMENTS, instruction=instruction)
                assert scores == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize(("dialect", "options"), cases(IGNORED))
def test_an_instruction_that_would_be_ignored_is_refused(
    dialect: Any, options: dict[str, Any]
) -> None:
    dialect.compute = by_length
    with StandIn(dialect) as server:
        with client(server, model="lexical", engine_options=options) as reranker:
            assert reranker.score(QUERY, DOCUMENTS)
            with pytest.raises(InvalidInputError, match="was not seen to reach it") as caught:
                reranker.score(QUERY, DOCUMENTS, instruction=INSTRUCTION)
            assert server.url in str(caught.value)
            assert "qwen3-rerank serve" in str(caught.value)


def wordy_template(query: str, document: str, instruction: str | None) -> str:
    return good_template(query, f"the text {document}", instruction)


SEEN = {
    "each token": (VLLM(template=good_template, hidden=TEXT), {}, None),
    "their number": (Jina(), {}, "the right number of tokens was seen"),
    "their number, told": (Jina(), FORCED, "the right number of tokens was seen"),
    "nothing": (Jina(counted=uncounted), FORCED, "nothing of it could be seen"),
    "another number": (Jina(template=wordy_template), FORCED, "nothing of it could be seen"),
}


@pytest.mark.parametrize(("dialect", "options", "told"), cases(SEEN))
def test_no_warning_claims_what_was_not_seen(
    dialect: Any, options: dict[str, Any], told: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with StandIn(dialect) as server:
        with client(server, model="lexical", engine_options=options) as reranker:
            reranker.start()
    assert ("template of its own" in caplog.text) == (told is not None)
    assert (told or "") in caplog.text


# -- what is no server of scores -------------------------------------------------------------------

NOT_FOR_SCORES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "vLLM for chat": (ChatVLLM(), {}, r"404 \(Not Found\) from /classify, /pooling, "),
    "vLLM for chat, before 0.15": (
        ChatVLLM(version="0.11.1"),
        {},
        r"400 \(The model does not support Rerank \(Score\) API\) from /classify",
    ),
    "Ollama": (Ollama(), {}, r"404 \(Not Found\) from .*, /rerank"),
    "Ollama, with a model": (Ollama(), {"model": "lexical"}, r"404 \(Not Found\) from .*, /rerank"),
    "a plain web server": (Server(), {}, r"lists no model: 404 \(Not Found\) from /v1/models"),
    "a plain web server, with a model": (
        Server(),
        {"model": "lexical"},
        r"gives no scores: 404 \(Not Found\) from /classify",
    ),
}


@pytest.mark.parametrize(("dialect", "settings", "told"), cases(NOT_FOR_SCORES))
def test_a_server_that_gives_no_scores_is_told_of_with_the_next_step(
    dialect: Any, settings: dict[str, Any], told: str
) -> None:
    with StandIn(dialect) as server, client(server, **settings) as reranker:
        with pytest.raises(UnsupportedServerError, match=told) as caught:
            reranker.start()
    message = str(caught.value)
    assert message.startswith(server.url)
    assert "`qwen3-rerank serve MODEL`" in message
    assert "base_url" in message
    assert len(message) < 1000
    if settings or "serves" in message:
        assert all(one.path in message for one in DIALECTS)


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


@pytest.mark.parametrize("path", ["/version", "/health", "/tokenize"])
def test_a_gateway_that_calls_every_unknown_route_an_unknown_model_is_used(
    server: StandIn, path: str
) -> None:
    server.misbehave(status(404, "The model `version` does not exist."), times=FOR_EVER, on=(path,))
    with client(server, selfcheck="auto") as reranker:
        assert is_right(found(reranker))


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
        assert time.monotonic() - began < LIMIT
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


def test_an_address_that_has_moved_is_named(server: StandIn) -> None:
    with StandIn(VLLM()) as moved:
        moved.misbehave(
            status(308, location=f"{server.url}/v1/models"), times=FOR_EVER, on=("/v1/models",)
        )
        with client(moved) as reranker:
            told = rf"{moved.url} redirects /v1/models .*; pass {server.url} as base_url"
            with pytest.raises(EngineError, match=told):
                reranker.start()
    assert not server.requests


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


def test_http_where_https_was_expected_is_an_error_at_once(server: StandIn) -> None:
    url = server.url.replace("http:", "https:")
    with client([], base_url=url, engine_options={"patience": 60}) as reranker:
        with pytest.raises(EngineError, match=rf"{url} .*pass {server.url} as base_url"):
            reranker.start()


def test_a_name_that_is_none_is_an_error_in_time() -> None:
    with client([], base_url="http://no-such-host.invalid:8000") as reranker:
        began = time.monotonic()
        with pytest.raises(ServerUnavailableError, match=r"no-such-host\.invalid"):
            found(reranker)
        assert time.monotonic() - began < LIMIT


@pytest.mark.parametrize("url", ["http://a..b:8000", "http://xn--:8000", f"http://{'a' * 70}.b"])
def test_a_name_that_cannot_be_one_is_told_of_with_its_cause(url: str) -> None:
    with client([], base_url=url) as reranker:
        with pytest.raises(EngineError, match=url) as caught:
            found(reranker)
    assert "takes long" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
def test_nobody_there_is_soon_one_short_error_with_the_next_step(url: str) -> None:
    with Reranker(base_url=url) as reranker:
        began = time.monotonic()
        with pytest.raises(ServerUnavailableError, match=url) as caught:
            reranker.rerank("query", ["document"])
        assert time.monotonic() - began < 6  # one and a half, and a busy machine
    assert "`qwen3-rerank serve MODEL`" in str(caught.value)
    lines = traceback.format_exception(caught.value)
    assert "During handling" not in "".join(lines)
    assert "direct cause" not in "".join(lines)
    assert len(traceback.extract_tb(caught.value.__traceback__)) < 10
