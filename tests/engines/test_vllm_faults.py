"""The selfcheck on the real vLLM: a right engine passes, each fault provoked in it is named."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

import pytest

from qwen3_ascend_rerank import EngineInfo, PromptBatch, Reranker, SelfcheckError
from qwen3_ascend_rerank.bridge.loop import submit
from qwen3_ascend_rerank.engines.vllm import VLLMEngine
from qwen3_ascend_rerank.models.lexical import tokenizer_file
from qwen3_ascend_rerank.prompts import load_tokenizer
from qwen3_ascend_rerank.runtime import probes
from qwen3_ascend_rerank.runtime.detect import detect
from qwen3_ascend_rerank.trust import Report, check_engine
from tests.support.sabotage import altered_head, mixed_up_cache

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM"),
    pytest.mark.filterwarnings("ignore"),  # those of vLLM and all that it imports
]

Change = Callable[[PromptBatch], PromptBatch]
Sabotage = Callable[[VLLMEngine], AbstractContextManager[None]]


class Sent:
    """An engine that is sent other prompts than were meant."""

    def __init__(self, engine: VLLMEngine, change: Change) -> None:
        self._engine, self._change = engine, change

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    async def score(self, batch: PromptBatch) -> list[float]:
        return await self._engine.score(self._change(batch))


def check(engine: Any) -> Report:
    tokenizer = load_tokenizer(tokenizer_file())
    return submit(check_engine(engine, tokenizer)).result(60)


def as_it_is(batch: PromptBatch) -> PromptBatch:
    return batch


def suffix_cut(batch: PromptBatch) -> PromptBatch:
    return replace(batch, suffix=batch.suffix[:-1])


def template_doubled(batch: PromptBatch) -> PromptBatch:
    head = load_tokenizer(tokenizer_file()).head
    return replace(batch, prefix=head + batch.prefix, suffix=batch.suffix * 2)


def swapped(_: Any, log_odds: Any) -> Any:
    return -log_odds


def random(hidden: Any, _: Any) -> Any:
    chance = hidden.new_empty(hidden.shape[-1]).fill_(1).cumsum(0).mul(12.9898).sin()
    return (hidden @ chance).unsqueeze(-1)


def unloaded(_: Any, log_odds: Any) -> Any:
    return log_odds * 0


ANSWER = "the lexical model's answer"
FAULTS: dict[str, tuple[Sabotage, Change, str, str]] = {
    "a suffix cut by one token": (lambda _: nullcontext(), suffix_cut, ANSWER, "suffix cut off"),
    "a template doubled": (lambda _: nullcontext(), template_doubled, ANSWER, "doubled"),
    "no and yes swapped": (
        lambda engine: altered_head(engine, swapped),
        as_it_is,
        ANSWER,
        '"no" and "yes" are swapped',
    ),
    "a random head": (
        lambda engine: altered_head(engine, random),
        as_it_is,
        ANSWER,
        "the head was not loaded, or with other weights",
    ),
    "a head that was not loaded": (
        lambda engine: altered_head(engine, unloaded),
        as_it_is,
        "another document or query",
        "head that was not loaded",
    ),
    "a cache that returns another prompt's values": (
        mixed_up_cache,
        as_it_is,
        "another document or query",
        "cache that mixes up prompts",
    ),
}


def test_a_right_engine_passes(vllm: Reranker, engine: VLLMEngine) -> None:
    check(engine).demand("vLLM")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught_and_named(fault: str, vllm: Reranker, engine: VLLMEngine) -> None:
    sabotage, change, failing, advice = FAULTS[fault]
    with sabotage(engine):
        report = check(Sent(engine, change))
    with pytest.raises(SelfcheckError, match=advice):
        report.demand("this engine")
    assert failing in {failure.name for failure in report.failures}
    assert check(engine).failures == []  # it was the sabotage


@pytest.mark.full
def test_tokens_in_the_wrong_order_are_caught_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {**probes.HF_OVERRIDES, "classifier_from_token": ["yes", "no"]}
    monkeypatch.setattr(probes, "HF_OVERRIDES", MappingProxyType(wrong))
    with Reranker("lexical", engine="vllm", max_length=300) as reranker:
        with pytest.raises(SelfcheckError, match='"no" and "yes" are swapped'):
            reranker.start()


@pytest.mark.full
@pytest.mark.skipif(not str(detect().vllm).startswith("0.13."), reason="other releases are right")
def test_a_wrong_engine_is_refused() -> None:
    kernels = {"compilation_config": {"custom_ops": ["all"]}}  # against the table's advice
    with Reranker("lexical", engine="vllm", max_length=300, engine_options=kernels) as reranker:
        with pytest.raises(SelfcheckError, match="computes wrongly in this runtime"):
            reranker.start()
