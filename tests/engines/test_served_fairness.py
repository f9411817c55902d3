"""A small call is not held up by a huge one, and nobody pays for another's document."""

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from qwen3_ascend_rerank import DocumentError, Reranker, ServerUnavailableError
from qwen3_ascend_rerank.engines.served.engine import DOCUMENTS_OF_MANY
from qwen3_ascend_rerank.engines.served.manner import Manner
from qwen3_ascend_rerank.engines.served.pace import MOST, paced
from tests.support import faults
from tests.support.answering import RefusedError
from tests.support.clockwork import Clockwork
from tests.support.dialects import VLLM
from tests.support.oracle import by_length, oracle
from tests.support.processes import wait_until
from tests.support.served import DOCUMENTS, QUERY, client, found, is_right
from tests.support.stand_in import FOR_EVER, StandIn

UNHURRIED = {"request_timeout": 120, "recheck": 3600.0}
HUGE = [f"{number} moons" for number in range(600)]


class OneByOne:
    """Computes one request after the other, as long as there are documents in it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def __call__(self, prompts: list[list[int]]) -> list[float]:
        async with self._lock:
            await asyncio.sleep(0.003 * len(prompts))
            return await by_length(prompts)


def test_a_small_call_waits_for_few_requests_of_a_huge_one() -> None:
    with StandIn(VLLM(compute=OneByOne())) as server, ThreadPoolExecutor(1) as thread:
        with client(server, engine_options=UNHURRIED) as reranker:
            reranker.start()
            server.requests.clear()
            huge = thread.submit(reranker.score, QUERY, HUGE)
            assert wait_until(lambda: len(server.scored) > 8)  # it has found its pace
            waits = []
            for number in range(5):
                before = sum(one.answered for one in server.scored)
                reranker.score(QUERY, [f"{number} rivers"])
                waits.append(sum(one.answered for one in server.scored) - before)
            assert not huge.done()
            assert sorted(waits)[2] <= 4  # itself, what is computed, and what waits there
            assert len(huge.result()) == len(HUGE)


def test_a_huge_call_is_sent_in_small_requests_and_comes_back_in_order(lexical: Reranker) -> None:
    with StandIn(VLLM()) as server, client(server, engine_options=UNHURRIED) as reranker:
        reranker.start()
        server.requests.clear()
        right = lexical.score("moon river", HUGE[:150])
        assert reranker.score("moon river", HUGE[:150]) == pytest.approx(right, abs=1e-4)
        sizes = [len(one.json["input"]) for one in server.scored]
        assert max(sizes) <= DOCUMENTS_OF_MANY
        assert sum(sizes) == 150


def test_requests_are_made_when_they_may_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    make = Manner.request

    def counted(manner: Manner, batch: Any) -> Any:
        nonlocal made
        made += 1
        return make(manner, batch)

    with StandIn(VLLM(compute=by_length)) as server, ThreadPoolExecutor(4) as threads:
        options = {**UNHURRIED, "concurrency": 3}
        with client(server, engine_options=options) as reranker:
            reranker.start()
            server.requests.clear()
            server.misbehave(faults.slow(60), times=FOR_EVER)
            monkeypatch.setattr(Manner, "request", counted)
            calls = [threads.submit(reranker.score, QUERY, HUGE) for _ in range(4)]
            assert wait_until(lambda: len(server.scored) == 3)
            reranker.close()
            assert all(call.exception() for call in calls)
    assert made == 3


class Works:
    """Servers that do so many pieces at once, each in a second; more must wait."""

    def __init__(self, at_once: int) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._asked = 0
        self.at_once: list[int] = []
        """How many pieces were asked for when each was, in the order of asking."""

    async def __call__(self, item: int) -> int:
        self._asked += 1
        self.at_once.append(self._asked)
        async with self._slots:
            await asyncio.sleep(1.0)
        self._asked -= 1
        return item


@pytest.mark.parametrize(("does", "least", "most"), [(1, 1, 2), (3, 3, 5), (100, MOST, MOST)])
def test_a_call_asks_for_as_much_at_once_as_is_done_at_once(
    does: int, least: int, most: int
) -> None:
    works, loop = Works(does), Clockwork()
    try:
        answers = loop.run_until_complete(paced(works, range(100), 1))
    finally:
        loop.close()
    assert answers == list(range(100))
    usual = works.at_once[30:90]
    assert least <= max(usual) <= most


# -- a document at which servers fail --------------------------------------------------------------

POISON = "a poisonous word"


@pytest.fixture
def servers() -> Iterator[list[StandIn]]:
    poison = VLLM().ids(" poisonous")

    async def fails(prompts: list[list[int]]) -> list[float]:
        for prompt in prompts:
            if any(prompt[place : place + len(poison)] == poison for place in range(len(prompt))):
                raise RefusedError("CUDA error: an illegal memory access", 500)
        return await oracle().score(prompts)

    with StandIn(VLLM(compute=fails)) as one, StandIn(VLLM(compute=fails)) as other:
        yield [one, other]


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_poisonous_document_is_named_and_no_server_is_blamed(
    servers: list[StandIn], replicas: int, caplog: pytest.LogCaptureFixture
) -> None:
    documents = [*(f"{number} moons" for number in range(30)), "0 moons", POISON, "the last"]
    with client(servers[:replicas], engine_options=UNHURRIED) as reranker:
        reranker.start()
        with pytest.raises(DocumentError, match=r"^documents\[31\] makes http://127") as caught:
            reranker.score(QUERY, documents)
        assert caught.value.index == 31
        assert is_right(found(reranker))
        assert len(reranker.score(QUERY, [text for text in documents if text != POISON])) == 32
    assert "left out" not in caplog.text
    started = [one for server in servers for one in server.requests if one.path == "/v1/models"]
    assert len(started) == replicas
    assert all(record.levelno < logging.WARNING for record in caplog.records)


def test_others_are_answered_beside_poisonous_documents(servers: list[StandIn]) -> None:
    with client(servers, engine_options=UNHURRIED) as reranker, ThreadPoolExecutor(8) as threads:
        reranker.start()
        bad = [threads.submit(reranker.score, QUERY, ["moon", POISON]) for _ in range(10)]
        good = [threads.submit(found, reranker) for _ in range(30)]
        assert all(is_right(call.result()) for call in good)
        assert all(isinstance(call.exception(), DocumentError) for call in bad)
        models = [one for server in servers for one in server.requests if "models" in one.path]
        assert len(models) == 2  # nobody had to be found anew


def test_a_500_by_chance_costs_one_more_request(servers: list[StandIn]) -> None:
    with client(servers[:1], engine_options=UNHURRIED) as reranker:
        reranker.start()
        servers[0].requests.clear()
        servers[0].misbehave(faults.status(500))
        assert is_right(found(reranker))
        assert [len(one.json["input"]) for one in servers[0].scored].count(len(DOCUMENTS)) == 2


def test_a_server_that_answers_nothing_but_500_is_to_blame(servers: list[StandIn]) -> None:
    with client(servers[:1], engine_options={**UNHURRIED, "attempts": 2}) as reranker:
        reranker.start()
        servers[0].misbehave(faults.status(500, "the engine is dead"), times=FOR_EVER)
        with pytest.raises(ServerUnavailableError, match="the engine is dead"):
            reranker.score(QUERY, HUGE[:40])
