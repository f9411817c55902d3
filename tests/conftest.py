"""What the tests share: the real Qwen tokenizer, and one lexical Reranker for the whole run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from qwen3_ascend_rerank import Reranker
from tests.support.qwen_tokenizer import write_tokenizer


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
