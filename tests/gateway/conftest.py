"""One gateway on the lexical model for all of these tests, and the core to compare it with."""

from collections.abc import Iterator

import pytest

from qwen3_ascend_rerank import Reranker
from tests.support.gateways import RunningGateway

MAX_LENGTH = 512


@pytest.fixture(scope="package")
def core() -> Iterator[Reranker]:
    with Reranker("lexical", max_length=MAX_LENGTH) as reranker:
        reranker.start()
        yield reranker


@pytest.fixture(scope="package")
def gateway(core: Reranker) -> Iterator[RunningGateway]:
    own = Reranker("lexical", max_length=MAX_LENGTH)  # it shares the engine
    with RunningGateway(own, names=("lexical", "排序")) as running:
        yield running
