"""The settings: one set of names, filled from the environment."""

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from qwen3_ascend_rerank import (
    DEFAULT_INSTRUCTION,
    DEFAULT_MODEL,
    CascadeReranker,
    InvalidInputError,
    Reranker,
)
from qwen3_ascend_rerank.components.component import RerankComponent
from qwen3_ascend_rerank.components.settings import RerankSettings
from qwen3_ascend_rerank.components.stages import Stage
from qwen3_ascend_rerank.models.lexical import checkpoint_folder

URL = "http://127.0.0.1:1"


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


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TOP_N", "zero", "QWEN3_RERANK_TOP_N is 'zero', which cannot be top_n: .* integer"),
        ("TOP_N", "0", "QWEN3_RERANK_TOP_N is '0', which cannot be top_n: .* whole number >= 1"),
        ("THRESHOLD", "1.5", "QWEN3_RERANK_THRESHOLD is '1.5', which cannot be threshold"),
        ("TIMEOUT", "soon", "QWEN3_RERANK_TIMEOUT is 'soon', which cannot be timeout"),
        ("MAX_LENGTH", "8k", "QWEN3_RERANK_MAX_LENGTH is '8k', which cannot be max_length"),
        ("MAX_LENGTH", "0", "QWEN3_RERANK_MAX_LENGTH is '0', which cannot be max_length"),
        ("CACHE_SIZE", "-1", "QWEN3_RERANK_CACHE_SIZE is '-1', which cannot be cache_size"),
        ("SELFCHECK", "no", "QWEN3_RERANK_SELFCHECK is 'no', which cannot be selfcheck"),
        ("ENGINE", "tpu", "QWEN3_RERANK_ENGINE is 'tpu', which cannot be engine"),
        ("ON_FAILURE", "ignore", "QWEN3_RERANK_ON_FAILURE is 'ignore'"),
        ("PATIENCE", "0", "QWEN3_RERANK_PATIENCE is '0', which cannot be patience"),
        ("INSTRUCTION", " ", "QWEN3_RERANK_INSTRUCTION is ' ', which cannot be instruction"),
        ("ENGINE_OPTIONS", "{", "QWEN3_RERANK_ENGINE_OPTIONS is a value that is not shown.* JSON"),
        ("ENGINE_OPTIONS", "[1]", "QWEN3_RERANK_ENGINE_OPTIONS is a value that is not shown"),
        ("BASE_URL", "localhost", "QWEN3_RERANK_BASE_URL is a value that is not shown"),
        ("API_KEY", "two words", "QWEN3_RERANK_API_KEY is a value that is not shown"),
    ],
)
@pytest.mark.parametrize("kind", [RerankSettings, RerankComponent])
def test_a_variable_that_cannot_be_used_is_named(
    kind: Any, name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"QWEN3_RERANK_{name}", value)
    given = {"base_url": URL} if name == "API_KEY" else {}
    with pytest.raises(ValidationError, match=message) as caught:
        kind(**given)
    assert "two words" not in str(caught.value)


def test_a_variable_that_is_not_needed_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN3_RERANK_TOP_N", "zero")
    assert RerankSettings(top_n=3).top_n == 3
    assert RerankSettings(top_n=None).top_n is None


def test_an_unknown_variable_is_told_once_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("QWEN3_RERANK_TOPN", "1")
    monkeypatch.setenv("qwen3_rerank_model", "lexical")
    monkeypatch.setenv("QWEN3_RERANK_COLOUR", "red")
    monkeypatch.setenv("QWEN3_RERANK_CACHE", "/somewhere")
    for _ in range(3):
        RerankSettings()
    assert [record.message for record in caplog.records] == [
        "the variable QWEN3_RERANK_COLOUR is no setting, and not read",
        "the variable QWEN3_RERANK_TOPN is no setting; did you mean QWEN3_RERANK_TOP_N?",
        "the variable qwen3_rerank_model is no setting; did you mean QWEN3_RERANK_MODEL?",
    ]


def test_the_reranker_itself_reads_only_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN3_RERANK_MODEL", "lexical")
    monkeypatch.setenv("QWEN3_RERANK_TOP_N", "zero")
    assert (Reranker().model, Reranker().top_n) == (DEFAULT_MODEL, None)


# -- served models ---------------------------------------------------------------------------------


def test_servers_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN3_RERANK_BASE_URL", f"{URL}, http://127.0.0.1:2/v1")
    monkeypatch.setenv("QWEN3_RERANK_API_KEY", "seed")
    settings = RerankSettings()
    assert (settings.model, settings.api_key) == (None, SecretStr("seed"))
    with settings.make_reranker() as reranker:
        assert reranker.base_url == [URL, "http://127.0.0.1:2"]
        assert reranker.api_key == SecretStr("seed")


@pytest.mark.parametrize("kind", [RerankSettings, RerankComponent])
def test_no_secret_is_written_down(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"headers": {"X-Key": "grain"}, "attempts": 2}
    settings = kind(base_url=URL, api_key="seed", engine_options=options)
    assert settings.make_reranker().engine_options["headers"]["X-Key"] == SecretStr("grain")
    written = [repr(settings), str(settings.model_dump()), settings.model_dump_json()]
    written += [str(pickle.dumps(settings))] if kind is RerankComponent else []
    assert not [text for text in written if "seed" in text or "grain" in text]
    assert settings.model_dump()["engine_options"] == {"attempts": 2}
    monkeypatch.setenv("QWEN3_RERANK_API_KEY", "other")
    assert kind(**settings.model_dump()).api_key == SecretStr("other")


def test_a_component_keeps_its_key_in_copies_and_takes_it_anew_from_a_pickle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    component = RerankComponent(base_url=URL, api_key="seed")
    assert component.model_copy(deep=True).api_key == SecretStr("seed")
    assert pickle.loads(pickle.dumps(component)).api_key is None
    monkeypatch.setenv("QWEN3_RERANK_API_KEY", "other")
    assert pickle.loads(pickle.dumps(component)).api_key == SecretStr("other")


def test_a_reranker_handed_in_says_where_its_model_is_served() -> None:
    with Reranker(base_url=URL, api_key="seed") as reranker:
        component = RerankComponent(reranker=reranker)
        assert (component.base_url, component.model, component._model_name) == (URL, None, URL)
        with pytest.raises(ValidationError, match="base_url given beside reranker"):
            RerankComponent(reranker=reranker, base_url="http://other")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_url": "localhost:8000"}, "base_url is 'localhost:8000'"),
        ({"base_url": URL, "engine": "torch"}, "served at base_url; leave engine out"),
        ({"engine": "served"}, "there is no base_url"),
        ({"base_url": URL, "api_key": "two words"}, "api_key cannot be sent"),
    ],
)
def test_wrong_addresses_are_refused_before_anything_is_asked(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        RerankSettings(**settings).make_reranker()
    with pytest.raises(ValidationError, match="headers in engine_options") as caught:
        RerankSettings(base_url=URL, engine_options={"headers": ["grain"]})
    assert "grain" not in str(caught.value)


# -- a cascade -------------------------------------------------------------------------------------


def test_a_cascade_is_made_of_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN3_RERANK_CASCADE", f"lexical:20, {URL}:5")
    settings = RerankSettings(
        model="Qwen/Qwen3-Reranker-4B", engine="torch", max_length=512, passage_overlap=32, top_n=3,
        threshold=0.5, timeout=9.0, tokenizer="Qwen/tokens", engine_options={"device": "cpu"},
    )  # fmt: skip
    assert settings.cascade == ["lexical:20", f"{URL}:5"]
    with settings.make_reranker() as cascade:
        small, served, large = cascade.stages
        assert isinstance(cascade, CascadeReranker)
        assert tuple(cascade.keep) == (20, 5)
        assert (cascade.top_n, cascade.threshold, cascade.timeout) == (3, 0.5, 9.0)
        assert (small.model, small.engine, small.engine_options) == (
            "lexical", "torch", {"device": "cpu"},
        )  # fmt: skip
        assert (served.base_url, served.model, served.engine_options) == (URL, None, {})
        assert {one.max_length for one in cascade.stages} == {512}
        assert {one.passage_overlap for one in cascade.stages} == {32}
        assert [one.tokenizer for one in cascade.stages] == [None, None, "Qwen/tokens"]
        assert {(one.top_n, one.threshold, one.timeout) for one in (small, served)} == {
            (None, None, None)
        }
        assert large.model == "Qwen/Qwen3-Reranker-4B"
    assert isinstance(RerankSettings(cascade=None).make_reranker(), Reranker)


def test_a_key_goes_to_servers_alone() -> None:
    with RerankSettings(
        model="lexical", cascade=f"{URL}:2", api_key="seed"
    ).make_reranker() as made:
        assert [one.api_key for one in made.stages] == [SecretStr("seed"), None]
    with RerankSettings(base_url=URL, cascade="lexical:2", api_key="seed").make_reranker() as made:
        assert [one.api_key for one in made.stages] == [None, SecretStr("seed")]


def test_a_last_model_of_its_own_keeps_its_key_to_itself() -> None:
    settings = RerankSettings(model="Qwen/Qwen3-Reranker-4B", cascade=f"{URL}:2")
    last = Reranker(base_url="http://127.0.0.1:2", api_key="private")
    with settings.in_cascade(last) as cascade:
        assert [one.api_key for one in cascade.stages] == [None, SecretStr("private")]


def test_calibration_is_of_the_last_model() -> None:
    calibration = {
        "form": "qwen3-rerank calibration", "version": 1, "method": "platt", "slope": 1.0,
        "intercept": 0.0, "model": "lexical", "instruction": DEFAULT_INSTRUCTION,
    }  # fmt: skip
    settings = RerankSettings(model="lexical", cascade="lexical:1", calibration=calibration)
    with settings.make_reranker() as cascade:
        found = cascade.rerank("bread", ["bread", "salt"])
    assert [one.relevance is None for one in found] == [False, True]


def test_a_folder_of_a_cascade_is_the_one_that_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").symlink_to(checkpoint_folder())
    settings = RerankSettings(model="lexical", cascade="./small:1")
    component = RerankComponent(model="lexical", cascade="./small:1")
    again = pickle.loads(pickle.dumps(component))
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert again.cascade == [f"{tmp_path}/small:1"]
    for made in (settings.make_reranker(), component._core, again._core):
        with made:
            assert len(made.rerank("bread", ["bread", "salt"])) == 2


@pytest.mark.parametrize(
    ("cascade", "message"),
    [
        ("lexical", "cascade has 'lexical'; give SMALL:KEEP"),
        (["lexical:0"], "cascade has 'lexical:0'"),
        (":20", "cascade has ':20'"),
        ({"lexical": 20}, "cascade is {'lexical': 20}"),
        ("http://small:8000", "may be a port; if it is, give how many"),
        ("http://[::1]:8000", "http://[::1]:8000:20, else http://[::1]/:8000"),
        ("lexical:5,Qwen/Qwen3-Reranker-0.6B:5", "hands on 5 of the 5 that it gets"),
    ],
)
def test_a_cascade_that_cannot_be_is_refused(cascade: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        RerankSettings(model="lexical", cascade=cascade).make_reranker()


@pytest.mark.parametrize(
    "url", ["http://a:8000", "https://a/rerank", "http://[::1]:80", "http://a/"]
)
def test_a_stage_may_be_served(url: str) -> None:
    assert Stage.of(f"{url}:20") == Stage(url, 20)


def test_a_component_with_a_ready_reranker_takes_no_cascade(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QWEN3_RERANK_CASCADE", "lexical:2")
    with Reranker("lexical") as reranker:
        assert RerankComponent(reranker=reranker).cascade is None
        with pytest.raises(ValidationError, match="cascade given beside reranker"):
            RerankComponent(reranker=reranker, cascade="lexical:1")
