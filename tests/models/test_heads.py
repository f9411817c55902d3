"""What a score is read with: the label or token that means a relevant document, and no other."""

import json
import logging
from pathlib import Path

import pytest
import torch

from qwen3_ascend_rerank import CorruptModelError, Reranker, UnsupportedModelError
from qwen3_ascend_rerank.models import Labels, open_checkpoint
from qwen3_ascend_rerank.prompts import QwenTokenizer, load_tokenizer
from tests.models.conftest import Folder, edit_config, edit_weights
from tests.support.variants import DOCUMENTS, LENGTH, QUERY, Variant, answers

TWO = {
    "LABEL_0, LABEL_1": (1, 0),
    "LABEL_1, LABEL_0": (0, 1),
    "no, yes": (1, 0),
    "Yes, No": (0, 1),
    "relevant, irrelevant": (0, 1),
    "not-relevant, relevant": (1, 0),
    "1, 0": (0, 1),
}


@pytest.mark.parametrize("names", TWO)
def test_two_labels_count_as_they_are_named(names: str, folder: Folder) -> None:
    model = folder(head="two labels")
    edit_config(model, id2label=dict(zip("01", names.split(", "), strict=True)))
    assert open_checkpoint(str(model)).labels == Labels(*TWO[names])


def test_two_labels_turned_round_score_alike(folder: Folder) -> None:
    model = folder(head="two labels")
    edit_config(model, id2label={"0": "relevant", "1": "irrelevant"})
    edit_weights(
        model,
        lambda weights: weights.update(
            {"score.weight": weights["score.weight"].flip(0).contiguous()}
        ),
    )
    with Reranker(model, engine="torch", max_length=LENGTH) as reranker:
        found = {one.index: one.log_odds for one in reranker.rerank(QUERY, DOCUMENTS)}
    expected = answers(Variant(head="two labels"))
    assert [found[place] for place in range(len(found))] == pytest.approx(expected, abs=1e-4)


REFUSED = {
    "names that say nothing": (
        {"id2label": {"0": "cat", "1": "dog"}},
        2,
        UnsupportedModelError,
        "labels 'cat' and 'dog', which do not say which one means a relevant document",
    ),
    "two that do not exclude each other": (
        {"problem_type": "multi_label_classification"},
        2,
        UnsupportedModelError,
        "2 labels and problem_type 'multi_label_classification'",
    ),
    "three": (
        {"id2label": {"0": "a", "1": "b", "2": "c"}},
        3,
        UnsupportedModelError,
        "has 3 labels; a reranker has one",
    ),
    "fewer than config.json says": (
        {"id2label": {"0": "no", "1": "yes"}},
        1,
        CorruptModelError,
        r"score\.weight in the shape \(1, 32\) .* asks for 2 labels",
    ),
    "one that means the opposite": (
        {"id2label": {"0": "irrelevant"}},
        1,
        UnsupportedModelError,
        "a single label 'irrelevant', which would put the worst document first",
    ),
    "names without order": ({"id2label": {"a": "b"}}, 1, CorruptModelError, "id2label"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_labels_that_make_no_reranker_are_refused(kind: str, folder: Folder) -> None:
    changes, rows, error, message = REFUSED[kind]
    model = folder(head="two labels")
    edit_config(model, **changes)
    edit_weights(model, lambda weights: weights.update({"score.weight": torch.ones(rows, 32)}))
    with pytest.raises(error, match=message):
        open_checkpoint(str(model))


def test_a_head_of_another_width_or_none_is_refused(folder: Folder) -> None:
    model = folder(head="one label")
    edit_weights(model, lambda weights: weights.update({"score.weight": torch.ones(1, 31)}))
    with pytest.raises(CorruptModelError, match=r"in the shape \(1, 31\)"):
        open_checkpoint(str(model))
    edit_weights(model, lambda weights: weights.pop("score.weight"))
    with pytest.raises(CorruptModelError, match=r"lacks score\.weight, the head"):
        open_checkpoint(str(model))


def test_a_bias_is_refused(folder: Folder) -> None:
    model = folder(head="one label")
    edit_weights(model, lambda weights: weights.update({"score.bias": torch.ones(1)}))
    with pytest.raises(UnsupportedModelError, match="a bias that vLLM adds and transformers leave"):
        open_checkpoint(str(model))


def test_two_heads_are_refused_unless_they_say_the_same(folder: Folder) -> None:
    def tokenizer() -> QwenTokenizer:
        return load_tokenizer(model / "tokenizer.json")

    model = folder(tie="trained")
    with pytest.raises(UnsupportedModelError, match=r"lm_head\.weight of its own .* set it to fal"):
        open_checkpoint(str(model)).check(tokenizer())
    edit_weights(
        model,
        lambda weights: weights.update(
            {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}
        ),
    )
    open_checkpoint(str(model)).check(tokenizer())


def test_a_model_trained_by_regression_is_warned_of(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    model = folder(head="one label")
    edit_config(model, problem_type="regression")
    with caplog.at_level(logging.WARNING):
        assert open_checkpoint(str(model)).labels == Labels(0, None)
    assert "was trained by regression: the order of documents is right" in caplog.text


def test_ids_without_a_row_are_refused(folder: Folder) -> None:
    model = folder()
    rows = json.loads((model / "config.json").read_text())["vocab_size"] - 3
    edit_config(model, vocab_size=rows)
    cut = "model.embed_tokens.weight"
    edit_weights(model, lambda weights: weights.update({cut: weights[cut][:rows].clone()}))
    with Reranker(model, engine="torch", max_length=LENGTH) as reranker:
        with pytest.raises(UnsupportedModelError, match=rf"{rows} rows .* gives ids up to"):
            reranker.start()


def test_a_score_read_off_other_tokens_is_refused(folder: Folder) -> None:
    def say(yes: int, no: int) -> None:
        file.write_text(json.dumps({"true_token_id": yes, "false_token_id": no}))

    model = folder()
    tokenizer = load_tokenizer(model / "tokenizer.json")
    file = Path(model / "1_LogitScore" / "config.json")
    file.parent.mkdir()
    say(tokenizer.yes, tokenizer.no)
    open_checkpoint(str(model)).check(tokenizer)
    say(tokenizer.no, tokenizer.yes)
    with pytest.raises(UnsupportedModelError, match="reads its score off the tokens"):
        open_checkpoint(str(model)).check(tokenizer)


QUANTISED = {
    "awq": {"quantization_config": {"quant_method": "awq", "bits": 4}},
    "compressed-tensors": {"quantization_config": {"quant_method": "compressed-tensors"}},
    "fp8": {"quantization_config": {"quant_method": "fp8"}},
    "ModelSlim": {},
}


@pytest.mark.parametrize("method", QUANTISED)
def test_a_quantised_checkpoint_is_refused_by_torch_before_it_is_loaded(
    method: str, folder: Folder
) -> None:
    model = folder()
    edit_config(model, **QUANTISED[method])
    if method == "ModelSlim":
        (model / "quant_model_description.json").write_text('{"model_quant_type": "W8A8"}')
    (model / "model.safetensors").write_bytes(b"not looked at")
    with Reranker(model, engine="torch") as reranker:
        with pytest.raises(UnsupportedModelError, match=rf"quantised \({method}\), and torch runs"):
            reranker.start()
