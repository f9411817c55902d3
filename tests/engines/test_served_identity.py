"""A model that is exchanged behind one address is noticed, also where no request fails."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_ascend_rerank import Reranker, RerankError, UnsupportedServerError
from qwen3_ascend_rerank.engines.served import probing
from qwen3_ascend_rerank.trust import likeness
from qwen3_ascend_rerank.trust.likeness import same_model
from tests.support import faults
from tests.support.dialects import VLLM, Jina, good_template
from tests.support.oracle import oracle
from tests.support.processes import wait_until
from tests.support.served import cases, client, found, is_right
from tests.support.stand_in import FOR_EVER, StandIn
from tests.support.wire import Answer, Request

RECHECK = 1.0
LATE = 20.0
"""Seconds that a busy machine may take for what is at once done on another."""


async def alike(prompts: list[list[int]]) -> list[float]:
    """Another model that is as sure as this one of good answers and of bad ones."""
    return [value + (2.0 if abs(value) < 2.2 else 0.02) for value in await oracle().score(prompts)]


async def tempered(prompts: list[list[int]]) -> list[float]:
    return [0.6 * value for value in await oracle().score(prompts)]


async def shifted(prompts: list[list[int]]) -> list[float]:
    return [value + 0.5 for value in await oracle().score(prompts)]


OTHERS = {"alike where it is easy": alike, "less sure": tempered, "shifted": shifted}
HOW = {
    "token ids, log-odds": {},
    "token ids, probabilities": {"version": "0.9.2"},
    "text, probabilities": {"version": "0.10.0", "hidden": ("/classify", "/pooling")},
}


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn(VLLM()) as stand_in:
        yield stand_in


def known_pairs(request: Request) -> bool:
    """Whether a request is a look, by the number of its documents."""
    return len(request.json["input"]) == len(likeness.DOCUMENTS)


def looks(server: StandIn) -> int:
    return sum(map(known_pairs, server.scored))


# -- what tells models apart -----------------------------------------------------------------------


def test_there_are_pairs_of_which_a_model_is_not_sure(lexical: Reranker) -> None:
    scores = lexical.score(likeness.QUERY, likeness.DOCUMENTS)
    assert sum(0.3 < score < 0.7 for score in scores) >= 3
    assert sum(0.05 < score < 0.95 for score in scores) >= 6


LOG_ODDS = st.lists(st.floats(-14, 14), min_size=8, max_size=8)


@given(LOG_ODDS, st.lists(st.floats(-0.12, 0.12), min_size=8, max_size=8), st.booleans())
def test_rounding_makes_no_other_model(
    log_odds: list[float], noise: list[float], exact: bool
) -> None:
    again = [value + error for value, error in zip(log_odds, noise, strict=True)]
    assert same_model(log_odds, again, exact=exact)
    assert same_model(again, log_odds, exact=exact)


@given(LOG_ODDS, st.sampled_from([-0.6, 0.6]))
def test_models_that_differ_where_they_are_not_sure_are_two(
    log_odds: list[float], apart: float
) -> None:
    one = [0.0, -0.5, 0.5, *log_odds[3:]]
    other = [value + apart for value in one]
    assert not same_model(one, other, exact=True)
    assert not same_model(one, other, exact=False)


def test_what_two_models_say_of_easy_pairs_is_not_the_same() -> None:
    one, other = [7.6, -12.2], [3.2, -3.5]  # P(yes) 0.9995 and 5e-6, and 0.96 and 0.03
    assert not same_model(one, other, exact=False)


@pytest.mark.parametrize("how", cases(HOW, "text, probabilities"))
@pytest.mark.parametrize("other", cases(OTHERS, "alike where it is easy", "less sure"))
def test_two_models_under_one_name_are_not_mixed(how: dict[str, Any], other: Any) -> None:
    with StandIn(VLLM(**how)) as one, StandIn(VLLM(**how, compute=other)) as two:
        with client([one, two]) as reranker:
            answers = [found(reranker) for _ in range(6)]
            assert all(answer == pytest.approx(answers[0], abs=1e-3) for answer in answers)


# -- exchanged while it is asked -------------------------------------------------------------------


@pytest.mark.parametrize("how", cases(HOW, "token ids, log-odds", "text, probabilities"))
def test_a_model_exchanged_under_load_is_noticed_and_never_believed_again(
    how: dict[str, Any],
) -> None:
    """No request fails: what a balancer and a rolling update make of it."""
    exact = not how
    outcomes: list[tuple[float, float, str]] = []
    """When a call began and ended, and what it gave."""

    def ask(_: int) -> None:
        began = time.monotonic()
        try:
            outcome = "right" if is_right(found(reranker), 1e-3 if exact else 0.05) else "wrong"
        except UnsupportedServerError:
            outcome = "refused"
        outcomes.append((began, time.monotonic(), outcome))

    with StandIn(VLLM(**how)) as server:
        options = {"recheck": RECHECK, "request_timeout": 60}
        with client(server, engine_options=options) as reranker, ThreadPoolExecutor(4) as threads:
            reranker.start()
            for call in [threads.submit(ask, number) for number in range(20)]:
                call.result()
            server.dialect = VLLM(**how, compute=shifted)
            exchanged = time.monotonic()
            while sum(outcome == "refused" for *_, outcome in outcomes) < 20:
                for call in [threads.submit(ask, number) for number in range(4)]:
                    call.result()
                assert time.monotonic() - exchanged < 60
    assert {outcome for _, ended, outcome in outcomes if ended < exchanged} == {"right"}
    noticed = min(ended for _, ended, outcome in outcomes if outcome == "refused")
    wrong = [began for began, _, outcome in outcomes if outcome == "wrong"]
    assert all(began < noticed for began in wrong)
    assert all(began < exchanged + RECHECK + LATE for began in wrong)


def test_after_a_quiet_time_no_answer_is_handed_out_unseen(server: StandIn) -> None:
    with client(server, engine_options={"recheck": 0.05}) as reranker:
        assert is_right(found(reranker))
        time.sleep(0.1)
        server.dialect = VLLM(compute=shifted)
        for _ in range(3):
            with pytest.raises(UnsupportedServerError, match="another model"):
                found(reranker)
        server.dialect = VLLM()
        assert is_right(found(reranker))


def test_a_look_goes_beside_a_request_and_not_before_it(server: StandIn) -> None:
    with client(server, engine_options={"recheck": 0.05, "request_timeout": 60}) as reranker:
        assert is_right(found(reranker))
        time.sleep(0.1)
        server.requests.clear()
        server.most_at_once = 0
        server.misbehave(faults.slow(0.5), times=2)
        assert is_right(found(reranker))
        assert (len(server.scored), server.most_at_once) == (2, 2)


def test_requests_within_the_time_cost_nothing_more(server: StandIn) -> None:
    with client(server, engine_options={"recheck": 3600.0}) as reranker:
        reranker.start()
        server.requests.clear()
        for _ in range(20):
            assert is_right(found(reranker))
        assert len(server.scored) == 20


def test_one_look_stands_for_many_calls(server: StandIn) -> None:
    options = {"recheck": 0.05, "request_timeout": 120}
    with client(server, engine_options=options) as reranker, ThreadPoolExecutor(16) as threads:
        reranker.start()
        time.sleep(0.1)
        server.requests.clear()
        server.misbehave(faults.slow(3.0), times=FOR_EVER)
        calls = [threads.submit(found, reranker) for _ in range(16)]
        assert wait_until(lambda: len(server.scored) - looks(server) == 16)
        assert looks(server) <= 8
        assert all(is_right(call.result()) for call in calls)


def test_a_call_that_gives_up_does_not_end_the_look_of_others(server: StandIn) -> None:
    options = {"recheck": 0.05, "request_timeout": 60}
    with client(server, engine_options=options) as reranker, ThreadPoolExecutor(2) as threads:
        reranker.start()
        time.sleep(0.1)
        server.misbehave(faults.slow(1.0), times=3)
        with_patience = threads.submit(found, reranker)
        with pytest.raises(RerankError):
            found(reranker, timeout=0.2)
        assert is_right(with_patience.result())


# -- several models behind one address -------------------------------------------------------------


class Balanced:
    """Two servers behind one address."""

    def __init__(self, *dialects: Any, by_connection: bool) -> None:
        self._dialects = dialects
        self._by_connection = by_connection
        self._places: dict[int, int] = {}

    async def answer(self, request: Request) -> Answer:
        key = request.connection if self._by_connection else len(self._places)
        place = self._places.setdefault(key, len(self._places))
        answer: Answer = await self._dialects[place % len(self._dialects)].answer(request)
        return answer


MIXED = {
    "by connection": (VLLM(), VLLM(compute=shifted), True),
    "by request": (VLLM(), VLLM(compute=shifted), False),
    "in text": (
        Jina(template=good_template),
        Jina(template=good_template, compute=alike),
        True,
    ),
}


@pytest.mark.parametrize(("one", "other", "by_connection"), cases(MIXED))
def test_a_balancer_before_two_models_is_seen_at_the_start(
    one: Any, other: Any, by_connection: bool
) -> None:
    with StandIn(Balanced(one, other, by_connection=by_connection)) as server:
        with client(server, model="lexical") as reranker:
            with pytest.raises(UnsupportedServerError, match=server.url):
                [found(reranker) for _ in range(3)]


def test_a_second_model_that_new_connections_reach_is_noticed(server: StandIn) -> None:
    """As in a rolling update: connections that stand lead to the old one until it ends."""
    with client(server, engine_options={"recheck": 0.2}) as reranker:
        assert is_right(found(reranker))
        kept = {one.connection for one in server.requests}
        old, new = VLLM(), VLLM(compute=shifted)

        class Updated:
            async def answer(self, request: Request) -> Answer:
                return await (old if request.connection in kept else new).answer(request)

        server.dialect = Updated()

        def noticed() -> bool:
            try:
                assert is_right(found(reranker))
            except UnsupportedServerError:
                return True
            return False

        assert wait_until(noticed)


def test_the_pairs_are_not_those_that_tell_how_to_ask() -> None:
    assert not set(likeness.DOCUMENTS) & set(probing.DOCUMENTS)
