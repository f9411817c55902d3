"""Engines that are shared: what their end does when it goes wrong."""

import logging

import pytest

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.testing import FakeEngine


def test_an_engine_that_does_not_end_properly_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(FakeEngine):
        async def aclose(self) -> None:
            raise OSError("the device is busy")

    with caplog.at_level(logging.WARNING), Reranker(Stubborn()) as reranker:
        reranker.score("query", ["document"])
    assert "did not end in an orderly way" in caplog.text
    assert "the device is busy" in caplog.text


def test_an_engine_that_never_started_ends_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(FakeEngine):
        async def start(self) -> None:
            raise OSError("no device")

    with caplog.at_level(logging.WARNING), Reranker(Broken()) as reranker:
        with pytest.raises(OSError, match="no device"):
            reranker.start()
    assert not caplog.text
