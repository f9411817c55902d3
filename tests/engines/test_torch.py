"""TorchEngine: the log-odds of the official computation, and clear errors instead of wrong ones."""

import asyncio
import json
import random
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from qwen3_ascend_rerank import (
    DEFAULT_INSTRUCTION,
    CorruptModelError,
    EngineError,
    InvalidInputError,
    ModelNotFoundError,
    Reranker,
    SelfcheckError,
    UnsupportedModelError,
)
from qwen3_ascend_rerank.engines.torch import TorchEngine, attention, linear, loading
from qwen3_ascend_rerank.engines.torch.attention import Shapes
from qwen3_ascend_rerank.engines.torch.passes import Share
from qwen3_ascend_rerank.prompts import PromptBatch, build_batch, load_tokenizer
from tests.support import official
from tests.support.models import NO, YES, write_converted, write_original

QUERIES = ["What is the capital of China?", "量子计算机如何工作？", "<think> in a query"]
WORDS = ["Beijing", "capital", "的", "量子", "force", "\n", "moon", "。", "2026", "gravity", "é"]


@pytest.fixture(scope="module")
def tied(qwen_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_original(tmp_path_factory.mktemp("tied"), qwen_file, tied=True)


@pytest.fixture(scope="module")
def untied(qwen_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_original(tmp_path_factory.mktemp("untied"), qwen_file, tied=False)


def make_documents(count: int) -> list[str]:
    chance = random.Random(3)
    return [
        "",
        " ",
        *(" ".join(chance.choices(WORDS, k=chance.randint(1, 120))) for _ in range(count)),
    ]


def engine_log_odds(folder: Path, query: str, documents: list[str], **options: Any) -> list[float]:
    with Reranker(folder, max_length=300, engine="torch", engine_options=options) as reranker:
        result = reranker.rerank(query, documents)
    by_index = {document.index: document.log_odds for document in result}
    return [by_index[index] for index in range(len(documents))]


def official_log_odds(folder: Path, query: str, documents: list[str]) -> list[float]:
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(folder).eval().float()
    pairs = [official.format_pair(DEFAULT_INSTRUCTION, query, text) for text in documents]
    prompts = official.prompt_ids(tokenizer, pairs, 300)
    return official.log_odds(model, prompts, YES, NO)


@pytest.mark.parametrize("kind", ["tied", "untied"])
@pytest.mark.parametrize("query", QUERIES[:2])
def test_log_odds_are_those_of_the_official_code(
    kind: str, query: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    documents = make_documents(8)
    expected = official_log_odds(folder, query, documents)
    assert max(expected) - min(expected) > 1  # else agreement would mean little
    assert engine_log_odds(folder, query, documents) == pytest.approx(expected, abs=1e-4)


def test_a_converted_checkpoint_scores_as_its_original(tied: Path, tmp_path: Path) -> None:
    documents = make_documents(4)
    expected = official_log_odds(tied, QUERIES[0], documents)
    converted = write_converted(tmp_path / "converted", tied)
    assert engine_log_odds(converted, QUERIES[0], documents) == pytest.approx(expected, abs=1e-4)


def test_lexical_log_odds_are_those_of_the_official_code(lexical: Reranker) -> None:
    from qwen3_ascend_rerank.models.lexical import checkpoint_folder

    folder = checkpoint_folder()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = load_tokenizer(folder / "tokenizer.json")
    documents = make_documents(12)
    pairs = [official.format_pair(DEFAULT_INSTRUCTION, QUERIES[0], text) for text in documents]
    expected = official.log_odds(
        model, official.prompt_ids(tokenizer, pairs, 8192), ids.yes, ids.no
    )
    found = {one.index: one.log_odds for one in lexical.rerank(QUERIES[0], documents)}
    assert [found[place] for place in range(len(documents))] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("batch_tokens", [1, 500, 100_000])
def test_scores_do_not_depend_on_how_documents_are_batched(tied: Path, batch_tokens: int) -> None:
    documents = make_documents(15)
    alone = engine_log_odds(tied, QUERIES[1], documents)
    packed = engine_log_odds(tied, QUERIES[1], documents, batch_tokens=batch_tokens)
    assert packed == pytest.approx(alone, abs=1e-4)


def test_a_reproducible_call_has_the_same_bits_whatever_else_is_asked(tied: Path) -> None:
    documents = [make_documents(count) for count in (1, 7, 15, 4)]
    options = {"reproducible": True, "batch_tokens": 600}

    def scores(reranker: Reranker, place: int) -> list[float]:
        ranked = reranker.rerank(QUERIES[place % len(QUERIES)], documents[place])
        return [one.log_odds for one in sorted(ranked, key=lambda one: one.index)]

    def opened() -> Reranker:
        return Reranker(tied, max_length=300, engine="torch", engine_options=options)

    alone = []
    for place in range(4):
        with opened() as reranker:
            alone.append(scores(reranker, place))
    with opened() as reranker, ThreadPoolExecutor(8) as callers:
        places = [place for _ in range(8) for place in (3, 0, 2, 1)]
        together = list(callers.map(partial(scores, reranker), places))
    assert together == [alone[place] for place in places]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_runs_with_a_float32_head(tied: Path, dtype: str) -> None:
    documents = make_documents(6)
    exact = engine_log_odds(tied, QUERIES[0], documents)
    rounded = engine_log_odds(tied, QUERIES[0], documents, dtype=dtype)
    assert rounded == pytest.approx(exact, abs=0.5)
    assert len(set(rounded)) == len(set(exact))


def test_info_says_what_runs_where(tied: Path) -> None:
    with Reranker(tied, max_length=300, engine="torch") as reranker:
        info = reranker.start()
    assert (info.engine, info.device, info.dtype) == ("torch", "cpu", "float32")
    assert info.model == str(tied)
    assert f"torch {torch.__version__}" in info.version


def test_a_cancelled_call_withdraws_its_waiting_passes(tied: Path) -> None:
    engine = TorchEngine(str(tied), max_length=300, batch_tokens=1)
    passes = 0
    begun = threading.Event()

    def counted(shares: list[Share]) -> list[list[float]]:
        nonlocal passes
        passes += 1
        begun.set()
        return [[0.0] * len(share.rows) for share in shares]

    async def run() -> None:
        await engine.start()
        engine._body.run = counted  # type: ignore[union-attr, method-assign, assignment]
        call = asyncio.create_task(engine.score(some_batch(tied, 1000)))
        await asyncio.to_thread(begun.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await engine.aclose()
        await engine.aclose()

    asyncio.run(run())
    assert passes < 1000


def some_batch(folder: Path, count: int, query: str = QUERIES[0]) -> PromptBatch:
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    return build_batch(tokenizer, DEFAULT_INSTRUCTION, query, make_documents(count), 300)


def test_concurrent_calls_go_through_the_model_together_and_score_as_alone(tied: Path) -> None:
    batches = [
        some_batch(tied, count, query) for count, query in zip((9, 1, 4), QUERIES, strict=True)
    ]

    async def run() -> tuple[list[list[float]], list[list[float]], list[int]]:
        engine = TorchEngine(str(tied), max_length=300, batch_tokens=700)
        await engine.start()
        alone = [await engine.score(batch) for batch in batches]
        body, together = engine._body, []
        assert body is not None
        run_pass = body.run

        def watched(shares: list[Share]) -> list[list[float]]:
            together.append(len(shares))
            return run_pass(shares)

        body.run = watched  # type: ignore[method-assign, assignment]
        merged = await asyncio.gather(*map(engine.score, batches))
        await engine.aclose()
        return alone, merged, together

    alone, merged, together = asyncio.run(run())
    assert max(together) > 1
    for one, other in zip(alone, merged, strict=True):
        assert other == pytest.approx(one, abs=1e-4)


def test_many_calls_share_larger_passes_than_few_and_each_keeps_its_prefix(tied: Path) -> None:
    batches = [some_batch(tied, 20, f"question number {number}") for number in range(20)]

    async def run() -> tuple[list[int], list[int], list[int]]:
        engine = TorchEngine(str(tied), max_length=300)
        await engine.start()
        body, passes = engine._body, []
        assert body is not None
        run_pass = body.run

        def watched(shares: list[Share]) -> list[list[float]]:
            passes.append(sum(share.tokens for share in shares))
            return run_pass(shares)

        body.run = watched  # type: ignore[method-assign, assignment]
        await engine.score(batches[0])
        alone = passes[:]
        passes.clear()
        await asyncio.gather(*map(engine.score, batches))
        known = [body.memory.find(batch.prefix).length for batch in batches]
        await engine.aclose()
        return alone, passes, known

    alone, together, known = asyncio.run(run())
    assert len(alone) > 1
    assert max(alone) <= 1024
    assert 2048 < max(together) <= 4096
    assert known == [len(batch.prefix) for batch in batches]


@pytest.mark.parametrize(
    "shapes", [Shapes(), Shapes(step=64), Shapes(step=64, attention="masked")], ids=str
)
def test_what_a_device_asks_of_shapes_changes_no_score(
    shapes: Shapes, tied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = engine_log_odds(tied, QUERIES[0], make_documents(9))
    monkeypatch.setitem(loading.SHAPES, "cpu", shapes)
    rounded = engine_log_odds(tied, QUERIES[0], make_documents(9), batch_tokens=600)
    assert rounded == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("block", [1, 16, 4096])
def test_how_many_queries_attend_together_changes_no_score(
    block: int, tied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = engine_log_odds(tied, QUERIES[0], make_documents(9))
    monkeypatch.setattr(attention, "BLOCK", block)
    assert engine_log_odds(tied, QUERIES[0], make_documents(9)) == pytest.approx(exact, abs=1e-4)


def test_onednn_weights_change_no_score(tied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = engine_log_odds(tied, QUERIES[0], make_documents(9))
    packed = []
    monkeypatch.setattr(linear, "LEAST", 1)
    monkeypatch.setattr(linear, "_faster", lambda layer: packed.append(layer) or True)
    found = engine_log_odds(tied, QUERIES[0], make_documents(9))
    assert packed
    assert found == pytest.approx(exact, abs=1e-4)


def test_onednn_weights_that_it_does_not_take_stay_torchs(
    tied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("no such form")

    exact = engine_log_odds(tied, QUERIES[0], make_documents(9))
    monkeypatch.setattr(linear, "LEAST", 1)
    monkeypatch.setattr(linear, "_faster", refuse)
    assert engine_log_odds(tied, QUERIES[0], make_documents(9)) == exact
    assert "oneDNN takes no weights in its own form here (no such form)" in caplog.text


def test_onednn_weights_that_multiply_otherwise_are_not_used(
    tied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tied)
    monkeypatch.setattr(linear, "LEAST", 1)
    monkeypatch.setattr(linear, "_faster", lambda layer: True)
    monkeypatch.setattr(linear, "_agree", lambda one, other: False)
    assert not linear.pack(model.model)
    assert all(type(layer.mlp.up_proj) is torch.nn.Linear for layer in model.model.layers)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_compiled_kernels_change_no_score(tied: Path) -> None:
    exact = engine_log_odds(tied, QUERIES[0], make_documents(9))
    found = engine_log_odds(tied, QUERIES[0], make_documents(9), compile=True, batch_tokens=600)
    assert found == pytest.approx(exact, abs=1e-4)


def test_float16_that_overflows_is_named(tied: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tied, tmp_path / "large")
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.down_proj.weight"] *= 1e5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with Reranker(folder, engine="torch", engine_options={"dtype": "float16"}) as reranker:
        with pytest.raises(SelfcheckError, match="float16 ends at 65,504") as caught:
            reranker.start()
    assert "prefix_caching" not in str(caught.value)
    options = {"dtype": "float16"}
    with Reranker(folder, engine="torch", engine_options=options, selfcheck="off") as reranker:
        with pytest.raises(EngineError, match="of document 0 .* else float32: pass engine_opt"):
            reranker.rerank("query", ["document"])
    with Reranker(folder, engine="torch", engine_options={"dtype": "bfloat16"}) as reranker:
        assert reranker.score("query", ["document"])


def failing(body: Any, error: Exception, passes: Callable[[int], bool]) -> list[int]:
    """Have `body` fail in passes of as many documents as `passes` says; what it was asked."""
    run_pass, asked = body.run, []

    def run(shares: list[Share]) -> list[list[float]]:
        asked.append(sum(len(share.rows) for share in shares))
        if passes(asked[-1]):
            raise error
        return run_pass(shares)

    body.run = run
    return asked


def test_memory_that_runs_out_halves_the_passes(
    tied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> tuple[list[float], list[float], list[int]]:
        engine = TorchEngine(str(tied), max_length=300)
        await engine.start()
        batch = some_batch(tied, 20)
        expected = await engine.score(batch)
        asked = failing(engine._body, torch.OutOfMemoryError("full"), lambda count: count > 6)
        found = await engine.score(batch)
        await engine.aclose()
        return expected, found, asked

    expected, found, asked = asyncio.run(run())
    assert found == pytest.approx(expected, abs=1e-4)
    assert max(asked) > 6
    assert asked[-1] <= 6
    assert "ran out of memory with a pass of" in caplog.text


def test_a_document_without_memory_is_an_error_that_says_what_to_do(tied: Path) -> None:
    async def run() -> None:
        engine = TorchEngine(str(tied), max_length=300)
        await engine.start()
        failing(engine._body, torch.OutOfMemoryError("full"), lambda count: True)
        with pytest.raises(EngineError, match=r"cpu has no memory for a pass of \d+ tokens"):
            await engine.score(some_batch(tied, 3))
        await engine.aclose()

    asyncio.run(run())


def test_a_pass_that_fails_ends_its_calls_and_no_later_one(tied: Path) -> None:
    async def run() -> None:
        engine = TorchEngine(str(tied), max_length=300)
        await engine.start()
        first = [True]
        failing(engine._body, ValueError("odd"), lambda count: first.pop() if first else False)
        with pytest.raises(ValueError, match="odd"):
            await engine.score(some_batch(tied, 3))
        assert len(await engine.score(some_batch(tied, 3))) == 5
        await engine.aclose()

    asyncio.run(run())


def test_memory_that_was_short_for_a_moment_is_used_again(tied: Path) -> None:
    async def run() -> None:
        engine = TorchEngine(str(tied), max_length=300)
        await engine.start()
        batch, whole = some_batch(tied, 20), engine._budget.tokens
        short = [True] * 2
        failing(engine._body, torch.OutOfMemoryError("full"), lambda _: bool(short and short.pop()))
        await engine.score(batch)
        assert engine._budget.tokens < whole
        for _ in range(20):
            await engine.score(batch)
        assert engine._budget.tokens == whole
        await engine.aclose()

    asyncio.run(run())


def test_a_pass_that_fails_is_tried_again_call_by_call(
    tied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    batches = [some_batch(tied, 3, query) for query in ("one", "two", "three", "four")]
    poison = batches[1].documents[3], batches[2].documents[3]

    async def run() -> tuple[list[Any], list[Any]]:
        engine = TorchEngine(str(tied), max_length=300, batch_tokens=2000)
        await engine.start()
        expected = [await engine.score(batch) for batch in batches]
        run_pass = engine._body.run  # type: ignore[union-attr]

        def run(shares: list[Share]) -> list[list[float]]:
            for share in shares:
                for row in share.rows:
                    if share.call.prefix in [each.prefix for each in batches[1:3]] and any(
                        share.call.rows[row][: len(each)] == each for each in poison
                    ):
                        raise ValueError("odd")
            return run_pass(shares)

        engine._body.run = run  # type: ignore[union-attr, method-assign, assignment]
        found = await asyncio.gather(*map(engine.score, batches), return_exceptions=True)
        await engine.aclose()
        return expected, found

    expected, found = asyncio.run(run())
    assert "going on with each alone" in caplog.text
    for right, one in zip(expected[::3], found[::3], strict=True):
        assert one == pytest.approx(right, abs=1e-4)
    assert [str(error) for error in found[1:3]] == ["odd", "odd"]
    assert found[1] is not found[2]


def test_closing_ends_calls_in_flight(tied: Path) -> None:
    async def run() -> None:
        engine = TorchEngine(str(tied), max_length=300, batch_tokens=1)
        await engine.start()
        call = asyncio.create_task(engine.score(some_batch(tied, 300)))
        await asyncio.sleep(0.05)
        await engine.aclose()
        with pytest.raises(EngineError, match="closed during the call"):
            await call
        with pytest.raises(EngineError, match="engine is closed"):
            await engine.score(some_batch(tied, 1))

    asyncio.run(run())


def test_a_model_with_a_sliding_window_is_refused(qwen_file: Path, tmp_path: Path) -> None:
    folder = write_original(
        tmp_path / "sliding",
        qwen_file,
        tied=True,
        use_sliding_window=True,
        sliding_window=16,
        max_window_layers=1,
    )
    with Reranker(folder, engine="torch") as reranker:
        with pytest.raises(UnsupportedModelError, match="sliding window"):
            reranker.start()


def test_an_engine_that_has_not_started_has_no_info() -> None:
    with pytest.raises(EngineError, match="not started"):
        _ = TorchEngine("lexical").info


def edit_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def truncate_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])


def lose_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


DAMAGE: dict[str, tuple[Callable[[Path], Any], type[Exception], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), CorruptModelError, "no config.json"),
    "config cut off": (
        lambda f: (f / "config.json").write_text('{"model_type": "qw'),
        CorruptModelError,
        "config.json cannot be read",
    ),
    "config is a list": (
        lambda f: (f / "config.json").write_text("[]"),
        CorruptModelError,
        "no JSON object",
    ),
    "another model": (
        lambda f: edit_config(f, model_type="bert", architectures=["BertModel"]),
        UnsupportedModelError,
        "not a Qwen3 reranker: .* 'bert'",
    ),
    "an embedding model": (
        lambda f: (f / "1_Pooling").mkdir(),
        UnsupportedModelError,
        "embedding model",
    ),
    "a head that is not there": (
        lambda f: edit_config(f, architectures=["Qwen3ForSequenceClassification"]),
        CorruptModelError,
        r"lacks score\.weight",
    ),
    "weights cut off": (truncate_weights, CorruptModelError, "damaged or cut off"),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        CorruptModelError,
        "holds no weights",
    ),
    "a weight missing": (lose_a_weight, CorruptModelError, r"lacks 1 weights, .*layers\.1\.mlp"),
    "no tokenizer": (
        lambda f: (f / "tokenizer.json").unlink(),
        ModelNotFoundError,
        "has no tokenizer.json",
    ),
    "tokenizer cut off": (
        lambda f: (f / "tokenizer.json").write_text("{"),
        CorruptModelError,
        "tokenizer.json cannot be read",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_refused_by_name(kind: str, tied: Path, tmp_path: Path) -> None:
    damage, error, message = DAMAGE[kind]
    folder = shutil.copytree(tied, tmp_path / "model")
    damage(folder)
    with Reranker(folder, engine="torch") as reranker, pytest.raises(error, match=message):
        reranker.rerank("query", ["document"])


def test_a_missing_folder_is_named() -> None:
    with Reranker("./no/such/folder") as reranker:
        with pytest.raises(ModelNotFoundError, match="no model folder /.*/no/such/folder"):
            reranker.rerank("query", ["document"])


def test_a_hub_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with Reranker("nobody/no-such-model") as reranker:
        with pytest.raises(ModelNotFoundError, match="nobody/no-such-model could not be fetched"):
            reranker.rerank("query", ["document"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "toaster"}, "device is 'toaster'"),
        ({"device": "cuda:7"}, "finds no such device"),
        ({"device": "npu"}, "torch-npu"),
        ({"dtype": "int3"}, "dtype is 'int3'; use one of float32"),
        ({"nonsense": 1}, "takes no option nonsense; it takes batch_tokens"),
    ],
)
def test_options_that_cannot_be_met_are_named(
    tied: Path, options: dict[str, Any], message: str
) -> None:
    if options.get("device") == "cuda:7" and torch.cuda.device_count() > 7:
        pytest.skip("there is such a device")
    with Reranker(tied, engine="torch", engine_options=options) as reranker:
        with pytest.raises(InvalidInputError, match=message):
            reranker.start()


def test_a_max_length_beyond_the_model_is_refused(tied: Path) -> None:
    with Reranker(tied, engine="torch", max_length=50_000) as reranker:
        with pytest.raises(InvalidInputError, match="at most 40960"):
            reranker.start()
