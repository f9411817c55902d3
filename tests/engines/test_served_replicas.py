"""Several servers answer as one: by load, around the dead, and without those that are wrong."""

import asyncio
import logging
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from qwen3_ascend_rerank import (
    EngineError,
    ModelNotFoundError,
    Reranker,
    SelfcheckError,
    ServerUnavailableError,
)
from qwen3_ascend_rerank.bridge.loop import submit
from qwen3_ascend_rerank.engines.served import replicas
from qwen3_ascend_rerank.engines.served.faults import SilentError
from qwen3_ascend_rerank.engines.served.replica import Replica
from tests.support import faults
from tests.support.crowd import AT_ONCE, TEXTS, Crowd
from tests.support.dialects import VLLM
from tests.support.oracle import by_length, oracle
from tests.support.processes import wait_until
from tests.support.relay import Relay
from tests.support.served import DOCUMENTS, LIMIT, cases, client, found, is_right
from tests.support.stand_in import FOR_EVER, StandIn
from tests.support.wire import Request


class Gate:
    """Computes scores that cost nothing, and holds them back until it is open."""

    open = False

    async def __call__(self, prompts: list[list[int]]) -> list[float]:
        while not self.open:  # noqa: ASYNC110 - it is opened by another thread
            await asyncio.sleep(0.01)
        return await by_length(prompts)


@pytest.fixture
def servers() -> Iterator[list[StandIn]]:
    with StandIn(VLLM()) as one, StandIn(VLLM()) as other:
        yield [one, other]


@pytest.fixture
def reranker(servers: list[StandIn]) -> Iterator[Reranker]:
    with client(servers, engine_options={"request_timeout": 60, "patience": 30}) as reranker:
        reranker.start()
        for server in servers:
            server.requests.clear()
        yield reranker


def test_a_server_killed_in_the_middle_costs_no_query_and_comes_back(lexical: Reranker) -> None:
    with StandIn(VLLM()) as one, StandIn(VLLM()) as other, Relay(one.port) as relay:
        urls = [relay.url, other.url]
        with client([], base_url=urls, engine_options={"patience": 30}) as reranker:
            reranker.start()
            for server in (one, other):
                server.misbehave(faults.slow(0.03), times=FOR_EVER)  # so that some are in flight
            crowd = Crowd(reranker, lexical)
            crowd.ask(200, at=60, then=relay.kill)
            assert (len(crowd.right), crowd.wrong) == (200, [])
            assert any(not request.answered for request in one.scored)

            one.requests.clear()
            relay.start()
            assert wait_until(lambda: crowd.ask(8) or len(one.scored) > 20)
            assert crowd.wrong == []


def test_a_replica_that_dies_and_returns_again_and_again_costs_no_query(
    reranker: Reranker, servers: list[StandIn], lexical: Reranker
) -> None:
    def flap() -> None:
        for _ in range(4):
            servers[0].kill()
            time.sleep(0.1)
            servers[0].start()
            time.sleep(0.1)

    for server in servers:
        server.misbehave(faults.slow(0.02), times=FOR_EVER)
    crowd = Crowd(reranker, lexical)
    crowd.ask(200, at=10, then=flap)
    assert (len(crowd.right), crowd.wrong) == (200, [])


def test_faults_on_every_side_cost_no_query(servers: list[StandIn], lexical: Reranker) -> None:
    chance = random.Random(5)
    passing = [
        faults.broken("half", "reset"),
        faults.broken("nothing", "close"),
        faults.status(503),
        faults.status(429, retry_after="0"),
        faults.page(502),
        faults.slow(0.05),
        lambda answer: answer,
    ]
    options = {"attempts": 8, "request_timeout": 60, "patience": 30}
    with client(servers, engine_options=options) as reranker:
        reranker.start()
        for server in servers:
            server.misbehave(*chance.choices(passing, weights=[1, 1, 1, 1, 1, 4, 12], k=400))
        crowd = Crowd(reranker, lexical)
        crowd.ask(150)
    assert (len(crowd.right), crowd.wrong) == (150, [])


@contextmanager
def gated(servers: list[StandIn]) -> Iterator[tuple[Reranker, list[Gate], ThreadPoolExecutor]]:
    """A client of `servers` that from now on hold back their answers, each behind its gate."""
    gates = [Gate() for _ in servers]
    for server, gate in zip(servers, gates, strict=True):
        gate.open, server.dialect = True, VLLM(compute=gate)
    options = {"request_timeout": 120, "recheck": 3600.0}
    with client(servers, engine_options=options) as reranker, ThreadPoolExecutor(4) as threads:
        reranker.start()
        for server, gate in zip(servers, gates, strict=True):
            gate.open = False
            server.requests.clear()
        try:
            yield reranker, gates, threads
        finally:
            for gate in gates:
                gate.open = True


def test_load_goes_where_least_is_outstanding(servers: list[StandIn]) -> None:
    with gated(servers) as (reranker, gates, threads):
        call = threads.submit(reranker.score, "held", ["moon"])
        assert wait_until(lambda: any(server.scored for server in servers))
        busy, free = (0, 1) if servers[0].scored else (1, 0)
        gates[free].open = True
        for number in range(10):
            assert reranker.score("free", [str(number)])
        assert not call.done()
        assert (len(servers[busy].scored), len(servers[free].scored)) == (1, 10)
        gates[busy].open = True
        assert call.result(30)


def test_tokens_count_and_not_requests(servers: list[StandIn]) -> None:
    """A server with one long request has more to do than one with three short ones."""
    with gated(servers) as (reranker, gates, threads):
        calls = [threads.submit(reranker.score, "long", ["river " * 300, "rivers " * 300])]
        assert wait_until(lambda: any(server.scored for server in servers))
        busy, idle = servers if servers[0].scored else servers[::-1]
        for count in (1, 2, 3):
            calls.append(threads.submit(reranker.score, "short", [str(count)]))
            assert wait_until(lambda: sum(len(one.scored) for one in servers) == len(calls))
        assert (len(busy.scored), len(idle.scored)) == (1, 3)
        for gate in gates:
            gate.open = True
        assert all(call.result(30) for call in calls)


def test_a_query_stays_whole_unless_it_is_large(servers: list[StandIn]) -> None:
    options = {"documents_per_request": 8, "request_timeout": 60, "recheck": 3600.0}
    with client(servers, engine_options=options) as reranker:
        reranker.start()
        for server in servers:
            server.requests.clear()
        reranker.rerank("one query", TEXTS[:8])
        assert sorted(len(server.scored) for server in servers) == [0, 1]
        reranker.rerank("another", TEXTS)
        assert sorted(len(server.scored) for server in servers) in ([1, 3], [2, 2])


def test_a_replica_that_hangs_is_left_for_another(servers: list[StandIn]) -> None:
    with client(servers) as reranker:
        reranker.start()
        servers[0].misbehave(faults.broken("nothing", "stall"), times=FOR_EVER)
        began = time.monotonic()
        for _ in range(10):
            assert is_right(found(reranker))
        assert time.monotonic() - began < LIMIT


def test_a_replica_that_is_out_of_work_space_is_left_for_another(
    reranker: Reranker, servers: list[StandIn]
) -> None:
    servers[0].misbehave(faults.status(429, retry_after="20"), times=FOR_EVER)
    began = time.monotonic()
    for _ in range(10):
        assert is_right(found(reranker))
    assert time.monotonic() - began < 18


def test_all_dead_is_one_error_in_time_and_one_alive_is_enough(
    servers: list[StandIn],
) -> None:
    with client(servers) as reranker:
        assert is_right(found(reranker))
        for server in servers:
            server.kill()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            began = time.monotonic()
            calls = [threads.submit(found, reranker) for _ in range(2 * AT_ONCE)]
            for call in calls:
                with pytest.raises(ServerUnavailableError) as caught:
                    call.result()
                assert all(server.url in str(caught.value) for server in servers)
            assert time.monotonic() - began < 2 * LIMIT
        servers[1].start()
        assert wait_until(lambda: _answers(reranker))


def _answers(reranker: Reranker) -> bool:
    try:
        return is_right(found(reranker))
    except ServerUnavailableError:
        return False


def test_none_there_at_the_start_is_one_error_in_time(servers: list[StandIn]) -> None:
    for server in servers:
        server.kill()
    with client(servers) as reranker:
        began = time.monotonic()
        with pytest.raises(ServerUnavailableError) as caught:
            found(reranker)
        assert time.monotonic() - began < LIMIT
        assert all(server.url in str(caught.value) for server in servers)
        servers[0].start()
        assert wait_until(lambda: _answers(reranker))


def test_one_that_is_not_there_at_the_start_joins_later(
    servers: list[StandIn], lexical: Reranker, caplog: pytest.LogCaptureFixture
) -> None:
    late = servers[0]
    late.kill()
    with client(servers) as reranker:
        assert is_right(found(reranker))
        assert late.url in caplog.text
        late.start()
        crowd = Crowd(reranker, lexical)
        assert wait_until(lambda: crowd.ask(8) or len(late.scored) > 10)
        assert crowd.wrong == []


STRANGE: dict[str, Any] = {
    "an unknown model": faults.status(404, "The model `health` does not exist."),
    "no JSON": faults.page(200),
    "gone": faults.broken("nothing", "reset"),
    "no HTTP": faults.body(b"", content_length="many"),
}


@pytest.mark.parametrize("fault", cases(STRANGE))
def test_the_watch_goes_on_whatever_one_look_finds(
    servers: list[StandIn],
    fault: faults.Fault,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(replicas, "HEALTH_SECONDS", 0.05)
    monkeypatch.setattr(replicas, "WRONG_SECONDS", 0.05)
    caplog.set_level(logging.INFO, "qwen3_ascend_rerank")
    with client(servers) as reranker:
        reranker.start()
        for server in servers:
            caplog.clear()
            server.misbehave(fault, on=("/health",))
            told = f"left out for now: {server.url}"
            assert wait_until(lambda told=told: told in caplog.text)
            used = f"{server.url} is used again"
            assert wait_until(lambda used=used: used in caplog.text)
        assert is_right(found(reranker))


@pytest.mark.parametrize(
    "error", [UnicodeError("no name"), OSError(24, "too many files"), KeyError("x")]
)
def test_the_watch_survives_what_nobody_thought_of(
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    looks = 0

    async def healthy(_: Replica) -> None:
        nonlocal looks
        looks += 1
        if looks <= 2:
            raise error

    monkeypatch.setattr(replicas, "WRONG_SECONDS", 0.05)
    monkeypatch.setattr(replicas, "HEALTH_SECONDS", 0.05)
    monkeypatch.setattr(Replica, "healthy", healthy)
    with StandIn(VLLM()) as one, StandIn(VLLM()) as two, client([one, two]) as watched:
        watched.start()
        assert wait_until(lambda: looks > 8)
        assert type(error).__name__ in caplog.text
        assert is_right(found(watched))


# -- replicas that are wrong -----------------------------------------------------------------------


async def negated(prompts: list[list[int]]) -> list[float]:
    return [-value for value in await oracle().score(prompts)]


async def unloaded(prompts: list[list[int]]) -> list[float]:
    return [0.0] * len(prompts)


async def biased(prompts: list[list[int]]) -> list[float]:
    return [value + 0.5 for value in await oracle().score(prompts)]


WRONG = {
    "another model": VLLM(model="another"),
    "yes and no swapped": VLLM(compute=negated),
    "a head that was never loaded": VLLM(compute=unloaded),
    "a head that is not right": VLLM(compute=biased),
    "a context that is too small": VLLM(max_model_len=256),
}


@pytest.mark.parametrize("wrong", cases(WRONG))
def test_a_wrong_replica_is_left_out_with_a_warning(
    wrong: VLLM, caplog: pytest.LogCaptureFixture
) -> None:
    def warnings() -> list[str]:
        return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]

    options = {"request_timeout": 60, "patience": 30}  # a busy machine is no wrong one
    with (
        StandIn(wrong) as bad,
        StandIn(VLLM()) as good,
        client([bad, good], model="lexical", selfcheck="auto", engine_options=options) as reranker,
    ):
        reranker.start()
        # One that takes long to show what it is is not waited for at the start.
        assert wait_until(lambda: any(bad.url in warning for warning in warnings()))
        asked = len(bad.scored)
        for _ in range(10):
            assert is_right(found(reranker))
        assert len(bad.scored) == asked
    assert not any(good.url in warning and bad.url not in warning for warning in warnings())


@pytest.mark.parametrize("wrong", cases(WRONG, "another model", "yes and no swapped"))
def test_a_replica_that_comes_back_wrong_is_not_used(wrong: VLLM) -> None:
    with StandIn(VLLM()) as changed, StandIn(VLLM()) as good:
        with client([changed, good], model="lexical", selfcheck="auto") as reranker:
            assert is_right(found(reranker))
            changed.kill()
            for _ in range(3):  # one of them notices
                assert is_right(found(reranker))
            changed.dialect = wrong
            changed.start()
            changed.requests.clear()
            # It is looked for again, seen to be wrong, and not asked any more.
            assert wait_until(lambda: any("models" in one.path for one in changed.requests))
            for _ in range(10):
                assert is_right(found(reranker))
            assert not any(asks(one, DOCUMENTS) for one in changed.scored)


def asks(request: Request, documents: list[str]) -> bool:
    """Whether a request is that of `found`, by its number of documents."""
    return len(request.json.get("input", ())) == len(documents) and "input" in request.json


# -- replicas that are found anew while they are examined ------------------------------------------

EXAMINED = faults.slow(0.1)
"""Makes an examination long enough for a look to fall into it."""


def test_one_that_a_wrong_one_came_before_is_examined_in_peace(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left out at first, since it disagrees with the first, and soon looked for again."""
    monkeypatch.setattr(replicas, "WRONG_SECONDS", 0.05)
    with StandIn(WRONG["yes and no swapped"]) as bad, StandIn(VLLM()) as good:
        good.misbehave(EXAMINED, times=FOR_EVER)
        options = {"request_timeout": 60}
        with client([bad, good], selfcheck="auto", engine_options=options) as reranker:
            assert is_right(found(reranker))
    assert "found anew" not in caplog.text


def test_one_that_is_found_anew_is_examined_once_more(
    servers: list[StandIn], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unwell = [servers[0].url]

    async def healthy(replica: Replica) -> None:
        if replica.url in unwell:
            unwell.remove(replica.url)
            raise SilentError(replica.url, "is silent for a moment")

    monkeypatch.setattr(replicas, "HEALTH_SECONDS", 0.05)
    monkeypatch.setattr(Replica, "healthy", healthy)
    for server in servers:
        server.misbehave(EXAMINED, times=FOR_EVER)
    options = {"request_timeout": 60}
    with client(servers, selfcheck="auto", engine_options=options) as reranker:
        reranker.start()
        assert "silent for a moment" in caplog.text
        for server in servers:
            server.requests.clear()
        assert wait_until(lambda: is_right(found(reranker)) and bool(servers[0].scored))
    assert "found anew" not in caplog.text


def test_no_server_is_blamed_for_what_it_was_asked_before_it_was_found_anew(
    servers: list[StandIn], caplog: pytest.LogCaptureFixture
) -> None:
    options = {"request_timeout": 60, "recheck": 3600.0}
    with client(servers[:1], engine_options=options) as reranker, ThreadPoolExecutor(8) as threads:
        reranker.start()
        servers[0].requests.clear()
        servers[0].misbehave(faults.slow(1.0), times=8)
        calls = [threads.submit(found, reranker) for _ in range(8)]
        assert wait_until(lambda: len(servers[0].scored) == 8)
        (replica,) = submit(reranker._held.lease.engine()).result()._replicas.up
        submit(replica.start()).result(60)
        assert all(is_right(call.result()) for call in calls)
        assert len(servers[0].scored) > 16  # each was asked once more, and the server found
        assert (replica.up, replica.faults, replica.rests_until) == (True, 0, 0.0)
    assert "left out" not in caplog.text


# -- replicas that change --------------------------------------------------------------------------

REFUSALS = {
    "another key": faults.status(401),
    "another model": faults.status(404, "The model `lexical` does not exist."),
    "another route": faults.page(404),
    "moved": faults.status(308, location="http://127.0.0.1:1/"),
}


@pytest.mark.parametrize("fault", cases(REFUSALS))
def test_a_replica_that_changes_between_two_calls_is_left_for_another(
    reranker: Reranker, servers: list[StandIn], fault: faults.Fault
) -> None:
    servers[0].misbehave(fault, times=FOR_EVER)
    for _ in range(4):
        assert is_right(found(reranker))
    assert len(servers[0].scored) < 4


def test_what_every_replica_refuses_is_refused_at_once(
    reranker: Reranker, servers: list[StandIn]
) -> None:
    for server in servers:
        server.misbehave(faults.status(400, "no such parameter"), times=FOR_EVER)
    with pytest.raises(EngineError, match="no such parameter"):
        found(reranker)
    for server in servers:
        server.behave()
    assert is_right(found(reranker))


def test_all_wrong_is_the_error_that_says_so() -> None:
    swapped, other = WRONG["yes and no swapped"], WRONG["another model"]
    with StandIn(swapped) as one, StandIn(swapped) as two, StandIn(other) as three:
        with client([one, two], selfcheck="auto") as reranker:
            with pytest.raises(SelfcheckError, match="swapped"):
                found(reranker)
        with client([three], model="lexical", selfcheck="auto") as reranker:
            with pytest.raises(ModelNotFoundError, match="another"):
                found(reranker)


def test_replicas_of_two_models_are_not_mixed() -> None:
    """With no model asked for, scores come from one model only, whichever it is."""
    with StandIn(VLLM(model="mine", compute=biased)) as one, StandIn(VLLM(model="yours")) as two:
        settings = {"tokenizer": "lexical", "selfcheck": "invariants"}
        with client([one, two], **settings) as reranker:
            answers = [found(reranker) for _ in range(10)]
            assert all(answer == pytest.approx(answers[0], abs=1e-3) for answer in answers)
