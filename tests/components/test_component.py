"""What both integrations share: an order that is kept in time, and options that are checked."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from qwen3_ascend_rerank import (
    NOT_GIVEN,
    InvalidInputError,
    Reranker,
    RerankResult,
    RerankTimeoutError,
    ServerUnavailableError,
    UnknownNameError,
)
from qwen3_ascend_rerank.components.component import Outcome, RerankComponent
from qwen3_ascend_rerank.testing import FakeEngine
from tests.support import faults
from tests.support.dialects import VLLM
from tests.support.served import DOCUMENTS, QUERY
from tests.support.servers import free_port
from tests.support.stand_in import FOR_EVER, SCORING, StandIn

WAYS = pytest.mark.parametrize("way", ["sync", "async"])
PATIENCE = 0.4
ENGINE_GIVES_UP = 9.0
"""Seconds: its request_timeout is 120."""


def component(url: str | list[str], **settings: Any) -> RerankComponent:
    given = {"on_failure": "keep_order", "patience": PATIENCE, "max_length": 512, **settings}
    return RerankComponent(base_url=url, selfcheck="off", **given)


def outcome(of: RerankComponent, way: str = "sync") -> tuple[Outcome, float]:
    """What became of a call, and the seconds that it took."""
    began = time.perf_counter()
    if way == "sync":
        came = of._rerank(QUERY, DOCUMENTS, of._options())
    else:
        came = asyncio.run(of._arerank(QUERY, DOCUMENTS, of._options()))
    return came, time.perf_counter() - began


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn(VLLM()) as stand_in:
        yield stand_in


@pytest.fixture
def hanging() -> Iterator[str]:
    """The address of what takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


# -- keep_order ------------------------------------------------------------------------------------


@WAYS
def test_the_order_is_kept_soon_where_nobody_listens(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with component(url) as one, caplog.at_level(logging.WARNING):
        came, took = outcome(one, way)
    assert isinstance(came, ServerUnavailableError)
    assert PATIENCE <= took < ENGINE_GIVES_UP
    assert f"order kept: ServerUnavailableError: {url} cannot be reached" in caplog.text


@WAYS
def test_the_order_is_kept_soon_where_a_server_hangs(way: str, hanging: str) -> None:
    with component(hanging) as one:
        came, took = outcome(one, way)
    assert isinstance(came, ServerUnavailableError)
    assert "answers nothing" in str(came)
    assert took < ENGINE_GIVES_UP


@WAYS
def test_the_order_is_kept_soon_where_a_server_hangs_in_the_middle(
    way: str, server: StandIn
) -> None:
    with component(server.url) as one:
        assert isinstance(outcome(one)[0], RerankResult)
        stall = faults.broken("nothing", "stall")
        server.misbehave(stall, times=FOR_EVER, on=("/health", *SCORING))
        came, took = outcome(one, way)
    assert isinstance(came, ServerUnavailableError)
    assert took < ENGINE_GIVES_UP


@WAYS
def test_the_order_is_kept_within_the_timeout(way: str, hanging: str) -> None:
    with component(hanging, patience=60, timeout=0.3) as one:
        came, took = outcome(one, way)
    assert isinstance(came, RerankTimeoutError)
    assert took < ENGINE_GIVES_UP


def test_a_timeout_tells_what_is_wrong_with_the_server_if_that_is_known() -> None:
    with component(f"http://127.0.0.1:{free_port()}", patience=2, timeout=1.5) as one:
        came, _ = outcome(one)
    assert isinstance(came, ServerUnavailableError)


def test_one_server_that_is_there_is_enough(server: StandIn, hanging: str) -> None:
    with component([hanging, server.url]) as one:
        assert isinstance(outcome(one)[0], RerankResult)


@WAYS
def test_a_server_that_is_slow_is_waited_for(way: str, server: StandIn) -> None:
    with component(server.url) as one:
        assert isinstance(outcome(one)[0], RerankResult)
        server.misbehave(faults.slow(4 * PATIENCE))
        came, took = outcome(one, way)
    assert isinstance(came, RerankResult)
    assert took > 3 * PATIENCE


def test_a_server_that_is_back_in_time_is_used(server: StandIn) -> None:
    with component(server.url, patience=60, engine_options={"patience": 60}) as one:
        assert isinstance(outcome(one)[0], RerankResult)
        server.kill()
        threading.Timer(0.5, server.start).start()
        assert isinstance(outcome(one)[0], RerankResult)


@WAYS
def test_a_model_that_loads_here_is_waited_for(way: str) -> None:
    class Slow(FakeEngine):
        async def start(self) -> None:
            await asyncio.sleep(4 * PATIENCE)

    with Reranker(Slow()) as reranker:
        one = RerankComponent(reranker=reranker, on_failure="keep_order", patience=PATIENCE)
        assert isinstance(outcome(one, way)[0], RerankResult)


def test_without_patience_the_engine_decides() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    engine_options = {"patience": 3 * PATIENCE}
    with component(url, patience=None, engine_options=engine_options) as one:
        assert outcome(one)[1] > 2 * PATIENCE


@pytest.mark.parametrize("patience", [0, -1, float("nan")])
def test_a_patience_that_cannot_be_used_is_named(patience: float) -> None:
    with pytest.raises(ValueError, match=f"patience is {patience}"):
        component("http://127.0.0.1:1", patience=patience)


# -- options and assignment ------------------------------------------------------------------------


def test_none_lifts_a_limit_of_the_component_for_one_call() -> None:
    with Reranker(FakeEngine()) as reranker:
        one = RerankComponent(reranker=reranker, top_n=1, threshold=0.9, timeout=5)
        lifted = one._options(top_n=None, threshold=None, timeout=None, instruction=None)
        assert (lifted["top_n"], lifted["threshold"], lifted["timeout"]) == (None, None, None)
        assert lifted["instruction"] == one.instruction
        assert one._options(top_n=NOT_GIVEN) == one._options()
        assert one._options()["top_n"] == 1


def test_a_start_keeps_to_the_timeout_of_the_component() -> None:
    class Slow(FakeEngine):
        async def start(self) -> None:
            await asyncio.sleep(1)

    with Reranker(Slow()) as reranker:
        one = RerankComponent(reranker=reranker, timeout=0.1)
        with pytest.raises(RerankTimeoutError):
            one.start()
        one.timeout = None
        assert one.start().engine == "fake"


@pytest.mark.parametrize(
    "name",
    [
        *("model", "base_url", "api_key", "engine", "tokenizer", "max_length", "cache_size"),
        *("selfcheck", "engine_options", "reranker"),
    ],
)
def test_what_chose_the_engine_cannot_be_assigned(name: str) -> None:
    one = RerankComponent(model="lexical")
    with pytest.raises(InvalidInputError, match=f"{name} of a RerankComponent .*; make another"):
        setattr(one, name, "other")
    assert one.model == "lexical"


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("top_n", 0, 3),
        ("threshold", "0.5", 0.5),
        ("timeout", -1, None),
        ("instruction", " ", "Find laws"),
        ("patience", 0, 5.0),
        ("on_failure", "ignore", "keep_order"),
    ],
)
def test_what_is_assigned_must_be_usable(name: str, wrong: Any, right: Any) -> None:
    one = RerankComponent(model="lexical")
    before = getattr(one, name)
    with pytest.raises(InvalidInputError, match=f"{name} is"):
        setattr(one, name, wrong)
    assert getattr(one, name) == before
    setattr(one, name, right)
    assert getattr(one, name) == right


def test_an_unknown_name_cannot_be_assigned() -> None:
    with pytest.raises(UnknownNameError, match="topn is no setting .* did you mean top_n"):
        RerankComponent(model="lexical").topn = 3  # type: ignore[attr-defined]


def test_a_copy_takes_other_settings_and_checks_them() -> None:
    one = RerankComponent(model="lexical", top_n=1)
    other = one.model_copy(update={"max_length": 512, "top_n": 2})
    assert (other._core.max_length, other.top_n, one.max_length) == (512, 2, 8192)
    for update in ({"max_length": 0}, {"top_n": 0}, {"topn": 1}, {"on_failure": "ignore"}):
        with pytest.raises(InvalidInputError, match=f"{next(iter(update))} is"):
            one.model_copy(update=update)
    with Reranker(FakeEngine()) as reranker:
        with pytest.raises(InvalidInputError, match="max_length of a RerankComponent"):
            RerankComponent(reranker=reranker).model_copy(update={"max_length": 512})


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("topn", "top_n"), ("top_k", "top_n"), ("Threshold", "threshold"), ("modle", "model")],
)
def test_an_unknown_setting_is_named_with_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(ValueError, match=rf"{wrong} is no setting .* did you mean {right}\?"):
        RerankComponent(**{wrong: 1})


def test_an_unknown_option_of_a_call_is_named_with_the_nearest() -> None:
    with Reranker(FakeEngine()) as reranker:
        one = RerankComponent(reranker=reranker)
        with pytest.raises(UnknownNameError, match=r"topn is no option .* did you mean top_n\?"):
            one._options(topn=3)
        with pytest.raises(InvalidInputError, match="there are instruction, long_documents, thr"):
            one._options(colour="red")


def test_a_setting_by_position_is_told_its_name() -> None:
    with pytest.raises(UnknownNameError, match="by name; pass model='lexical'"):
        RerankComponent("lexical")  # type: ignore[misc]
