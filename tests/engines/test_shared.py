"""Engines that are shared: one for equal settings, and what its start and its end do wrong."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import pytest

from qwen3_ascend_rerank import EngineError, Reranker, RerankError, RerankTimeoutError
from qwen3_ascend_rerank.bridge.loop import submit
from qwen3_ascend_rerank.engines import shared
from qwen3_ascend_rerank.engines.served.engine import ServedEngine
from qwen3_ascend_rerank.engines.torch import TorchEngine
from qwen3_ascend_rerank.engines.vllm import VLLMEngine
from qwen3_ascend_rerank.testing import FakeEngine

QUERY = "query"


class Device:
    """Has room for one engine."""

    def __init__(self) -> None:
        self.there: list[object] = []
        self.most = 0
        self.closing = threading.Event()
        self.may_close = threading.Event()

    def engine(self) -> "Occupant":
        return Occupant(self)


class Occupant(FakeEngine):
    """Needs the whole device, and time to leave it."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.device = device

    async def start(self) -> None:
        await super().start()
        self.device.there.append(self)
        self.device.most = max(self.device.most, len(self.device.there))

    async def aclose(self) -> None:
        await super().aclose()
        self.device.closing.set()
        await asyncio.to_thread(self.device.may_close.wait, 30)
        if self in self.device.there:
            self.device.there.remove(self)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    """Where lexical engines are made on."""
    device = Device()
    monkeypatch.setattr("qwen3_ascend_rerank.engines.EngineSpec.make", lambda _: device.engine())
    return device


def lexical(**settings: Any) -> Reranker:
    return Reranker("lexical", selfcheck="off", max_length=4321, **settings)


class TestTheEndOfOne:
    def test_comes_before_the_start_of_the_next(self, device: Device) -> None:
        first = lexical()
        first.start()
        with ThreadPoolExecutor(2) as threads:
            closing = threads.submit(first.close)
            assert device.closing.wait(10)
            with lexical() as second:
                starting = threads.submit(second.start)
                with pytest.raises(FutureTimeoutError):
                    starting.result(0.3)
                assert len(device.there) == 1
                device.may_close.set()
                starting.result(10)
                closing.result(10)
                assert second.score(QUERY, ["document"]) == [0.5]
        assert device.most == 1
        assert not device.there

    def test_comes_before_the_next_even_where_one_between_never_started(
        self, device: Device
    ) -> None:
        first = lexical()
        first.start()
        with ThreadPoolExecutor(4) as threads:
            closing = threads.submit(first.close)
            assert device.closing.wait(10)
            between = lexical()
            with pytest.raises(RerankTimeoutError):
                between.score(QUERY, ["document"], timeout=0.1)
            giving_up = threads.submit(between.close)
            with lexical() as third:
                starting = threads.submit(third.start)
                with pytest.raises(FutureTimeoutError):
                    starting.result(0.3)
                device.may_close.set()
                for each in (starting, closing, giving_up):
                    each.result(10)
        assert device.most == 1

    def test_goes_on_when_whoever_waits_for_it_gives_up(self, device: Device) -> None:
        async def give_up() -> None:
            reranker = lexical()
            await reranker.astart()
            closing = asyncio.create_task(reranker.aclose())
            assert await asyncio.to_thread(device.closing.wait, 10)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing

        asyncio.run(give_up())
        device.may_close.set()
        with lexical() as second:
            second.start()
        assert device.most == 1

    def test_that_never_comes_is_an_error_of_the_next(
        self, device: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shared, "CLOSING_SECONDS", 0.05)
        first = lexical()
        first.start()
        with ThreadPoolExecutor(1) as threads:
            closing = threads.submit(first.close)
            assert device.closing.wait(10)
            second = lexical()
            with pytest.raises(EngineError, match=r"has not ended within 0\.05 seconds"):
                second.start()
            device.may_close.set()
            second.close()
            closing.result(10)

    def test_leaves_nothing_in_the_table(self, device: Device) -> None:
        before = dict(shared._shared)
        device.may_close.set()
        for _ in range(3):
            with lexical() as reranker:
                reranker.start()
        assert shared._shared == before

    def test_that_goes_wrong_is_told_of(self, caplog: pytest.LogCaptureFixture) -> None:
        class Stubborn(FakeEngine):
            async def aclose(self) -> None:
                raise OSError("the device is busy")

        with caplog.at_level(logging.WARNING), Reranker(Stubborn()) as reranker:
            reranker.score(QUERY, ["document"])
        assert "did not end in an orderly way" in caplog.text
        assert "the device is busy" in caplog.text

    def test_of_one_that_never_started_needs_no_word(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken(FakeEngine):
            async def start(self) -> None:
                raise OSError("no device")

        with caplog.at_level(logging.WARNING), Reranker(Broken()) as reranker:
            with pytest.raises(EngineError, match="no device"):
                reranker.start()
        assert not caplog.text

    def test_at_exit_may_take_too_long(
        self, device: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shared, "EXIT_SECONDS", 0.05)
        monkeypatch.setattr(shared, "_shared", {})
        with lexical() as reranker:
            reranker.start()
            shared.close_all_engines()
            with pytest.raises(EngineError, match="the program ends"):
                reranker.start()
            device.may_close.set()


class Failing(FakeEngine):
    """Cannot start, each time for the same reason."""

    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self.failure = failure

    async def start(self) -> None:
        await asyncio.sleep(0.05)  # so that callers wait together
        raise self.failure


class TestAStartThatFails:
    @pytest.mark.parametrize("timeout", [None, 30.0])
    @pytest.mark.parametrize(
        "failure",
        [
            TimeoutError("the hub is slow"),
            asyncio.TimeoutError("the hub is slow"),
            RuntimeError("the hub is slow"),
            FutureTimeoutError("the hub is slow"),
        ],
        ids=lambda error: type(error).__module__ + type(error).__name__,
    )
    def test_is_an_error_with_its_cause(self, failure: Exception, timeout: float | None) -> None:
        with Reranker(Failing(failure), timeout=timeout) as reranker:
            name = type(failure).__name__
            message = f"the Failing engine could not start: {name}: the hub is slow"
            for call in (reranker.start, lambda: reranker.score(QUERY, ["document"])):
                with pytest.raises(EngineError, match=message) as caught:
                    call()
                assert not isinstance(caught.value, TimeoutError)
                assert caught.value.__cause__ is failure

    def test_is_an_error_of_ones_own_for_each_caller(self) -> None:
        with Reranker(Failing(EngineError("no card"))) as reranker, ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(reranker.score, QUERY, ["document"]) for _ in range(8)]
            errors = [call.exception(10) for call in calls]
        assert {str(error) for error in errors} == {"no card"}
        assert len(set(map(id, errors))) == 8

    def test_says_why_even_if_the_end_fails_too(self, caplog: pytest.LogCaptureFixture) -> None:
        class Worse(Failing):
            async def aclose(self) -> None:
                raise OSError("stuck")

        with Reranker(Worse(EngineError("no card"))) as reranker:
            with pytest.raises(EngineError, match="no card"):
                reranker.start()
        assert "stuck" in caplog.text


@pytest.mark.parametrize(
    "engine",
    [
        TorchEngine("./no/such/folder"),
        VLLMEngine("./no/such/folder"),
        ServedEngine(base_url=["http://127.0.0.1:9"], patience=0.05),
    ],
    ids=lambda engine: type(engine).__name__,
)
class TestAReadyEngine:
    def test_that_was_closed_says_so_when_it_is_started(self, engine: Any) -> None:
        with Reranker(engine) as reranker:
            with pytest.raises(RerankError, match="no model folder|127.0.0.1|guard|needs"):
                reranker.start()
            with pytest.raises(EngineError, match="closed: .* or its start failed; make a new"):
                reranker.start()
        with pytest.raises(EngineError, match="make a new engine"):
            submit(engine.start()).result(10)


def test_a_model_for_which_there_is_no_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise RuntimeError("NPU out of memory. Tried to allocate 2.00 GiB\nmore\n")

    monkeypatch.setattr("qwen3_ascend_rerank.engines.torch.engine.load", load)
    with Reranker(TorchEngine("lexical", device="npu:1")) as reranker:
        with pytest.raises(EngineError, match=r"npu:1 has no memory for lexical \(Runt.* 2.00 GiB"):
            reranker.start()
