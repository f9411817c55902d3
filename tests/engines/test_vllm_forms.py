"""vLLM scores every form of a checkpoint as the official computation does."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from qwen3_ascend_rerank import Reranker, UnsupportedModelError
from tests.support.variants import (
    DOCUMENTS,
    LENGTH,
    QUERY,
    VARIANTS,
    Variant,
    answers,
    quantise,
    write,
)

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM"),
    pytest.mark.filterwarnings("ignore"),  # those of vLLM and all that it imports
]

DISTANT = [
    Variant("two labels", "untied", "4.51", "shards", "resized"),
    Variant("original", "untied", "5", "single", "padded"),
]
"""Between them one of nearly every choice."""


@pytest.mark.parametrize("variant", DISTANT, ids=str)
def test_a_form_scores_as_the_official_computation(variant: Variant, tmp_path: Path) -> None:
    folder = write(variant, tmp_path / "model")
    with Reranker(folder, engine="vllm", max_length=LENGTH) as reranker:
        found = {one.index: one.log_odds for one in reranker.rerank(QUERY, DOCUMENTS)}
    assert [found[place] for place in range(len(found))] == pytest.approx(
        answers(variant), abs=1e-3
    )


def test_a_head_that_was_quantised_away_is_refused(tmp_path: Path) -> None:
    folder = write(Variant("one label"), tmp_path / "model")
    quantise(folder, leave_out="lm_head")  # and so not the head for scores, which is a float
    with Reranker(folder, engine="vllm", max_length=LENGTH) as reranker:
        with pytest.raises(UnsupportedModelError, match='add "score" to "ignore"'):
            reranker.start()


@pytest.mark.full
def test_a_quantised_model_with_its_head_ranks_nearly_as_before(tmp_path: Path) -> None:
    variant = Variant("one label")
    folder = write(variant, tmp_path / "model")
    quantise(folder, leave_out="score")
    with Reranker(folder, engine="vllm", max_length=LENGTH) as reranker:
        found = {one.index: one.log_odds for one in reranker.rerank(QUERY, DOCUMENTS)}
    assert [found[place] for place in range(len(found))] == pytest.approx(answers(variant), abs=2)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_every_form_scores_as_the_official_computation() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.vllm_forms"],
        env={**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    assert set(found) == set(map(str, VARIANTS))
    for variant in VARIANTS:
        if variant.refused:
            assert "lm_head.weight of its own" in found[str(variant)]
        else:
            assert found[str(variant)] == pytest.approx(answers(variant), abs=1e-3), str(variant)
