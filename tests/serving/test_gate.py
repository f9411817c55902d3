"""The gate in a server: what it lets through, what it refuses, and that it is never left out."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from qwen3_ascend_rerank.serving import gate, ready
from qwen3_ascend_rerank.serving.judgement import ServerSetup

SETUP = ServerSetup("0.30.0", True, "Find it.", [1, 2], [3, 4])
GOOD = {"query": "q", "documents": ["d"]}
BAD = {**GOOD, "padding": "max_length"}
Ask = Callable[..., httpx.Response]


class Application:
    """What stands behind the gate: says what reached it."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.events.append(scope["type"])
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.startup.complete"})
            return
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message["more_body"]:
                break
        headers = dict(scope["headers"])
        said = {
            "body": body.decode("latin-1"),
            "length": headers.get(b"content-length", b"").decode(),
        }
        start = {"type": "http.response.start", "status": 200, "headers": []}
        await send(start)
        await send({"type": "http.response.body", "body": json.dumps(said).encode()})


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Application:
    for name, value in gate.variables(SETUP).items():
        monkeypatch.setenv(name, str(value))
    return Application()


@pytest.fixture
def ask(application: Application) -> Ask:
    guarded = gate.Gate(application)

    def ask(path: str, content: Any, method: str = "POST") -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(guarded)  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                return await client.request(method, path, content=content)

        return asyncio.run(once())

    return ask


@pytest.mark.parametrize(
    "path",
    [
        *("/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank", "/v1/rerank/"),
        *("/classify", "/pooling", "/invocations", "/behind/a/path/v1/rerank"),
    ],
)
def test_a_request_that_cannot_be_right_never_reaches_vllm(
    ask: Ask, application: Application, path: str
) -> None:
    answer = ask(path, json.dumps(BAD))
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert "padding is 'max_length'" in error["message"]
    assert (error["type"], error["code"]) == ("BadRequestError", 400)
    assert application.events == []
    assert ask(path, json.dumps(GOOD)).status_code == 200


def test_one_that_is_right_arrives_as_it_was_sent(ask: Ask) -> None:
    content = '{"query": "q",   "documents": ["中"]}'
    said = ask("/v1/rerank", content.encode()).json()
    assert said["body"].encode("latin-1") == content.encode()
    assert int(said["length"]) == len(content.encode())


def test_one_that_was_mended_arrives_whole(ask: Ask) -> None:
    said = ask("/v1/rerank", json.dumps({**GOOD, "top_n": None, "instruct": "Find 它."})).json()
    assert json.loads(said["body"]) == {**GOOD, "instruction": "Find 它."}
    assert int(said["length"]) == len(said["body"].encode())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"7", b"null"])
def test_what_is_no_request_is_left_to_vllm(ask: Ask, content: bytes) -> None:
    assert ask("/v1/rerank", content).json()["body"].encode("latin-1") == content


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/tokenize"), ("GET", "/health"), ("OPTIONS", "/v1/rerank")]
)
def test_other_routes_are_not_touched(ask: Ask, method: str, path: str) -> None:
    assert ask(path, json.dumps(BAD), method).json()["body"] == json.dumps(BAD)


def test_a_body_in_parts_is_put_together(application: Application) -> None:
    parts = [json.dumps(BAD)[:9].encode(), json.dumps(BAD)[9:].encode()]

    async def content() -> Any:
        for part in parts:
            yield part

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(gate.Gate(application))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.post("/rerank", content=content())

    assert asyncio.run(ask()).status_code == 400


def test_a_client_that_goes_away_is_no_error(application: Application) -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        raise AssertionError("nobody is there")

    scope = {"type": "http", "method": "POST", "path": "/rerank", "headers": []}
    asyncio.run(gate.Gate(application)(scope, receive, send))
    assert application.events == []


def test_a_server_does_not_start_without_its_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gate.VARIABLE, raising=False)
    with pytest.raises(KeyError, match=gate.VARIABLE):
        gate.Gate(Application())


def test_what_middleware_vllm_is_given_is_there() -> None:
    """vLLM imports it by this very path, and takes it for a class."""
    for path, kind in ((gate.MIDDLEWARE, gate.Gate), (ready.MIDDLEWARE, ready.Ready)):
        module, _, name = path.rpartition(".")
        assert getattr(__import__(module, fromlist=[name]), name) is kind


def test_what_to_do_next_is_said_once_it_answers(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def start() -> str:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        for name, value in ready.variables("127.0.0.1", port, "ready    here").items():
            monkeypatch.setenv(name, value)
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message["type"])

        async def receive() -> Any:
            raise AssertionError("nothing is asked")

        middleware = ready.Ready(Application())
        await middleware({"type": "lifespan"}, receive, send)
        await asyncio.sleep(0.3)
        before = capfd.readouterr().err
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port):
            assert middleware._announcing is not None
            await middleware._announcing
        assert sent == ["lifespan.startup.complete"]
        return before

    assert asyncio.run(start()) == ""
    assert capfd.readouterr().err == "ready    here\n"
