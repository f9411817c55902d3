"""TorchEngine on accelerators: what a CPU says, by the kernels of the device."""

from pathlib import Path
from typing import Any

import pytest
import torch

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.engines.torch import loading
from tests.support.models import write_original

DOCUMENTS = [" ".join(["Beijing", "capital", "量子", "moon"][: 1 + n % 4] * n) for n in range(40)]
HALVES = ["bfloat16", "float16"]


def is_there(kind: str) -> bool:
    return hasattr(torch, kind) and getattr(torch, kind).is_available()


pytestmark = pytest.mark.skipif(not is_there("cuda"), reason="no CUDA device")


@pytest.fixture(scope="module")
def model(qwen_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads as wide as those of Qwen3-Reranker, so that the same kernels are chosen."""
    folder = tmp_path_factory.mktemp("model")
    return write_original(folder, qwen_file, tied=True, head_dim=128, initializer_range=0.1)


def log_odds(folder: Path, **options: Any) -> list[float]:
    with Reranker(folder, engine="torch", engine_options=options) as reranker:
        first = reranker.rerank("What is the capital of China?", DOCUMENTS)
        again = reranker.rerank("What is the capital of China now?", DOCUMENTS[:2])
    found = sorted([*first, *again], key=lambda one: one.index)
    return [one.log_odds for one in found]


def test_float32_is_that_of_a_cpu(model: Path) -> None:
    exact = log_odds(model, device="cpu")
    assert (
        log_odds(model, device="cuda") != exact
    )  # bfloat16, so that the next line means something
    found = log_odds(model, device="cuda", dtype="float32")
    assert found == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_attends_raggedly_and_as_in_rows(
    model: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    works = loading.ragged_works
    monkeypatch.setattr(
        loading, "ragged_works", lambda *given: asked.append(works(*given)) or asked[-1]
    )
    ragged = log_odds(model, device="cuda", dtype=dtype)
    assert asked == [True]
    monkeypatch.setattr(loading, "ragged_works", lambda *given: False)
    assert log_odds(model, device="cuda", dtype=dtype) == pytest.approx(ragged, abs=0.05)


def test_memory_for_passes_is_found(model: Path) -> None:
    small = log_odds(model, device="cuda", dtype="float32", batch_tokens=300)
    assert log_odds(model, device="cuda", dtype="float32") == pytest.approx(small, abs=1e-4)
