"""One engine on the real vLLM for every test that does not break it."""

import gc
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.engines.vllm import VLLMEngine

VLLM_LENGTH = 300
"""Tokens of the longest prompt that it takes."""


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    """What a start that failed leaves of ZeroMQ warns when it is collected: so here."""
    yield
    gc.collect()


@pytest.fixture(scope="package")
def engine() -> Iterator[VLLMEngine]:
    """The lexical model in vLLM, not started; it lets `tests.support.sabotage` in."""
    if find_spec("vllm") is None:
        pytest.skip("needs vLLM")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_ALLOW_INSECURE_SERIALIZATION", "1")
        yield VLLMEngine("lexical", max_length=VLLM_LENGTH)
    gc.collect()  # after the last module, whose own collection came before the engine's end


@pytest.fixture(scope="package")
def vllm(engine: VLLMEngine) -> Iterator[Reranker]:
    """A Reranker on it, started."""
    with Reranker(engine, max_length=VLLM_LENGTH) as reranker:
        reranker.start()
        yield reranker
