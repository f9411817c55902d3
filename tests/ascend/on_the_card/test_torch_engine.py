"""TorchEngine on ``npu``: the CPU's log-odds, by the shapes and the memory of an NPU."""

import gc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch_npu

from qwen3_ascend_rerank import EngineError, InvalidInputError, Reranker
from qwen3_ascend_rerank.engines.torch import memory
from tests.support.models import write_original
from tests.support.pairs import QUERIES, log_odds, make_documents
from tests.support.processes import wait_until

CARD = torch_npu.stand_in
LENGTH = 300
DOCUMENTS = make_documents(40, longest=200)
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.3, "float16": 0.03}
"""Log-odds lie between -20 and 15; a bfloat16 has 8 bits, a float16 has 11."""


def reranker(model: str | Path, **options: Any) -> Reranker:
    options = {"device": "npu", "batch_tokens": 1024, **options}
    return Reranker(model, engine="torch", max_length=LENGTH, engine_options=options)


def scores(model: str | Path, **options: Any) -> list[float]:
    with reranker(model, **options) as made:
        return [value for query in QUERIES for value in log_odds(made, query, DOCUMENTS)]


@pytest.fixture(scope="module")
def model(qwen_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_original(tmp_path_factory.mktemp("model"), qwen_file, tied=True)


def _is_given_back(before: int) -> bool:
    """An engine's memory is freed a moment after it was closed, when its threads let go of it."""
    gc.collect()
    return bool(CARD.used() <= before)


@pytest.fixture(autouse=True)
def _card_as_it_was() -> Iterator[None]:
    before = CARD.used()
    yield
    assert wait_until(lambda: _is_given_back(before))


@pytest.fixture
def limited() -> Iterator[Any]:
    """Sets how much memory is left on the card."""
    before = CARD.limit()
    yield lambda room: CARD.set_limit(CARD.used() + room)
    CARD.set_limit(before)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_lexical_model_scores_as_on_a_cpu(dtype: str) -> None:
    right = scores("lexical", device="cpu", dtype="float32")
    found = scores("lexical", dtype=dtype)
    assert max(right) - min(right) > 10  # else agreement would mean little
    assert found == pytest.approx(right, abs=TOLERANCE[dtype])


def test_a_model_of_random_weights_scores_as_on_a_cpu(model: Path) -> None:
    right = scores(model, device="cpu", dtype="float32")
    assert scores(model, dtype="float32") == pytest.approx(right, abs=1e-3)


def test_an_npu_is_chosen_unasked_and_computes_in_bfloat16() -> None:
    with Reranker("lexical", engine="torch", max_length=LENGTH) as made:
        info = made.start()
    assert (info.device, info.dtype) == ("npu", "bfloat16")


def test_without_bfloat16_the_precision_is_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.npu, "is_bf16_supported", lambda: False)  # as on a 310P
    with reranker("lexical") as made:
        assert made.start().dtype == "float16"


def test_a_device_is_named_by_its_number() -> None:
    with reranker("lexical", device="npu:0") as made:
        assert made.start().device == "npu:0"


def test_a_second_device_is_refused_in_a_sentence() -> None:
    with reranker("lexical", device="npu:1") as made:
        with pytest.raises(
            InvalidInputError, match=r"device is 'npu:1' but torch .* no such device"
        ):
            made.start()


def test_shapes_are_rounded_so_that_few_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    attend = torch.nn.functional.scaled_dot_product_attention

    def noted(queries: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:
        seen.add((queries.shape[0], queries.shape[2]))
        return attend(queries, *others, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noted)
    with reranker("lexical") as made:
        made.start()
        seen.clear()
        log_odds(made, QUERIES[0], DOCUMENTS)
    assert len(seen) > 1
    for prompts, length in seen:
        assert prompts.bit_count() == 1  # a power of two
        assert length % 64 == 0


def test_passes_are_as_large_as_memory_allows(limited: Any) -> None:
    config = SimpleNamespace(
        num_attention_heads=4, head_dim=32, hidden_size=64, intermediate_size=96
    )
    token = (4 * 64 + 3 * 96 + 16 * 128) * 2
    limited(1000 * token)
    tokens = memory.budget(torch.device("npu"), torch.bfloat16, config).most
    assert tokens == pytest.approx(500, abs=1)


def test_a_pass_for_which_there_is_no_memory_is_halved(
    limited: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with reranker("lexical", dtype="float32", batch_tokens=4096) as made:
        made.start()
        CARD.reset_peak()
        right = log_odds(made, QUERIES[0], DOCUMENTS)
        needed = CARD.peak() - CARD.used()
        limited(needed // 2)
        assert log_odds(made, QUERIES[0], DOCUMENTS) == pytest.approx(right, abs=1e-3)
    assert "npu:0 ran out of memory with a pass of" in caplog.text


def test_where_not_even_a_document_fits_the_call_says_so(limited: Any) -> None:
    with reranker("lexical") as made:
        made.start()
        limited(4096)
        with pytest.raises(EngineError, match="npu:0 has no memory for a pass of"):
            made.rerank(QUERIES[0], ["Beijing " * 100])


def test_where_not_even_the_model_fits_the_start_says_so(limited: Any) -> None:
    limited(4096)
    with reranker("lexical") as made:
        with pytest.raises(EngineError, match="npu has no memory for lexical"):
            made.start()


def test_memory_is_given_back() -> None:
    before = CARD.used()
    with reranker("lexical") as made:
        made.start()
        assert CARD.used() > before
    del made
    assert wait_until(lambda: _is_given_back(before))
