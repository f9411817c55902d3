"""The same model scores the same in every form that people save it in, or is refused in all."""

from pathlib import Path

import pytest

from qwen3_ascend_rerank import Reranker, UnsupportedModelError
from tests.support.variants import DOCUMENTS, LENGTH, QUERY, VARIANTS, Variant, answers, write


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_form_scores_as_the_official_computation(variant: Variant, tmp_path: Path) -> None:
    folder = write(variant, tmp_path / "model")
    with Reranker(folder, engine="torch", max_length=LENGTH, selfcheck="invariants") as reranker:
        if variant.refused:
            with pytest.raises(UnsupportedModelError, match=r"lm_head\.weight of its own"):
                reranker.start()
            return
        found = {one.index: one.log_odds for one in reranker.rerank(QUERY, DOCUMENTS)}
    expected = answers(variant)
    assert max(expected) - min(expected) > 0.5  # else agreement would mean little
    assert [found[place] for place in range(len(found))] == pytest.approx(expected, abs=1e-4)
