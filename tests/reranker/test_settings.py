"""A Reranker's settings: what may change, what may not, what goes along with a copy."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from qwen3_ascend_rerank import (
    NOT_GIVEN,
    InvalidInputError,
    Reranker,
    RerankTimeoutError,
    UnknownNameError,
)
from qwen3_ascend_rerank.components.settings import RERANKER_FIELDS, RerankSettings
from qwen3_ascend_rerank.reranker import SETTINGS
from qwen3_ascend_rerank.testing import FakeEngine

QUERY = "capital of China"
URL = "http://127.0.0.1:1"
TEXTS = ["1", "2", "-3"]


def by_number(query: str, document: str) -> float:
    return float(document)


def test_one_set_of_names_and_defaults_stands_everywhere() -> None:
    parameters = inspect.signature(Reranker).parameters
    assert parameters.keys() == {*SETTINGS, "api_key"} == set(RERANKER_FIELDS)
    plain = RerankSettings()
    for name in parameters.keys() - {"model", "engine_options"}:
        assert getattr(plain, name) == parameters[name].default


# -- one call --------------------------------------------------------------------------------------


def test_none_lifts_a_limit_for_one_call() -> None:
    with Reranker(FakeEngine(by_number), top_n=1, threshold=0.6) as reranker:
        assert reranker.rerank(QUERY, TEXTS).texts == ["2"]
        assert reranker.rerank(QUERY, TEXTS, top_n=None).texts == ["2", "1"]
        assert reranker.rerank(QUERY, TEXTS, top_n=None, threshold=None).texts == ["2", "1", "-3"]
        assert asyncio.run(reranker.arerank(QUERY, TEXTS, top_n=None)).texts == ["2", "1"]
        assert reranker.rerank(QUERY, TEXTS, top_n=NOT_GIVEN, threshold=None).texts == ["2"]
        assert reranker.rerank(QUERY, TEXTS).texts == ["2"]


def test_none_lifts_the_timeout_for_one_call() -> None:
    with Reranker(FakeEngine(by_number, seconds=0.3), timeout=0.05) as reranker:
        reranker.start(timeout=None)
        with pytest.raises(RerankTimeoutError):
            reranker.score(QUERY, TEXTS)
        assert len(reranker.score(QUERY, TEXTS, timeout=None)) == 3
        assert len(asyncio.run(reranker.ascore(QUERY, TEXTS, timeout=None))) == 3


def test_an_instruction_is_no_limit_and_none_leaves_it() -> None:
    with Reranker(FakeEngine(by_number), instruction="Find laws") as reranker:
        assert reranker.rerank(QUERY, TEXTS, instruction=None).instruction == "Find laws"


def test_a_start_keeps_to_the_timeout() -> None:
    may_start = threading.Event()

    class Slow(FakeEngine):
        async def start(self) -> None:
            while not may_start.is_set():  # noqa: ASYNC110 - it is set by another thread
                await asyncio.sleep(0.01)

    with Reranker(Slow(), timeout=0.1) as reranker:
        with pytest.raises(RerankTimeoutError, match="timeout of 0.1"):
            reranker.start()
        with pytest.raises(RerankTimeoutError, match="timeout of 0.1"):
            asyncio.run(reranker.astart())
        with pytest.raises(InvalidInputError, match="timeout is 0"):
            reranker.start(timeout=0)
        may_start.set()
        assert reranker.start(timeout=None).engine == "fake"


# -- assignment ------------------------------------------------------------------------------------


def test_what_is_assigned_takes_effect() -> None:
    with Reranker(FakeEngine(by_number), top_n=1) as reranker:
        reranker.top_n, reranker.threshold = None, 0.6
        reranker.instruction = "Find laws"
        result = reranker.rerank(QUERY, TEXTS)
        assert (result.texts, result.instruction) == (["2", "1"], "Find laws")
        reranker.timeout = 1e-9
        with pytest.raises(RerankTimeoutError):
            reranker.rerank(QUERY, TEXTS)


@pytest.mark.parametrize(
    ("name", "value"),
    [("top_n", 0), ("threshold", 2), ("timeout", -1), ("instruction", ""), ("top_n", "three")],
)
def test_what_is_assigned_must_be_usable(name: str, value: Any) -> None:
    with Reranker(FakeEngine()) as reranker:
        with pytest.raises(InvalidInputError, match=f"{name} is {value!r}"):
            setattr(reranker, name, value)
        assert getattr(reranker, name) == getattr(Reranker(), name)


@pytest.mark.parametrize(
    "name",
    [
        *("model", "base_url", "api_key", "engine", "tokenizer", "max_length", "cache_size"),
        *("selfcheck", "engine_options"),
    ],
)
def test_what_chose_the_engine_cannot_be_assigned(name: str) -> None:
    with Reranker(base_url=URL, api_key="seed") as reranker:
        before = getattr(reranker, name)
        with pytest.raises(InvalidInputError, match=f"{name} of a Reranker .*; make another"):
            setattr(reranker, name, "other")
        assert getattr(reranker, name) == before


def test_an_unknown_name_cannot_be_assigned_and_a_subclass_has_its_own() -> None:
    class Named(Reranker):
        pass

    with Reranker(FakeEngine()) as reranker, Named(FakeEngine()) as named:
        with pytest.raises(UnknownNameError, match="topn is no setting .* did you mean top_n"):
            reranker.topn = 3  # type: ignore[attr-defined]
        named.topn = 3  # type: ignore[attr-defined]


# -- what would have no effect ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "nonsense"}, "engine given beside a ready engine"),
        ({"engine": "torch"}, "engine given beside a ready engine"),
        ({"engine_options": {"device": "cpu"}}, "engine_options given beside a ready engine"),
        ({"engine": "vllm", "engine_options": {"a": 1}}, "engine and engine_options given"),
        ({"api_key": "seed"}, "api_key is given and base_url is not"),
        ({"base_url": URL}, "leave one out"),
    ],
)
def test_options_beside_a_ready_engine_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Reranker(FakeEngine(), **settings)


def test_a_key_without_a_server_is_refused_and_one_of_the_environment_is_not_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(InvalidInputError, match="base_url is not") as caught:
        Reranker("lexical", api_key="seed")
    assert "seed" not in str(caught.value)
    with pytest.raises(InvalidInputError, match="base_url is not"):
        RerankSettings(model="lexical", api_key="seed").make_reranker()
    assert Reranker("lexical", api_key="").api_key is None
    monkeypatch.setenv("QWEN3_RERANK_API_KEY", "seed")
    assert Reranker("lexical").api_key is None
    assert RerankSettings(model="lexical").make_reranker().api_key is None
    assert Reranker(base_url=URL).api_key == SecretStr("seed")


# -- copies ----------------------------------------------------------------------------------------


class Tenant(Reranker):
    """A subclass with a constructor and a state of its own."""

    def __init__(self, tenant: str) -> None:
        self.early = [tenant]
        super().__init__("lexical", top_n=2)
        self.tenant = tenant
        self._asked = {"times": 0}


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))]
)
def test_a_subclass_comes_back_as_itself(duplicate: Callable[[Tenant], Tenant]) -> None:
    with Reranker("lexical") as plain:
        assert type(duplicate(plain)) is Reranker  # type: ignore[arg-type]
    tenant = Tenant("north")
    tenant._asked["times"] = 3
    tenant.threshold = 0.25
    twin = duplicate(tenant)
    assert type(twin) is Tenant
    assert (twin.tenant, twin.early, twin._asked) == ("north", ["north"], {"times": 3})
    assert (twin.top_n, twin.threshold) == (2, 0.25)
    assert repr(twin).startswith("Tenant(model=")
    twin.tenant = "south"
    assert (twin._calls is tenant._calls, tenant.tenant) == (False, "north")
    tenant.close()
    twin.close()
    if duplicate is not copy.copy:
        assert twin._asked is not tenant._asked
