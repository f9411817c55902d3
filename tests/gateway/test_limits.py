"""Who may come in, how much at once, and what is written down of it."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from qwen3_ascend_rerank import Reranker, errors
from qwen3_ascend_rerank.errors import InvalidInputError
from qwen3_ascend_rerank.gateway.desk import Desk
from qwen3_ascend_rerank.gateway.keys import Keys, named_keys
from qwen3_ascend_rerank.gateway.refusals import RequestRefusedError, refusal_of
from qwen3_ascend_rerank.gateway.settings import GatewaySettings
from qwen3_ascend_rerank.gateway.visits import access_log
from qwen3_ascend_rerank.testing import FakeEngine
from tests.support.gateways import KEY, HeldEngine, RunningGateway
from tests.support.processes import wait_until

ASKED = {"query": "capital of China", "documents": ["Bread", "Beijing"]}
SMALL = {"max_body_bytes": 4096, "max_documents": 5, "max_characters": 100}


@pytest.fixture(scope="module")
def small() -> Iterator[RunningGateway]:
    """One that takes little, in front of an engine that does nothing."""
    engine = Reranker(FakeEngine())
    with RunningGateway(engine, names=("first", "second"), strict_names=True, **SMALL) as running:
        yield running


@pytest.fixture
def held() -> Iterator[tuple[RunningGateway, HeldEngine]]:
    """One with two places, whose engine answers when it is let."""
    engine = HeldEngine()
    with RunningGateway(Reranker(engine), max_requests=2, request_timeout=60) as running:
        yield running, engine
        engine.let.set()


def message(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["message"])


class TestTheKey:
    @pytest.mark.parametrize(
        "path", ["/v1/rerank", "/score", "/v1/models", "/metrics", "/", "/info"]
    )
    @pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer", f"x{KEY}", f"Basic {KEY}"])
    def test_is_wanted_everywhere(
        self, small: RunningGateway, path: str, given: str | None
    ) -> None:
        headers = {} if given is None else {"Authorization": given}
        answer = httpx.post(small.url + path, json=ASKED, headers=headers)
        assert answer.status_code == 401
        assert "wants an API key" in message(answer)
        assert answer.headers["www-authenticate"] == "Bearer"

    def test_is_not_wanted_for_health(self, small: RunningGateway) -> None:
        answer = httpx.get(f"{small.url}/health")
        assert (answer.status_code, answer.json()) == (200, {"status": "ready"})

    def test_says_that_it_is_wanted_to_who_asks(self, small: RunningGateway) -> None:
        assert httpx.get(f"{small.url}/v1/cluster/auth").json() == {"auth": True}

    @pytest.mark.parametrize("name", ["Bearer", "Authorization", "X-API-Key", "api-key"])
    def test_may_come_in_several_headers(self, small: RunningGateway, name: str) -> None:
        header = {"Authorization": f"bearer {KEY}"} if name == "Bearer" else {name: KEY}
        answer = httpx.post(f"{small.url}/rerank", json=ASKED, headers=header)
        assert answer.status_code == 200

    def test_has_a_name_for_the_log(self) -> None:
        keys = Keys(named_keys(["# ours", "dify  sesame-1", "", "sesame-2"]))
        assert keys.owner({"authorization": "Bearer sesame-1"}) == "dify"
        assert keys.owner({"authorization": "Bearer sesame-2"}) == "key-4"
        assert keys.owner({"authorization": "Bearer sesame"}) is None
        assert "sesame" not in repr(vars(keys))

    @pytest.mark.parametrize(
        ("lines", "why"),
        [
            (["a b c"], "line 1 of the API key file has 3 words"),
            (["a k1", "a k2"], "line 2 of the API key file has 'a'"),
            (["a k1", "b k1"], "has a key a second time"),
        ],
    )
    def test_file_with_a_mistake_is_refused_without_a_key(self, lines: list[str], why: str) -> None:
        with pytest.raises(InvalidInputError) as caught:
            named_keys(lines)
        assert why in str(caught.value)
        assert "k1" not in str(caught.value)


class TestWhatIsTooMuch:
    def test_bytes(self, small: RunningGateway) -> None:
        answer = small.post("/rerank", {**ASKED, "documents": ["x" * 10_000]})
        assert (answer.status_code, "4,096 bytes" in message(answer)) == (413, True)

    def test_bytes_that_nobody_announced(self, small: RunningGateway) -> None:
        parts = (b"x" * 1000 for _ in range(10))
        answer = small.client.post("/rerank", content=parts)
        assert answer.status_code == 413

    def test_documents(self, small: RunningGateway) -> None:
        answer = small.post("/rerank", {**ASKED, "documents": ["x"] * 6})
        assert answer.status_code == 422
        assert "there are 6 documents, and a request may have 5" in message(answer)

    @pytest.mark.parametrize("name", ["query", "documents"])
    def test_characters(self, small: RunningGateway, name: str) -> None:
        text = "x" * 101
        answer = small.post("/rerank", {**ASKED, name: text if name == "query" else ["x", text]})
        assert answer.status_code == 422
        assert "has 101 characters, and a text may have 100" in message(answer)

    @pytest.mark.parametrize("value", [0, -1, True, "1"])
    def test_limits_are_numbers_themselves(self, value: Any) -> None:
        for name in ("max_requests", "request_timeout"):
            with pytest.raises(InvalidInputError, match=name):
                GatewaySettings(names=("x",), **{name: value})


class TestWhatIsNoRequest:
    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"", "no JSON"),
            (b"{", "no JSON"),
            (b"[1]", "a JSON list"),
            (b'"x"', "a JSON str"),
            (b"\xff{}", "no JSON"),
            (b'{"top_n": NaN}', "NaN is no JSON number"),
            (b"[" * 4000, "no JSON"),
            (b'{"top_n": 1' + b"0" * 4000, "no JSON"),
        ],
    )
    def test_is_told_why(self, small: RunningGateway, content: bytes, why: str) -> None:
        answer = small.client.post("/rerank", content=content)
        assert answer.status_code == 400
        assert why in message(answer)

    def test_compressed(self, small: RunningGateway) -> None:
        answer = small.post("/rerank", ASKED, **{"content-encoding": "gzip"})
        assert (answer.status_code, "compressed" in message(answer)) == (415, True)

    @pytest.mark.parametrize(
        ("charset", "status"), [("gbk", 415), ("utf-8", 200), ("UTF8", 200), ("iso-8859-1", 200)]
    )
    def test_in_another_charset(self, small: RunningGateway, charset: str, status: int) -> None:
        """These bytes of GBK are UTF-8, too, of other texts."""
        text = "模式"
        body = f'{{"query": "{text}", "documents": ["{text}"]}}'.encode("gbk")
        assert body.decode()
        kind = {"content-type": f'application/json; charset="{charset}"'}
        answer = small.client.post("/rerank", content=body, headers=kind)
        assert answer.status_code == status
        assert status == 200 or "the body is in gbk, and JSON is in UTF-8" in message(answer)
        plain = small.client.post("/rerank", content=json.dumps(ASKED), headers=kind)
        assert plain.status_code == 200

    def test_elsewhere(self, small: RunningGateway) -> None:
        answer = small.post("/v1/embeddings", {})
        assert (answer.status_code, "/v1/rerank" in message(answer)) == (404, True)

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("GET", "/v1/rerank", "POST"),
            ("OPTIONS", "/score", "POST"),
            ("POST", "/health", "GET"),
            ("OPTIONS", "/v1/models", "GET"),
            ("DELETE", "/v1/models/first", "GET"),
        ],
    )
    def test_by_another_method(
        self, small: RunningGateway, method: str, path: str, allowed: str
    ) -> None:
        answer = small.client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert message(answer) == f"send it by {allowed}"


class TestNames:
    def test_that_are_not_here_are_refused_where_that_is_wanted(
        self, small: RunningGateway
    ) -> None:
        for name in ("first", "second", None):
            answer = small.post("/rerank", {**ASKED, "model": name})
            assert (answer.status_code, answer.json()["model"]) == (200, "first")
        answer = small.post("/rerank", {**ASKED, "model": "third"})
        assert (answer.status_code, "ask for first, second" in message(answer)) == (404, True)
        assert small.client.get("/v1/models/third").status_code == 404
        assert small.client.get("/v1/models/second").json()["id"] == "second"


class TestTheQueue:
    def test_is_bounded_and_says_when_to_come_again(
        self, held: tuple[RunningGateway, HeldEngine]
    ) -> None:
        gateway, engine = held
        with ThreadPoolExecutor(2) as pool:
            inside = [pool.submit(gateway.post, "/rerank", ASKED) for _ in range(2)]
            assert wait_until(lambda: engine.asked == 2, 30)
            full = gateway.post("/rerank", ASKED)
            assert full.status_code == 429
            assert int(full.headers["retry-after"]) >= 1
            assert "2 requests are inside already" in message(full)
            assert gateway.client.get("/health").status_code == 200
            engine.let.set()
            assert [one.result().status_code for one in inside] == [200, 200]
        assert gateway.post("/rerank", ASKED).status_code == 200

    def test_is_bounded_in_bytes(self) -> None:
        desk = Desk(10, 100)
        with desk.place() as one, desk.place() as other:
            one.hold(80)
            with pytest.raises(RequestRefusedError, match="hold 80 bytes already"):
                other.hold(30)
            other.hold(20)
        assert (desk.inside, desk.held) == (0, 0)
        with desk.place() as place:
            place.hold(1000)  # a large one alone is in nobody's way

    def test_a_client_that_hangs_up_frees_its_place_and_its_work(
        self, held: tuple[RunningGateway, HeldEngine]
    ) -> None:
        gateway, engine = held
        body = json.dumps(ASKED).encode()
        head = (
            f"POST /rerank HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
            connection.sendall(head.encode() + body)
            assert wait_until(lambda: engine.asked == 1, 30)
        assert wait_until(lambda: engine.withdrawn == 1, 30)
        metrics = gateway.client.get("/metrics").text
        assert "qwen3_rerank_requests_inside 0.0" in metrics
        assert 'requests_total{form="jina",status="499"} 1.0' in metrics or wait_until(
            lambda: 'status="499"} 1.0' in gateway.client.get("/metrics").text, 30
        )

    def test_a_deadline_of_the_client_is_kept(
        self, held: tuple[RunningGateway, HeldEngine]
    ) -> None:
        gateway, engine = held
        answer = gateway.post("/rerank", ASKED, **{"X-Request-Timeout": "0.05"})
        assert (answer.status_code, "0.05 seconds" in message(answer)) == (504, True)
        assert wait_until(
            lambda: engine.withdrawn == engine.asked, 30
        )  # it may not have come to it
        for value in ("soon", "-1", "nan"):
            answer = gateway.post("/rerank", ASKED, **{"X-Request-Timeout": value})
            assert answer.status_code == 400


class TestAnEngineThatFails:
    @pytest.mark.parametrize(
        ("error", "status", "told"),
        [
            (errors.InvalidInputError("query is bad"), 400, "query is bad"),
            (errors.RerankTimeoutError("took long"), 504, "took long"),
            (errors.ServerUnavailableError("http://10.0.0.1 is down"), 503, "cannot be asked now"),
            (errors.EngineDeadError("/models/x died"), 503, "cannot be asked now"),
            (errors.AuthenticationError("key of http://10.0.0.1"), 502, "failed at this request"),
            (errors.EngineError("gave nan"), 502, "failed at this request"),
            (errors.DocumentError(3, "fails"), 502, "documents[3] fails"),
            (KeyError("a document's text"), 500, "its log says where"),
        ],
    )
    def test_is_told_of_without_what_is_behind(
        self, error: Exception, status: int, told: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        refusal = refusal_of(error)
        assert refusal.status == status
        assert told in refusal.reason
        assert "10.0.0.1" not in refusal.reason
        assert "a document's text" not in caplog.text

    def test_makes_health_fail_until_it_answers_again(self) -> None:
        down = threading.Event()

        class Failing(FakeEngine):
            async def score(self, batch: Any) -> list[float]:
                if down.is_set():
                    raise errors.ServerUnavailableError("down")
                return await super().score(batch)

        with RunningGateway(Reranker(Failing())) as gateway:
            assert gateway.client.get("/health").status_code == 200
            down.set()
            answer = gateway.post("/rerank", ASKED)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            answer = gateway.client.get("/health")
            assert (answer.status_code, answer.json()) == (503, {"status": "failing"})
            down.clear()
            assert wait_until(lambda: gateway.client.get("/health").status_code == 200, 30)

    def test_that_is_still_loading_is_waited_for(self) -> None:
        let = threading.Event()

        class Slow(FakeEngine):
            async def start(self) -> None:
                while not let.is_set():  # noqa: ASYNC110 - another thread lets it
                    await asyncio.sleep(0.01)

        gateway = RunningGateway(Reranker(Slow())).listen()
        with gateway.client:
            assert gateway.client.get("/health").json() == {"status": "starting"}
            answer = gateway.post("/rerank", ASKED)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert gateway.client.get("/v1/models").json()["data"][0]["id"] == "lexical"
            let.set()
            assert wait_until(lambda: gateway.client.get("/health").status_code == 200, 30)
            gateway.__exit__()


class TestWhatIsWrittenDown:
    def test_is_a_line_for_each_request_without_keys_or_texts(
        self, small: RunningGateway, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        body = {**ASKED, "documents": ["SECRET TEXT"], "query": "SECRET QUESTION"}
        answer = small.post("/rerank?api_key=SECRET", body, **{"X-Request-Id": "abc-1"})
        small.post("/rerank", {**body, "top_n": "SECRET TEXT"}, **{"X-Request-Id": "abc-2"})
        assert answer.headers["x-request-id"] == answer.json()["id"] == "abc-1"

        def lines() -> dict[str, Any]:
            found = [
                json.loads(one.message) for one in caplog.records if one.name == access_log.name
            ]
            return {line["id"]: line for line in found}

        assert wait_until(lambda: lines().keys() >= {"abc-1", "abc-2"}, 30)
        good, bad = lines()["abc-1"], lines()["abc-2"]
        assert (good["key"], good["path"], good["status"]) == ("tester", "/rerank", 200)
        assert (good["form"], good["pairs"]) == ("jina", 1)
        assert (bad["status"], bad["refused"]) == (400, "BadRequestError")
        own = [one for one in caplog.records if one.name.startswith("qwen3_ascend_rerank")]
        written = " ".join(one.getMessage() for one in own)
        assert "SECRET" not in written
        assert KEY not in written

    @pytest.mark.parametrize("given", ["a b", "x" * 200, "ü", '"'])
    def test_ids_that_could_forge_lines_are_replaced(
        self, small: RunningGateway, given: str
    ) -> None:
        answer = small.client.get("/version", headers={"X-Request-Id": given.encode()})
        assert answer.headers["x-request-id"] != given
        assert len(answer.headers["x-request-id"]) == 32

    def test_is_counted(self, gateway: RunningGateway) -> None:
        def value(name: str) -> float:
            text = gateway.client.get("/metrics").text
            found = [line for line in text.splitlines() if line.startswith(f"qwen3_rerank_{name} ")]
            return float(found[0].rpartition(" ")[2])

        names = ("prompt_tokens_total", "pairs_scored_total", "documents_truncated_total")
        before = [value(name) for name in names]
        body = {"query": "capital", "documents": ["Bread", "long " * 900]}
        tokens = gateway.post("/rerank", body).json()["usage"]["prompt_tokens"]
        after = [value(name) for name in names]
        assert [b - a for a, b in zip(before, after, strict=True)] == [tokens, 2, 1]
        assert value("ready") == 1


class TestWhatIsServed:
    def test_is_told_in_each_clients_words(self, gateway: RunningGateway) -> None:
        ask: Callable[[str], Any] = lambda path: gateway.client.get(path).json()  # noqa: E731
        first, second = ask("/v1/models")["data"]
        assert (first["id"], second["id"]) == ("lexical", "排序")
        assert (first["root"], first["max_model_len"]) == ("lexical", 513)
        assert ask("/v1/v1/models") == ask("/models") == ask("/v1/models")
        for name in ("lexical", "model___VLLM", "Qwen/Qwen3-Reranker-0.6B"):
            assert ask(f"/v1/models/{name}")["model_type"] == "rerank"
        info = ask("/info")
        assert "reranker" in info["model_type"]
        assert (info["model_id"], info["max_input_length"]) == ("lexical", 512)
        assert ask("/version")["engine"] == "torch"


def test_keys_are_kept_by_digest_alone() -> None:
    keys = Keys({"a": SecretStr("sesame")})
    assert keys.owner({"x-api-key": "sesame"}) == "a"
    assert not Keys()
