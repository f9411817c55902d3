"""The selfcheck: a right engine passes, and each known way to be wrong is caught and named."""

import asyncio
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from qwen3_ascend_rerank import EngineInfo, InvalidInputError, Reranker, SelfcheckError
from qwen3_ascend_rerank.engines import EngineSpec, PromptBatch
from qwen3_ascend_rerank.engines.startup import probe, recall, remember
from qwen3_ascend_rerank.engines.torch import TorchEngine
from qwen3_ascend_rerank.models.lexical import tokenizer_file
from qwen3_ascend_rerank.prompts import HEAD, load_tokenizer
from qwen3_ascend_rerank.testing import FakeEngine
from qwen3_ascend_rerank.trust import Report, check_engine
from qwen3_ascend_rerank.trust.answers import LEXICAL_ANSWERS
from qwen3_ascend_rerank.trust.examiner import Examiner
from qwen3_ascend_rerank.trust.invariants import QUERIES
from tests.support.models import write_original

Change = Callable[["Faulty", PromptBatch], Any]


class Faulty(TorchEngine):
    """The lexical model on the torch engine, with one thing wrong."""

    def __init__(
        self,
        change: Callable[[PromptBatch], PromptBatch] = lambda batch: batch,
        turn: Callable[[list[float]], list[float]] = lambda values: values,
        **info: Any,
    ) -> None:
        super().__init__("lexical")
        self._change, self._turn, self._changes = change, turn, info

    async def start(self) -> None:
        await super().start()
        self._info = replace(self.info, **self._changes)

    async def score(self, batch: PromptBatch) -> list[float]:
        return self._turn(await super().score(self._change(batch)))


def check(engine: TorchEngine, **options: Any) -> Report:
    async def run() -> Report:
        await engine.start()
        try:
            return await check_engine(engine, load_tokenizer(tokenizer_file()), **options)
        finally:
            await engine.aclose()

    return asyncio.run(run())


def names(report: Report) -> set[str]:
    return {failure.name for failure in report.failures}


@pytest.mark.parametrize("cache_block", [0, 16, 32, 128])
def test_a_right_engine_passes_with_few_tokens(cache_block: int) -> None:
    report = check(Faulty(cache_block=cache_block), known=cache_block != 128)
    assert report.failures == []
    assert report.tokens < 2000
    assert len(report.checks) == 4 + (
        sum(map(len, LEXICAL_ANSWERS.values())) if cache_block != 128 else 0
    )


@pytest.mark.parametrize("cache_block", [16, 32, 64, 128])
@pytest.mark.parametrize("model", ["lexical", "qwen"])
def test_queries_differ_only_in_what_is_cached(
    model: str, cache_block: int, qwen_file: Path
) -> None:
    file = qwen_file if model == "qwen" else tokenizer_file()
    engine = FakeEngine()
    engine._info = EngineInfo(model, "", "", "", "float32", 8192, file, cache_block=cache_block)
    examiner = Examiner(engine, load_tokenizer(file))
    one, other = (examiner._batch(examiner.fill_blocks(query), []).prefix for query in QUERIES)
    assert len(one) == len(other)
    different = [place for place, ids in enumerate(zip(one, other, strict=True)) if len({*ids}) > 1]
    assert different
    assert max(different) // cache_block < len(one) // cache_block


def test_a_right_engine_passes_in_chunks_too() -> None:
    report = check(Faulty(chunk=1000), chunks=True)
    assert report.failures == []
    assert report.checks[-1].name == "in chunks"


def test_half_precision_passes_within_its_tolerance() -> None:
    for dtype in ("bfloat16", "float16"):
        engine = TorchEngine("lexical", dtype=dtype)
        assert check(engine).failures == []


def cut_suffix(batch: PromptBatch) -> PromptBatch:
    return replace(batch, suffix=batch.suffix[:-1])


def no_template(batch: PromptBatch) -> PromptBatch:
    return replace(batch, prefix=batch.prefix[len(head()) :], suffix=[])


def double_template(batch: PromptBatch) -> PromptBatch:
    return replace(batch, prefix=head() + batch.prefix, suffix=batch.suffix * 2)


def end_with_one_line_feed(batch: PromptBatch) -> PromptBatch:
    (line_feed,) = load_tokenizer(tokenizer_file()).encode(["\n"])[0]
    return replace(batch, suffix=[*batch.suffix[:-1], line_feed])


def head() -> list[int]:
    return load_tokenizer(tokenizer_file()).head


def swap(values: list[float]) -> list[float]:
    return [-value for value in values]


def mixed_up_cache() -> Callable[[PromptBatch], PromptBatch]:
    """A prefix cache that returns the first prompt's values for every prompt."""
    kept: list[list[int]] = []

    def change(batch: PromptBatch) -> PromptBatch:
        kept.append(batch.prefix)
        return replace(batch, prefix=kept[0])

    return change


def drift() -> Callable[[list[float]], list[float]]:
    calls: list[int] = []

    def turn(values: list[float]) -> list[float]:
        calls.append(1)
        return [value + 0.01 * len(calls) for value in values]

    return turn


ANSWER = "the lexical model's answer"
FAULTS: dict[str, tuple[Callable[[], TorchEngine], set[str], str]] = {
    "no and yes swapped": (lambda: Faulty(turn=swap), {ANSWER}, "are swapped"),
    "suffix cut by one token": (lambda: Faulty(cut_suffix), {ANSWER}, "suffix cut off"),
    "template missing": (lambda: Faulty(no_template), {ANSWER}, "template missing"),
    "template doubled": (lambda: Faulty(double_template), {ANSWER}, "doubled"),
    "one line feed lost": (lambda: Faulty(end_with_one_line_feed), {ANSWER}, "template"),
    "always one half": (
        lambda: Faulty(turn=lambda values: [0.0] * len(values)),
        {"another document or query", "answers far enough apart"},
        "head that was not loaded",
    ),
    "next to nothing": (
        lambda: Faulty(turn=lambda values: [1e-5 * value for value in values]),
        {"answers far enough apart"},
        "quantised with the model until nothing was left of it",
    ),
    "next to nothing in bfloat16": (
        lambda: Faulty(turn=lambda values: [0.003 * value for value in values], dtype="bfloat16"),
        {"answers far enough apart"},
        "log-odds more than 0.05 apart, got 0.0",
    ),
    "next to nothing from a server": (
        lambda: Faulty(
            turn=lambda values: [1e-5 * value for value in values], engine="served", dtype="unknown"
        ),
        {"answers far enough apart"},
        "log-odds more than 0.001 apart",
    ),
    "overflow": (
        lambda: Faulty(turn=lambda values: [math.nan] * len(values), dtype="float16"),
        {"a number for each pair"},
        "float16 ends at 65,504; use bfloat16 where the card has it, else float32: pass engine_op",
    ),
    "infinity on a server": (
        lambda: Faulty(
            turn=lambda values: [math.inf, *values[1:]], engine="served", dtype="unknown"
        ),
        {"a number for each pair"},
        "start the server with --dtype float32",
    ),
    "cache returns another prompt's values": (
        lambda: Faulty(mixed_up_cache()),
        {"another document or query"},
        "cache that mixes up prompts",
    ),
    "answers drift": (
        lambda: Faulty(turn=drift(), engine="vllm"),
        {"again, with its prefix cached", "alone and in a batch"},
        r'pass engine_options=\{"enable_prefix_caching": False\}',
    ),
    "answers of a server drift": (
        lambda: Faulty(turn=drift(), engine="served"),
        {"again, with its prefix cached"},
        "start the server with --no-enable-prefix-caching",
    ),
    "answers drift where nothing can be turned off": (
        lambda: Faulty(turn=drift()),
        {"again, with its prefix cached"},
        "report it, with torch",
    ),
    "neighbours count": (
        lambda: Faulty(turn=lambda values: [value + 0.01 * len(values) for value in values]),
        {"alone and in a batch"},
        "depends on its neighbours",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_engine_is_caught_and_the_fault_named(fault: str) -> None:
    make, expected, advice = FAULTS[fault]
    report = check(make())
    assert expected <= names(report)
    with pytest.raises(SelfcheckError, match=advice) as caught:
        report.demand("this engine")
    assert "asked" in str(caught.value)
    assert "expected" in str(caught.value)
    assert 'selfcheck="off"' in str(caught.value)
    assert str(caught.value).count("\n") < 16  # a person reads it


def test_a_random_head_is_caught() -> None:
    class RandomHead(Faulty):
        async def start(self) -> None:
            await super().start()
            assert self._body is not None
            self._body._head = torch.randn_like(self._body._head)

    with pytest.raises(SelfcheckError, match="right but for a factor: the head was not loaded"):
        check(RandomHead()).demand("this engine")


def test_prompts_that_lose_their_beginning_in_chunks_are_caught() -> None:
    def forget(batch: PromptBatch) -> PromptBatch:
        if len(batch) < 6:
            return batch
        return replace(batch, prefix=batch.prefix[: len(batch.prefix) // 2])

    report = check(Faulty(forget, chunk=1000, engine="vllm"), chunks=True)
    assert names(report) == {"in chunks"}
    assert '"enable_chunked_prefill": False' in report.failures[0].fault


PUBLISHED = [
    "Qwen/Qwen3-Reranker-0.6B",
    "/models/Qwen3-Reranker-4B",
    "/cache/models/Qwen/Qwen3-Reranker-0___6B",
    "/cache/models--Qwen--Qwen3-Reranker-8B/snapshots/0123abc",
    "C:\\models\\qwen3-reranker-8b",
]


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_weights_are_known_by_their_name(model: str) -> None:
    # The lexical model knows these two pairs too, so it can stand for the real one.
    report = check(Faulty(model=model))
    assert [each.name for each in report.checks[-2:]] == ["a match", "no match"]
    assert report.failures == report.warnings == []
    wrong = check(Faulty(turn=swap, model=model))
    assert names(wrong) == {"a match", "no match"}
    assert "swapped" in wrong.failures[0].fault


OTHERS = ["Qwen/Qwen3-Reranker-0.6B-finetuned", "me/my-Qwen3-Reranker-0.6B-v2", "zerank-2"]


@pytest.mark.parametrize("model", OTHERS)
def test_other_weights_are_warned_of_where_they_are_not_plausible(
    model: str, caplog: pytest.LogCaptureFixture
) -> None:
    plausible = check(Faulty(model=model))
    assert plausible.failures == plausible.warnings == []
    modest = check(Faulty(turn=lambda values: [0.1 * value for value in values], model=model))
    assert modest.failures == []
    modest.demand("this engine")
    (told,) = caplog.messages[:1]
    assert "a match: asked 'What is the capital of China?'" in told
    assert "expected > 0.9, got 0.7" in told
    assert "A fine-tune may differ" in told
    turned = check(Faulty(turn=swap, model=model))
    assert {one.name for one in turned.warnings} == {"a match", "no match"}
    assert "swapped" in turned.warnings[0].fault


def test_a_reranker_refuses_an_engine_that_fails() -> None:
    engine = Faulty(turn=swap)
    with Reranker(engine, selfcheck="full") as reranker:
        with pytest.raises(SelfcheckError, match="lexical on torch .* does not compute right"):
            reranker.rerank("query", ["document"])


def test_a_ready_engine_is_checked_only_where_asked() -> None:
    with Reranker(FakeEngine()) as reranker:
        assert reranker.score("query", ["document"]) == [0.5]
    with Reranker(FakeEngine(), selfcheck="invariants") as reranker:
        with pytest.raises(SelfcheckError, match="another document or query"):
            reranker.start()


def test_levels_decide_what_is_asked(qwen_file: Path, tmp_path: Path) -> None:
    model = write_original(tmp_path / "Qwen3-Reranker-0.6B", qwen_file, tied=True)
    with Reranker(model, engine="torch") as reranker:  # random weights under a known name
        with pytest.raises(SelfcheckError, match="a match: asked 'What is the capital of China"):
            reranker.start()
    for level in ("invariants", "off"):
        with Reranker(model, engine="torch", selfcheck=level) as reranker:
            assert reranker.start().model == str(model)
    with pytest.raises(InvalidInputError, match="selfcheck is 'some'; use one of auto, full"):
        Reranker(selfcheck="some")


def test_a_model_that_may_be_none_is_told_of(
    qwen_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = write_original(tmp_path / "Qwen3-0.6B", qwen_file, tied=True)  # as a chat model is
    with Reranker(model, engine="torch") as reranker:
        assert reranker.score("query", ["document"])
    assert any("a chat or embedding model" in told or "swapped" in told for told in caplog.messages)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    lexical_is_constructed_already = tokenizer_file()
    assert lexical_is_constructed_already
    monkeypatch.setenv("QWEN3_RERANK_CACHE", str(tmp_path))
    return tmp_path / "probes.json"


def spec(model: str = "lexical", **options: Any) -> EngineSpec:
    return EngineSpec("torch", model, 1024, None, options)


def test_the_probe_is_remembered_for_this_runtime_and_these_settings(memory: Path) -> None:
    assert recall(spec()) is None
    assert asyncio.run(probe(spec("some/model"))).failures == []
    assert recall(spec("another/model")) is True
    assert recall(spec(dtype="bfloat16")) is None
    assert "torch" in json.dumps(json.loads(memory.read_text()))


def test_a_runtime_that_failed_the_probe_is_refused_until_it_passes(memory: Path) -> None:
    failed = check(Faulty(turn=swap))
    remember(spec(), failed)
    with Reranker("lexical", max_length=1024, engine="torch") as reranker:
        with pytest.raises(SelfcheckError, match="failed the probe .* earlier"):
            reranker.start()
    with Reranker("lexical", max_length=1024, engine="torch", selfcheck="full") as reranker:
        reranker.start()
    with Reranker("lexical", max_length=1024, engine="torch") as reranker:
        reranker.start()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}'])
def test_a_damaged_memory_is_forgotten(memory: Path, content: str) -> None:
    memory.write_text(content)
    assert recall(spec()) is None


def test_head_is_the_prompts_own() -> None:
    assert HEAD.startswith("<|im_start|>system")


# -- room ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "least"), [("auto", 120), ("full", 120), ("invariants", 104)])
def test_a_max_length_that_is_too_short_for_the_selfcheck_is_named(level: str, least: int) -> None:
    for max_length in (90, least - 1):
        with Reranker("lexical", max_length=max_length, selfcheck=level) as reranker:
            with pytest.raises(
                InvalidInputError,
                match=f"max_length is {max_length}, too short for the selfcheck.* to {least} or",
            ):
                reranker.start()
    with Reranker("lexical", max_length=least, selfcheck=level) as reranker:
        assert reranker.start().max_length == least


def test_without_the_selfcheck_any_max_length_will_do() -> None:
    with Reranker("lexical", max_length=60, selfcheck="off") as reranker:
        reranker.start()
