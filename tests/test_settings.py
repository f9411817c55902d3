"""The settings: one set of names, filled from the environment."""

import pytest
from pydantic import ValidationError

from qwen3_ascend_rerank import DEFAULT_MODEL, InvalidInputError, Reranker
from qwen3_ascend_rerank.settings import RerankSettings


def test_defaults_are_those_of_the_reranker() -> None:
    with RerankSettings().make_reranker() as reranker:
        assert repr(reranker) == repr(Reranker())
    assert RerankSettings().model == DEFAULT_MODEL


def test_what_is_not_given_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN3_RERANK_MODEL", "lexical")
    monkeypatch.setenv("QWEN3_RERANK_TOP_N", "3")
    monkeypatch.setenv("QWEN3_RERANK_ENGINE_OPTIONS", '{"device": "cpu"}')
    monkeypatch.setenv("QWEN3_RERANK_THRESHOLD", "")
    settings = RerankSettings(top_n=5)
    assert (settings.model, settings.top_n, settings.threshold) == ("lexical", 5, None)
    assert settings.engine_options == {"device": "cpu"}


def test_values_that_cannot_be_used_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInputError, match="top_n is 0"):
        RerankSettings(top_n=0).make_reranker()
    monkeypatch.setenv("QWEN3_RERANK_TOP_N", "many")
    with pytest.raises(ValidationError, match="top_n"):
        RerankSettings()
