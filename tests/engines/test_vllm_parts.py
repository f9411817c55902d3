"""VLLMEngine's own part, without vLLM: what it tells, what it makes of answers, what it refuses."""

import asyncio
import logging
import multiprocessing
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from qwen3_ascend_rerank import (
    EngineDeadError,
    EngineError,
    EngineInfo,
    InvalidInputError,
    PromptBatch,
)
from qwen3_ascend_rerank.engines.vllm import VLLMEngine, launch, library
from qwen3_ascend_rerank.models import open_checkpoint
from qwen3_ascend_rerank.runtime.detect import Machine


class FakeLLM:
    """What answers each prompt with `answer`, or raises it."""

    def __init__(self, answer: Any, *, errored: bool = False, error: Any = None) -> None:
        self.errored = errored
        self.seen: list[Any] = []
        self._answer, self._error = answer, error

    async def encode(self, prompt: Any, parameters: Any, request: str) -> AsyncIterator[Any]:
        self.seen.append(parameters)
        if isinstance(self._answer, Exception):
            raise self._answer
        outputs = SimpleNamespace(data=torch.tensor(self._answer))
        yield SimpleNamespace(request_id=request, outputs=outputs, error=self._error)


class Parameters:
    def clone(self) -> "Parameters":
        return Parameters()


def ask(llm: FakeLLM | None, *, exact: bool = True) -> list[float]:
    engine = VLLMEngine("lexical")
    engine._llm, engine._parameters = llm, Parameters()
    engine._info = EngineInfo(
        "lexical", "vllm", "vllm 0.30.0", "cpu", "float32", 300, "", log_odds_exact=exact
    )
    batch = PromptBatch([1, 2], [[3], [4, 5]], [6], "", "", ["", ""], [False, False])
    return asyncio.run(engine.score(batch))


class TestAnswers:
    def test_are_log_odds(self) -> None:
        assert ask(FakeLLM([2.5])) == [2.5, 2.5]

    def test_that_are_probabilities_are_turned_into_log_odds(self) -> None:
        assert ask(FakeLLM([0.5]), exact=False) == [0.0, 0.0]

    def test_of_one_query_share_their_parameters(self) -> None:
        llm = FakeLLM([1.0])
        ask(llm)
        assert len({id(each) for each in llm.seen}) == 1

    @pytest.mark.parametrize("numbers", [[], [0.2, 0.8]])
    def test_that_are_no_score_are_an_error(self, numbers: list[float]) -> None:
        with pytest.raises(EngineError, match=f"with {len(numbers)} numbers instead of a score"):
            ask(FakeLLM(numbers))

    def test_of_requests_that_failed_are_an_error(self) -> None:
        with pytest.raises(EngineError, match=r"instead of a score \(out of blocks\)"):
            ask(FakeLLM([0.0], error="out of blocks"))

    def test_are_not_waited_for_where_a_prompt_is_turned_away(self) -> None:
        with pytest.raises(EngineError, match=r"0\.30\.0 could not score a prompt of .* too long"):
            ask(FakeLLM(ValueError("too long")))

    def test_that_never_come_name_the_death(self) -> None:
        with pytest.raises(EngineDeadError, match=r"process of vllm 0\.30\.0 has died"):
            ask(FakeLLM(RuntimeError("gone"), errored=True))

    def test_are_not_asked_of_a_closed_engine(self) -> None:
        with pytest.raises(EngineError, match="the engine is closed"):
            ask(None)


class SlowLLM(FakeLLM):
    """Answers after a while, and knows what it was asked for and how much is under way."""

    def __init__(self) -> None:
        super().__init__([1.0])
        self.asked: list[int] = []
        self.under_way = self.most = 0

    async def encode(self, prompt: Any, parameters: Any, request: str) -> AsyncIterator[Any]:
        ids = prompt["prompt_token_ids"]
        self.asked.append(ids[0])
        self.under_way += len(ids)
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.001)
        self.under_way -= len(ids)
        async for output in super().encode(prompt, parameters, request):
            yield output


class TestTurns:
    def test_let_a_small_call_go_beside_a_huge_one(self) -> None:
        engine, llm = VLLMEngine("lexical"), SlowLLM()
        engine._llm, engine._parameters = llm, Parameters()
        engine._info = EngineInfo("lexical", "vllm", "vllm", "cpu", "float32", 300, "")
        engine._turns.limit = 100

        def batch(name: int, count: int) -> PromptBatch:
            ids, texts = [[3] * 7] * count, [""] * count
            return PromptBatch([name, 2], ids, [6], "", "", texts, [False] * count)

        async def run() -> None:
            huge = asyncio.create_task(engine.score(batch(1, 500)))
            await asyncio.sleep(0.01)
            begun = len(llm.asked)
            assert await engine.score(batch(2, 5)) == [1.0] * 5
            assert len(llm.asked) - begun <= 5 * 2 + 20  # its own, as many, and what was before
            assert await huge == [1.0] * 500

        asyncio.run(run())
        assert llm.most == 100

    @pytest.mark.parametrize(
        ("platform", "replicas", "stages", "tokens"),
        [("cpu", 1, 1, 1536), ("npu", 1, 1, 4096), ("cuda", 1, 1, 4096), ("npu", 4, 2, 8 * 4096)],
    )
    def test_keep_batches_full(
        self, platform: str, replicas: int, stages: int, tokens: int
    ) -> None:
        config = SimpleNamespace(
            scheduler_config=SimpleNamespace(max_num_batched_tokens=2048),
            parallel_config=SimpleNamespace(
                data_parallel_size=replicas, pipeline_parallel_size=stages
            ),
        )
        assert library.tokens_under_way(SimpleNamespace(vllm_config=config), platform) == tokens


class TestPlan:
    def make(self, machine: Machine, **options: Any) -> None:
        checkpoint = replace(open_checkpoint("lexical", weights=False), folder=Path("nowhere"))
        VLLMEngine("some/model", max_length=512, **options)._plan(machine, checkpoint)

    def npu(self, version: str) -> Machine:
        return Machine(
            "npu", 1, chip="910B3", vllm="0.13.0", vllm_ascend=version, vllm_platform="npu"
        )

    def test_leaves_one_token_of_the_context_free(self) -> None:
        checkpoint = open_checkpoint("lexical", weights=False)
        longest = checkpoint.configuration.longest
        machine = Machine("cpu", 1, vllm="0.30.0", vllm_platform="cpu")
        VLLMEngine("lexical", max_length=longest - 1)._plan(machine, checkpoint)
        message = f"takes at most {longest - 1} tokens here, since 1 of its {longest} must stay"
        with pytest.raises(InvalidInputError, match=message):
            VLLMEngine("lexical", max_length=longest)._plan(machine, checkpoint)
        longer = {"rope_parameters": {"rope_type": "linear", "factor": 2.0}}
        engine = VLLMEngine("lexical", max_length=longest, hf_overrides=longer)
        engine._plan(machine, checkpoint)

    def test_tells_each_adjustment_once(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            self.make(self.npu("0.13.0"))
        told = [each.getMessage() for each in caplog.records if each.levelno == logging.INFO]
        assert sum("enable_prefix_caching=False" in each for each in told) == 1
        assert sum("enable_chunked_prefill=False" in each for each in told) == 1
        assert len(set(told)) == len(told)

    def test_warns_of_a_release_that_nobody_knows(self, caplog: pytest.LogCaptureFixture) -> None:
        self.make(Machine("cuda", 1, vllm="0.99.0", vllm_platform="cuda"))
        assert "vLLM 0.99.0: nothing is known of it yet" in caplog.text

    def test_refuses_where_scores_cannot_be_right(self) -> None:
        with pytest.raises(EngineError, match=r"0\.10\.2 or newer, or tensor_parallel_size=1"):
            self.make(
                Machine("cuda", 2, vllm="0.10.1", vllm_platform="cuda"), tensor_parallel_size=2
            )


class TestGuard:
    @pytest.fixture
    def main(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
        module = ModuleType("__main__")
        module.__file__ = str(tmp_path / "script.py")
        monkeypatch.setitem(sys.modules, "__main__", module)
        return module

    def test_is_asked_for_where_it_is_missing(self, main: ModuleType) -> None:
        Path(str(main.__file__)).write_text("from library import run\nrun()\n")
        with pytest.raises(EngineError, match=r"(?s)script\.py has no guard.*if __name__ =="):
            launch.check_main_module()

    @pytest.mark.parametrize(
        "guard", ["if __name__ == '__main__':", 'if "__main__" == __name__:', "if __name__!='x':"]
    )
    def test_is_known_in_every_form(self, guard: str, main: ModuleType) -> None:
        Path(str(main.__file__)).write_text(f"{guard}\n    run()\n")
        launch.check_main_module()

    def test_is_not_needed_by_a_package_that_is_run(self, main: ModuleType) -> None:
        Path(str(main.__file__)).write_text("from library import run\nrun()\n")
        main.__spec__ = ModuleSpec("library.__main__", None)
        launch.check_main_module()

    def test_is_needed_by_a_module_that_is_run(self, main: ModuleType) -> None:
        Path(str(main.__file__)).write_text("from library import run\nrun()\n")
        main.__spec__ = ModuleSpec("library.module", None)
        with pytest.raises(EngineError, match="has no guard"):
            launch.check_main_module()

    def test_is_named_to_a_process_that_imports_the_script_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        process = multiprocessing.current_process()
        monkeypatch.setattr(process, "_inheriting", True, raising=False)
        with pytest.raises(EngineError, match="import your script again"):
            launch.check_main_module()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside threads
def test_a_fork_during_a_start_leaves_the_child_free_to_start() -> None:
    with launch.one_at_a_time:
        child = os.fork()
        if child == 0:
            os._exit(0 if launch.one_at_a_time.acquire(timeout=5) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
