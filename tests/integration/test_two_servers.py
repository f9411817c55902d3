"""Two real vLLM servers: one is killed among 200 queries, no query notices, and it comes back."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

import httpx
import pytest

from qwen3_ascend_rerank import Reranker
from tests.support.crowd import Crowd
from tests.support.dialects import VLLM
from tests.support.processes import wait_until
from tests.support.servers import API_KEY, MAX_MODEL_LEN, VLLMServer
from tests.support.stand_in import StandIn

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM"),
]
KEY = {"authorization": f"Bearer {API_KEY}"}


@pytest.fixture(scope="module")
def servers() -> Iterator[list[VLLMServer]]:
    both = [VLLMServer(), VLLMServer()]
    with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
        yield list(threads.map(stack.enter_context, both))


def scored(server: VLLMServer) -> float:
    """How many prompts it has scored since it started, as it counts itself."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    counts = [line for line in lines if line.startswith("vllm:request_success_total")]
    return sum(float(line.rpartition(" ")[2]) for line in counts)


def test_one_is_killed_and_comes_back_and_no_query_notices(
    servers: list[VLLMServer], lexical: Reranker
) -> None:
    one, other = servers
    urls = [one.url, other.url]
    with Reranker(base_url=urls, api_key=API_KEY, max_length=MAX_MODEL_LEN - 1) as reranker:
        reranker.start()
        before = [scored(server) for server in servers]
        crowd = Crowd(reranker, lexical)
        crowd.ask(100)
        shares = [scored(server) - count for server, count in zip(servers, before, strict=True)]
        assert min(shares) > 100
        assert sum(shares) == 600

        crowd.ask(200, at=150, then=one.kill)
        assert (len(crowd.right), crowd.wrong) == (300, [])

        one.start()
        assert wait_until(lambda: crowd.ask(8) or scored(one) > 100, 60)
        assert crowd.wrong == []


REQUESTS = [
    ("/version", None),
    ("/health", None),
    ("/v1/models", None),
    ("/nowhere", None),
    ("/tokenize", {"prompt": "capital <think> of China", "add_special_tokens": False}),
    ("/classify", {"input": [[1, 2, 3], [4, 5]], "use_activation": False}),
    ("/classify", {"input": [[1, 2, 3]]}),
    ("/classify", {"input": "capital of China"}),
    ("/classify", {"input": [[1]], "model": "another"}),
    ("/classify", {"input": []}),
    ("/classify", {"input": [[]]}),
    ("/classify", {"input": [[5] * (MAX_MODEL_LEN + 1)]}),
    ("/score", {"text_1": "capital of China", "text_2": ["Beijing", "Bread"]}),
    ("/v1/score", {"text_1": ["a b", "x"], "text_2": ["c", "y"], "use_activation": False}),
    ("/v1/score", {"text_1": "a", "text_2": []}),
    ("/rerank", {"query": "capital of China", "documents": ["Bread", "China"], "top_n": 1}),
    ("/v2/rerank", {"query": "", "documents": [""]}),
    ("/v1/rerank", {"query": "a", "documents": ["b"], "model": "another"}),
]


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_the_stand_in_answers_as_vllm_does(servers: list[VLLMServer], path: str, body: Any) -> None:
    with StandIn(VLLM(max_model_len=MAX_MODEL_LEN)) as stand_in:
        real, other = (
            httpx.request("POST" if body else "GET", f"{url}{path}", json=body, headers=KEY)
            for url in (servers[1].url, stand_in.url)
        )
    assert other.status_code == real.status_code
    if other.content:
        assert_like(other.json(), real.json())


def assert_like(one: Any, other: Any) -> None:
    """Whether `one` has the form of `other`, in all that it has, and the same numbers."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        for name in one.keys() - {"created", "version", "permission", "param"}:
            assert_like(one[name], other[name])
    elif isinstance(one, list):
        for part, counterpart in zip(one, other, strict=True):
            assert_like(part, counterpart)
    elif isinstance(one, float | int):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-3)
