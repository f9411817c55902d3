"""The selfcheck's level belongs to a Reranker, not to the engine that it shares."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import pytest

from qwen3_ascend_rerank import Engine, EngineError, PromptBatch, Reranker, SelfcheckError
from qwen3_ascend_rerank.testing import FakeEngine
from qwen3_ascend_rerank.trust import STRICTNESS, Level
from tests.support import faults
from tests.support.dialects import VLLM
from tests.support.served import QUERY, client, found, is_right
from tests.support.stand_in import FOR_EVER, StandIn

DOCUMENTS = ["a", "bb"]


class Counting(FakeEngine):
    """Counts what it was asked, and passes the invariants, or not."""

    def __init__(self, *, right: bool = True) -> None:
        super().__init__(lambda query, text: len(query + text) / 7 if right else 0.5)
        self.calls = 0

    async def score(self, batch: PromptBatch) -> list[float]:
        self.calls += 1
        await asyncio.sleep(0.01)
        return await super().score(batch)


def test_every_level_has_its_strictness() -> None:
    assert STRICTNESS.keys() == set(get_args(Level))


@pytest.mark.parametrize(
    "levels", [("off", "auto"), ("auto", "invariants"), ("invariants", "auto")]
)
def test_rerankers_that_differ_in_the_level_share_one_loaded_model(levels: tuple[str, str]) -> None:
    with Reranker("lexical", selfcheck=levels[0]) as one:
        with Reranker("lexical", selfcheck=levels[1]) as other:
            assert one.rerank(QUERY, DOCUMENTS).scores == other.rerank(QUERY, DOCUMENTS).scores
            assert one._held.lease._engine is other._held.lease._engine


def test_who_asks_for_more_gets_it_before_the_first_score() -> None:
    engine = Counting(right=False)
    with Reranker(engine, selfcheck="off") as careless:
        assert careless.score(QUERY, DOCUMENTS) == [pytest.approx(0.6225, abs=1e-3)] * 2
        with Reranker(engine, selfcheck="invariants") as careful:
            for ask in (careful.start, lambda: careful.score(QUERY, DOCUMENTS)):
                with pytest.raises(SelfcheckError, match="does not compute right scores"):
                    ask()
        assert not engine.closed
        assert len(careless.score(QUERY, DOCUMENTS)) == 2
    assert engine.starts == 1


def test_an_engine_shows_each_level_once_whoever_asks() -> None:
    engine = Counting()
    with Reranker(engine, selfcheck="off") as careless:
        careless.start()
        assert engine.calls == 0
        careful = [Reranker(engine, selfcheck="invariants") for _ in range(8)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(Reranker.start, careful))
        once = engine.calls
        assert 0 < once < 6
        with Reranker(engine, selfcheck="invariants") as another, Reranker(engine) as plain:
            another.start()
            plain.start()
        assert engine.calls == once
        for one in careful:
            one.close()


def test_who_asks_for_less_asks_nothing() -> None:
    engine = Counting()
    with Reranker(engine, selfcheck="invariants") as careful:
        careful.start()
        once = engine.calls
        with Reranker(engine, selfcheck="off") as careless:
            careless.start()
    assert engine.calls == once


# -- servers ---------------------------------------------------------------------------------------


@pytest.fixture
def servers() -> Iterator[list[StandIn]]:
    with StandIn(VLLM()) as one, StandIn(VLLM()) as other:
        yield [one, other]


@pytest.mark.parametrize("less", ["off", "invariants"])
def test_servers_in_use_are_asked_anew_for_who_asks_for_more(
    less: str, servers: list[StandIn]
) -> None:
    with client(servers, selfcheck=less) as careless:
        careless.start()
        before = [len(server.scored) for server in servers]
        with client(servers, selfcheck="auto") as careful:
            careful.start()
            assert careful._held.lease._engine is careless._held.lease._engine
            after = [len(server.scored) for server in servers]
            assert all(more > less for more, less in zip(after, before, strict=True))
            careful.start()
            assert [len(server.scored) for server in servers] == after
            assert is_right(found(careful))
        assert is_right(found(careless))


def test_servers_that_do_not_pass_go_on_for_who_asks_for_less(servers: list[StandIn]) -> None:
    with client(servers, selfcheck="off") as careless:
        careless.start()
        with client(servers, selfcheck="auto") as careful:
            for server in servers:
                server.misbehave(faults.status(400, "not today"), times=FOR_EVER)
            with pytest.raises(EngineError, match="not today"):
                careful.start()
            for server in servers:
                server.behave()
            assert is_right(found(careless))
            assert is_right(found(careful))  # it is asked again


def test_a_check_that_none_passed_is_asked_of_none_that_comes_later(servers: list[StandIn]) -> None:
    async def fine(part: Engine) -> None:
        pass

    async def never(part: Engine) -> None:
        raise EngineError("never")

    async def run() -> None:
        with client(servers) as reranker:
            engine = reranker._held.source.make()
        try:
            await engine.start()
            await engine.admit(fine)
            with pytest.raises(EngineError, match="never"):
                await engine.admit(never)
            servers[1].start()
            for _ in range(200):
                if len(engine._replicas.up) == 2:
                    return
                await asyncio.sleep(0.1)
            raise AssertionError("the second server was not taken")
        finally:
            await engine.aclose()

    servers[1].kill()
    asyncio.run(run())
