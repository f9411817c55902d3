"""A server that is restarted is believed again only if it is the same; another one is noticed."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from qwen3_ascend_rerank import Reranker, RerankError, UnsupportedServerError
from qwen3_ascend_rerank.bridge.loop import submit
from tests.support import faults
from tests.support.dialects import VLLM, good_template, short_template
from tests.support.oracle import oracle
from tests.support.processes import wait_until
from tests.support.served import cases, client, found, is_right
from tests.support.stand_in import FOR_EVER, StandIn


async def other_weights(prompts: list[list[int]]) -> list[float]:
    return [value + 0.5 for value in await oracle().score(prompts)]


OTHER = VLLM(compute=other_weights)
"""Another model under the same name."""
BREAKS = {
    "reset": faults.broken("half", "reset"),
    "closed": faults.broken("nothing", "close"),
    "silent": faults.broken("nothing", "stall"),
    "503 of a proxy": faults.page(503),
    "502": faults.status(502),
    "a page": faults.page(200),
}


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn(VLLM()) as stand_in:
        yield stand_in


@pytest.fixture
def reranker(server: StandIn) -> Iterator[Reranker]:
    with client(server, engine_options={"patience": 15}) as reranker:
        assert is_right(found(reranker))
        server.requests.clear()
        yield reranker


@pytest.mark.parametrize("fault", cases(BREAKS))
def test_other_weights_after_a_break_are_an_error(
    reranker: Reranker, server: StandIn, fault: faults.Fault
) -> None:
    server.misbehave(fault)
    server.dialect = OTHER
    for _ in range(3):
        with pytest.raises(UnsupportedServerError, match="another model") as caught:
            found(reranker)
        assert server.url in str(caught.value)
    server.dialect = VLLM()
    assert is_right(found(reranker))


def test_another_template_after_a_break_is_an_error() -> None:
    hidden = ("/classify", "/pooling", "/tokenize")
    with StandIn(VLLM(template=good_template, hidden=hidden)) as server:
        with client(server) as reranker:
            assert is_right(found(reranker))
            server.misbehave(BREAKS["reset"])
            server.dialect = VLLM(template=short_template, hidden=hidden)
            with pytest.raises(UnsupportedServerError, match="other settings"):
                found(reranker)


def test_a_killed_server_that_comes_back_as_another_is_an_error(
    reranker: Reranker, server: StandIn
) -> None:
    server.kill()
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(found, reranker)
        assert wait_until(lambda: not submit(reranker._held.lease.engine()).result()._replicas.up)
        server.dialect = OTHER
        server.start()
        with pytest.raises(RerankError, match=r"gives .* as log-odds"):
            call.result()


def test_a_restart_in_a_quiet_time_is_noticed(server: StandIn) -> None:
    with client(server, engine_options={"recheck": 0.1}) as reranker:
        assert is_right(found(reranker))
        server.kill()
        server.dialect = OTHER
        server.start()
        time.sleep(0.2)
        with pytest.raises(UnsupportedServerError, match="another model"):
            found(reranker)


def test_the_same_server_is_asked_once_more_after_a_break_and_then_believed(
    reranker: Reranker, server: StandIn
) -> None:
    server.misbehave(BREAKS["reset"])
    for _ in range(3):
        assert is_right(found(reranker))
    assert len(server.scored) == 5  # three queries, one of them twice, and the known pairs


def test_a_busy_server_is_not_doubted(reranker: Reranker, server: StandIn) -> None:
    server.misbehave(faults.status(429, retry_after="0"))
    assert is_right(found(reranker))
    assert len(server.scored) == 2


def test_no_call_of_many_gets_scores_of_other_weights(server: StandIn) -> None:
    server.misbehave(faults.slow(0.1), times=FOR_EVER)
    with client(server) as reranker, ThreadPoolExecutor(16) as threads:
        reranker.start()

        def outcome(_: int) -> str:
            try:
                return "right" if is_right(found(reranker)) else "wrong"
            except RerankError:
                return "error"

        calls = [threads.submit(outcome, number) for number in range(100)]
        assert wait_until(lambda: sum(call.done() for call in calls) > 20)
        server.kill()
        server.dialect = OTHER
        time.sleep(0.2)
        server.start()
        outcomes = [call.result() for call in calls]
    assert outcomes.count("wrong") == 0
    assert {"right", "error"} == set(outcomes)


def test_a_replica_with_other_weights_is_left_out(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    with StandIn(VLLM()) as other, client([server, other]) as reranker:
        assert is_right(found(reranker))
        server.misbehave(BREAKS["reset"])
        server.dialect = OTHER
        for _ in range(20):
            assert is_right(found(reranker))
            time.sleep(0.1)  # it rests after the fault
        assert len(other.scored) > 10
    warnings = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert any(server.url in one and "another model" in one for one in warnings)
