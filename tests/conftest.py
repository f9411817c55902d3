"""What the tests share: the real Qwen tokenizer, and one lexical Reranker for the whole run."""

import os
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

from qwen3_ascend_rerank import Reranker
from tests.support.qwen_tokenizer import write_tokenizer
from tests.support.servers import VLLMServer

# What a property takes says nothing of it: a busy machine takes longer.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

# Tests must neither use nor leave anything in the user's own cache, nor do their subprocesses.
_CACHE = tempfile.TemporaryDirectory(prefix="qwen3-rerank-tests-")
os.environ["QWEN3_RERANK_CACHE"] = _CACHE.name


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what has a real vLLM, so that `make test-fast` can leave it out."""
    for item in items:
        if {"vllm", "vllm_server"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("vllm")


@pytest.fixture(scope="session")
def qwen_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen3's real tokenizer.json."""
    return write_tokenizer(tmp_path_factory.mktemp("qwen") / "tokenizer.json")


@pytest.fixture(scope="session")
def lexical() -> Iterator[Reranker]:
    """A Reranker on the embedded model, started."""
    with Reranker("lexical") as reranker:
        reranker.start()
        yield reranker


@pytest.fixture(scope="session")
def vllm_server() -> Iterator[VLLMServer]:
    """A real vLLM server of the lexical model, with an API key."""
    if find_spec("vllm") is None:
        pytest.skip("needs vLLM")
    with VLLMServer() as server:
        yield server
